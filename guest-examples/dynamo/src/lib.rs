//! Items with types, versions and an end, in a bucket of keys and values. Where the bucket is kept is up to the operator: in a table
//! of DynamoDB, or in any other store of the host.

mod item;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:dynamo/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use exports::example::dynamo::items::{Addition, Attribute, Condition, Content, Failure, Guest};
use serde_json::json;
use toolpost::kv::ext::{self, Entry, SetOptions, Swapped};
use toolpost::tool::types::Unavailable;
use wasi::keyvalue::batch;
use wasi::keyvalue::store::{self, Bucket, Error};

use crate::item::{Item, wrong};

/// The bucket of the grant.
const BUCKET: &str = "items";

/// The most items of a page, and how many it has where nothing is said.
const PAGE_MAX: u32 = 100;
const PAGE: u32 = 20;

struct Items;

impl Guest for Items {
    fn put_item(
        key: String,
        attributes: Vec<Attribute>,
        condition: Option<Condition>,
        ttl_seconds: Option<u64>,
    ) -> Result<u64, Failure> {
        let mut item = Item::new();
        item::set(&mut item, attributes)?;
        let (bucket, kept, ttl_ms) = (open()?, item::kept(&item), ttl_seconds.map(ms));
        let swapped = match condition {
            None => {
                let options = SetOptions { ttl_ms, if_not_exists: false };
                let version = ext::set(&bucket, &key, &kept, options).map_err(failure)?;
                return version.ok_or_else(|| Failure::Failed("the store said nothing of a version".into()));
            }
            Some(Condition::Absent) => ext::swap(&bucket, &key, None, &kept, ttl_ms),
            Some(Condition::Version(version)) => ext::swap(&bucket, &key, Some(version), &kept, ttl_ms),
        };
        match swapped.map_err(failure)? {
            Swapped::Swapped(version) => Ok(version),
            Swapped::Stale(found) => Err(stale(&key, found.as_ref())),
        }
    }

    fn get_item(key: String) -> Result<Content, Failure> {
        match ext::get(&open()?, &key).map_err(failure)? {
            Some(entry) => item::shown(&key, &entry),
            None => Ok(Content::Json("null".into())),
        }
    }

    fn update_item(
        key: String,
        set: Option<Vec<Attribute>>,
        add: Option<Vec<Addition>>,
        remove: Option<Vec<String>>,
        version: Option<u64>,
        ttl_seconds: Option<u64>,
    ) -> Result<Content, Failure> {
        let bucket = open()?;
        let (set, add, remove) = (set.unwrap_or_default(), add.unwrap_or_default(), remove.unwrap_or_default());
        let mut found = ext::get(&bucket, &key).map_err(failure)?;
        // Somebody else may change it at the same time, and neither change is to be lost.
        loop {
            if version.is_some() && version != found.as_ref().map(|entry| entry.version) {
                return Err(stale(&key, found.as_ref()));
            }
            let mut item = found.as_ref().map_or_else(|| Ok(Item::new()), |entry| item::read(&key, &entry.value))?;
            item::set(&mut item, set.clone())?;
            item::add(&mut item, add.clone())?;
            remove.iter().for_each(|name| drop(item.remove(name)));
            let ttl_ms = ttl_seconds.map(ms).or_else(|| found.as_ref()?.ttl_ms);
            let was = found.as_ref().map(|entry| entry.version);
            match ext::swap(&bucket, &key, was, &item::kept(&item), ttl_ms).map_err(failure)? {
                Swapped::Swapped(version) => {
                    return Ok(Content::Json(item::object(&key, &item, version, ttl_ms).to_string()));
                }
                Swapped::Stale(entry) => found = entry,
            }
        }
    }

    fn delete_item(key: String, version: Option<u64>) -> Result<bool, Failure> {
        let bucket = open()?;
        let Some(version) = version else {
            let was = bucket.exists(&key).map_err(failure)?;
            bucket.delete(&key).map_err(failure)?;
            return Ok(was);
        };
        // What ends at once is gone. To look at the version first, and delete then, could delete what came in between.
        match ext::swap(&bucket, &key, Some(version), b"{}", Some(0)).map_err(failure)? {
            Swapped::Swapped(_) => Ok(true),
            Swapped::Stale(None) => Ok(false),
            Swapped::Stale(found) => Err(stale(&key, found.as_ref())),
        }
    }

    fn query(begins_with: Option<String>, limit: Option<u32>, cursor: Option<String>) -> Result<Content, Failure> {
        let (bucket, limit) = (open()?, limit.unwrap_or(PAGE).clamp(1, PAGE_MAX));
        let prefix = begins_with.unwrap_or_default();
        let page = ext::list_keys(&bucket, &prefix, cursor.as_deref(), Some(limit)).map_err(failure)?;
        let mut items = Vec::new();
        for (key, kept) in batch::get_many(&bucket, &page.keys).map_err(failure)? {
            // What is not there any more has ended meanwhile.
            if let Some(kept) = kept {
                items.push(json!({"key": key, "attributes": item::read(&key, &kept)?}));
            }
        }
        let mut answer = json!({ "items": items });
        if let Some(cursor) = page.cursor {
            answer["cursor"] = json!(cursor);
        }
        Ok(Content::Json(answer.to_string()))
    }
}

fn open() -> Result<Bucket, Failure> {
    store::open(BUCKET).map_err(failure)
}

fn ms(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000)
}

/// The item is not as the caller has said.
fn stale(key: &str, found: Option<&Entry>) -> Failure {
    wrong(match found {
        Some(entry) => format!("the item `{key}` has the version {} now; read it again before you change it", entry.version),
        None => format!("there is no item `{key}`"),
    })
}

fn failure(error: Error) -> Failure {
    match error {
        Error::NoSuchStore => Failure::Failed(format!("there is no bucket `{BUCKET}`")),
        Error::AccessDenied => Failure::Failed("this may not be done with the items".into()),
        // So a host says that another try may do.
        Error::Other(why) if why.starts_with("unavailable") => {
            Failure::Unavailable(Unavailable { message: "the store of the items does not answer".into(), retry_after_ms: None })
        }
        Error::Other(why) => Failure::Failed(why),
    }
}

export!(Items);

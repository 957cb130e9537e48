//! A memory for an agent: notes in a bucket of keys and values. Where the bucket is kept is up to the operator.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:notes/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use exports::example::notes::notes::{Failure, Found, Guest};
use toolpost::kv::ext::{self, Entry, SetOptions, Swapped};
use toolpost::tool::types::Unavailable;
use wasi::keyvalue::batch;
use wasi::keyvalue::store::{self, Bucket, Error};

/// The bucket of the grant.
const BUCKET: &str = "notes";

/// Notes that are looked through at once.
const PAGE: u32 = 50;

/// The most notes that a search returns, and how many it returns where nothing is said.
const FOUND_MAX: u32 = 200;
const FOUND: u32 = 20;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

struct Notes;

impl Guest for Notes {
    fn store(name: String, text: String, days: Option<u32>) -> Result<(), Failure> {
        let options = SetOptions { ttl_ms: days.map(|days| u64::from(days) * DAY_MS), if_not_exists: true };
        match ext::set(&open()?, &name, text.as_bytes(), options).map_err(failure)? {
            Some(_) => Ok(()),
            None => Err(Failure::InvalidArguments(format!("there is a note `{name}` already; `update` changes it"))),
        }
    }

    fn recall(name: String) -> Result<String, Failure> {
        let entry = ext::get(&open()?, &name).map_err(failure)?.ok_or_else(|| missing(&name))?;
        Ok(words(entry.value))
    }

    fn update(name: String, text: String, add: Option<bool>) -> Result<String, Failure> {
        let bucket = open()?;
        let mut found = ext::get(&bucket, &name).map_err(failure)?;
        // Somebody else may change it at the same time, and neither change is to be lost.
        loop {
            let Some(Entry { value, version, ttl_ms }) = found else { return Err(missing(&name)) };
            let now = if add == Some(true) { format!("{}\n{text}", words(value)) } else { text.clone() };
            match ext::swap(&bucket, &name, Some(version), now.as_bytes(), ttl_ms).map_err(failure)? {
                Swapped::Swapped(_) => return Ok(now),
                Swapped::Stale(entry) => found = entry,
            }
        }
    }

    fn search(text: Option<String>, below: Option<String>, limit: Option<u32>) -> Result<Vec<Found>, Failure> {
        let bucket = open()?;
        let wanted = text.unwrap_or_default().to_lowercase();
        let most = limit.unwrap_or(FOUND).min(FOUND_MAX) as usize;
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = ext::list_keys(&bucket, below.as_deref().unwrap_or(""), cursor.as_deref(), Some(PAGE));
            let page = page.map_err(failure)?;
            for (name, value) in batch::get_many(&bucket, &page.keys).map_err(failure)? {
                // What is not there any more was forgotten meanwhile.
                found.extend(value.and_then(|value| look(name, &words(value), &wanted)));
            }
            found.truncate(most);
            cursor = page.cursor;
            if cursor.is_none() || found.len() >= most {
                return Ok(found);
            }
        }
    }
}

/// The note, where its name or one of its lines has what is wanted.
fn look(name: String, text: &str, wanted: &str) -> Option<Found> {
    let line = text.lines().find(|line| line.to_lowercase().contains(wanted));
    let line = line.or_else(|| name.to_lowercase().contains(wanted).then(|| text.lines().next().unwrap_or_default()));
    line.map(str::to_owned).map(|line| Found { name, line })
}

fn open() -> Result<Bucket, Failure> {
    store::open(BUCKET).map_err(failure)
}

fn words(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn missing(name: &str) -> Failure {
    Failure::InvalidArguments(format!("there is no note `{name}`; `search` finds those that there are"))
}

fn failure(error: Error) -> Failure {
    match error {
        Error::NoSuchStore => Failure::Failed(format!("there is no bucket `{BUCKET}`")),
        Error::AccessDenied => Failure::Failed("this may not be done with the notes".into()),
        // So a host says that another try may do.
        Error::Other(why) if why.starts_with("unavailable") => {
            Failure::Unavailable(Unavailable { message: "the store of the notes does not answer".into(), retry_after_ms: None })
        }
        Error::Other(why) => Failure::Failed(why),
    }
}

export!(Notes);

//! Whatever can be done with keys and values, step by step, for tests of a host.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:keys/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use exports::example::keys::keys::{Guest, Step};
use toolpost::kv::ext;
use wasi::keyvalue::atomics::{self, Cas, CasError};
use wasi::keyvalue::batch;
use wasi::keyvalue::store::{self, Bucket, Error, KeyResponse};

struct Keys;

impl Guest for Keys {
    fn steps(bucket: String, steps: Vec<Step>) -> Result<Vec<String>, String> {
        let bucket = store::open(&bucket).map_err(words)?;
        Ok(steps.into_iter().map(|step| done(&bucket, step).unwrap_or_else(|error| format!("!{}", words(error)))).collect())
    }

    fn count(bucket: String, key: String) -> Result<i64, String> {
        atomics::increment(&store::open(&bucket).map_err(words)?, &key, 1).map_err(words)
    }
}

fn done(bucket: &Bucket, step: Step) -> Result<String, Error> {
    Ok(match step {
        Step::Get(key) => value(bucket.get(&key)?),
        Step::Set(pair) => bucket.set(&pair.key, pair.text.as_bytes()).map(|()| String::new())?,
        Step::SetBytes(amount) => {
            bucket.set(&amount.key, &vec![b'x'; amount.number as usize]).map(|()| String::new())?
        }
        Step::Delete(key) => bucket.delete(&key).map(|()| String::new())?,
        Step::Exists(key) => bucket.exists(&key)?.to_string(),
        Step::ListKeys(cursor) => page(bucket.list_keys(cursor.as_deref())?),
        Step::Increment(amount) => atomics::increment(bucket, &amount.key, amount.number)?.to_string(),
        Step::Swap(pair) => {
            let cas = Cas::new(bucket, &pair.key)?;
            let was = value(cas.current()?);
            swapped(atomics::swap(cas, pair.text.as_bytes()))?.map_or_else(|| was, |_| "stale".into())
        }
        Step::SwapLate(pair) => {
            let cas = Cas::new(bucket, &pair.key)?;
            bucket.set(&pair.key, b"other")?;
            let Some(cas) = swapped(atomics::swap(cas, pair.text.as_bytes()))? else { return Ok("swapped".into()) };
            let now = value(cas.current()?);
            let then = swapped(atomics::swap(cas, pair.text.as_bytes()))?.map_or("swapped", |_| "stale");
            format!("stale {now} {then}")
        }
        Step::GetMany(keys) => {
            let all = batch::get_many(bucket, &keys)?;
            all.into_iter().map(|(key, it)| format!("{key}={}", value(it))).collect::<Vec<_>>().join(" ")
        }
        Step::SetMany(pairs) => {
            let pairs: Vec<_> = pairs.into_iter().map(|pair| (pair.key, pair.text.into_bytes())).collect();
            batch::set_many(bucket, &pairs).map(|()| String::new())?
        }
        Step::DeleteMany(keys) => batch::delete_many(bucket, &keys).map(|()| String::new())?,
        Step::Entry(key) => ext::get(bucket, &key)?.map_or("none".into(), entry),
        Step::Put(put) => {
            let options = ext::SetOptions { ttl_ms: put.ttl_ms, if_not_exists: put.if_not_exists };
            ext::set(bucket, &put.key, put.text.as_bytes(), options)?.map_or("left".into(), |it| it.to_string())
        }
        Step::SwapVersion(swap) => {
            match ext::swap(bucket, &swap.key, swap.version, swap.text.as_bytes(), None)? {
                ext::Swapped::Swapped(version) => version.to_string(),
                ext::Swapped::Stale(found) => format!("stale {}", found.map_or("none".into(), entry)),
            }
        }
        Step::ListFrom(from) => page(ext::list_keys(bucket, &from.prefix, from.cursor.as_deref(), from.limit)?),
        Step::Hold(times) => {
            // Whatever the bucket is called, a handle to a key in it takes as much room as the bucket.
            let held: Result<Vec<Cas>, Error> = (0..times).map(|_| Cas::new(bucket, "held")).collect();
            held?.len().to_string()
        }
    })
}

/// Another handle, where the value was another one.
fn swapped(swapped: Result<(), CasError>) -> Result<Option<Cas>, Error> {
    match swapped {
        Ok(()) => Ok(None),
        Err(CasError::CasFailed(cas)) => Ok(Some(cas)),
        Err(CasError::StoreError(error)) => Err(error),
    }
}

fn value(value: Option<Vec<u8>>) -> String {
    value.map_or("none".into(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn entry(entry: ext::Entry) -> String {
    let ttl = entry.ttl_ms.map_or(String::new(), |_| " ends".into());
    format!("{} {}{ttl}", entry.version, String::from_utf8_lossy(&entry.value))
}

fn page(page: KeyResponse) -> String {
    format!("{} | {}", page.keys.join(" "), page.cursor.unwrap_or_default())
}

fn words(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no-such-store".into(),
        Error::AccessDenied => "access-denied".into(),
        Error::Other(why) => why,
    }
}

export!(Keys);

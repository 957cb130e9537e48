//! Records in memory: for a host of which nothing need survive.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::time::Instant;

use super::ending::Kept;
use super::key::RecordKey;
use super::record::{Record, State};
use super::store::{LISTED_MAX, LedgerFailure, LedgerStore, Listed, Query, Seen};

/// The most records that are kept. A call whose key finds no room is told so: to forget another would be to run it again.
pub const RECORDS_MAX: usize = 100_000;

/// The most that all kept results may have together, in bytes. Beyond it only the fact is kept.
pub const RESULTS_BYTES_MAX: usize = 64 << 20;

/// Records in memory.
#[derive(Debug)]
pub struct Memory {
    /// The same instant on both clocks. From there on the one counts that tests can pause.
    epoch: (u64, Instant),
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    by_key: HashMap<RecordKey, Entry>,
    /// The keys by when they are forgotten, and in the order in which they came.
    order: BTreeMap<(u64, u64), RecordKey>,
    came: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    record: Arc<Record>,
    bytes: usize,
    came: u64,
}

impl Default for Memory {
    fn default() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Memory { epoch: (now, Instant::now()), records: Mutex::default() }
    }
}

impl Memory {
    fn now_ms(&self) -> u64 {
        let (epoch, instant) = self.epoch;
        epoch.saturating_add(u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Records, u64) -> T) -> T {
        act(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner), self.now_ms())
    }
}

impl Records {
    fn swap(&mut self, key: &RecordKey, expected: Option<u64>, record: Option<Arc<Record>>, now: u64) -> Option<bool> {
        // Each one that comes lets up to two go, so that the map cannot grow for ever.
        for _ in 0..2 {
            let expired = self.order.first_key_value().filter(|((expires, _), _)| *expires <= now);
            if let Some(key) = expired.map(|(_, key)| key.clone()) {
                self.take_out(&key);
            }
        }
        let is_full = self.by_key.len() >= RECORDS_MAX;
        let place = self.by_key.entry(key.clone());
        let found = match &place {
            Place::Occupied(entry) => Some(entry.get().record.version),
            Place::Vacant(_) => None,
        };
        if found != expected {
            return Some(false);
        }
        let Some(mut record) = record else {
            drop(place);
            self.take_out(key);
            return Some(true);
        };
        if is_full && found.is_none() {
            return None;
        }
        let mut bytes = record.ending().map_or(0, |kept| kept.text().len());
        if self.bytes.saturating_add(bytes) > RESULTS_BYTES_MAX && record.ending().is_some_and(Kept::is_ok) {
            Arc::make_mut(&mut record).state = State::Done(Kept::fact(true));
            bytes = 0;
        }
        self.came += 1;
        // What runs is not forgotten, and soon is something else.
        if !matches!(record.state, State::Claimed { lease_ms } if lease_ms > now) {
            self.order.insert((record.expires_ms, self.came), key.clone());
        }
        self.bytes += bytes;
        let entry = Entry { record, bytes, came: self.came };
        match place {
            Place::Vacant(place) => drop(place.insert(entry)),
            Place::Occupied(mut place) => {
                let before = place.insert(entry);
                self.gone(&before);
            }
        }
        Some(true)
    }

    fn take_out(&mut self, key: &RecordKey) {
        if let Some(entry) = self.by_key.remove(key) {
            self.gone(&entry);
        }
    }

    fn gone(&mut self, entry: &Entry) {
        self.order.remove(&(entry.record.expires_ms, entry.came));
        self.bytes -= entry.bytes;
    }
}

impl LedgerStore for Memory {
    fn get<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, Result<Seen, LedgerFailure>> {
        let seen = self.with(|records, now_ms| {
            let record = records.by_key.get(key).map(|entry| entry.record.clone());
            Seen { record, now_ms }
        });
        ready(Ok(seen)).boxed()
    }

    fn swap<'a>(
        &'a self,
        key: &'a RecordKey,
        expected: Option<u64>,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, LedgerFailure>> {
        // Not before it is awaited: who drops the future has changed nothing.
        async move {
            let swapped = self.with(|records, now| records.swap(key, expected, record, now));
            swapped.ok_or_else(|| LedgerFailure::new(format!("{RECORDS_MAX} keys are remembered already")))
        }
        .boxed()
    }

    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Listed, LedgerFailure>> {
        let listed = self.with(|records, now_ms| {
            let records = records.by_key.iter().map(|(key, entry)| (key, &*entry.record));
            let mut records: Vec<_> = records.filter(|(key, record)| query.fits(key, record, now_ms)).collect();
            records.sort_by(|one, other| (other.1.changed_ms, other.0).cmp(&(one.1.changed_ms, one.0)));
            records.truncate(query.limit.min(LISTED_MAX));
            let records = records.into_iter().map(|(key, record)| (key.clone(), record.without_answer())).collect();
            Listed { records, now_ms }
        });
        ready(Ok(listed)).boxed()
    }
}

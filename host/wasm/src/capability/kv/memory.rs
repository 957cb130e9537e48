//! Keys and values in memory. They end with the program.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::backend::{Backend, Change, Changed, Entry, Fault, Range, Scope, Step};

/// Keeps keys and values in memory.
#[derive(Default)]
pub struct Memory {
    spaces: Mutex<HashMap<Arc<str>, Space>>,
}

#[derive(Default)]
struct Space {
    entries: BTreeMap<String, Entry>,
    bytes: u64,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Space>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks into a space.
    fn look<T>(&self, scope: &Scope, look: impl FnOnce(&Space) -> T) -> T {
        let spaces = self.lock();
        look(spaces.get(&scope.space).unwrap_or(&Space::default()))
    }
}

impl Space {
    fn found(&self, key: &str, now_ms: u64) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| !entry.is_over(now_ms))
    }

    fn change(&mut self, scope: &Scope, key: &str, change: &Change) -> Result<Changed, Fault> {
        match change.step(self.found(key, scope.now_ms))? {
            Step::Leave(changed) => Ok(changed),
            Step::Remove => {
                self.remove(key);
                Ok(Changed::Gone)
            }
            Step::Put(entry, changed) => {
                if self.room(scope, key, &entry).is_err() {
                    // What is over takes up room until it is needed.
                    self.sweep(scope.now_ms);
                }
                self.room(scope, key, &entry)?;
                self.remove(key);
                self.bytes += entry.bytes(key);
                self.entries.insert(key.to_owned(), entry);
                Ok(changed)
            }
        }
    }

    fn room(&self, scope: &Scope, key: &str, entry: &Entry) -> Result<(), Fault> {
        let before = self.entries.get(key);
        let keys = self.entries.len() as u64;
        let keys_then = keys + u64::from(before.is_none());
        let bytes_then = self.bytes - before.map_or(0, |before| before.bytes(key)) + entry.bytes(key);
        scope.fits((keys, self.bytes), (keys_then, bytes_then))
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes(key);
        }
    }

    fn sweep(&mut self, now_ms: u64) {
        let bytes = &mut self.bytes;
        self.entries.retain(|key, entry| {
            let is_over = entry.is_over(now_ms);
            *bytes -= if is_over { entry.bytes(key) } else { 0 };
            !is_over
        });
    }
}

impl Backend for Memory {
    fn get<'a>(&'a self, scope: &'a Scope, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Entry>>, Fault>> {
        let found = |space: &Space| keys.iter().map(|key| space.found(key, scope.now_ms).cloned()).collect();
        ready(Ok(self.look(scope, found))).boxed()
    }

    fn change<'a>(
        &'a self,
        scope: &'a Scope,
        changes: Vec<(String, Change)>,
    ) -> BoxFuture<'a, Vec<Result<Changed, Fault>>> {
        // Nothing is done before the future is asked for it.
        async move {
            let mut spaces = self.lock();
            let space = spaces.entry(scope.space.clone()).or_default();
            changes.iter().map(|(key, change)| space.change(scope, key, change)).collect()
        }
        .boxed()
    }

    fn list<'a>(&'a self, scope: &'a Scope, range: Range) -> BoxFuture<'a, Result<Vec<String>, Fault>> {
        let Range { prefix, after, limit } = range;
        let first = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix.clone()),
        };
        let found = |space: &Space| {
            let entries = space.entries.range((first, Bound::Unbounded));
            let entries = entries.take_while(|(key, _)| key.starts_with(&prefix));
            let entries = entries.filter(|(_, entry)| !entry.is_over(scope.now_ms));
            entries.take(limit).map(|(key, _)| key.clone()).collect()
        };
        ready(Ok(self.look(scope, found))).boxed()
    }
}

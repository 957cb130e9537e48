//! What is kept of each caller, or of each session of one? A bounded number of things, found by the names of their owners.

use std::hash::{Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::{Equivalent, HashMap};

/// The most owners of whom something is kept. Beyond that, what was not used for the longest time is forgotten.
const OWNERS_MAX: usize = 10_000;

/// What is kept of each owner.
#[derive(Debug)]
pub(crate) struct Owners<T>(Mutex<Table<T>>);

#[derive(Debug)]
struct Table<T> {
    uses: u64,
    kept: HashMap<Owner<String>, Kept<T>, RandomState>,
}

#[derive(Debug)]
struct Kept<T> {
    what: Arc<Mutex<T>>,
    /// When it was last used, as a count of uses.
    used: u64,
}

/// A caller and a session. Two callers may name their sessions alike; where all that a caller does counts together, the session
/// has no name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Owner<S> {
    caller: S,
    session: S,
}

impl Equivalent<Owner<String>> for Owner<&str> {
    fn equivalent(&self, key: &Owner<String>) -> bool {
        self.caller == key.caller && self.session == key.session
    }
}

impl<T> Default for Owners<T> {
    fn default() -> Self {
        Owners(Mutex::new(Table { uses: 0, kept: HashMap::default() }))
    }
}

impl<T: Default> Owners<T> {
    /// What is kept of that owner, which is made where there is nothing.
    pub(crate) fn of(&self, caller: &str, session: &str) -> Arc<Mutex<T>> {
        let mut table = lock(&self.0);
        table.uses += 1;
        let used = table.uses;
        let owner = Owner { caller, session };
        if let Some(kept) = table.kept.get_mut(&owner) {
            kept.used = used;
            return kept.what.clone();
        }
        if table.kept.len() >= OWNERS_MAX {
            table.forget();
        }
        let what: Arc<Mutex<T>> = Arc::default();
        let owner = Owner { caller: caller.to_owned(), session: session.to_owned() };
        table.kept.insert(owner, Kept { what: what.clone(), used });
        what
    }
}

impl<T> Owners<T> {
    /// What is kept of that owner, if something is.
    pub(crate) fn find(&self, caller: &str, session: &str) -> Option<Arc<Mutex<T>>> {
        lock(&self.0).kept.get(&Owner { caller, session }).map(|kept| kept.what.clone())
    }

    /// Of how many something is kept.
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).kept.len()
    }
}

impl<T> Table<T> {
    /// Forgets the tenth that was not used for the longest time, but for what calls use right now.
    fn forget(&mut self) {
        let mut uses: Vec<u64> = self.kept.values().map(|kept| kept.used).collect();
        uses.sort_unstable();
        let oldest = uses.get(uses.len() / 10).copied().unwrap_or(u64::MAX);
        self.kept.retain(|_, kept| kept.used > oldest || Arc::strong_count(&kept.what) > 1);
    }
}

/// What one owner has, for as long as somebody looks at it.
pub(crate) fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

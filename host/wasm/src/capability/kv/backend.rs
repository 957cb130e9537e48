//! What stands behind buckets: a place that keeps keys and values.
//!
//! A backend knows nothing of tools and grants. It is asked for one space at a time, by a name that the host has made, and keeps
//! each space within the bounds that come along. What a change comes to is decided here ([`Change::step`]), so that it is the same
//! in every backend; how nobody comes between looking and changing is each backend's own affair.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use toolpost_core::catalog::grants::KvName;

use super::memory::Memory;

/// How long a store may take for one piece of work, unless it is said otherwise.
pub const TIME_MAX: Duration = Duration::from_secs(5);

/// Keeps keys and values.
pub trait Backend: Send + Sync {
    /// The values of these keys, in their order. None is over by the scope's clock.
    ///
    /// # Errors
    /// The store did not do it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    fn get<'a>(&'a self, scope: &'a Scope, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Entry>>, Fault>>;

    /// Makes changes, each by itself as one step that nobody comes between. Says what came of each, in their order.
    ///
    /// # Cancel safety
    /// Dropping the future leaves each change made or not made, and none half made.
    fn change<'a>(
        &'a self,
        scope: &'a Scope,
        changes: Vec<(String, Change)>,
    ) -> BoxFuture<'a, Vec<Result<Changed, Fault>>>;

    /// The first keys of a range, in the order of their bytes.
    ///
    /// # Errors
    /// The store did not do it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    fn list<'a>(&'a self, scope: &'a Scope, range: Range) -> BoxFuture<'a, Result<Vec<String>, Fault>>;
}

/// Whose keys, when, and how many there may be.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The name of the space.
    pub space: Arc<str>,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
    /// Keys that it may have.
    pub keys_max: u64,
    /// Bytes that its keys and values may have.
    pub bytes_max: u64,
}

/// A range of keys.
#[derive(Clone, Debug)]
pub struct Range {
    /// How they begin.
    pub prefix: String,
    /// The key behind which it begins.
    pub after: Option<String>,
    /// So many of them at most.
    pub limit: usize,
}

/// A value, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// Another one for every change, between 1 and `i64::MAX`.
    pub version: u64,
    /// When it is over, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Gives it a value.
    Set {
        /// The value.
        value: Vec<u8>,
        /// When it is over, in milliseconds since 1970.
        expires_ms: Option<u64>,
        /// Under which condition.
        only: Only,
    },
    /// Adds to a number, kept as a text in decimal.
    Add(i64),
    /// Takes it out.
    Delete,
}

/// When a value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// In any case.
    Always,
    /// Where the key is not there.
    Absent,
    /// Where it has this version.
    Version(u64),
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The value is set, and has this version.
    Set(u64),
    /// The number is this now.
    Sum(i64),
    /// The key is not there any more.
    Gone,
    /// Nothing: the condition did not hold, and this is what the key holds.
    Stale(Option<Entry>),
}

/// What a change comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The key is to hold this.
    Put(Entry, Changed),
    /// The key is to go.
    Remove,
    /// Nothing is to be done.
    Leave(Changed),
}

/// Why a store did not do what it was asked for. No word of it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There would be more keys than there may be. Nothing was done.
    TooManyKeys,
    /// Keys and values would be longer than they may be. Nothing was done.
    TooManyBytes,
    /// The change does not fit what is there; the text is for the tool. Nothing was done.
    Unfit(&'static str),
    /// The store cannot be had; the text is for the operator. Nothing was done.
    Away(String),
    /// The store broke off; the text is for the operator. What was to be done may have been done.
    Cut(String),
}

impl Fault {
    /// The same of a piece of work that only looked: however it ended, nothing was done.
    #[must_use]
    pub fn unwritten(self) -> Self {
        match self {
            Fault::Cut(why) => Fault::Away(why),
            fault => fault,
        }
    }
}

impl Entry {
    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires| expires <= now_ms)
    }

    /// The room that it takes with its key.
    #[must_use]
    pub fn bytes(&self, key: &str) -> u64 {
        (key.len() + self.value.len()) as u64
    }
}

impl Change {
    /// What the change comes to where the key holds this.
    ///
    /// # Errors
    /// It does not fit.
    pub fn step(&self, found: Option<&Entry>) -> Result<Step, Fault> {
        let put = |value, expires_ms, changed: fn(u64) -> Changed| {
            let version = fresh_version();
            Step::Put(Entry { value, version, expires_ms }, changed(version))
        };
        Ok(match self {
            Change::Set { value, expires_ms, only } => {
                let holds = match only {
                    Only::Always => true,
                    Only::Absent => found.is_none(),
                    Only::Version(version) => found.is_some_and(|found| found.version == *version),
                };
                match holds {
                    true => put(value.clone(), *expires_ms, Changed::Set),
                    false => Step::Leave(Changed::Stale(found.cloned())),
                }
            }
            Change::Add(delta) => {
                let sum = match found {
                    None => *delta,
                    Some(found) => number(&found.value)?.checked_add(*delta).ok_or(Fault::Unfit(TOO_LARGE))?,
                };
                let expires_ms = found.and_then(|found| found.expires_ms);
                let entry = Entry { value: sum.to_string().into_bytes(), version: fresh_version(), expires_ms };
                Step::Put(entry, Changed::Sum(sum))
            }
            Change::Delete if found.is_none() => Step::Leave(Changed::Gone),
            Change::Delete => Step::Remove,
        })
    }
}

const TOO_LARGE: &str = "the sum is too large for a number of 64 bits";
const NO_NUMBER: &str = "the value is no number, which is a text in decimal";

fn number(value: &[u8]) -> Result<i64, Fault> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or(Fault::Unfit(NO_NUMBER))
}

/// A version that no change had before: a counter would begin anew when a key is deleted and set again.
fn fresh_version() -> u64 {
    fastrand::u64(1..=i64::MAX.unsigned_abs())
}

impl Scope {
    /// Whether there is room for what a space would come to have, instead of what it has. What has grown too large by other
    /// means may still become smaller.
    ///
    /// # Errors
    /// There is none.
    pub fn fits(&self, (keys, bytes): (u64, u64), (keys_then, bytes_then): (u64, u64)) -> Result<(), Fault> {
        match () {
            () if keys_then > self.keys_max && keys_then > keys => Err(Fault::TooManyKeys),
            () if bytes_then > self.bytes_max && bytes_then > bytes => Err(Fault::TooManyBytes),
            () => Ok(()),
        }
    }
}

/// A store of buckets.
#[derive(Clone)]
pub struct KvStore {
    /// What keeps them.
    pub backend: Arc<dyn Backend>,
    /// Whether that is a server: then a breaker watches it.
    pub is_server: bool,
    /// How long one piece of work may take.
    pub time_max: Duration,
}

/// The stores of a host, by name. The default has one, named `default`, which keeps everything in memory.
#[derive(Clone)]
pub struct KvOptions {
    /// The stores.
    pub stores: BTreeMap<KvName, KvStore>,
}

impl Default for KvOptions {
    fn default() -> Self {
        let memory = KvStore { backend: Arc::new(Memory::default()), is_server: false, time_max: TIME_MAX };
        KvOptions { stores: BTreeMap::from([(KvName::default_store(), memory)]) }
    }
}

impl PartialEq for KvStore {
    fn eq(&self, other: &Self) -> bool {
        let about = |store: &KvStore| (store.is_server, store.time_max);
        Arc::ptr_eq(&self.backend, &other.backend) && about(self) == about(other)
    }
}

impl PartialEq for KvOptions {
    fn eq(&self, other: &Self) -> bool {
        self.stores == other.stores
    }
}

impl Eq for KvOptions {}

impl std::fmt::Debug for KvOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.stores.keys().map(KvName::as_str)).finish()
    }
}

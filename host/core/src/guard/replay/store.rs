//! Where are the records? The seam behind which they are kept, in memory or on a disk: get one, and swap it if nobody else
//! has changed it meanwhile.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::key::RecordKey;
use super::record::{Record, Standing};

/// The most records that are listed at once.
pub const LISTED_MAX: usize = 10_000;

/// Keeps records.
///
/// A store decides nothing but who was first. Its clock is the one that counts for all that share it.
pub trait LedgerStore: Send + Sync {
    /// The record of a key, and the store's time.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, Result<Seen, LedgerFailure>>;

    /// Puts a record in the place of the one with that version, or in the place of none; with no record, takes it out. Says
    /// whether it was so. What was swapped is on the disk before the answer is yes, if the store has one.
    ///
    /// An expired record may be dropped at any time; the place is empty then.
    ///
    /// # Errors
    /// The store cannot be written, or is full. Whether the swap was made is not known then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the record swapped, or as it was.
    fn swap<'a>(
        &'a self,
        key: &'a RecordKey,
        expected: Option<u64>,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, LedgerFailure>>;

    /// Records that are not expired, the last changed first, without what their calls answered.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Listed, LedgerFailure>>;
}

/// What is known of a key at a time.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its record, expired or not.
    pub record: Option<Arc<Record>>,
    /// The store's time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// Which records are listed.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Those of a tool.
    pub tool: Option<String>,
    /// Those whose hash begins so.
    pub hash: Option<String>,
    /// Those that stand so.
    pub standing: Option<Standing>,
    /// At most so many, and never more than [`LISTED_MAX`].
    pub limit: usize,
}

/// Records, and when they were so.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The records with their keys.
    pub records: Vec<(RecordKey, Record)>,
    /// The store's time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// A store cannot be used.
#[derive(Debug)]
pub struct LedgerFailure(Box<dyn std::error::Error + Send + Sync>);

impl LedgerFailure {
    /// Says why.
    pub fn new(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        LedgerFailure(why.into())
    }
}

impl fmt::Display for LedgerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ledger: {}", self.0)
    }
}

impl std::error::Error for LedgerFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

impl Query {
    /// Whether a record is one of those.
    #[must_use]
    pub fn fits(&self, key: &RecordKey, record: &Record, now_ms: u64) -> bool {
        record.expires_ms > now_ms
            && self.tool.as_ref().is_none_or(|tool| *tool == record.claim.tool.name)
            && self.hash.as_ref().is_none_or(|hash| key.hash().starts_with(hash.as_str()))
            && self.standing.is_none_or(|standing| standing == record.standing(now_ms))
    }
}

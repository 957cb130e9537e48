//! Which task? Its id is a capability: whoever has it, and is its caller, may ask for it. So nobody can guess one.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use sha2::{Digest, Sha256};

/// What every id begins with.
const BEGIN: &str = "task_";

/// Digits behind that: 128 bits in hexadecimal.
const DIGITS: usize = 32;

/// The id of a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TaskId(Arc<str>);

impl TaskId {
    /// An id as text, if it can be one.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(BEGIN)?;
        let fits = digits.len() == DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| TaskId(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What tells it from others, without what every id begins with.
    #[must_use]
    pub fn digits(&self) -> &str {
        self.0.strip_prefix(BEGIN).unwrap_or_default()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where ids come from: a key that nobody is ever told, and a count.
pub(super) struct Ids {
    key: [u64; 2],
    made: AtomicU64,
}

impl Default for Ids {
    fn default() -> Self {
        // Seeded by the operating system, and not by `fastrand`, whose numbers are seen in the ids of calls.
        Ids { key: [0, 1].map(|half: u64| RandomState::new().hash_one(half)), made: AtomicU64::new(0) }
    }
}

impl Ids {
    /// An id that no other task has.
    pub(super) fn fresh(&self) -> TaskId {
        let [first, second] = self.key;
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let hash = [first, second, made].iter().fold(Sha256::new(), |hash, part| hash.chain_update(part.to_le_bytes()));
        let digits: String = hash.finalize().iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
        TaskId(format!("{BEGIN}{digits}").into())
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids(..)")
    }
}

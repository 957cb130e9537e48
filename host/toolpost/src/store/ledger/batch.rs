//! Swaps that come at the same time are one transaction: what takes the time is the disk's word that it has them, and one word
//! is enough for all of them (group commit, as in P. Helland et al., "Group Commit Timers and High Volume Transaction Systems",
//! 1987, without the timers: who comes while others are written waits for the next transaction).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::sqlite::SqliteTransaction;
use tokio::sync::oneshot;
use toolpost_core::guard::replay::{Record, RecordKey};

use super::{bound, now_ms, signed};
use crate::store::{Store, StoreError};

/// Swaps of one transaction.
const SWAPS_MAX: usize = 256;

/// Expired rows that go with each new one, so that the table cannot grow for ever.
const EXPIRED_ROWS_MAX: u32 = 8;

/// What waits for its transaction at most. A call that finds no room fails before it does anything.
const WAITING_MAX: usize = 10_000;

/// A row that is to be another one, if it is still the one that was seen.
#[derive(Debug)]
pub(super) struct Swap {
    pub(super) key: RecordKey,
    pub(super) expected: Option<u64>,
    pub(super) new: Option<Arc<Record>>,
}

type Made = Result<bool, StoreError>;

/// Swaps that wait for their transaction.
#[derive(Debug)]
pub(super) struct Batch {
    store: Arc<Store>,
    bytes_max: i64,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<(Swap, oneshot::Sender<Made>)>,
    /// Whether a task is there that writes them.
    is_written: bool,
}

/// The task that writes. Where its runtime ends before it does, nobody waits for it any more.
struct Writer {
    batch: Arc<Batch>,
    is_done: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_done {
            *self.batch.queue() = Queue::default();
        }
    }
}

impl Batch {
    pub(super) fn new(store: Arc<Store>, bytes_max: i64) -> Self {
        Batch { store, bytes_max, queue: Mutex::default() }
    }

    /// Makes a swap, and says whether it was made: it is on the disk then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the swap made, or not made.
    pub(super) async fn make(self: Arc<Self>, swap: Swap) -> Made {
        let (made, is_made) = oneshot::channel();
        let is_first = {
            let mut queue = self.queue();
            if queue.waiting.len() >= WAITING_MAX {
                return Err(StoreError("too many wait to be written".into()));
            }
            queue.waiting.push((swap, made));
            !std::mem::replace(&mut queue.is_written, true)
        };
        if is_first {
            // In a task of its own: others wait for it, and do not go with the caller of the first.
            tokio::spawn(Writer { batch: self, is_done: false }.run());
        }
        is_made.await.unwrap_or_else(|_| Err(StoreError("nobody writes any more".into())))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction. A fault of one swap undoes all of them.
    async fn write<'s>(&self, swaps: impl Iterator<Item = &'s Swap>) -> Result<Vec<bool>, StoreError> {
        let mut write = self.store.state().await?.write().await?;
        let mut made = Vec::new();
        for swap in swaps {
            made.push(swap.make(&mut write, self.bytes_max).await?);
        }
        write.commit().await?;
        Ok(made)
    }
}

impl Writer {
    async fn run(mut self) {
        loop {
            let swaps = {
                let mut queue = self.batch.queue();
                let count = queue.waiting.len().min(SWAPS_MAX);
                if count == 0 {
                    (queue.is_written, self.is_done) = (false, true);
                    return;
                }
                queue.waiting.drain(..count).collect::<Vec<_>>()
            };
            match self.batch.write(swaps.iter().map(|(swap, _)| swap)).await {
                Ok(made) => {
                    for ((_, told), made) in swaps.into_iter().zip(made) {
                        let _ = told.send(Ok(made));
                    }
                }
                // One after the other, so that each has its own fault and no one another's.
                Err(_) => {
                    for (swap, told) in swaps {
                        let made = self.batch.write(std::iter::once(&swap)).await;
                        let _ = told.send(made.map(|made| made.first() == Some(&true)));
                    }
                }
            }
        }
    }
}

impl Swap {
    async fn make(&self, write: &mut SqliteTransaction<'static>, bytes_max: i64) -> Made {
        let Swap { key, expected, new } = self;
        Ok(match (*expected, new) {
            (None, None) => {
                let row = sqlx::query("SELECT 1 FROM ledger WHERE key = ?").bind(key.as_str());
                row.fetch_optional(&mut **write).await?.is_none()
            }
            (Some(version), None) => {
                let delete = sqlx::query("DELETE FROM ledger WHERE key = ? AND version = ?");
                let delete = delete.bind(key.as_str()).bind(signed(version));
                delete.execute(&mut **write).await?.rows_affected() == 1
            }
            (Some(version), Some(record)) => {
                let update = sqlx::query(
                    "UPDATE ledger SET version = ?2, fence = ?3, fingerprint = ?4, state = ?5, lease_ms = ?6, ending = ?7, \
                     tool = ?8, caller = ?9, call = ?10, digest = ?11, first_effect = ?12, created_ms = ?13, \
                     changed_ms = ?14, expires_ms = ?15 WHERE key = ?1 AND version = ?16",
                );
                let update = bound(update, key, record).bind(signed(version));
                update.execute(&mut **write).await?.rows_affected() == 1
            }
            (None, Some(record)) => {
                let expired = sqlx::query(
                    "DELETE FROM ledger WHERE key IN (SELECT key FROM ledger WHERE expires_ms <= ? AND key <> ? LIMIT ?)",
                );
                let expired = expired.bind(signed(now_ms())).bind(key.as_str()).bind(EXPIRED_ROWS_MAX);
                expired.execute(&mut **write).await?;
                let taken = sqlx::query_scalar::<_, i64>(
                    "SELECT (page_count - freelist_count) * page_size \
                     FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
                );
                if taken.fetch_one(&mut **write).await? >= bytes_max {
                    let help = "shorten `guard.idempotency.ttl`, or let `toolpost ledger forget` make room";
                    return Err(StoreError(
                        format!("it holds {bytes_max} bytes already, and takes no new key; {help}").into(),
                    ));
                }
                let insert = sqlx::query(
                    "INSERT INTO ledger (key, version, fence, fingerprint, state, lease_ms, ending, tool, caller, call, \
                     digest, first_effect, created_ms, changed_ms, expires_ms) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT (key) DO NOTHING",
                );
                bound(insert, key, record).execute(&mut **write).await?.rows_affected() == 1
            }
        })
    }
}

//! Changes that come at the same time are one transaction: what takes the time is the disk's word that it has them, and one
//! word is enough for all of them (group commit, as in P. Helland et al., "Group Commit Timers and High Volume Transaction
//! Systems", 1987, without the timers: who comes while others are written waits for the next transaction).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::sqlite::SqliteTransaction;
use tokio::sync::oneshot;

use super::{Database, Store, StoreError};

/// Changes of one transaction.
const CHANGES_MAX: usize = 256;

/// What waits for its transaction at most. A call that finds no room fails before it does anything.
const WAITING_MAX: usize = 10_000;

/// Whether a change was made.
pub(super) type Made = Result<bool, StoreError>;

/// Something that is to be written.
pub(super) trait Change: Send + Sync + 'static {
    /// Where it is written.
    fn database(store: &Store) -> impl Future<Output = Result<&Database, StoreError>> + Send;

    /// Writes it, if it may be, and says whether it was.
    fn make(&self, write: &mut SqliteTransaction<'static>) -> impl Future<Output = Made> + Send;
}

/// Changes that wait for their transaction.
#[derive(Debug)]
pub(super) struct Batch<C> {
    store: Arc<Store>,
    queue: Mutex<Queue<C>>,
}

#[derive(Debug)]
struct Queue<C> {
    waiting: Vec<(C, oneshot::Sender<Made>)>,
    /// Whether a task is there that writes them.
    is_written: bool,
}

impl<C> Default for Queue<C> {
    fn default() -> Self {
        Queue { waiting: Vec::new(), is_written: false }
    }
}

/// The task that writes. Where its runtime ends before it does, nobody waits for it any more.
struct Writer<C: Change> {
    batch: Arc<Batch<C>>,
    is_done: bool,
}

impl<C: Change> Drop for Writer<C> {
    fn drop(&mut self) {
        if !self.is_done {
            *self.batch.queue() = Queue::default();
        }
    }
}

impl<C: Change> Batch<C> {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Batch { store, queue: Mutex::default() }
    }

    /// Makes a change, and says whether it was made: it is on the disk then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the change made, or not made.
    pub(super) async fn make(self: Arc<Self>, change: C) -> Made {
        let (made, is_made) = oneshot::channel();
        let is_first = {
            let mut queue = self.queue();
            if queue.waiting.len() >= WAITING_MAX {
                return Err(StoreError("too many wait to be written".into()));
            }
            queue.waiting.push((change, made));
            !std::mem::replace(&mut queue.is_written, true)
        };
        if is_first {
            // In a task of its own: others wait for it, and do not go with the caller of the first.
            tokio::spawn(Writer { batch: self, is_done: false }.run());
        }
        is_made.await.unwrap_or_else(|_| Err(StoreError("nobody writes any more".into())))
    }

    fn queue(&self) -> MutexGuard<'_, Queue<C>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction. A fault of one change undoes all of them.
    async fn write<'c>(&self, changes: impl Iterator<Item = &'c C> + Send) -> Result<Vec<bool>, StoreError> {
        let mut write = C::database(&self.store).await?.write().await?;
        let mut made = Vec::new();
        for change in changes {
            made.push(change.make(&mut write).await?);
        }
        write.commit().await?;
        Ok(made)
    }
}

impl<C: Change> Writer<C> {
    async fn run(mut self) {
        loop {
            let changes = {
                let mut queue = self.batch.queue();
                let count = queue.waiting.len().min(CHANGES_MAX);
                if count == 0 {
                    (queue.is_written, self.is_done) = (false, true);
                    return;
                }
                queue.waiting.drain(..count).collect::<Vec<_>>()
            };
            match self.batch.write(changes.iter().map(|(change, _)| change)).await {
                Ok(made) => {
                    for ((_, told), made) in changes.into_iter().zip(made) {
                        let _ = told.send(Ok(made));
                    }
                }
                // One after the other, so that each has its own fault and no one another's.
                Err(_) => {
                    for (change, told) in changes {
                        let made = self.batch.write(std::iter::once(&change)).await;
                        let _ = told.send(made.map(|made| made.first() == Some(&true)));
                    }
                }
            }
        }
    }
}

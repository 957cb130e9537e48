//! The steps behind the table: each is a look at a record, a decision, and a swap that only works if nobody else was faster.
//! Who was not first looks again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::id::TaskId;
use super::record::{self, Record, Rules, Run, Standing, State, Take, Taker};
use super::store::{Seen, TaskFailure, TaskStore};
use super::verdict::Verdict;

/// How often a step is tried when others change the record at the same time.
const TRIES_MAX: usize = 100;

/// The longest that one step may take in the store.
const STEP_TIME_MAX: Duration = Duration::from_secs(10);

/// What came of taking a task up.
pub(super) enum Taken {
    /// It is the taker's to run.
    Run(Arc<Record>),
    /// It was over, and now it is written down.
    Ended,
    /// It is somebody else's, or not due, or has ended.
    Not,
}

/// A step that was made.
struct Step<T> {
    answer: T,
    before: Arc<Record>,
    /// What was written, if anything was.
    after: Option<Arc<Record>>,
    /// Whether its host is gone.
    is_gone: bool,
}

/// The records of a store.
#[derive(Clone)]
pub(super) struct Book(pub(super) Arc<dyn TaskStore>);

impl Book {
    /// Takes a task up; says with what, where it is the taker's.
    pub(super) async fn take(&self, id: &TaskId, taker: &Taker, is_dropped: bool) -> Result<Taken, TaskFailure> {
        let step = self.step(id, |seen, record| {
            // What this host runs by the store's word, and does not run, is nobody's.
            let is_own = matches!(&record.state, State::Running { host } if *host == taker.host);
            record::take(record, seen.is_gone || is_own && is_dropped, taker, seen.now_ms)
        });
        Ok(match step.await? {
            Some(Step { answer: Take::Run, before, after, .. }) => Taken::Run(after.unwrap_or(before)),
            Some(Step { answer: Take::Ended, .. }) => Taken::Ended,
            Some(Step { answer: Take::Not, .. }) | None => Taken::Not,
        })
    }

    /// The run of a task is over. Says whether that was its run still.
    pub(super) async fn end(
        &self,
        id: &TaskId,
        run: &Run,
        verdict: &Verdict,
        rules: &Rules,
    ) -> Result<Option<Arc<Record>>, TaskFailure> {
        let step = self.step(id, |seen, record| ((), record::end(record, run, verdict, rules, seen.now_ms)));
        Ok(step.await?.and_then(|step| step.after))
    }

    /// Somebody wants a task to end. Says how it stood before, and how it stands then; nothing where there is none.
    pub(super) async fn cancel(
        &self,
        id: &TaskId,
        by: &str,
        rules: &Rules,
    ) -> Result<Option<(Standing, Standing)>, TaskFailure> {
        let step = self.step(id, |seen, record| ((), record::cancel(record, seen.is_gone, by, rules, seen.now_ms)));
        Ok(step.await?.map(|Step { before, after, is_gone, .. }| {
            let standing = |record: &Record| record.standing(is_gone, false);
            (standing(&before), standing(after.as_ref().unwrap_or(&before)))
        }))
    }

    /// Nobody needs it any more. It is forgotten where it has ended; says how it stood.
    pub(super) async fn forget(&self, id: &TaskId) -> Result<Option<Standing>, TaskFailure> {
        for _ in 0..TRIES_MAX {
            let Seen { record: Some(record), is_gone, .. } = in_time(self.0.get(id)).await? else { return Ok(None) };
            let standing = record.standing(is_gone, false);
            if !standing.has_ended() || in_time(self.0.swap(id, record.version, None)).await? {
                return Ok(Some(standing));
            }
        }
        Err(too_busy(id))
    }

    /// Nothing where there is no such task.
    async fn step<T>(
        &self,
        id: &TaskId,
        decide: impl Fn(&Seen, &Record) -> (T, Option<Record>),
    ) -> Result<Option<Step<T>>, TaskFailure> {
        for _ in 0..TRIES_MAX {
            let seen = in_time(self.0.get(id)).await?;
            let Some(before) = &seen.record else { return Ok(None) };
            let (answer, new) = decide(&seen, before);
            let after = new.map(|new| Arc::new(Record { version: fresh(), ..new }));
            if let Some(after) = &after
                && !in_time(self.0.swap(id, before.version, Some(after.clone()))).await?
            {
                continue;
            }
            return Ok(Some(Step { answer, before: before.clone(), after, is_gone: seen.is_gone }));
        }
        Err(too_busy(id))
    }
}

/// A number that was not there before, and fits where only signed ones do.
pub(super) fn fresh() -> u64 {
    fastrand::u64(1..=i64::MAX as u64)
}

fn too_busy(id: &TaskId) -> TaskFailure {
    TaskFailure::new(format!("`{id}` was changed by others {TRIES_MAX} times in a row"))
}

/// Waits for the store, but not for ever.
pub(super) fn in_time<'s, T: 's>(
    step: impl Future<Output = Result<T, TaskFailure>> + Send + 's,
) -> BoxFuture<'s, Result<T, TaskFailure>> {
    let late = || TaskFailure::new(format!("the store did not answer within {}s", STEP_TIME_MAX.as_secs()));
    async move {
        let mut step = pin!(step);
        // Memory has the answer at once.
        if let Some(ended) = step.as_mut().now_or_never() {
            return ended;
        }
        timeout(STEP_TIME_MAX, step).await.unwrap_or_else(|_| Err(late()))
    }
    .boxed()
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Book(..)")
    }
}

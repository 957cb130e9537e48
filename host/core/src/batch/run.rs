//! A batch, from its first call to its last outcome.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::BatchSettings;
use super::plan::{Plan, Planned};
use super::report::{BatchReport, Ended};
use super::turn::Queue;
use crate::call::{Call, CallId, Wanted};
use crate::deadline::after;
use crate::host::Host;
use crate::tell::{CallError, ErrorKind, Outcome, Report, Stage};

/// Calls that belong together. More may be added while others run.
///
/// Dropping it cancels what has not ended, as dropping each of its calls would.
pub struct Batch {
    host: Host,
    settings: BatchSettings,
    queue: Arc<Queue>,
    begun: Instant,
    until: Option<Instant>,
    cancel: CancellationToken,
    /// The first call that failed, where that ends all.
    failed: Option<Arc<OnceLock<usize>>>,
    running: JoinSet<Outcome>,
    /// Whose task is whose.
    calls: HashMap<Id, (usize, CallId, String)>,
    /// Those that must not run.
    refused: VecDeque<(usize, Outcome)>,
    added: usize,
    ended: Vec<Ended>,
}

/// A call that ends when this is dropped: in its own task, so that those behind it go on whether or not somebody asks for what has
/// ended. It has failed, unless it is said otherwise.
struct Ending {
    queue: Arc<Queue>,
    index: usize,
    cancel: CancellationToken,
    failed: Option<Arc<OnceLock<usize>>>,
    is_ok: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let failed = self.failed.as_ref().filter(|_| !self.is_ok && !self.cancel.is_cancelled());
        if failed.is_some_and(|failed| failed.set(self.index).is_ok()) {
            self.cancel.cancel();
        }
        self.queue.ends(self.index);
    }
}

/// A call of a batch has ended.
#[derive(Debug)]
pub struct Done {
    /// Its place in the order of the batch; that of the first call is 0.
    pub index: usize,
    /// What came of it.
    pub outcome: Outcome,
}

impl Batch {
    pub(crate) fn new(host: Host, settings: BatchSettings) -> Self {
        let begun = Instant::now();
        Batch {
            queue: Queue::new(settings.max_parallel, settings.classes.clone()),
            failed: settings.fail_fast.then(Arc::default),
            until: settings.time_max.map(|time| after(begun, time)),
            host,
            settings,
            begun,
            cancel: CancellationToken::new(),
            running: JoinSet::new(),
            calls: HashMap::new(),
            refused: VecDeque::new(),
            added: 0,
            ended: Vec::new(),
        }
    }

    /// Adds a call behind the others, and says its place. It begins as soon as nothing is in its way.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] where the batch has as many calls as it may have.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the call out.
    pub async fn add(&mut self, mut call: Call) -> Result<usize, CallError> {
        self.has_room()?;
        let turn = self.queue.push(self.host.planned(&call, &self.settings.classes).await);
        let index = turn.index();
        self.added += 1;
        let until = call.wanted.until.into_iter().chain(self.until).min();
        // Its caller's own token goes on to count.
        let unless = self.cancel.child_token();
        if let Some(own) = call.wanted.unless.take() {
            let (own, unless) = (own, unless.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = own.cancelled() => unless.cancel(),
                    () = unless.cancelled() => {}
                }
            });
        }
        call.wanted = Wanted { until, unless: Some(unless.clone()) };
        call.turn = Some(turn);
        let (id, tool, host) = (call.id.clone(), call.tool.clone(), self.host.clone());
        let mut ending = self.ending(index);
        let task = self.running.spawn(async move {
            let _unless = unless.drop_guard();
            let outcome = host.call(call).await;
            ending.is_ok = outcome.result.is_ok();
            drop(ending);
            outcome
        });
        self.calls.insert(task.id(), (index, id, tool));
        Ok(index)
    }

    fn has_room(&self) -> Result<(), CallError> {
        let max_calls = self.settings.max_calls;
        if self.added < max_calls {
            return Ok(());
        }
        let words = format!("a batch has at most {max_calls} calls");
        Err(CallError::new(ErrorKind::QuotaExceeded, Stage::Accept, words)
            .with_help("make several of it, or raise `batch.max_calls`"))
    }

    fn ending(&self, index: usize) -> Ending {
        let (queue, cancel, failed) = (self.queue.clone(), self.cancel.clone(), self.failed.clone());
        Ending { queue, index, cancel, failed, is_ok: false }
    }

    /// Adds a call that must not run, and says its place: it is answered with this error, and is in nobody's way.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn refuse(&mut self, tool: &str, error: CallError) -> Result<usize, CallError> {
        self.has_room()?;
        let index = self.queue.push(Planned::refused(tool)).index();
        self.added += 1;
        drop(self.ending(index));
        let (call, report) = (CallId::fresh(), Report::default());
        self.refused.push_back((index, Outcome { call, tool: tool.to_owned(), result: Err(error), report }));
        Ok(index)
    }

    /// The next call that has ended; nothing where all have.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Done> {
        let (index, mut outcome) = match self.refused.pop_front() {
            Some(refused) => refused,
            None => self.joined().await?,
        };
        let first = self.failed.as_ref().and_then(|failed| failed.get()).filter(|first| **first != index);
        if let (Err(error), Some(first)) = (&mut outcome.result, first)
            && error.kind == ErrorKind::Cancelled
        {
            let words = format!("call {} of its batch failed, and the first failure ends all", first + 1);
            *error = CallError { message: words, ..error.clone() };
        }
        self.ended.push(Ended::of(index, self.queue.class(index), &outcome));
        Some(Done { index, outcome })
    }

    async fn joined(&mut self) -> Option<(usize, Outcome)> {
        let (task, ended) = match self.running.join_next_with_id().await? {
            Ok((task, outcome)) => (task, Ok(outcome)),
            Err(error) => (error.id(), Err(error)),
        };
        let (index, call, tool) = self.calls.remove(&task)?;
        Some((index, ended.unwrap_or_else(|error| lost(call, tool, &error))))
    }

    /// Cancels all calls that have not ended. Their outcomes still come: what may change something ends by itself.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// What cancels it, for whoever does not hold it.
    #[must_use]
    pub fn canceller(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Its calls so far, and which waits for which.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.queue.plan()
    }

    /// What came of it so far.
    #[must_use]
    pub fn report(&self) -> BatchReport {
        BatchReport::of(self.begun, &self.queue.times(), &self.ended)
    }

    /// Waits for all of its calls: their outcomes in the order of the calls, and what there is to say of the whole.
    ///
    /// # Cancel safety
    /// Dropping the future cancels what has not ended.
    pub async fn all(mut self) -> (Vec<Outcome>, BatchReport) {
        let mut outcomes = Vec::new();
        while let Some(done) = self.next().await {
            outcomes.push(done);
        }
        outcomes.sort_by_key(|done| done.index);
        let report = self.report();
        (outcomes.into_iter().map(|done| done.outcome).collect(), report)
    }
}

fn lost(call: CallId, tool: String, error: &JoinError) -> Outcome {
    let error = crate::bug!(Stage::Run, "the task of a call: {error}");
    Outcome { call, tool, result: Err(error), report: Report::default() }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("added", &self.added).field("ended", &self.ended.len()).finish_non_exhaustive()
    }
}

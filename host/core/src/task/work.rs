//! Who runs the tasks? One loop for each host that does: it keeps the host's lease, takes up what is due, as many at once as
//! it may, and tells those to end that somebody wants to end. Each run is a call on the road of every call.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::book::{Taken, fresh, in_time};
use super::desk::Tasks;
use super::ending::Ended;
use super::hold::Hold;
use super::id::TaskId;
use super::lease::Due;
use super::record::{Record, Rules, Taker};
use super::store::{Asked, Look, Looking, TaskFailure};
use super::verdict::Verdict;
use crate::call::Call;
use crate::host::{Host, HostRef};
use crate::tell::{CallError, ErrorKind, Outcome, Stage};

/// The pauses between two looks at the store: short after something was found, longer while something runs that may be
/// cancelled, and where there is nothing.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_RUNNING: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(1);

/// The pauses between two tries to write how a task ended.
const END_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// The loop. Where its runtime ends before it does, the next one who asks begins another one.
struct Worker {
    tasks: Arc<Tasks>,
    host: HostRef,
    is_failing: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tasks.line().is_working = false;
    }
}

/// The place of a run among those of its host. Dropping it wakes those who wait for the task.
struct Place {
    tasks: Arc<Tasks>,
    id: TaskId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.tasks.line();
        line.running.remove(&self.id);
        line.awaited.remove(&self.id);
        drop(line);
        self.tasks.wake.notify_one();
        self.tasks.fewer.notify_waiters();
    }
}

impl Tasks {
    /// Runs tasks in that host from now on.
    pub(super) fn work(self: &Arc<Self>, host: &Host) {
        if !std::mem::replace(&mut self.line().is_working, true) {
            tokio::spawn(Worker { tasks: self.clone(), host: host.downgrade(), is_failing: false }.run());
        }
        self.wake.notify_one();
    }

    pub(super) fn rules(&self) -> Rules {
        let settings = self.settings();
        Rules { reruns: settings.reruns(), keep: settings.keep(), wait: settings.wait() }
    }

    /// Begins a run, if there is a place for it and the task has none.
    fn begin(self: &Arc<Self>, host: &Host, id: TaskId, is_dropped: bool) -> bool {
        let mut line = self.line();
        let is_free = line.running.len() < self.settings().parallel() && !line.is_stopping;
        if !is_free || line.running.contains_key(&id) {
            return false;
        }
        line.running.insert(id.clone(), None);
        drop(line);
        let place = Place { tasks: self.clone(), id };
        tokio::spawn(run(place, host.clone(), is_dropped));
        true
    }
}

impl Worker {
    async fn run(mut self) {
        let mut pause = PAUSE_FIRST;
        loop {
            let Some(host) = self.host.host() else { return };
            let looked = match self.renew().await {
                Ok(()) => self.look(&host).await,
                Err(failure) => Err(failure),
            };
            // It is not kept alive by this.
            drop(host);
            let next = match looked {
                Ok((begun, next)) => {
                    self.is_failing = false;
                    let last = if self.tasks.in_use() > 0 { PAUSE_RUNNING } else { PAUSE_LAST };
                    pause = if begun { PAUSE_FIRST } else { (pause * 2).min(last) };
                    next.map_or(pause, |next| pause.min(next))
                }
                Err(failure) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::warn!(%failure, "tasks cannot be taken up");
                    }
                    PAUSE_LAST
                }
            };
            if timeout(next, self.tasks.wake.notified()).await.is_ok() {
                pause = PAUSE_FIRST;
            }
        }
    }

    /// Says in time that this host lives. Where it comes too late, all that it ran is somebody else's.
    async fn renew(&self) -> Result<(), TaskFailure> {
        let Tasks { lease, book, .. } = &*self.tasks;
        let mut due = lease.due();
        if let Due::Lost(host) = due {
            let holds: Vec<_> = self.tasks.line().running.values().flatten().cloned().collect();
            holds.iter().for_each(|hold| hold.lose());
            tracing::warn!(
                tasks = holds.len(),
                "this host did not say in time that it lives; its tasks are taken over"
            );
            let _ = in_time(book.0.leave(&host)).await;
            due = lease.due();
        }
        if let Due::Renew(host) = due {
            let at = Instant::now();
            in_time(book.0.renew(&host, lease.span())).await?;
            lease.renewed(&host, at);
        }
        Ok(())
    }

    /// Takes up what is due. Says whether there was something, and when there will be.
    async fn look(&self, host: &Host) -> Result<(bool, Option<Duration>), TaskFailure> {
        let tasks = &self.tasks;
        let Some(own) = tasks.lease.host() else { return Ok((false, None)) };
        // Those that are just being begun may be among those that are due.
        let looking = Looking { host: own, scope: tasks.scope().clone(), limit: tasks.settings().parallel() };
        let Look { ready, own, unwanted, next_ms } = in_time(tasks.book.0.look(&looking)).await?;
        for id in &unwanted {
            if let Some(Some(hold)) = tasks.line().running.get(id) {
                hold.interrupt();
            }
        }
        let is_found = !own.is_empty() || !ready.is_empty();
        if is_found && !tasks.may_take() {
            tasks.take_no_more();
        }
        let mut begun = 0;
        for (id, is_dropped) in own.into_iter().map(|id| (id, true)).chain(ready.into_iter().map(|id| (id, false))) {
            begun += usize::from(tasks.begin(host, id, is_dropped));
        }
        let next = next_ms.map(|next| Duration::from_millis(next.saturating_sub(tasks.book.0.now_ms()).max(1)));
        Ok((begun > 0, next))
    }
}

/// One run of a task, from taking it up to writing down how it ended.
async fn run(place: Place, host: Host, is_dropped: bool) {
    let Place { tasks, id } = &place;
    let Some(own) = tasks.lease.host() else { return };
    let taker = Taker { host: own, fence: fresh(), under: tasks.under().clone(), rules: tasks.rules() };
    let record = match tasks.book.take(id, &taker, is_dropped).await {
        Ok(Taken::Run(record)) => record,
        Ok(Taken::Ended) => return,
        // What is found and cannot be had is not asked for all the time.
        Ok(Taken::Not) => return sleep(PAUSE_FIRST).await,
        // If it is this host's now, it is so in the next look.
        Err(failure) => {
            tracing::warn!(%failure, task = %id, "a task cannot be taken up");
            return sleep(PAUSE_LAST).await;
        }
    };
    let store = tasks.book.0.clone();
    let hold = Hold::new(store.clone(), tasks.lease.clone(), record.clone(), tasks.settings().partial_bytes_max());
    let is_stopping = {
        let mut line = tasks.line();
        line.running.insert(id.clone(), Some(hold.clone()));
        line.is_stopping
    };
    if is_stopping {
        hold.interrupt();
    }
    let (verdict, outcome) = match in_time(store.asked(id)).await {
        Ok(Some(asked)) => match call(&host, &record, asked, &hold).await {
            Some(outcome) => (Verdict::of(&outcome, &hold), Some(outcome)),
            None => return,
        },
        Ok(None) => (unreadable("they are not there any more"), None),
        Err(failure) => (unreadable(&failure.to_string()), None),
    };
    drop(host);
    hold.say().await;
    if let (Some(ended), Some(outcome)) = (settle(tasks, id, &hold, &verdict).await, outcome) {
        // What the record says of all runs is not what the last one says.
        let is_same = ended.ended().is_some_and(|ended| *ended == Ended::of(&outcome));
        let told = if ended.ended().is_some() { tasks.line().told.remove(id) } else { None };
        if let Some(told) = told.filter(|_| is_same) {
            let _ = told.send(outcome);
        }
    }
}

/// What came of the call.
async fn call(host: &Host, record: &Record, asked: Asked, hold: &Arc<Hold>) -> Option<Outcome> {
    let request = &record.request;
    let call = Call {
        id: request.call.clone(),
        caller: request.caller.clone(),
        idempotency_key: asked.idempotency_key,
        traceparent: request.traceparent.clone(),
        task: Some(hold.in_task()),
        ..Call::new(&request.tool, asked.arguments)
    };
    let mut road = Box::pin(host.call(call));
    let saying = pin!(hold.keep_saying());
    tokio::select! {
        biased;
        outcome = &mut road => return Some(outcome),
        () = hold.lost() => {}
        () = hold.interrupted() => {}
        () = saying => {}
    }
    // As if its caller had gone away: what only reads stops, an attempt that may change something goes on to its end, but
    // for one whose task is lost.
    if hold.keep_outcome() {
        drop(road);
        hold.outcome().await
    } else {
        Some(road.await)
    }
}

/// Writes down how a run ended. A task that has ended and is not on record as that would be run again, or be unknown: it is
/// tried as long as the task is this run's.
async fn settle(tasks: &Tasks, id: &TaskId, hold: &Hold, verdict: &Verdict) -> Option<Arc<Record>> {
    let [mut pause, pause_max] = END_PAUSES;
    loop {
        let is_last = hold.is_lost();
        match tasks.book.end(id, hold.run(), verdict, &tasks.rules()).await {
            Ok(ended) => return ended,
            Err(failure) if is_last => {
                tracing::warn!(%failure, task = %id, "how a task ended is not written down");
                return None;
            }
            Err(failure) => tracing::warn!(%failure, task = %id, "how a task ended is not written down yet"),
        }
        let _ = timeout(pause, hold.lost()).await;
        pause = (pause * 2).min(pause_max);
    }
}

/// A task whose arguments cannot be had now.
fn unreadable(why: &str) -> Verdict {
    let error = CallError::new(ErrorKind::Internal, Stage::Accept, "what it is called with cannot be read any more");
    let error = error.with_help("call again").because(why.to_owned());
    Verdict::Again { after: Duration::from_secs(1), refused: Ended::without_run(&error) }
}

//! The tasks of a store, for those who ask: to look at one, to wait for it, to cancel it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::book::{Book, in_time};
use super::ending::Ended;
use super::hold::Hold;
use super::id::{Ids, TaskId};
use super::lease::{LEASE, Lease};
use super::memory::Memory;
use super::record::{Record, Standing};
use super::settings::TaskSettings;
use super::store::{Asked, Listed, Looking, Notes, Query, Room, Seen, TaskFailure, TaskStore};
use crate::tell::Outcome;

/// The pauses between two looks at a task that another process may run.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// The tasks of a store, and those of them that this host runs.
///
/// Everything here is for operators. Whoever calls asks the host ([`Host::task`](crate::Host::task)), with the name of the
/// caller.
#[derive(Debug)]
pub struct Tasks {
    pub(super) book: Book,
    pub(super) lease: Arc<Lease>,
    pub(super) wake: Notify,
    /// Told when a run is over.
    pub(super) fewer: Notify,
    pub(super) ids: Ids,
    settings: TaskSettings,
    scope: Arc<str>,
    under: Arc<str>,
    leave: Leave,
    line: Mutex<Line>,
}

/// Whether this host may still take up tasks, where somebody says so.
#[derive(Default)]
struct Leave(OnceLock<Box<dyn Fn() -> bool + Send + Sync>>);

impl fmt::Debug for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leave(..)")
    }
}

/// What runs, and who waits.
#[derive(Default)]
pub(super) struct Line {
    pub(super) is_working: bool,
    pub(super) is_stopping: bool,
    /// The runs, as soon as they have their tasks.
    pub(super) running: HashMap<TaskId, Option<Arc<Hold>>>,
    /// Those who want the outcome itself.
    pub(super) told: HashMap<TaskId, oneshot::Sender<Outcome>>,
    /// The channels that are closed when a run is over.
    pub(super) awaited: HashMap<TaskId, watch::Sender<()>>,
}

/// A task, as it can be looked at.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Its record.
    pub record: Arc<Record>,
    /// What it did and said.
    pub notes: Notes,
    /// Whether the host that runs it is gone.
    pub is_gone: bool,
    /// The store's time, in milliseconds since 1970.
    pub now_ms: u64,
}

impl Sheet {
    /// The state as one word.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.record.standing(self.is_gone, self.notes.question.is_some())
    }

    /// The question that waits for an answer. One of a run that is gone is nobody's any more.
    #[must_use]
    pub fn question(&self) -> Option<&String> {
        self.notes.question.as_ref().filter(|_| self.standing() == Standing::Waiting)
    }
}

/// What came of cancelling a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It has ended by it: nothing more is done for it.
    Now,
    /// Its run was told to end. An attempt that may change something goes on to its own end first.
    Asked,
    /// It was over before, and stands so.
    Not(Standing),
}

impl Default for Tasks {
    fn default() -> Self {
        Tasks::new(Arc::new(Memory::default()))
    }
}

impl Tasks {
    /// The tasks in that store.
    #[must_use]
    pub fn new(store: Arc<dyn TaskStore>) -> Self {
        Tasks {
            book: Book(store),
            lease: Arc::new(Lease::new(LEASE)),
            wake: Notify::new(),
            fewer: Notify::new(),
            ids: Ids::default(),
            settings: TaskSettings::default(),
            scope: "".into(),
            under: "".into(),
            leave: Leave::default(),
            line: Mutex::default(),
        }
    }

    /// Sets how many there may be, and for how long.
    #[must_use]
    pub fn with_settings(self, settings: TaskSettings) -> Self {
        Tasks { settings, ..self }
    }

    /// Sets how this host was made: a task is taken up by a host that was made in the same way as the one that filed it. The
    /// version is only told.
    #[must_use]
    pub fn made_by(self, scope: impl Into<Arc<str>>, version: impl Into<Arc<str>>) -> Self {
        Tasks { scope: scope.into(), under: version.into(), ..self }
    }

    /// The tasks of tools that a set of that name has brought along, in the same store. They have a lease of their own: whoever
    /// gives one back, or loses it, knows what runs under it.
    pub(crate) fn of_set(&self, name: &str) -> Self {
        Tasks {
            book: self.book.clone(),
            lease: Arc::new(Lease::new(self.lease.span())),
            wake: Notify::new(),
            fewer: Notify::new(),
            ids: Ids::default(),
            settings: self.settings.clone(),
            leave: Leave::default(),
            scope: format!("{}\nset {name}", self.scope).into(),
            under: self.under.clone(),
            line: Mutex::default(),
        }
    }

    /// Sets how long a host has its tasks that says nothing. It says that it lives three times as often.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Tasks { lease: Arc::new(Lease::new(lease.max(Duration::from_millis(30)))), ..self }
    }

    /// How many there may be, and for how long.
    #[must_use]
    pub fn settings(&self) -> &TaskSettings {
        &self.settings
    }

    /// How this host was made.
    #[must_use]
    pub fn scope(&self) -> &Arc<str> {
        &self.scope
    }

    /// The version of the settings of this host.
    #[must_use]
    pub fn under(&self) -> &Arc<str> {
        &self.under
    }

    /// Tasks that this host runs now.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.line().running.len()
    }

    /// Whether this host runs nothing, and has nothing to take up, now or later.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn is_idle(&self) -> Result<bool, TaskFailure> {
        let looking = Looking { host: self.lease.name(), scope: self.scope.clone(), limit: 1 };
        let look = in_time(self.book.0.look(&looking)).await?;
        Ok(self.in_use() == 0 && look.ready.is_empty() && look.own.is_empty() && look.next_ms.is_none())
    }

    /// Tasks, the last filed first.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn list(&self, query: &Query) -> Result<Listed, TaskFailure> {
        in_time(self.book.0.list(query)).await
    }

    /// A task; nothing where there is none, or it is forgotten.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn get(&self, id: &TaskId) -> Result<Option<Sheet>, TaskFailure> {
        // The record is read first: what it said is complete where that has ended.
        let Seen { record: Some(record), is_gone, now_ms } = in_time(self.book.0.get(id)).await? else {
            return Ok(None);
        };
        let notes = in_time(self.book.0.notes(id)).await?;
        Ok(Some(Sheet { record, notes, is_gone, now_ms }))
    }

    /// Has a task end, as if its caller had gone away: where it runs, in any process, it is told so; nothing where there is
    /// none.
    ///
    /// # Errors
    /// The store cannot be read or written.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the task cancelled, or as it was.
    pub async fn cancel(&self, id: &TaskId, by: &str) -> Result<Option<Cancelled>, TaskFailure> {
        let Some((before, after)) = self.book.cancel(id, by, &self.rules()).await? else { return Ok(None) };
        let mut line = self.line();
        if let Some(Some(hold)) = line.running.get(id) {
            hold.interrupt();
        }
        if after.has_ended() {
            line.awaited.remove(id);
        }
        Ok(Some(match (before.has_ended(), after.has_ended()) {
            (true, _) => Cancelled::Not(before),
            (false, true) => Cancelled::Now,
            (false, false) => Cancelled::Asked,
        }))
    }

    /// Forgets a task that has ended; says how it stood, or nothing where there is none.
    ///
    /// # Errors
    /// The store cannot be read or written.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the task forgotten, or as it was.
    pub async fn forget(&self, id: &TaskId) -> Result<Option<Standing>, TaskFailure> {
        self.book.forget(id).await
    }

    /// Waits until a task has ended, in whatever process, and says with what; nothing where there is none, or not any more.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, and nothing else.
    pub async fn wait(&self, id: &TaskId) -> Result<Option<Ended>, TaskFailure> {
        let [mut pause, pause_max] = PAUSES;
        loop {
            let mut over = self.awaited(id);
            let Some(record) = in_time(self.book.0.get(id)).await?.record else { return Ok(None) };
            if let Some(ended) = record.ended() {
                return Ok(Some(ended.clone()));
            }
            // It never says anything, and is closed when a run here is over.
            let _ = timeout(pause, over.0.changed()).await;
            pause = (pause * 2).min(pause_max);
        }
    }

    /// Takes up tasks only while that holds: it is asked each time behind a look at the store, so a task that was filed
    /// after it ceased to hold is never taken up. The first one who says so counts. It is asked on the road of all tasks, and
    /// has to answer at once.
    pub fn take_while(&self, holds: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.leave.0.set(Box::new(holds));
    }

    pub(super) fn may_take(&self) -> bool {
        self.leave.0.get().is_none_or(|holds| holds())
    }

    /// Takes up no more tasks. Those that run go on.
    pub fn take_no_more(&self) {
        self.line().is_stopping = true;
    }

    /// Takes up no more tasks, and has those that run end as if their callers had gone away. They are not cancelled: what had
    /// no effect is left to the next host. Waits for them, at most so long; says whether all have ended. Those of tools that a
    /// session has brought along are stopped by way of the session's host.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, and nothing else.
    pub async fn stop(&self, grace: Duration) -> bool {
        let holds: Vec<_> = {
            let mut line = self.line();
            line.is_stopping = true;
            line.running.values().flatten().cloned().collect()
        };
        holds.iter().for_each(|hold| hold.interrupt());
        let over = async {
            loop {
                let fewer = self.fewer.notified();
                if self.in_use() == 0 {
                    return;
                }
                fewer.await;
            }
        };
        let is_over = timeout(grace, over).await.is_ok();
        if is_over {
            // If it cannot be written, its lease runs out.
            let _ = in_time(self.book.0.leave(&self.lease.leave())).await;
        }
        is_over
    }

    pub(super) async fn file(&self, record: Record, asked: Asked) -> Result<bool, TaskFailure> {
        let room = Room { waiting_max: self.settings.max_waiting(), kept_max: self.settings.max_kept() };
        in_time(self.book.0.file(Arc::new(record), asked, room)).await
    }

    pub(super) fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn awaited<'t>(&'t self, id: &'t TaskId) -> Waiting<'t> {
        let mut line = self.line();
        let over = line.awaited.entry(id.clone()).or_insert_with(|| watch::channel(()).0).subscribe();
        Waiting(over, self, id)
    }
}

/// Somebody who waits for a task. The last one takes the channel away.
struct Waiting<'t>(watch::Receiver<()>, &'t Tasks, &'t TaskId);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Waiting(_, tasks, id) = self;
        let mut line = tasks.line();
        // This one is still counted.
        if line.awaited.get(id).is_some_and(|over| over.receiver_count() <= 1) {
            line.awaited.remove(id);
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

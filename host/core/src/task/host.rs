//! Tasks for those who call: a task is its caller's, and nobody else's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::desk::{Cancelled, Sheet, Tasks};
use super::ending::Ended;
use super::hold::unusable;
use super::id::TaskId;
use super::record::{Record, Request};
use super::store::{Asked, TaskFailure};
use crate::call::{Call, Caller};
use crate::host::Host;
use crate::tell::{CallError, ErrorKind, Outcome, Report, Stage};

/// What is kept of the arguments to be shown, in bytes.
const SHOWN_BYTES_MAX: usize = 16 << 10;

/// How long the outcome itself is waited for where what is kept of it is there.
const TOLD_BEHIND: Duration = Duration::from_millis(100);

/// How soon somebody may ask again who found too many tasks.
const FULL_AGAIN: Duration = Duration::from_secs(5);

/// A task, in the hands of its caller.
#[derive(Clone, Debug)]
pub struct Task {
    id: TaskId,
    tasks: Arc<Tasks>,
}

/// A call that was waited for, but not for ever.
#[derive(Debug)]
pub enum CallOrTask {
    /// It has ended.
    Ended(Box<Outcome>),
    /// It goes on as this task.
    Task(Task),
}

impl Task {
    /// Its id. With it and the caller's name, [`Host::task`] finds the task again, in any process.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// How far it is; nothing where it is forgotten.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn look(&self) -> Result<Option<Sheet>, TaskFailure> {
        self.tasks.get(&self.id).await
    }

    /// Waits until it has ended, and says with what; nothing where it is forgotten.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, and nothing else.
    pub async fn wait(&self) -> Result<Option<Ended>, TaskFailure> {
        self.tasks.wait(&self.id).await
    }

    /// Has it end, as if its caller had gone away; nothing where it is forgotten.
    ///
    /// # Errors
    /// The store cannot be read or written.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it cancelled, or as it was.
    pub async fn cancel(&self) -> Result<Option<Cancelled>, TaskFailure> {
        self.tasks.cancel(&self.id, "its caller").await
    }
}

impl Host {
    /// Makes a call for which nobody has to wait. It is on record before this returns, and survives the caller; where the
    /// tasks are kept on a disk, also this host.
    ///
    /// ```
    /// use serde_json::json;
    /// use toolpost_core::{Call, Catalog, Host, Native};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut catalog = Catalog::default();
    /// catalog.add(Native::new("six", "Answers 6").run(|_| async { Ok(json!(6)) }))?;
    /// let host = Host::new(catalog);
    ///
    /// let task = host.spawn(Call::new("six", json!({}))).await?;
    /// let ended = task.wait().await?.ok_or("it is kept for a day")?;
    /// assert_eq!(ended.result()??.value, json!(6));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The tool is not known to the caller, or the arguments do not fit it; [`ErrorKind::InvalidArguments`] also where the call
    /// has what ends with its caller (`wanted`, `reader`, `parent`, `turn`); [`ErrorKind::Busy`] where there are too many tasks;
    /// [`ErrorKind::Internal`] where it cannot be written down.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the task filed, or not.
    pub async fn spawn(&self, call: Call) -> Result<Task, CallError> {
        let task = self.file(call).await?;
        self.run_tasks();
        Ok(task)
    }

    /// As [`Host::spawn`], for whichever host takes the task up: one with the same store that was made in the same way, and
    /// [runs tasks](Host::run_tasks).
    ///
    /// # Errors
    /// As for [`Host::spawn`].
    ///
    /// # Cancel safety
    /// As for [`Host::spawn`].
    pub async fn file(&self, call: Call) -> Result<Task, CallError> {
        let tasks = self.tasks();
        let (record, asked) = self.filed(&tasks, call)?;
        let id = record.request.id.clone();
        match tasks.file(record, asked).await {
            Ok(true) => Ok(Task { id, tasks }),
            Ok(false) => Err(full(&tasks)),
            Err(failure) => Err(unusable(failure)),
        }
    }

    /// From now on takes up the tasks that were filed for hosts like this one, and those whose host is gone, for as long as this
    /// host is there. It does so by itself once it has made one.
    pub fn run_tasks(&self) {
        self.tasks().work(self);
    }

    /// Makes a call and waits for it so long; behind that it goes on as a task. It is one from the start, and on record
    /// before it begins.
    ///
    /// # Errors
    /// As for [`Host::spawn`]. What the call itself fails with is in its outcome.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting. The task goes on, if it was filed.
    pub async fn call_or_task(&self, call: Call, after: Duration) -> Result<CallOrTask, CallError> {
        let task = self.file(call).await?;
        let told = Telling::new(&task);
        self.run_tasks();
        match timeout(after, told.outcome()).await {
            Ok(Some(outcome)) => Ok(CallOrTask::Ended(Box::new(outcome))),
            Ok(None) | Err(_) => Ok(CallOrTask::Task(task)),
        }
    }

    /// A task of that caller; nothing where there is none, or it is somebody else's.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn task(&self, id: &TaskId, caller: &Caller) -> Result<Option<Task>, TaskFailure> {
        let tasks = self.tasks();
        let sheet = tasks.get(id).await?;
        let is_own = sheet.is_some_and(|sheet| sheet.record.request.caller.id == caller.id);
        Ok(is_own.then(|| Task { id: id.clone(), tasks }))
    }

    /// What is written down of a call that may become a task.
    fn filed(&self, tasks: &Tasks, call: Call) -> Result<(Record, Asked), CallError> {
        if call.inside.is_some() {
            let why = format!("`{}` is called by a running tool, which has to wait for it", call.tool);
            return Err(CallError::new(ErrorKind::InvalidArguments, Stage::Accept, why));
        }
        if let Some(what) = unkept(&call) {
            let why = format!("a task cannot keep the `{what}` of its call, which ends with whoever made it");
            let help = "make the call without it, and cancel the task, or wait for the call";
            return Err(CallError::new(ErrorKind::InvalidArguments, Stage::Accept, why).with_help(help));
        }
        let accepted = self.accepted(call)?;
        // A call that has to have a key and has none is refused here, and not later where nobody hears it.
        accepted.asks()?;
        let masked = self.secrets().masker().accepted(&accepted);
        let mut shown = masked.as_ref().unwrap_or(&accepted).arguments.to_string();
        shown.truncate(shown.floor_char_boundary(SHOWN_BYTES_MAX));
        let call = accepted.call;
        let request = Request {
            id: tasks.ids.fresh(),
            tool: call.tool,
            caller: call.caller,
            call: call.id,
            traceparent: call.traceparent,
            shown,
            scope: tasks.scope().clone(),
            under: tasks.under().clone(),
            created_ms: tasks.book.0.now_ms(),
        };
        let asked = Asked { arguments: call.arguments, idempotency_key: call.idempotency_key };
        Ok((Record::filed(request), asked))
    }
}

/// Somebody who wants the outcome of a task. It is not kept for one who has gone away.
struct Telling<'t> {
    task: &'t Task,
    outcome: Option<oneshot::Receiver<Outcome>>,
}

impl<'t> Telling<'t> {
    fn new(task: &'t Task) -> Self {
        let (told, outcome) = oneshot::channel();
        task.tasks.line().told.insert(task.id.clone(), told);
        Telling { task, outcome: Some(outcome) }
    }

    /// The outcome: that of its run, or what is on record where another process has run it.
    async fn outcome(mut self) -> Option<Outcome> {
        let mut told = self.outcome.take()?;
        let on_record = tokio::select! {
            biased;
            Ok(outcome) = &mut told => return Some(outcome),
            outcome = self.on_record() => outcome?,
        };
        // Where it is run here, the outcome is told right behind the writing, and says more.
        Some(timeout(TOLD_BEHIND, told).await.ok().and_then(Result::ok).unwrap_or(on_record))
    }

    async fn on_record(&self) -> Option<Outcome> {
        let ended = self.task.wait().await.ok().flatten()?;
        let record = self.task.look().await.ok().flatten()?.record;
        let result = ended.result().ok()?;
        let Request { call, tool, .. } = &*record.request;
        Some(Outcome { call: call.clone(), tool: tool.clone(), result, report: Report::default() })
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.task.tasks.line().told.remove(&self.task.id);
    }
}

/// What another process that takes the task up could not heed.
fn unkept(call: &Call) -> Option<&'static str> {
    let Call { wanted, reader, parent, turn, .. } = call;
    let kept = [
        ("wanted", wanted.is_always()),
        ("reader", reader.is_none()),
        ("parent", parent.is_none()),
        ("turn", turn.is_none()),
    ];
    kept.into_iter().find(|(_, is_kept)| !is_kept).map(|(what, _)| what)
}

fn full(tasks: &Tasks) -> CallError {
    let waiting_max = tasks.settings().max_waiting();
    CallError::new(
        ErrorKind::Busy,
        Stage::Guard,
        format!("{waiting_max} tasks have not ended already, or they take too much"),
    )
    .with_help("wait for some of them, or cancel them")
    .retry_after(FULL_AGAIN)
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

//! Where are the tasks? The seam behind which they are kept, in memory or on a disk: a record is swapped if nobody else has
//! changed it meanwhile; what a run does and says is added as long as the task is the run's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::id::TaskId;
use super::record::{HostId, Record, Standing};
use crate::call::Arguments;
use crate::effect::Effect;

/// The most tasks that are listed at once.
pub const LISTED_MAX: usize = 10_000;

/// The most effects of one task that are listed; more are counted as far as they are known.
pub const EFFECTS_MAX: usize = 1_000;

/// Keeps tasks.
///
/// A store decides nothing but who was first, and which host is gone. Its clock is the one that counts for all that share it.
///
/// # Errors
/// Each function fails where the store cannot be read or written. Whether what was to be written was written is not known
/// then.
///
/// # Cancel safety
/// Dropping a future leaves what it was to write written, or not written.
pub trait TaskStore: Send + Sync {
    /// The store's time, in milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// Puts in a task that was not there. It is on the disk before the answer, if the store has one. Where so many have not
    /// ended already, it is not put in, and the answer is no; of those that have ended, the oldest make room.
    fn file(&self, record: Arc<Record>, asked: Asked, room: Room) -> BoxFuture<'_, Result<bool, TaskFailure>>;

    /// What only the tool of a task may see; nothing once the task has ended.
    fn asked<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Option<Asked>, TaskFailure>>;

    /// A task.
    fn get<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Seen, TaskFailure>>;

    /// Puts a record in the place of the one with that version; with no record, takes the task out. Says whether it was so.
    /// What was swapped is on the disk before the answer is yes. With a new fence, the words of the last run are gone; with an
    /// ending, what only the tool may see is.
    fn swap<'a>(
        &'a self,
        id: &'a TaskId,
        expected: u64,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, TaskFailure>>;

    /// Adds an effect that a run is about to have, where it runs and has the task, and counts it in the record; says whether
    /// it was so. It is on the disk before the answer is yes.
    fn touch(&self, touch: Touch) -> BoxFuture<'_, Result<bool, TaskFailure>>;

    /// Keeps what a run says, where it runs and has the task; says whether it was so.
    fn say(&self, words: Words) -> BoxFuture<'_, Result<bool, TaskFailure>>;

    /// What its runs did, and what the last one has said.
    fn notes<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Notes, TaskFailure>>;

    /// Tasks, the last filed first.
    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Listed, TaskFailure>>;

    /// What a host has to do.
    fn look<'a>(&'a self, looking: &'a Looking) -> BoxFuture<'a, Result<Look, TaskFailure>>;

    /// A host lives, and has its tasks for so long. What is too old may go.
    fn renew<'a>(&'a self, host: &'a HostId, lease: Duration) -> BoxFuture<'a, Result<(), TaskFailure>>;

    /// A host is gone.
    fn leave<'a>(&'a self, host: &'a HostId) -> BoxFuture<'a, Result<(), TaskFailure>>;
}

/// What only the tool of a task may see.
#[derive(Clone, PartialEq)]
pub struct Asked {
    /// What it is called with.
    pub arguments: Arguments,
    /// The key under which the call's effects happen at most once, where the caller has given one.
    pub idempotency_key: Option<String>,
}

/// How many tasks there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// That have not ended.
    pub waiting_max: u64,
    /// That have.
    pub kept_max: u64,
}

/// A task at a time.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its record, if there is one that is not expired.
    pub record: Option<Arc<Record>>,
    /// Whether the host that runs it is gone.
    pub is_gone: bool,
    /// The store's time.
    pub now_ms: u64,
}

/// An effect that a run is about to have.
#[derive(Clone, Debug)]
pub struct Touch {
    /// The task.
    pub id: TaskId,
    /// The run.
    pub fence: u64,
    /// The number of the effect in its run. One that was added is not added again.
    pub number: u32,
    /// The effect, as it may be told.
    pub effect: Effect,
    /// Whether the call may be made again all the same.
    pub again: bool,
    /// The next version of the record.
    pub version: u64,
}

/// What a run says while it runs. What is not said stays as it was.
#[derive(Clone, Debug)]
pub struct Words {
    /// The task.
    pub id: TaskId,
    /// The run.
    pub fence: u64,
    /// How far it is.
    pub progress: Option<Progress>,
    /// The question that waits for an answer, or that none does.
    pub question: Option<Option<String>>,
    /// A part of its output.
    pub part: Option<Part>,
    /// The bytes that were left out of its output in all.
    pub dropped_bytes: u64,
}

/// A part of the output of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number in its run. One that was kept is not kept again.
    pub number: u32,
    /// What it says.
    pub text: String,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, where the tool knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What the runs of a task did, and what the last one has said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    /// The effects that were let through, with the numbers of their runs.
    pub effects: Vec<(u32, Effect)>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// The question that waits for an answer.
    pub question: Option<String>,
    /// What it has handed out so far.
    pub partial: String,
    /// The bytes behind that which were left out.
    pub dropped_bytes: u64,
}

/// Which tasks are listed.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Those of a caller, by id.
    pub caller: Option<String>,
    /// Those of a tool.
    pub tool: Option<String>,
    /// Those whose id begins so, behind what every id begins with.
    pub digits: Option<String>,
    /// Those that stand so.
    pub standing: Option<Standing>,
    /// At most so many, and never more than [`LISTED_MAX`].
    pub limit: usize,
}

/// A task in a list.
#[derive(Clone, Debug)]
pub struct Filed {
    /// Its record; what came of it is left out but for how it ended.
    pub record: Arc<Record>,
    /// Whether the host that runs it is gone.
    pub is_gone: bool,
    /// How far it is.
    pub progress: Option<Progress>,
    /// The question that waits for an answer.
    pub question: Option<String>,
}

impl Filed {
    /// The state as one word.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.record.standing(self.is_gone, self.question.is_some())
    }
}

/// Tasks, and when they were so.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The tasks.
    pub tasks: Vec<Filed>,
    /// The store's time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// Who looks for what there is to do.
#[derive(Clone, Debug)]
pub struct Looking {
    /// The host.
    pub host: HostId,
    /// Whose tasks it takes up.
    pub scope: Arc<str>,
    /// At most so many to take up.
    pub limit: usize,
}

/// What there is to do.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Tasks that are due, and those whose host is gone, the longest waiting first.
    pub ready: Vec<TaskId>,
    /// Tasks that this host runs by the store's word.
    pub own: Vec<TaskId>,
    /// Those of them that somebody wants to end.
    pub unwanted: Vec<TaskId>,
    /// When the next one is due that is not yet, in milliseconds since 1970.
    pub next_ms: Option<u64>,
}

/// A store cannot be used.
#[derive(Debug)]
pub struct TaskFailure(Box<dyn std::error::Error + Send + Sync>);

impl TaskFailure {
    /// Says why.
    pub fn new(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        TaskFailure(why.into())
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tasks: {}", self.0)
    }
}

impl std::error::Error for TaskFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked(..)")
    }
}

impl Query {
    /// Whether a task is one of those.
    #[must_use]
    pub fn fits(&self, filed: &Filed) -> bool {
        let request = &filed.record.request;
        self.caller.as_ref().is_none_or(|caller| *caller == request.caller.id)
            && self.tool.as_ref().is_none_or(|tool| *tool == request.tool)
            && self.digits.as_ref().is_none_or(|digits| request.id.digits().starts_with(digits.as_str()))
            && self.standing.is_none_or(|standing| standing == filed.standing())
    }
}

//! A run's hold on its task: nothing is changed before it is on the list, what the call says is kept as it comes, and a run
//! that has lost its task changes and says nothing more.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::book::{fresh, in_time};
use super::id::TaskId;
use super::lease::Lease;
use super::record::{Record, Run, State};
use super::store::{EFFECTS_MAX, Part, Progress, TaskFailure, TaskStore, Touch, Words};
use crate::call::{AcceptedCall, PermittedCall};
use crate::effect::{Effect, Witness};
use crate::guard::replay::settings::OnCrash;
use crate::tell::{CallError, ErrorKind, Event, Outcome, Sink, Stage, Told, Voice};

/// The least time between two writings of what a run says.
const SAY_EVERY: Duration = Duration::from_millis(250);

/// What a call has from the task that it is made for. Only a host that runs tasks makes one.
#[derive(Clone)]
pub struct InTask(Arc<Hold>);

impl InTask {
    /// The task.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.0.id
    }

    /// Whether an earlier run may have changed something, and the call's key has to know of that.
    pub(crate) fn is_made_again(&self) -> bool {
        self.0.run.changed_before
    }

    /// The voice of its host, which the task hears too.
    pub(crate) fn hears(&self, voice: &Voice) -> Arc<Voice> {
        Arc::new(voice.with(self.0.clone()))
    }

    /// What must know before the call changes anything.
    pub(crate) fn witness(&self, call: &PermittedCall) -> Arc<dyn Witness> {
        Arc::new(Listing { hold: self.0.clone(), again: may_be_made_again(call) })
    }

    /// Waits until another run has the task.
    pub(crate) async fn lost(&self) -> CallError {
        self.0.lost.reached().await;
        taken_over()
    }
}

/// Whether a call that may have changed something may be made again: its key tells what is true, or it may be made twice.
fn may_be_made_again(call: &AcceptedCall) -> bool {
    let has_key = matches!(call.asks(), Ok(Some(_)));
    has_key || call.tool.guards.idempotency.after_crash() == OnCrash::Rerun
}

/// Something that happens once.
#[derive(Debug, Default)]
struct Moment {
    is_reached: AtomicBool,
    told: Notify,
}

impl Moment {
    fn reach(&self) {
        self.is_reached.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::Acquire)
    }

    async fn reached(&self) {
        let mut told = pin!(self.told.notified());
        // In the line before it is looked: what is told between the two is heard.
        told.as_mut().enable();
        if !self.is_reached() {
            told.await;
        }
    }
}

/// What one run has of its task.
pub(super) struct Hold {
    store: Arc<dyn TaskStore>,
    lease: Arc<Lease>,
    record: Arc<Record>,
    id: TaskId,
    run: Run,
    effects: AtomicU32,
    lost: Moment,
    unwanted: Moment,
    news: Mutex<News>,
    has_news: Notify,
    last: Last,
}

/// The outcome of a call that nobody waits for any more.
#[derive(Default)]
struct Last {
    end: Mutex<End>,
    told: Moment,
}

#[derive(Default)]
enum End {
    /// It is told to the one who waits for the call.
    #[default]
    Elsewhere,
    /// It was.
    Told,
    /// It is to be kept here.
    Wanted,
    /// It is.
    Kept(Box<Outcome>),
}

/// What the call has said and is not kept yet.
#[derive(Default)]
struct News {
    progress: Option<Progress>,
    question: Option<Option<String>>,
    text: String,
    /// The number of its next part.
    number: u32,
    bytes_left: u64,
    dropped_bytes: u64,
    is_dropping: bool,
    /// What was handed to the store, which has not said that it has it.
    on_its_way: Option<Words>,
}

impl Last {
    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, outcome: &Outcome) {
        let mut end = self.end();
        *end = match *end {
            End::Wanted => End::Kept(Box::new(outcome.clone())),
            End::Elsewhere | End::Told | End::Kept(_) => End::Told,
        };
        drop(end);
        self.told.reach();
    }
}

impl Hold {
    pub(super) fn new(
        store: Arc<dyn TaskStore>,
        lease: Arc<Lease>,
        record: Arc<Record>,
        partial_bytes_max: u64,
    ) -> Arc<Self> {
        let run = Run { fence: record.fence, changed_before: record.effects > 0 };
        Arc::new(Hold {
            store,
            lease,
            id: record.request.id.clone(),
            record,
            run,
            effects: AtomicU32::new(0),
            lost: Moment::default(),
            unwanted: Moment::default(),
            news: Mutex::new(News { bytes_left: partial_bytes_max, ..News::default() }),
            has_news: Notify::new(),
            last: Last::default(),
        })
    }

    pub(super) fn in_task(self: &Arc<Self>) -> InTask {
        InTask(self.clone())
    }

    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    /// Another run has the task, or may have it.
    pub(super) fn lose(&self) {
        self.lost.reach();
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_reached()
    }

    pub(super) async fn lost(&self) {
        self.lost.reached().await;
    }

    /// The call is to end.
    pub(super) fn interrupt(&self) {
        self.unwanted.reach();
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.unwanted.is_reached()
    }

    pub(super) async fn interrupted(&self) {
        self.unwanted.reached().await;
    }

    /// From now on its outcome is kept here, because nobody waits for it. Not where it was told already.
    pub(super) fn keep_outcome(&self) -> bool {
        let mut end = self.last.end();
        let is_open = !matches!(*end, End::Told);
        if is_open {
            *end = End::Wanted;
        }
        is_open
    }

    /// The outcome that is kept, once there is one.
    pub(super) async fn outcome(&self) -> Option<Outcome> {
        self.last.told.reached().await;
        match std::mem::take(&mut *self.last.end()) {
            End::Kept(outcome) => Some(*outcome),
            End::Elsewhere | End::Told | End::Wanted => None,
        }
    }

    /// Keeps what the call says, as it comes.
    pub(super) async fn keep_saying(&self) {
        loop {
            self.has_news.notified().await;
            self.say().await;
            sleep(SAY_EVERY).await;
        }
    }

    /// Keeps what the call has said so far.
    pub(super) async fn say(&self) {
        while let Some(words) = self.words() {
            match in_time(self.store.say(words)).await {
                Ok(true) => self.news().on_its_way = None,
                Ok(false) => return self.lose(),
                // It is tried again with what comes next, or at the end.
                Err(failure) => return tracing::warn!(%failure, task = %self.id, "what a task says is not kept"),
            }
        }
    }

    fn words(&self) -> Option<Words> {
        let mut news = self.news();
        if news.on_its_way.is_none() {
            let is_new =
                news.progress.is_some() || news.question.is_some() || !news.text.is_empty() || news.is_dropping;
            if !is_new {
                return None;
            }
            let text = std::mem::take(&mut news.text);
            let part = (!text.is_empty()).then(|| Part { number: news.number, text });
            news.number += u32::from(part.is_some());
            news.is_dropping = false;
            news.on_its_way = Some(Words {
                id: self.id.clone(),
                fence: self.run.fence,
                progress: news.progress.take(),
                question: news.question.take(),
                part,
                dropped_bytes: news.dropped_bytes,
            });
        }
        news.on_its_way.clone()
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self) -> bool {
        let host = match &self.record.state {
            State::Running { host } => host,
            State::Queued { .. } | State::Ended(_) => return false,
        };
        !self.is_lost() && self.lease.holds(host)
    }

    async fn before_change(&self, effect: &Effect, again: bool) -> Result<(), CallError> {
        if !self.has() {
            self.lose();
            return Err(taken_over());
        }
        let number = self.effects.fetch_add(1, Ordering::Relaxed);
        if number as usize >= EFFECTS_MAX {
            return Ok(());
        }
        let (id, fence, version) = (self.id.clone(), self.run.fence, fresh());
        let touch = Touch { id, fence, number, effect: effect.clone(), again, version };
        match in_time(self.store.touch(touch)).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.lose();
                Err(taken_over())
            }
            Err(failure) => Err(unusable(failure)),
        }
    }
}

/// Puts effects on the list of a task.
#[derive(Debug)]
struct Listing {
    hold: Arc<Hold>,
    again: bool,
}

impl Witness for Listing {
    fn before_change<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<(), CallError>> {
        self.hold.before_change(effect, self.again).boxed()
    }
}

impl Sink for Hold {
    fn tell(&self, told: &Told<'_>) {
        let mut news = self.news();
        match told.event {
            Event::Progress { done, total, message } => {
                news.progress = Some(Progress { done: *done, total: *total, message: message.map(str::to_owned) });
            }
            Event::Partial { text } => news.add(text),
            Event::Question { question } => news.question = Some(Some(question.id.clone())),
            Event::Decision { decision } if decision.question.is_some() => news.question = Some(None),
            Event::CallEnded { outcome } => {
                drop(news);
                return self.last.tell(outcome);
            }
            _ => return,
        }
        self.has_news.notify_one();
    }
}

impl News {
    fn add(&mut self, text: &str) {
        let room = usize::try_from(self.bytes_left).unwrap_or(usize::MAX);
        let kept = text.get(..text.floor_char_boundary(room)).unwrap_or_default();
        self.text.push_str(kept);
        self.bytes_left -= kept.len() as u64;
        if kept.len() < text.len() {
            // What is behind a gap would be read as its end.
            self.bytes_left = 0;
            self.dropped_bytes += (text.len() - kept.len()) as u64;
            self.is_dropping = true;
        }
    }
}

fn taken_over() -> CallError {
    CallError::new(ErrorKind::KeyInUse, Stage::Run, "another host has taken over this task")
        .with_help("ask for what comes of the task")
}

/// What is told when a task cannot be read or written.
pub(super) fn unusable(failure: TaskFailure) -> CallError {
    let why = "the tasks cannot be written down, and without that nothing is done for one";
    CallError::new(ErrorKind::Internal, Stage::Guard, why).with_help("call again later").because(failure)
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("fence", &self.run.fence).finish_non_exhaustive()
    }
}

impl fmt::Debug for InTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InTask(..)")
    }
}

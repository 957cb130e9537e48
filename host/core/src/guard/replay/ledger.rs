//! Who of several calls with one key runs? The first one; the others wait for it, and get its answer.
//!
//! Twins in this process are told when the one that runs has ended, so of any number of them only one looks into the store
//! again. A twin in another process is looked after at growing intervals.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::book::{Asked, Book};
use super::key::RecordKey;
use super::memory::Memory;
use super::record::Begin;
use super::renewal::Renewals;
use super::settings::{OnConflict, OnCrash};
use super::store::{LedgerFailure, LedgerStore};
use super::ticket::{Acquired, Hold, Ticket};
use crate::call::AcceptedCall;
use crate::tell::{CallError, ErrorKind, Output, Report, Stage};

/// The lease of a claim, unless it is said otherwise. It is renewed three times as often.
pub const LEASE: Duration = Duration::from_secs(30);

/// The longest time that a call waits for its twin.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// The most calls that wait for their twins.
pub const WAITING_MAX: usize = 1_024;

/// The longest that one step of a call may take in the store.
const STEP_TIME_MAX: Duration = Duration::from_secs(10);

/// The pauses between two looks after a twin in another process.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// The keys of a host's calls.
#[derive(Debug)]
pub struct Ledger {
    book: Book,
    renewals: Arc<Renewals>,
    /// The keys for which a call of this process has the lead, and where there are twins that wait, the channel that is closed
    /// by its end.
    leads: Mutex<HashMap<RecordKey, Option<watch::Sender<()>>>>,
    waiting: AtomicUsize,
}

/// What the ledger had to do with a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerReport {
    /// How the call came to its outcome.
    pub how: How,
    /// The key of the record.
    pub key: RecordKey,
}

/// How a call with a key came to its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It was the first with its key.
    New,
    /// It was answered from the record.
    Replayed,
    /// It waited for its twin, and was answered from the record.
    Waited,
    /// It runs what another one had begun.
    TakenOver,
}

impl How {
    /// The same as one word, or two.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            How::New => "new",
            How::Replayed => "replayed",
            How::Waited => "waited",
            How::TakenOver => "taken over",
        }
    }
}

/// What came of a claim.
pub(crate) enum Claimed {
    /// The call may run, and holds its key.
    Ticket(Ticket),
    /// The call may run; it has no key.
    Unkeyed,
    /// The call was made before, with this answer.
    Answered(Output),
}

/// What came of asking once.
enum Step {
    Ticket { ticket: Ticket, taken_over: bool },
    Not(Begin, Lead),
}

/// The lead of one call over its twins in this process. Dropping it wakes them.
pub(super) struct Lead {
    ledger: Arc<Ledger>,
    key: RecordKey,
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.ledger.leads().remove(&self.key);
    }
}

/// One waiting call; dropping it takes the call out of the count.
struct Waiting<'l>(&'l Ledger);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger::new(Arc::new(Memory::default()))
    }
}

impl Ledger {
    /// A ledger over that store.
    #[must_use]
    pub fn new(store: Arc<dyn LedgerStore>) -> Self {
        Ledger {
            book: Book::new(store),
            renewals: Renewals::new(LEASE),
            leads: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Sets how long a claim holds that nobody renews. Whoever holds one renews it three times as often.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.renewals = Renewals::new(lease.max(Duration::from_millis(3)));
        self
    }

    /// The records, for an operator.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Keys that calls of this process hold or ask for, and calls that wait for one of them.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        (self.leads().len(), self.waiting.load(Ordering::Acquire))
    }

    /// The answer of an earlier call with the same key, before anybody is asked and anything is charged.
    ///
    /// # Errors
    /// What the earlier call failed with; or the key cannot be made, was used for something else, or what came of it is not
    /// known.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn peek(&self, call: &AcceptedCall, report: &mut Report) -> Result<Option<Output>, CallError> {
        match call.asks()? {
            Some(asked) => self.look(call, asked, How::Replayed, report).await,
            None => Ok(None),
        }
    }

    /// Takes the call's key, if there is room for the call, or waits for the twin that has it, at most until the deadline.
    ///
    /// # Errors
    /// As for [`Ledger::peek`]; or there is no room, or the twin has not ended in time.
    ///
    /// # Cancel safety
    /// Dropping the future gives the key back, and the place among those that wait.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        call: &AcceptedCall,
        deadline: Instant,
        report: &mut Report,
        has_room: impl Fn() -> Result<(), CallError>,
    ) -> Result<Claimed, CallError> {
        let Some(asked) = call.asks()? else {
            let is_safe = !call.call.is_made_again() || call.tool.guards.idempotency.after_crash() == OnCrash::Rerun;
            return if is_safe { Ok(Claimed::Unkeyed) } else { Err(forgotten()) };
        };
        let until = deadline.min(Instant::now() + WAIT_MAX);
        let mut how = How::Replayed;
        let lead = loop {
            match self.lead(&asked.key) {
                Ok(lead) => {
                    has_room()?;
                    break lead;
                }
                Err(mut ahead) => {
                    // What the one ahead asks with may be other arguments, and what it finds an answer already.
                    if let Some(output) = self.look(call, asked, how, report).await? {
                        return Ok(Claimed::Answered(output));
                    }
                    let second = Duration::from_secs(1);
                    let _waiting = self.wait(call, second)?;
                    // It ends by closing the channel, and never says anything.
                    let ended = timeout_at(until, ahead.changed()).await;
                    ended.map_or_else(|_| Err(in_use(second)), |_| Ok(()))?;
                    how = How::Waited;
                }
            }
        };
        self.ask_until(until, call, asked, lead, how, report).await
    }

    /// As the first of this process, asks until the key is free or answered for.
    async fn ask_until(
        self: &Arc<Self>,
        until: Instant,
        call: &AcceptedCall,
        asked: &Arc<Asked>,
        mut lead: Lead,
        mut how: How,
        report: &mut Report,
    ) -> Result<Claimed, CallError> {
        let [mut pause, pause_max] = PAUSES;
        loop {
            let mut asking = self.clone().ask(asked.clone(), lead).boxed();
            let step = match (&mut asking).now_or_never() {
                Some(step) => step,
                // What takes longer, in a task of its own: a claim of which nobody would hear, because its caller has gone
                // away, is given back.
                None => tokio::spawn(asking)
                    .await
                    .map_err(|error| crate::bug!(Stage::Guard, "the task of a claim: {error}"))?,
            };
            let (begin, back) = match step {
                // The ticket is dropped, and so the key is free again.
                Ok(Step::Ticket { taken_over: false, .. }) if call.call.is_made_again() => return Err(forgotten()),
                Ok(Step::Ticket { ticket, taken_over }) => {
                    let how = if taken_over { How::TakenOver } else { How::New };
                    report.idempotency = Some(LedgerReport { how, key: asked.key.clone() });
                    return Ok(Claimed::Ticket(ticket));
                }
                Ok(Step::Not(begin, lead)) => (begin, lead),
                Err(failure) => return unavailable(call, failure).map(|()| Claimed::Unkeyed),
            };
            let Begin::Running { lease_left, .. } = begin else {
                let answer = told(begin, asked, how, report)?;
                let answer = answer.ok_or_else(|| crate::bug!(Stage::Guard, "a claim without an answer"));
                return answer.map(Claimed::Answered);
            };
            let _waiting = self.wait(call, lease_left)?;
            sleep_until(until.min(Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0))).await;
            if Instant::now() >= until {
                return Err(in_use(lease_left));
            }
            pause = (pause * 2).min(pause_max);
            (lead, how) = (back, How::Waited);
        }
    }

    async fn ask(self: Arc<Self>, asked: Arc<Asked>, lead: Lead) -> Result<Step, LedgerFailure> {
        let (lease, since) = (self.renewals.lease(), Instant::now());
        Ok(match in_time(self.book.begin(&asked, lease)).await? {
            Begin::Acquired { fence, created_ms, taken_over, effects } => {
                let acquired = Acquired { fence, created_ms, effects_before: effects };
                let hold = Hold::new(self.book.clone(), &asked, acquired, since + lease);
                Step::Ticket { ticket: Ticket::new(hold, &self.renewals, lead), taken_over }
            }
            begin => Step::Not(begin, lead),
        })
    }

    /// The answer that is in the record already, if there is one.
    async fn look(
        &self,
        call: &AcceptedCall,
        asked: &Asked,
        how: How,
        report: &mut Report,
    ) -> Result<Option<Output>, CallError> {
        match in_time(self.book.look(asked)).await {
            Ok(Some(begin)) => told(begin, asked, how, report),
            Ok(None) => Ok(None),
            Err(failure) => unavailable(call, failure).map(|()| None),
        }
    }

    /// Takes the lead over the twins of this process, or says how to hear of the end of the one that has it.
    fn lead(self: &Arc<Self>, key: &RecordKey) -> Result<Lead, watch::Receiver<()>> {
        let mut leads = self.leads();
        match leads.entry(key.clone()) {
            Entry::Occupied(ahead) => Err(ahead.into_mut().get_or_insert_with(|| watch::channel(()).0).subscribe()),
            Entry::Vacant(free) => {
                free.insert(None);
                Ok(Lead { ledger: self.clone(), key: key.clone() })
            }
        }
    }

    /// A place among those that wait, where settings let a call wait, and there is one.
    fn wait(&self, call: &AcceptedCall, retry_after: Duration) -> Result<Waiting<'_>, CallError> {
        if call.tool.guards.idempotency.on_conflict == OnConflict::Reject {
            return Err(in_use(retry_after));
        }
        let waiting = Waiting(self);
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING_MAX {
            return Err(in_use(retry_after).with_help(format!("{WAITING_MAX} calls wait for their twins already")));
        }
        Ok(waiting)
    }

    fn leads(&self) -> std::sync::MutexGuard<'_, HashMap<RecordKey, Option<watch::Sender<()>>>> {
        self.leads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a record says to a call that does not get its key; nothing where it has to wait.
fn told(begin: Begin, asked: &Asked, how: How, report: &mut Report) -> Result<Option<Output>, CallError> {
    match begin {
        Begin::Acquired { .. } | Begin::Running { .. } => Ok(None),
        Begin::Finished(kept) => {
            let ending = kept.ending().map_err(unusable)?;
            report.idempotency = Some(LedgerReport { how, key: asked.key.clone() });
            ending.answer().map(Some)
        }
        Begin::OtherArguments => {
            let why = "this idempotency key was used with other arguments";
            let error = CallError::new(ErrorKind::KeyReused, Stage::Guard, why);
            Err(error
                .with_help("take another key, or call with the same arguments")
                .with_detail(json!({"key": asked.key})))
        }
        Begin::Unknown { call, since_ms, first_effect } => {
            let why = "whether an earlier call with this idempotency key had its effect is not known";
            let help = format!(
                "look before you call again, and let an operator say what is true: `toolpost ledger resolve {}`",
                asked.key
            );
            let detail = json!({"key": asked.key, "call": call, "since_ms": since_ms, "first_effect": first_effect});
            let error = CallError::new(ErrorKind::OutcomeUnknown, Stage::Guard, why);
            Err(error.with_help(help).with_detail(detail))
        }
    }
}

/// Waits for the store, but not for ever: no call is held up by a ledger longer than by its tool.
pub(super) fn in_time<'s, T: 's>(
    step: impl Future<Output = Result<T, LedgerFailure>> + Send + 's,
) -> BoxFuture<'s, Result<T, LedgerFailure>> {
    let late = || LedgerFailure::new(format!("the store did not answer within {}s", STEP_TIME_MAX.as_secs()));
    // Boxed, because few calls have a key, and calls inside of one another need little room.
    async move {
        let mut step = pin!(step);
        // Most stores have the answer at once.
        if let Some(ended) = step.as_mut().now_or_never() {
            return ended;
        }
        timeout(STEP_TIME_MAX, step).await.unwrap_or_else(|_| Err(late()))
    }
    .boxed()
}

fn in_use(retry_after: Duration) -> CallError {
    CallError::new(ErrorKind::KeyInUse, Stage::Guard, "a call with the same idempotency key is running")
        .with_help("call again later, with the same key")
        .retry_after(retry_after)
}

/// A task whose earlier run may have changed something under a key of which nothing is known any more.
fn forgotten() -> CallError {
    let why =
        "an earlier run of this task may have had its effect, and nothing is known of that under its idempotency key";
    CallError::new(ErrorKind::OutcomeUnknown, Stage::Guard, why).with_help("look before you call again")
}

/// Without its ledger, nothing is run that may change something; the rest needs none.
fn unavailable(call: &AcceptedCall, failure: LedgerFailure) -> Result<(), CallError> {
    if call.tool.effect.may_change() { Err(unusable(failure)) } else { Ok(()) }
}

/// What is told when a record cannot be read or written.
pub(super) fn unusable(failure: LedgerFailure) -> CallError {
    let why = "the ledger of idempotency keys cannot be used, and without it nothing is done that may change something";
    CallError::new(ErrorKind::Internal, Stage::Guard, why).with_help("call again later").because(failure)
}

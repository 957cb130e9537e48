//! The attempts of a call, one after the other: from a place to run in to the outcome.
//!
//! Each attempt is judged and timed alone, with a fresh start; but what its tool keeps for a session is as the attempt before
//! has left it. A call that waits for its next one holds no place.

mod hedge;
mod once;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, pending, select};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use self::once::Begun;
use crate::call::{CallerKey, PermittedCall};
use crate::catalog::Lifetime;
use crate::deadline::Deadline;
use crate::effect::EffectClass;
use crate::guard::Guards;
use crate::guard::breaker::Registry;
use crate::guard::rate::Rates;
use crate::guard::replay::Ticket;
use crate::guard::retry::{AttemptInfo, Budget, Budgets, CallRetries, Decision, Fence, Spent, Stop};
use crate::guard::slot::{Need, Slot, Slots};
use crate::guard::turn::{Turn, Turns};
use crate::host::Host;
use crate::inside::Inside;
use crate::limits::HostLimits;
use crate::run::Leaves;
use crate::tell::{CallError, ErrorKind, Event, Herald, Outcome, Output, Report, Stage, Trail, Voice};

/// What all calls of a host share while they run.
pub(crate) struct Guarding {
    pub(crate) slots: Arc<Slots>,
    pub(crate) turns: Turns,
    pub(crate) rates: Rates,
    pub(crate) breakers: Arc<Registry>,
    pub(crate) herald: Arc<Herald>,
    budgets: Budgets,
    caller_key: CallerKey,
}

impl Guarding {
    pub(crate) fn new(limits: HostLimits) -> Self {
        let herald = Arc::new(Herald::default());
        Guarding {
            slots: Arc::new(Slots::new(limits)),
            turns: Turns::default(),
            rates: Rates::new(Instant::now()),
            breakers: Arc::new(Registry::new(herald.clone())),
            herald,
            budgets: Budgets::default(),
            caller_key: CallerKey::fresh(),
        }
    }

    /// The same, whose breakers tell their news to this voice.
    pub(crate) fn heard_by(self, voice: &Arc<Voice>) -> Self {
        self.herald.speak_with(voice.clone());
        self
    }
}

/// A call that may run, and has a place to run in.
pub(crate) struct Admitted {
    pub(crate) call: Arc<PermittedCall>,
    pub(crate) guarding: Arc<Guarding>,
    pub(crate) deadline: Deadline,
    pub(crate) need: Need,
    /// Its turn in its session, where that matters to its tool.
    pub(crate) turn: Option<Turn>,
    pub(crate) slot: Slot,
    /// The call's hold on its idempotency key, where it has one.
    pub(crate) ticket: Option<Ticket>,
}

impl Admitted {
    /// Makes its attempts.
    pub(crate) fn outcome(self, host: Host, trail: Trail) -> impl Future<Output = Outcome> + Send {
        let Admitted { call, guarding, deadline, need, turn, slot, ticket } = self;
        let retries = call.call.inside.as_ref().map(|around| around.retries().clone()).unwrap_or_default();
        let (reached, caller, purse, last) = (Fence::Nothing, None, None, None);
        let leaves = Leaves::default();
        let attempts = Attempts {
            call,
            guarding,
            host,
            deadline,
            need,
            trail,
            ticket,
            reached,
            caller,
            retries,
            purse,
            last,
            leaves,
            _turn: turn,
        };
        if attempts.call.tool.effect.may_change() {
            Either::Left(attempts.detached(slot))
        } else {
            Either::Right(attempts.until_the_end(slot))
        }
    }
}

/// A call between its attempts.
struct Attempts {
    call: Arc<PermittedCall>,
    guarding: Arc<Guarding>,
    /// For the calls inside of it: a host is there as long as one of its calls runs.
    host: Host,
    deadline: Deadline,
    /// What each attempt needs in order to run.
    need: Need,
    trail: Trail,
    ticket: Option<Ticket>,
    /// How far into the world any of its attempts went.
    reached: Fence,
    /// Says when the caller has gone, where the attempts do not go with it.
    caller: Option<oneshot::Receiver<Infallible>>,
    /// The retries of the call, of those around it and of those inside of it.
    retries: CallRetries,
    /// What retries are paid from, once one is needed.
    purse: Option<Budget>,
    /// The wait in front of the latest retry, and what was paid for it.
    last: Option<(Duration, Spent)>,
    /// What somebody has allowed its attempts to do.
    leaves: Leaves,
    _turn: Option<Turn>,
}

impl Attempts {
    /// What may change the world is not stopped half way because its caller went away: it runs in a task of its own.
    fn detached(mut self, slot: Slot) -> impl Future<Output = Outcome> + Send {
        let call = self.call.clone();
        let (present, caller) = oneshot::channel();
        self.caller = Some(caller);
        let span = self.trail.span.clone();
        let running = tokio::spawn(span.around(self.until_the_end(slot)));
        async move {
            let _present = present;
            running.await.unwrap_or_else(|error| {
                let error = crate::bug!(Stage::Run, "the task of an attempt: {error}");
                Outcome {
                    call: call.call.id.clone(),
                    tool: call.tool.name.clone(),
                    result: Err(error),
                    report: Report::default(),
                }
            })
        }
    }

    /// All attempts, and what is kept of their end.
    #[expect(clippy::manual_async_fn, reason = "what waits would keep what it was called with twice")]
    fn until_the_end(mut self, slot: Slot) -> impl Future<Output = Outcome> + Send {
        async move {
            let result = self.one_after_the_other(slot).await;
            let Attempts { call, trail, ticket, reached, .. } = self;
            let result = match ticket {
                Some(ticket) => ticket.settle(&call.tool.guards.idempotency, result, reached).await,
                None => result,
            };
            trail.end(result).await
        }
    }

    /// One attempt after the other, until one succeeds or none may follow.
    async fn one_after_the_other(&mut self, slot: Slot) -> Result<Output, CallError> {
        let mut slot = Ok(slot);
        loop {
            let (result, fence) = match slot {
                Ok(slot) => self.one(slot).await,
                Err(busy) => (Err(busy), Fence::Nothing),
            };
            self.reached = fence.max(self.reached);
            let error = match result {
                Ok(output) => {
                    self.succeeded();
                    return Ok(output);
                }
                Err(error) => error,
            };
            let (after, paid) = match self.decide(&error, fence) {
                Decision::Stop { why } => return Err(self.stopped(why, error)),
                Decision::Retry { after, spent } => (after, spent),
            };
            let tokens_left = self.purse().tokens();
            self.trail.teller.tell(&Event::Retry { after, tokens_left });
            let unmade = Unmade { paid: Some(paid), retries: self.retries.clone() };
            match self.place_after(after).await {
                Some(next) => slot = next,
                None => {
                    let cancelled = self.call.call.wanted.is_cancelled();
                    let gone = if cancelled { Trail::cancelled() } else { Trail::gone() };
                    return Err(self.stopped(Stop::NotWanted, gone.because(error)));
                }
            }
            self.last = unmade.made().map(|paid| (after, paid));
        }
    }

    /// One attempt, told and written down; and what it did.
    async fn one(&mut self, slot: Slot) -> (Result<Output, CallError>, Fence) {
        let number = u32::try_from(self.trail.report.attempts.len() + 1).unwrap_or(u32::MAX);
        let begun = match Begun::begin(self, number, slot, false) {
            Ok(begun) => begun,
            Err(refused) => return (Err(refused), Fence::Nothing),
        };
        let Guards { retry, latencies, .. } = &self.call.tool.guards;
        if let Some(slow_after) = retry.hedge.after(latencies, self.call.tool.effect) {
            // Boxed, because few calls need room for a second attempt.
            return Box::pin(self.hedged(begun, slow_after)).await;
        }
        let result = begun.run().await;
        // Who never tries again does not ask how long an attempt takes.
        if result.is_ok() && retry.max_attempts > 1 {
            latencies.succeeded(begun.attempt.took());
        }
        self.deadline = self.deadline.later_by(begun.attempt.clock.stood(), &self.call.call);
        let fence = begun.end(&result, &mut self.trail);
        (result, fence)
    }

    fn succeeded(&mut self) {
        let Attempts { call, guarding, last, .. } = self;
        // Nor does it ask what a retry costs.
        if call.tool.guards.retry.max_attempts > 1 {
            match last.take() {
                Some((_, paid)) => paid.give_back(),
                None => guarding.budgets.first_try_worked(&call.call.caller.id, &call.tool.key()),
            }
        }
    }

    fn stopped(&mut self, why: Stop, error: CallError) -> CallError {
        self.trail.report.not_retried = Some(why.name());
        why.tell(error)
    }

    /// Whether a failed attempt is followed by another one.
    fn decide(&mut self, error: &CallError, fence: Fence) -> Decision {
        let gone = self.caller.as_mut().map(oneshot::Receiver::try_recv);
        let is_gone = matches!(gone, Some(Err(oneshot::error::TryRecvError::Closed)));
        if is_gone || self.call.call.wanted.is_cancelled() {
            return Decision::Stop { why: Stop::of_gone(error, fence) };
        }
        let call = self.call.clone();
        // What computes and does nothing else comes to the same end; and what a session had built up is gone with the attempt.
        let is_for_nothing = call.tool.effect == EffectClass::Pure || call.tool.lifetime == Lifetime::Session;
        if is_for_nothing && error.kind == ErrorKind::TimedOut {
            return Decision::Stop { why: Stop::NotRetryable };
        }
        let Guards { retry, latencies, .. } = &call.tool.guards;
        let info = AttemptInfo {
            number: u32::try_from(self.trail.report.attempts.len()).unwrap_or(u32::MAX),
            error,
            fence,
            waited_before: self.last.as_ref().map(|(waited, _)| *waited),
            now: Instant::now(),
            deadline: self.deadline.at,
            floor: latencies.floor(),
        };
        let purse = self.purse();
        retry.decide(&info, &self.retries, &purse, &mut fastrand::Rng::new())
    }

    fn purse(&mut self) -> Budget {
        let Attempts { call, guarding, purse, .. } = self;
        purse.get_or_insert_with(|| guarding.budgets.of(&call.call.caller.id, &call.tool.key())).clone()
    }

    /// Waits, then for a place; nothing when the caller goes meanwhile.
    async fn place_after(&mut self, wait: Duration) -> Option<Result<Slot, CallError>> {
        let Attempts { call, guarding, deadline, need, caller, .. } = self;
        let next = pin!(async {
            sleep(wait).await;
            let around = call.call.inside.as_ref().map(Inside::around);
            guarding.slots.take(need, around.as_ref(), &call.call.caller, *deadline).await
        });
        let gone = pin!(async {
            let gone = async {
                match caller {
                    // Nothing is ever sent.
                    Some(caller) => drop(caller.await),
                    None => pending().await,
                }
            };
            select(pin!(gone), pin!(call.call.wanted.cancelled())).await;
        });
        // It is looked whether the caller is gone first.
        match select(gone, next).await {
            Either::Left(_) => None,
            Either::Right((slot, _)) => Some(slot),
        }
    }
}

/// A retry that was paid for and is not made yet. Dropping it takes back what was paid: also where the call itself is dropped.
struct Unmade {
    paid: Option<Spent>,
    retries: CallRetries,
}

impl Unmade {
    fn made(mut self) -> Option<Spent> {
        self.paid.take()
    }
}

impl Drop for Unmade {
    fn drop(&mut self) {
        if let Some(paid) = self.paid.take() {
            paid.give_back();
            self.retries.give_back();
        }
    }
}

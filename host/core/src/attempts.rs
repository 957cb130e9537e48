//! The attempts of a call, one after the other: from a place to run in to the outcome.
//!
//! Each attempt is judged and timed alone, with a fresh start. A call that waits for its next one holds no place.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::call::{CallerKey, PermittedCall};
use crate::effect::EffectClass;
use crate::guard::breaker::{self, Breaker, Registry};
use crate::guard::rate::Rates;
use crate::guard::retry::{AttemptInfo, Budget, Budgets, CallRetries, Decision, Fence, Spent, Stop};
use crate::guard::slot::{Slot, Slots};
use crate::limits::HostLimits;
use crate::run::Attempt;
use crate::tell::{AttemptReport, CallError, ErrorKind, Event, Outcome, Output, Report, Stage, Trail};

/// What all calls of a host share while they run.
pub(crate) struct Guarding {
    pub(crate) slots: Slots,
    pub(crate) rates: Rates,
    pub(crate) breakers: Arc<Registry>,
    budgets: Budgets,
    caller_key: CallerKey,
}

impl Guarding {
    pub(crate) fn new(limits: HostLimits) -> Self {
        Guarding {
            slots: Slots::new(limits),
            rates: Rates::new(Instant::now()),
            breakers: Arc::default(),
            budgets: Budgets::default(),
            caller_key: CallerKey::fresh(),
        }
    }
}

/// A call that may run, and has a place to run in.
pub(crate) struct Admitted {
    pub(crate) call: Arc<PermittedCall>,
    pub(crate) guarding: Arc<Guarding>,
    pub(crate) now: Instant,
    pub(crate) deadline: Instant,
    pub(crate) slot: Slot,
}

impl Admitted {
    pub(crate) async fn outcome(self, trail: Trail) -> Outcome {
        if self.call.tool.effect.may_change() { self.detached(trail).await } else { self.attempts(trail, None).await }
    }

    /// What may change the world is not stopped half way because its caller went away: it runs in a task of its own.
    async fn detached(self, trail: Trail) -> Outcome {
        let call = self.call.clone();
        let (_present, caller) = oneshot::channel();
        let task = tokio::spawn(self.attempts(trail, Some(caller)));
        task.await.unwrap_or_else(|error| {
            let error = crate::bug!(Stage::Run, "the task of an attempt: {error}");
            Outcome {
                call: call.call.id.clone(),
                tool: call.tool.name.clone(),
                result: Err(error),
                report: Report::default(),
            }
        })
    }

    /// One attempt after the other, until one succeeds or none may follow.
    async fn attempts(self, mut trail: Trail, mut caller: Option<oneshot::Receiver<Infallible>>) -> Outcome {
        let Admitted { call, guarding, now, deadline, slot } = self;
        let guards = &call.tool.guards;
        let (tenant, dependency) = (&call.call.caller.id, &call.tool.name);
        let mut counts: Option<(CallRetries, Budget)> = None;
        let (mut started, mut slot) = (now, Ok(slot));
        let (mut waited, mut spent): (Option<Duration>, Option<Spent>) = (None, None);
        loop {
            let (result, fence) = match slot {
                Ok(slot) => attempt(&call, &guarding, started, deadline, slot, &mut trail).await,
                Err(busy) => (Err(busy), Fence::Nothing),
            };
            let error = match result {
                Ok(output) => {
                    // Who never tries again asks neither how long an attempt takes nor what a retry costs.
                    if guards.retry.max_attempts <= 1 {
                        return trail.end(Ok(output));
                    }
                    guards.latencies.succeeded(started.elapsed());
                    spent.map_or_else(|| guarding.budgets.first_try_worked(tenant, dependency), Spent::worked);
                    return trail.end(Ok(output));
                }
                Err(error) => error,
            };
            let now = Instant::now();
            let number = u32::try_from(trail.report.attempts.len()).unwrap_or(u32::MAX);
            let floor = guards.latencies.floor();
            let info = AttemptInfo { number, error: &error, fence, waited_before: waited, now, deadline, floor };
            let made = || (CallRetries::default(), guarding.budgets.of(tenant, dependency));
            let (retries, budget) = counts.get_or_insert_with(made);
            let decision = match caller.as_mut().map(oneshot::Receiver::try_recv) {
                Some(Err(oneshot::error::TryRecvError::Closed)) => Decision::Stop { why: Stop::NotWanted },
                // What computes and does nothing else comes to the same end.
                _ if call.tool.effect == EffectClass::Pure && error.kind == ErrorKind::TimedOut => {
                    Decision::Stop { why: Stop::NotRetryable }
                }
                _ => guards.retry.decide(&info, retries, budget, &mut fastrand::Rng::new()),
            };
            match decision {
                Decision::Stop { why } => {
                    trail.report.not_retried = Some(why.name());
                    return trail.end(Err(why.tell(error)));
                }
                Decision::Retry { after, spent: paid } => {
                    trail.teller.tell(&Event::Retry { after });
                    sleep(after).await;
                    (waited, spent) = (Some(after), Some(paid));
                }
            }
            slot = guarding.slots.take(deadline.saturating_duration_since(Instant::now())).await;
            started = Instant::now();
        }
    }
}

/// One attempt, told and written down; and what it did.
async fn attempt(
    call: &Arc<PermittedCall>,
    guarding: &Guarding,
    started: Instant,
    deadline: Instant,
    slot: Slot,
    trail: &mut Trail,
) -> (Result<Output, CallError>, Fence) {
    let tool = &call.tool;
    let key = tool.guards.breaker_key.get_or_init(|| breaker::Key::tool(tool.name.as_str()));
    let breaker = match &tool.guards.breaker {
        // There is one only where an operator has something against the tool.
        breaker::Settings::None => guarding.breakers.find(key),
        settings => Some(guarding.breakers.get(key, settings, tool.limits.attempt_time_max)),
    };
    let permit = match breaker.as_ref().map(Breaker::acquire).transpose() {
        Ok(permit) => permit,
        Err(rejection) => return (Err(rejection.into_error(key)), Fence::Nothing),
    };
    let number = u32::try_from(trail.report.attempts.len() + 1).unwrap_or(u32::MAX);
    let deadline = deadline.min(after(started, tool.limits.attempt_time_max));
    let attempt = Attempt::new(call.clone(), guarding.caller_key, number, started, deadline, trail.teller.clone());
    trail.teller.tell(&Event::AttemptStarted { number });

    let result = run(&attempt, slot).await;

    if let Some(permit) = permit {
        permit.settle(&result);
    }
    trail.teller.tell(&Event::AttemptEnded { number, error: result.as_ref().err() });
    let (effects, unlisted) = attempt.gate().records();
    let fence = Fence::of(&effects, unlisted, false);
    trail.report.effects.extend(effects);
    trail.report.effects_unlisted += unlisted;
    trail.report.attempts.push(report(&attempt, result.as_ref().err()));
    (result, fence)
}

/// Runs the tool until its end or its deadline. Behind it, the attempt has no effect on the world any more.
async fn run(attempt: &Attempt, slot: Slot) -> Result<Output, CallError> {
    /// Closes the gate however the attempt ends, also when it is dropped.
    struct Close<'a>(&'a Attempt);
    impl Drop for Close<'_> {
        fn drop(&mut self) {
            self.0.gate().close();
        }
    }

    // Locals are dropped in reverse order: first the gate closes, then the running tool goes, then its place is free.
    // The tool is pinned here, because what is awaited by value is dropped at the end of the `await`.
    let _slot = slot;
    let running = async { attempt.call.tool.runner.run(attempt).await };
    let mut running = pin!(std::panic::AssertUnwindSafe(running).catch_unwind());
    let _close = Close(attempt);
    match tokio::time::timeout_at(attempt.deadline, running.as_mut()).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(panicked(&*panic)),
        Err(_) => Err(timed_out(attempt)),
    }
}

/// So much later. A span that no clock can show is never over.
pub(crate) fn after(start: Instant, span: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);
    start.checked_add(span).unwrap_or(start + NEVER)
}

fn timed_out(attempt: &Attempt) -> CallError {
    let limits = attempt.call.tool.limits;
    let (what, limit, setting) = if attempt.deadline < after(attempt.started, limits.attempt_time_max) {
        ("the call did not end", limits.call_time_max, "limits.call_time")
    } else {
        ("the tool did not answer", limits.attempt_time_max, "limits.time")
    };
    let limit = humantime::format_duration(limit);
    CallError::new(ErrorKind::TimedOut, Stage::Run, format!("{what} within {limit}"))
        .with_help(format!("ask for less at once, or raise `{setting}`"))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> CallError {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    crate::bug!(Stage::Run, "the runner of a tool panicked: {text}")
}

fn report(attempt: &Attempt, error: Option<&CallError>) -> AttemptReport {
    AttemptReport {
        number: attempt.number,
        time: attempt.started.elapsed(),
        fuel: attempt.meter.fuel(),
        memory_bytes_peak: attempt.meter.memory_bytes_peak(),
        stdout: attempt.meter.stdout.captured(),
        stderr: attempt.meter.stderr.captured(),
        log: attempt.meter.log.captured(),
        error: error.cloned(),
    }
}

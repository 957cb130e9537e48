//! One attempt: it begins, runs to its end or its deadline, and is written down.

use std::pin::pin;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::Attempts;
use crate::deadline::{Deadline, after};
use crate::effect::Within;
use crate::guard::breaker::{self, Breaker, Permit};
use crate::guard::replay::Ticket;
use crate::guard::retry::Fence;
use crate::guard::slot::{Seat, Slot};
use crate::guard::usage::Charge;
use crate::inside::{self, Inside, Ties};
use crate::run::Attempt;
use crate::tell::{AttemptReport, CallError, CallSpan, ErrorKind, Event, Output, Stage, Trail};

/// An attempt, and what it holds. Dropping it gives everything back, and tells the breaker that nobody waited for the end.
pub(super) struct Begun {
    pub(super) attempt: Attempt,
    span: CallSpan,
    permit: Option<Permit>,
    /// Its part in the attempt around it.
    within: Option<Within>,
    /// What it uses.
    charge: Option<Charge>,
    seat: Seated,
    /// The deadline of its call.
    deadline: Deadline,
    /// Whether it was begun beside another one.
    is_hedge: bool,
}

/// The place of an attempt, as long as it runs; whoever still holds the attempt behind that does not hold the place.
struct Seated(Seat);

impl Drop for Seated {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Begun {
    /// Asks the breaker; then the attempt has begun.
    pub(super) fn begin(of: &Attempts, number: u32, slot: Slot, is_hedge: bool) -> Result<Begun, CallError> {
        let Attempts { call, guarding, host, retries, deadline, trail, ticket, leaves, .. } = of;
        let tool = &call.tool;
        let key = tool.guards.breaker_key.get_or_init(|| breaker::Key::tool(tool.key()));
        let breaker = tool.guards.watching(key, &guarding.breakers, tool.limits.attempt_time_max);
        let permit =
            breaker.as_ref().map(Breaker::acquire).transpose().map_err(|rejection| rejection.into_error(key))?;
        let started = Instant::now();
        let ends = deadline.at.min(after(started, tool.limits.attempt_time_max));
        let (teller, host) = (trail.teller.clone(), host.of_tool(tool).downgrade());
        let seat = Seat::new(slot);
        let tree = call.call.inside.as_ref().map(|around| around.tree().clone()).unwrap_or_default();
        let ties = Ties { host, retries: retries.clone(), seat: seat.clone(), leaves: leaves.clone(), tree };
        let attempt = Attempt::new(call.clone(), guarding.caller_key, number, started, ends, teller, ties);
        let attempt = attempt.under(ticket.as_ref().map(Ticket::hold));
        let enter = |around: &Inside| around.gate().enter(call, attempt.gate());
        let within = call.call.inside.as_ref().map(enter).transpose()?;
        let span = trail.span.attempt(number);
        trail.teller.tell(&Event::AttemptStarted { number });
        let charge = trail.bill.as_ref().map(|bill| bill.charge(&attempt));
        Ok(Begun { attempt, span, permit, within, charge, seat: Seated(seat), deadline: *deadline, is_hedge })
    }

    /// Runs the tool until its end or its deadline. Behind it, the attempt has no effect on the world any more.
    pub(super) async fn run(&self) -> Result<Output, CallError> {
        self.span.around(self.run_within()).await
    }

    async fn run_within(&self) -> Result<Output, CallError> {
        /// Closes the gate however the attempt ends, also when it is dropped.
        struct Close<'a>(&'a Attempt);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                self.0.gate().close();
            }
        }

        // Locals are dropped in reverse order: first the gate closes, then the running tool goes, and its place is free
        // when `self` goes. The tool is pinned here, because what is awaited by value is dropped at the end of the `await`.
        let attempt = &self.attempt;
        let mut result = {
            let running = async { attempt.call.tool.runner.run(attempt).await };
            let mut running = pin!(std::panic::AssertUnwindSafe(running).catch_unwind());
            let _close = Close(attempt);
            tokio::select! {
                biased;
                error = inside::ended_around(attempt) => Err(error),
                ended = running.as_mut() => match ended {
                    // What fails because nothing is done for it any more has not failed by itself.
                    Ok(result) => result.map_err(|error| match inside::is_over_around(attempt) {
                        Some(over) => over.because(error),
                        None => attempt.gate().explain(error),
                    }),
                    Err(panic) => Err(panicked(&*panic)),
                },
                () = attempt.clock.over() => Err(self.timed_out()),
                error = attempt.lost() => Err(error),
                error = attempt.call.call.wanted.cancelled(), if !attempt.call.tool.effect.may_change() => Err(error),
            }
        };
        // What it has begun and does not wait for was told to stop with it, and has to be as far before anybody hears of the end.
        if let Some(left) = attempt.gate().left_inside() {
            left.await;
        }
        // Behind this line nobody sees a secret: not those who listen, nor what keeps results.
        attempt.end(&mut result);
        result
    }

    /// Gives the place back, tells and writes down how it ended, and says what it did.
    pub(super) fn end(self, result: &Result<Output, CallError>, trail: &mut Trail) -> Fence {
        let fence = self.fence();
        let Begun { attempt, span, permit, within, charge, seat, is_hedge, .. } = self;
        drop((within, charge, seat));
        if let Some(mut permit) = permit {
            permit.began_later(attempt.clock.stood());
            match result {
                Err(error) if attempt.gate().is_counted(error) => permit.finish(breaker::Outcome::Ignored),
                _ => permit.settle(result),
            }
        }
        let report = AttemptReport { hedge: is_hedge, ..report(&attempt, result.as_ref().err()) };
        span.attempted(&report);
        trail.teller.tell(&Event::AttemptEnded { report: &report });
        let (effects, unlisted) = attempt.gate().records();
        trail.report.effects.extend(effects);
        trail.report.decisions.extend(attempt.gate().decisions());
        trail.report.effects_unlisted += unlisted;
        let (calls, unlisted) = attempt.gate().calls();
        trail.report.inside.extend(calls);
        trail.report.inside_unlisted += unlisted;
        trail.report.attempts.push(report);
        fence
    }

    /// What it has done so far.
    pub(super) fn fence(&self) -> Fence {
        let (effects, unlisted) = self.attempt.gate().records();
        let inside = Fence::from(self.attempt.gate().inside());
        let idempotent = self.attempt.call.tool.guards.idempotency.idempotent;
        match Fence::of(&effects, unlisted, idempotent).max(inside) {
            // What is declared of a tool holds for what it does by calling others, too.
            Fence::Effect { .. } => Fence::Effect { idempotent },
            fence => fence,
        }
    }

    fn timed_out(&self) -> CallError {
        let limit = self.attempt.call.tool.limits.attempt_time_max;
        if self.attempt.clock.deadline() < after(self.attempt.started, limit) + self.attempt.clock.stood() {
            let deadline = self.deadline.later_by(self.attempt.clock.stood(), &self.attempt.call.call);
            return deadline.passed(Stage::Run, "the call did not end", "ask for less at once");
        }
        let limit = humantime::format_duration(limit);
        CallError::new(ErrorKind::TimedOut, Stage::Run, format!("the tool did not answer within {limit}"))
            .with_help("ask for less at once, or raise `limits.time`")
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> CallError {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    crate::bug!(Stage::Run, "the runner of a tool panicked: {text}")
}

fn report(attempt: &Attempt, error: Option<&CallError>) -> AttemptReport {
    AttemptReport {
        number: attempt.number,
        time: attempt.took(),
        fuel: attempt.meter.fuel(),
        memory_bytes_peak: attempt.meter.memory_bytes_peak(),
        stdout: attempt.meter.stdout.captured(),
        stderr: attempt.meter.stderr.captured(),
        log: attempt.meter.log.captured(),
        instance: attempt.meter.instance(),
        error: error.cloned(),
        ..AttemptReport::default()
    }
}

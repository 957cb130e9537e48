//! The road of a call. Start reading here: [`Host::call`] is the whole life of a call on one screen.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::call::{Call, Caller, CallerKey, PermittedCall};
use crate::catalog::{Catalog, Tool, accept};
use crate::check::authorize::Access;
use crate::check::repeat::{RepeatSettings, Repetition};
use crate::check::{self, Check};
use crate::guard::slot::{Slot, Slots};
use crate::limits::HostLimits;
use crate::run::Attempt;
use crate::tell::{AttemptReport, CallError, ErrorKind, Event, Outcome, Output, Report, Sink, Stage, Trail};

/// A set of tools, and everything that is needed to run a call of one of them.
pub struct Host {
    catalog: Catalog,
    checks: Vec<Arc<dyn Check>>,
    slots: Slots,
    caller_key: CallerKey,
    sinks: Arc<[Arc<dyn Sink>]>,
    access: Access,
    repetition: Arc<Repetition>,
}

impl Host {
    /// A host of these tools, with the default limits, no further checks and nobody listening.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        let slots = Slots::new(HostLimits::default());
        Host {
            catalog,
            access: Access::default(),
            repetition: Arc::default(),
            checks: Vec::new(),
            slots,
            caller_key: CallerKey::fresh(),
            sinks: Arc::new([]),
        }
    }

    /// Sets what all calls together may use.
    #[must_use]
    pub fn with_limits(mut self, limits: HostLimits) -> Self {
        self.slots = Slots::new(limits);
        self
    }

    /// Sets who may use which tool.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Sets when a session that goes round in circles is told so, and stopped.
    #[must_use]
    pub fn with_repetition(mut self, settings: RepeatSettings) -> Self {
        self.repetition = Arc::new(Repetition::new(settings));
        self
    }

    /// Adds a check, behind those that are there.
    #[must_use]
    pub fn with_check(mut self, check: Arc<dyn Check>) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a listener.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sinks = self.sinks.iter().cloned().chain([sink]).collect();
        self
    }

    /// The tools that a caller may use.
    pub fn tools_of(&self, caller: &Caller) -> impl Iterator<Item = &Arc<Tool>> {
        self.catalog.tools().filter(|tool| self.access.allows(caller, &tool.name))
    }

    /// The tools.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Calls that run, and calls that wait for a place.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        self.slots.in_use()
    }

    /// Runs a call, from the first look at it to its outcome. There is always an outcome; a failure is one too.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call. A tool that only computes or reads is stopped with it; an attempt of a tool
    /// that may change something goes on to its own end, so that nobody is left with half of an effect.
    pub async fn call(&self, call: Call) -> Outcome {
        let mut trail = Trail::start(&call, self.sinks.clone());
        match self.admit(call, &mut trail).await {
            Ok(admitted) if admitted.call.tool.effect.may_change() => detached(admitted, trail).await,
            Ok(admitted) => attempt(admitted, trail).await,
            Err(error) => trail.end(Err(error)),
        }
    }

    /// From the request to a call that may run, and has a place to run in.
    async fn admit(&self, call: Call, trail: &mut Trail) -> Result<Admitted, CallError> {
        let tool = self.catalog.find_among(&call.tool, |tool| self.access.allows(&call.caller, tool))?;
        let accepted = accept(tool, call)?;
        trail.report.cast = accepted.cast.clone();
        trail.repeats = self.repetition.judge(&accepted)?;
        let permitted = check::permit(&self.checks, accepted).await?;

        let asked = Instant::now();
        let limit = permitted.tool.limits.call_time_max;
        let slot = self.slots.take(limit).await;
        let now = Instant::now();
        trail.report.waited = now - asked;
        let (call, caller_key) = (Arc::new(permitted), self.caller_key);
        Ok(Admitted { call, caller_key, now, deadline: after(asked, limit), slot: slot? })
    }
}

/// A call that may run, and has a place to run in.
struct Admitted {
    call: Arc<PermittedCall>,
    caller_key: CallerKey,
    now: Instant,
    deadline: Instant,
    slot: Slot,
}

/// What may change the world is not stopped half way because its caller went away: it runs in a task of its own.
async fn detached(admitted: Admitted, trail: Trail) -> Outcome {
    let call = admitted.call.clone();
    let task = tokio::spawn(attempt(admitted, trail));
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

/// One attempt, told and written down.
async fn attempt(admitted: Admitted, mut trail: Trail) -> Outcome {
    let Admitted { call, caller_key, now: started, deadline, slot } = admitted;
    let number = u32::try_from(trail.report.attempts.len() + 1).unwrap_or(u32::MAX);
    let deadline = deadline.min(after(started, call.tool.limits.attempt_time_max));
    let attempt = Attempt::new(call, caller_key, number, started, deadline, trail.teller.clone());
    trail.teller.tell(&Event::AttemptStarted { number });

    let result = run(&attempt, slot).await;

    trail.teller.tell(&Event::AttemptEnded { number, error: result.as_ref().err() });
    let (effects, unlisted) = attempt.gate().records();
    trail.report.effects.extend(effects);
    trail.report.effects_unlisted += unlisted;
    trail.report.attempts.push(report(&attempt, result.as_ref().err()));
    trail.end(result)
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
fn after(start: Instant, span: Duration) -> Instant {
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

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

//! When does a breaker open, and when does it close? A state machine without a clock: the time is always given.
//!
//! Each change begins a new generation. What a call brings back counts only for the generation that let it run: an answer
//! to a question of yesterday neither opens nor closes anything today.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;
use tokio::time::Instant;

use super::news::{Cause, Status, Transition};
use super::outcome::Outcome;
use super::rejection::{Refusal, Rejection};
use super::rules::Rules;
use super::settings::Judge;
use super::window::{Counts, Window};

/// So much of a request to be left alone is believed.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// Whoever is refused while others try it out may ask again so soon.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What the operator wants, whatever the calls say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Forced {
    Isolated { until: Option<Instant>, order: Order },
    Disabled(Order),
}

/// What the operator said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Who.
    pub by: Arc<str>,
    /// Why.
    pub why: Arc<str>,
}

/// What a call was let run with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) generation: u64,
    pub(super) started: Instant,
    pub(super) kind: TicketKind,
}

/// Why a call may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketKind {
    /// All is well.
    Normal,
    /// To find out whether all is well again.
    Probe,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { since: Instant },
    Open { until: Instant },
    HalfOpen(Trial),
}

/// Calls that try it out. Those that say nothing are taken back out of `issued`.
#[derive(Clone, Copy, Debug)]
struct Trial {
    issued: u32,
    running: u32,
    ended: Counts,
    good: u32,
    deadline: Instant,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Standard {
    rules: Rules,
    rng: Rng,
    generation: u64,
    state: State,
    window: Window,
    consecutive: u32,
    reopened: u32,
    hold_until: Option<Instant>,
    forced: Option<Forced>,
    last_failure: Option<&'static str>,
    /// What happened and was not yet fetched.
    pub(super) changes: Vec<Transition>,
}

impl Standard {
    pub(super) fn new(rules: Rules, rng: Rng, now: Instant) -> Self {
        Standard {
            window: Window::new(rules.window, now),
            rules,
            rng,
            generation: 0,
            state: State::Closed { since: now },
            consecutive: 0,
            reopened: 0,
            hold_until: None,
            forced: None,
            last_failure: None,
            changes: Vec::new(),
        }
    }

    /// May a call run?
    pub(super) fn acquire(&mut self, now: Instant) -> Result<Ticket, Rejection> {
        if let Some(rejection) = self.refuses(now) {
            return Err(rejection);
        }
        let ticket = |kind| Ticket { generation: self.generation, started: now, kind };
        if self.forced.is_some() {
            return Ok(ticket(TicketKind::Normal));
        }
        match &mut self.state {
            State::Closed { .. } => Ok(ticket(TicketKind::Normal)),
            // Whoever comes first after the wait makes the change; the lock around the machine lets only one be first.
            State::Open { .. } => {
                let deadline = after(now, self.rules.probe_time);
                let trial = Trial { issued: 0, running: 0, ended: Counts::default(), good: 0, deadline };
                self.change(State::HalfOpen(trial), Cause::Waited, Counts::default(), None);
                self.probe(now)
            }
            State::HalfOpen(_) => self.probe(now),
        }
    }

    /// A refusal that needs no change of state: the operator's, an open breaker's, a request to be left alone.
    pub(super) fn refuses(&mut self, now: Instant) -> Option<Rejection> {
        if let Some(Forced::Isolated { until: Some(until), .. }) = self.forced
            && now >= until
        {
            self.close(Cause::IsolationOver, None, now);
        }
        let held = self.hold_until.filter(|until| now < *until);
        match (&self.forced, self.state) {
            (Some(Forced::Disabled(_)), _) => None,
            (Some(Forced::Isolated { until, order }), _) => {
                let mut rejection = Rejection::new(Refusal::Isolated, until.map(|until| until - now));
                rejection.why = Some(order.why.clone());
                Some(rejection)
            }
            (None, State::Open { until }) if now < until => {
                let until = held.map_or(until, |held| held.max(until));
                Some(self.reject(Refusal::Open, until - now))
            }
            (None, _) => held.map(|until| self.reject(Refusal::Held, until - now)),
        }
    }

    fn probe(&mut self, now: Instant) -> Result<Ticket, Rejection> {
        let State::HalfOpen(trial) = &mut self.state else {
            return Err(self.reject(Refusal::HalfOpen, ASK_AGAIN));
        };
        if trial.running < self.rules.probes_at_once && trial.issued < self.rules.probes {
            trial.issued += 1;
            trial.running += 1;
            return Ok(Ticket { generation: self.generation, started: now, kind: TicketKind::Probe });
        }
        if now < trial.deadline || trial.running == 0 {
            return Err(self.reject(Refusal::HalfOpen, ASK_AGAIN));
        }
        let ended = trial.ended;
        self.reopened = self.reopened.saturating_add(1);
        let span = self.open(Cause::ProbeLost, ended, now);
        Err(self.reject(Refusal::Open, span))
    }

    /// A call that was let run came to its end. Says whether the end counts: whether nothing has changed since.
    pub(super) fn finish(&mut self, ticket: Ticket, outcome: Outcome, now: Instant) -> bool {
        if ticket.generation != self.generation {
            return false;
        }
        if self.forced.is_some() || !self.rules.watches {
            return true;
        }
        if let Outcome::Throttled { retry_after } = outcome {
            let until = after(now, retry_after.min(HOLD_MAX));
            self.hold_until = Some(self.hold_until.map_or(until, |held| held.max(until)));
        }
        let failed = match outcome {
            Outcome::Success => Some(false),
            Outcome::Failure(word) => {
                self.last_failure = Some(word);
                Some(true)
            }
            Outcome::Throttled { .. } | Outcome::Ignored | Outcome::Abandoned => None,
        };
        let slow = self.rules.is_slow(now.saturating_duration_since(ticket.started));
        let one = failed.map(|failed| Counts::one(failed, slow));
        match &mut self.state {
            State::Closed { since } => {
                let since = *since;
                if let Some(one) = one {
                    self.record(one, since, now);
                }
            }
            State::HalfOpen(trial) => {
                trial.running = trial.running.saturating_sub(1);
                match one {
                    Some(one) => self.judge_probe(one, now),
                    None => trial.issued = trial.issued.saturating_sub(1),
                }
            }
            State::Open { .. } => {}
        }
        true
    }

    fn record(&mut self, one: Counts, since: Instant, now: Instant) {
        if now.saturating_duration_since(since) >= self.rules.open_for(self.reopened) {
            self.reopened = 0;
        }
        self.window.add(one, now);
        self.consecutive = if one.failed > 0 { self.consecutive.saturating_add(1) } else { 0 };
        let counts = self.window.counts(now);
        let in_a_row = self.rules.consecutive > 0 && self.consecutive >= self.rules.consecutive;
        let least = self.rules.rates.map_or(0, |rates| rates.min_throughput);
        let cause = if in_a_row { Some(Cause::Consecutive) } else { self.rules.judge(counts, least) };
        if let Some(cause) = cause {
            self.open(cause, counts, now);
        }
    }

    fn judge_probe(&mut self, one: Counts, now: Instant) {
        let State::HalfOpen(trial) = &mut self.state else { return };
        let is_bad = one.failed + one.slow > 0;
        trial.ended = trial.ended.plus(one);
        trial.good += u32::from(!is_bad);
        let (ended, good) = (trial.ended, trial.good);
        let is_over = ended.total >= u64::from(self.rules.probes);
        match self.rules.judge {
            Judge::First if is_bad => self.reopen(ended, now),
            Judge::First if good >= self.rules.successes_to_close => {
                self.close(Cause::ProbesSucceeded, Some(ended), now)
            }
            Judge::Rate if is_over && self.rules.judge(ended, 1).is_some() => self.reopen(ended, now),
            Judge::Rate if is_over => self.close(Cause::ProbesSucceeded, Some(ended), now),
            Judge::First | Judge::Rate => {}
        }
    }

    fn reopen(&mut self, ended: Counts, now: Instant) {
        self.reopened = self.reopened.saturating_add(1);
        self.open(Cause::ProbeFailed, ended, now);
    }

    fn open(&mut self, cause: Cause, counts: Counts, now: Instant) -> Duration {
        let jitter = 1.0 + self.rules.jitter * (2.0 * self.rng.f64() - 1.0);
        let span = self.rules.open_for(self.reopened);
        let span = Duration::try_from_secs_f64(span.as_secs_f64() * jitter).unwrap_or(span);
        self.change(State::Open { until: after(now, span) }, cause, counts, Some(span));
        span
    }

    /// Closes with an empty window; the request to be left alone stays in force.
    fn close(&mut self, cause: Cause, counts: Option<Counts>, now: Instant) {
        let counts = counts.unwrap_or_else(|| self.window.counts(now));
        self.window = Window::new(self.rules.window, now);
        self.consecutive = 0;
        self.force(None, State::Closed { since: now }, cause, counts, None);
    }

    fn change(&mut self, to: State, cause: Cause, counts: Counts, open_for: Option<Duration>) {
        self.force(self.forced.clone(), to, cause, counts, open_for);
    }

    fn force(&mut self, forced: Option<Forced>, to: State, cause: Cause, counts: Counts, open_for: Option<Duration>) {
        let from = self.status();
        self.generation = self.generation.saturating_add(1);
        self.forced = forced;
        self.state = to;
        let (seq, to, reopened) = (self.generation, self.status(), self.reopened);
        self.changes.push(Transition { seq, from, to, cause, counts, reopened, open_for });
    }

    pub(super) fn reject(&self, refusal: Refusal, retry_after: Duration) -> Rejection {
        Rejection { last_failure: self.last_failure, ..Rejection::new(refusal, Some(retry_after)) }
    }
}

/// What the operator does, and what the list shows.
impl Standard {
    /// Refuses every call from now on, or until then.
    pub(super) fn isolate(&mut self, by: &str, why: &str, until: Option<Instant>, now: Instant) {
        let order = Order { by: by.into(), why: why.into() };
        let forced = Forced::Isolated { until, order: order.clone() };
        self.command(Some(forced), order, now);
    }

    /// Lets every call through from now on.
    pub(super) fn disable(&mut self, by: &str, why: &str, now: Instant) {
        let order = Order { by: by.into(), why: why.into() };
        self.command(Some(Forced::Disabled(order.clone())), order, now);
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self, by: &str, why: &str, now: Instant) {
        self.command(None, Order { by: by.into(), why: why.into() }, now);
    }

    /// What the operator does begins with a clean sheet.
    fn command(&mut self, forced: Option<Forced>, order: Order, now: Instant) {
        self.window = Window::new(self.rules.window, now);
        self.consecutive = 0;
        self.reopened = 0;
        self.hold_until = None;
        self.last_failure = None;
        self.force(forced, State::Closed { since: now }, Cause::Operator(order), Counts::default(), None);
    }

    /// Goes on by other rules. What the operator wants stays in force, and so does a wait that has begun.
    pub(super) fn renew(&mut self, rules: Rules, now: Instant) {
        let to = match self.state {
            State::Open { until } if rules.watches => State::Open { until },
            // Its probes belong to the generation before; others are sent.
            State::HalfOpen(_) if rules.watches => State::Open { until: now },
            _ => State::Closed { since: now },
        };
        self.rules = rules;
        self.window = Window::new(self.rules.window, now);
        self.consecutive = 0;
        self.change(to, Cause::Settings, Counts::default(), None);
    }

    pub(super) fn status(&self) -> Status {
        match (&self.forced, self.state) {
            (Some(Forced::Isolated { .. }), _) => Status::Isolated,
            (Some(Forced::Disabled(_)), _) => Status::Disabled,
            (None, State::Closed { .. }) => Status::Closed,
            (None, State::Open { .. }) => Status::Open,
            (None, State::HalfOpen(_)) => Status::HalfOpen,
        }
    }

    pub(super) fn show(&self, now: Instant) -> Shown {
        let until = match (&self.forced, self.state) {
            (Some(Forced::Isolated { until, .. }), _) => *until,
            (None, State::Open { until }) => Some(until),
            _ => None,
        };
        let left = |until: Option<Instant>| until.map(|until| until.saturating_duration_since(now));
        Shown {
            status: self.status(),
            generation: self.generation,
            counts: self.window.counts(now),
            consecutive: self.consecutive,
            reopened: self.reopened,
            ends_in: left(until),
            held_for: left(self.hold_until).filter(|held| !held.is_zero()),
            last_failure: self.last_failure,
            forced: self.forced.as_ref().map(|forced| match forced {
                Forced::Isolated { order, .. } | Forced::Disabled(order) => order.clone(),
            }),
        }
    }

    /// Whether nothing is lost when it is forgotten.
    pub(super) fn is_blank(&self, now: Instant) -> bool {
        let State::Closed { since } = self.state else { return false };
        let is_streak_over = now.saturating_duration_since(since) >= self.rules.open_for(self.reopened);
        self.forced.is_none() && self.window.is_blank(now) && (self.reopened == 0 || is_streak_over)
    }

    pub(super) fn is_forced(&self) -> bool {
        self.forced.is_some()
    }
}

/// What a machine shows of itself.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) status: Status,
    pub(super) generation: u64,
    pub(super) counts: Counts,
    pub(super) consecutive: u32,
    pub(super) reopened: u32,
    pub(super) ends_in: Option<Duration>,
    pub(super) held_for: Option<Duration>,
    pub(super) last_failure: Option<&'static str>,
    pub(super) forced: Option<Order>,
}

/// So much later. A span that no clock can show is never over.
pub(super) fn after(start: Instant, span: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);
    start.checked_add(span).unwrap_or(start + NEVER)
}

//! The table once more, written to be read and not to be fast: what the real breaker is compared with.

use toolpost_core::guard::breaker::{Counts, Outcome, Refusal, StandardSettings, Status, TicketKind};

/// Milliseconds since the beginning.
type Time = u64;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    Closed(Time),
    Open(Time),
    HalfOpen { issued: u32, running: u32, good: u32, ended: Counts, deadline: Time },
    Isolated(Option<Time>),
    Disabled,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) settings: StandardSettings,
    pub(crate) now: Time,
    pub(crate) generation: u64,
    pub(crate) state: State,
    pub(crate) row: u32,
    pub(crate) reopened: u32,
    hold: Time,
    /// When each call of this window ended, and how.
    ended: Vec<(Time, Counts)>,
    window_began: Time,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) generation: u64,
    pub(crate) kind: TicketKind,
    started: Time,
}

impl Model {
    pub(crate) fn new(settings: StandardSettings) -> Self {
        Model {
            settings,
            now: 0,
            generation: 0,
            state: State::Closed(0),
            row: 0,
            reopened: 0,
            hold: 0,
            ended: Vec::new(),
            window_began: 0,
        }
    }

    pub(crate) fn status(&self) -> Status {
        match self.state {
            State::Closed(_) => Status::Closed,
            State::Open(_) => Status::Open,
            State::HalfOpen { .. } => Status::HalfOpen,
            State::Isolated(_) => Status::Isolated,
            State::Disabled => Status::Disabled,
        }
    }

    /// A window of a minute, in tenths.
    pub(crate) fn counts(&self) -> Counts {
        let tenth = |time: Time| (time - self.window_began) / 6_000;
        let recent = self.ended.iter().filter(|(time, _)| tenth(self.now) - tenth(*time) < 10);
        recent.fold(Counts::default(), |sum, (_, one)| plus(sum, *one))
    }

    pub(crate) fn acquire(&mut self) -> Result<Ticket, (Refusal, Option<Time>)> {
        let now = self.now;
        if matches!(self.state, State::Isolated(Some(until)) if now >= until) {
            self.close();
        }
        let kind = match self.state {
            State::Disabled => TicketKind::Normal,
            State::Isolated(until) => return Err((Refusal::Isolated, until.map(|until| until - now))),
            State::Open(until) if now < until => return Err((Refusal::Open, Some(until.max(self.hold) - now))),
            _ if now < self.hold => return Err((Refusal::Held, Some(self.hold - now))),
            State::Closed(_) => TicketKind::Normal,
            State::Open(_) => {
                let deadline = now + 60_000;
                self.become_(State::HalfOpen { issued: 0, running: 0, good: 0, ended: Counts::default(), deadline });
                return self.acquire();
            }
            State::HalfOpen { ref mut issued, ref mut running, deadline, .. } => {
                if *running < self.settings.probes_at_once && *issued < self.settings.probes {
                    *issued += 1;
                    *running += 1;
                    TicketKind::Probe
                } else if now >= deadline && *running > 0 {
                    self.reopened += 1;
                    self.open();
                    return self.acquire();
                } else {
                    return Err((Refusal::HalfOpen, Some(1_000)));
                }
            }
        };
        Ok(Ticket { generation: self.generation, kind, started: now })
    }

    /// Says whether the end counts.
    pub(crate) fn end(&mut self, ticket: Ticket, outcome: Outcome) -> bool {
        if ticket.generation != self.generation {
            return false;
        }
        if self.state == State::Disabled {
            return true;
        }
        if let Outcome::Throttled { retry_after } = outcome {
            self.hold = self.hold.max(self.now + (retry_after.as_millis() as u64).min(60_000));
        }
        let failed = match outcome {
            Outcome::Success => 0,
            Outcome::Failure(_) => 1,
            _ => {
                if let State::HalfOpen { issued, running, .. } = &mut self.state {
                    *issued -= 1;
                    *running -= 1;
                }
                return true;
            }
        };
        let slow_call = self.settings.slow_call.map_or(u64::MAX, |span| span.0.as_millis() as u64);
        let one = Counts { total: 1, failed, slow: u64::from(self.now - ticket.started >= slow_call) };
        match self.state {
            State::Closed(since) => self.record(one, since),
            State::HalfOpen { .. } => self.probed(one),
            _ => panic!("{:?} gave a permit", self.state),
        }
        true
    }

    fn record(&mut self, one: Counts, since: Time) {
        if self.now - since >= self.open_for() {
            self.reopened = 0;
        }
        self.ended.push((self.now, one));
        self.row = if one.failed == 1 { self.row + 1 } else { 0 };
        let counts = self.counts();
        let rate = |part: u64| part as f64 / counts.total as f64;
        let enough = counts.total >= u64::from(self.settings.min_throughput);
        let failing = rate(counts.failed) >= self.settings.failure_rate.0;
        let slow = self.settings.slow_rate.is_some_and(|slow| rate(counts.slow) >= slow.0);
        if self.row == self.settings.consecutive || enough && (failing || slow) {
            self.open();
        }
    }

    fn probed(&mut self, one: Counts) {
        let State::HalfOpen { running, good, .. } = &mut self.state else { return };
        *running -= 1;
        if one.failed + one.slow > 0 {
            self.reopened += 1;
            self.open();
            return;
        }
        *good += 1;
        if *good == self.settings.successes_to_close {
            self.close();
        }
    }

    fn open_for(&self) -> Time {
        (30_000 << self.reopened.min(10)).min(300_000)
    }

    fn open(&mut self) {
        self.become_(State::Open(self.now + self.open_for()));
    }

    fn close(&mut self) {
        (self.row, self.window_began) = (0, self.now);
        self.ended.clear();
        self.become_(State::Closed(self.now));
    }

    /// What the operator does.
    pub(crate) fn force(&mut self, state: State) {
        self.close();
        (self.reopened, self.hold) = (0, 0);
        self.generation -= 1;
        self.become_(state);
    }

    fn become_(&mut self, state: State) {
        self.generation += 1;
        self.state = state;
    }
}

fn plus(one: Counts, other: Counts) -> Counts {
    Counts { total: one.total + other.total, failed: one.failed + other.failed, slow: one.slow + other.slow }
}

//! What the lock of a breaker is around: the machine that its settings ask for, and the counts that every kind has.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;
use tokio::time::Instant;

use super::adaptive::Adaptive;
use super::key::Key;
use super::news::{News, Outbox, Status};
use super::outcome::Outcome;
use super::rejection::Rejection;
use super::rules::Rules;
use super::settings::{Custom, CustomJudge, Settings};
use super::standard::{Order, Standard, Ticket};
use super::window::Counts;

/// Refused calls are told no more often than that.
const REFUSED_EVERY: Duration = Duration::from_secs(1);

/// What a breaker shows of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// What it watches.
    pub key: Key,
    /// The kind of its settings.
    pub kind: &'static str,
    /// What it is doing.
    pub status: Status,
    /// How often it changed.
    pub generation: u64,
    /// For how long it goes on doing that, if it will end by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_in: Option<Duration>,
    /// For how long it was asked to leave the tool alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_for: Option<Duration>,
    /// What is in the window.
    pub counts: Counts,
    /// Failures in a row.
    pub consecutive: u32,
    /// How often in succession it opened again.
    pub reopened: u32,
    /// Calls that run now.
    pub running: u32,
    /// So many calls may run at once now, where the breaker is adaptive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u32>,
    /// The part of the calls that is refused now, where the breaker is adaptive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_share: Option<f64>,
    /// Calls that were let through, since the breaker is there.
    pub admitted: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Ends of calls that came too late to count.
    pub stale: u64,
    /// The last failure, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<&'static str>,
    /// Who isolated or disabled it, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced: Option<Order>,
}

/// What the lock is around.
pub(super) struct Core {
    settings: Settings,
    attempt_time_max: Duration,
    pub(super) standard: Standard,
    adaptive: Option<Adaptive>,
    rng: Rng,
    // Counted here and not in the machine: a call gives its place back also when its end does not count.
    running: u32,
    admitted: u64,
    refused: u64,
    stale: u64,
    refused_untold: u64,
    refused_told: Option<Instant>,
    used: Instant,
    pub(super) outbox: Outbox,
}

impl Core {
    pub(super) fn new(settings: Settings, attempt_time_max: Duration, mut rng: Rng, now: Instant) -> Self {
        Core {
            standard: Standard::new(rules(&settings, attempt_time_max), rng.fork(), now),
            adaptive: adaptive(&settings, attempt_time_max, &mut rng, now),
            settings,
            attempt_time_max,
            rng,
            running: 0,
            admitted: 0,
            refused: 0,
            stale: 0,
            refused_untold: 0,
            refused_told: None,
            used: now,
            outbox: Outbox::default(),
        }
    }

    pub(super) fn acquire(&mut self, now: Instant) -> Result<Ticket, Rejection> {
        self.used = now;
        let ticket = match &mut self.adaptive {
            Some(adaptive) => adaptive.acquire(&mut self.standard, self.running, now),
            None => self.standard.acquire(now),
        }?;
        self.running = self.running.saturating_add(1);
        self.admitted += 1;
        Ok(ticket)
    }

    pub(super) fn finish(&mut self, ticket: Ticket, outcome: Outcome, now: Instant) -> bool {
        self.used = now;
        let counts = self.standard.finish(ticket, outcome, now);
        if let Some(adaptive) = self.adaptive.as_mut().filter(|_| counts && !self.standard.is_forced()) {
            adaptive.finish(now.saturating_duration_since(ticket.started), outcome, self.running, now);
        }
        self.running = self.running.saturating_sub(1);
        self.stale += u64::from(!counts);
        counts
    }

    /// A custom breaker refused the call after all.
    pub(super) fn give_back(&mut self) {
        self.running = self.running.saturating_sub(1);
        self.admitted -= 1;
    }

    pub(super) fn is_idle(&self, idle: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.used) > idle && self.is_blank(now)
    }

    fn is_blank(&self, now: Instant) -> bool {
        self.standard.is_blank(now) && self.adaptive.as_ref().is_none_or(|adaptive| adaptive.is_blank(now))
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self, by: &str, why: &str, now: Instant) {
        self.standard.reset(by, why, now);
        self.adaptive = adaptive(&self.settings, self.attempt_time_max, &mut self.rng, now);
    }

    pub(super) fn refuse(&mut self, rejection: Rejection, now: Instant) -> Rejection {
        self.refused += 1;
        self.refused_untold += 1;
        if self.refused_told.is_none_or(|told| now.saturating_duration_since(told) >= REFUSED_EVERY) {
            self.refused_told = Some(now);
            // What led to the refusal is told before it.
            self.queue_news();
            let calls = std::mem::take(&mut self.refused_untold);
            let Rejection { refusal, retry_after, .. } = rejection;
            self.outbox.push(News::Refused { refusal, retry_after, calls });
        }
        rejection
    }

    pub(super) fn adopt(&mut self, settings: &Settings, attempt_time_max: Duration, now: Instant) {
        if self.settings == *settings && self.attempt_time_max == attempt_time_max {
            return;
        }
        self.standard.renew(rules(settings, attempt_time_max), now);
        self.adaptive = adaptive(settings, attempt_time_max, &mut self.rng, now);
        self.settings = settings.clone();
        self.attempt_time_max = attempt_time_max;
    }

    pub(super) fn queue_news(&mut self) {
        for change in self.standard.changes.drain(..) {
            self.outbox.push(News::Changed(change));
        }
    }

    pub(super) fn custom(&self) -> Option<Arc<dyn Custom>> {
        match &self.settings {
            Settings::Custom(CustomJudge(custom)) => Some(custom.clone()),
            _ => None,
        }
    }

    pub(super) fn show(&self, key: &Key, now: Instant) -> Snapshot {
        let (shown, adaptive) = (self.standard.show(now), self.adaptive.as_ref());
        Snapshot {
            key: key.clone(),
            kind: self.settings.kind(),
            status: shown.status,
            generation: shown.generation,
            ends_in: shown.ends_in,
            held_for: shown.held_for,
            counts: shown.counts,
            consecutive: shown.consecutive,
            reopened: shown.reopened,
            running: self.running,
            at_once: adaptive.map(|machine| machine.limit()),
            refused_share: adaptive.map(|machine| machine.refused_share(now)),
            admitted: self.admitted,
            refused: self.refused,
            stale: self.stale,
            last_failure: shown.last_failure,
            forced: shown.forced,
        }
    }
}

fn rules(settings: &Settings, attempt_time_max: Duration) -> Rules {
    match settings {
        Settings::None | Settings::Custom(_) => Rules::none(),
        Settings::Standard(settings) => Rules::new(settings, attempt_time_max),
        Settings::Adaptive(settings) => Rules::backstop(settings, attempt_time_max),
    }
}

fn adaptive(settings: &Settings, attempt_time_max: Duration, rng: &mut Rng, now: Instant) -> Option<Adaptive> {
    match settings {
        Settings::Adaptive(settings) => Some(Adaptive::new(settings.clone(), rng.fork(), attempt_time_max, now)),
        Settings::None | Settings::Standard(_) | Settings::Custom(_) => None,
    }
}

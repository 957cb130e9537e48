//! How much should go through? As much as succeeds, and a little more.
//!
//! In this order: what asked to be left alone is left alone, and so is what the backstop has given up; a throttle refuses a
//! part of the calls, by what was asked and what succeeded of late (the client's throttle of Google's SRE book, chapter 21);
//! a limit on calls at once rises by one with a success and falls by a tenth with a failure.
//!
//! The throttle needs no half-open state: it always lets a few through. The backstop is there so that a dead server costs no
//! calls at all, and the one who calls hears for how long.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::outcome::Outcome;
use super::rejection::{Refusal, Rejection};
use super::settings::AdaptiveSettings;
use super::standard::{ASK_AGAIN, Standard, Ticket};
use super::window::Buckets;

/// The median of so many calls says how long a call takes.
const TIMES_MAX: usize = 33;

/// Calls that were asked for, refused ones too, and calls that succeeded.
#[derive(Debug, Default)]
struct Asked {
    asked: u64,
    accepted: u64,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Adaptive {
    settings: AdaptiveSettings,
    rng: Rng,
    calls: Buckets<Asked>,
    limit: u32,
    lowered: Option<Instant>,
    times: VecDeque<Duration>,
}

impl Adaptive {
    pub(super) fn new(settings: AdaptiveSettings, rng: Rng, attempt_time_max: Duration, now: Instant) -> Self {
        // Within a shorter window, calls that are still running would look like failures.
        let window = settings.window.0.max(attempt_time_max.saturating_mul(4));
        let (calls, limit) = (Buckets::new(window, now), settings.at_once.max(1));
        Adaptive { settings, rng, calls, limit, lowered: None, times: VecDeque::new() }
    }

    /// May a call run, while so many are running?
    pub(super) fn acquire(&mut self, backstop: &mut Standard, running: u32, now: Instant) -> Result<Ticket, Rejection> {
        let refused = backstop.refuses(now);
        if backstop.is_forced() {
            return refused.map_or_else(|| backstop.acquire(now), Err);
        }
        let share = self.refused_share(now);
        // Counted now and not at the end: an outage would stay unseen for as long as a call takes.
        self.calls.change(now, |calls| calls.asked += 1);
        if let Some(rejection) = refused {
            return Err(rejection);
        }
        if self.rng.f64() < share {
            return Err(backstop.reject(Refusal::Throttled, ASK_AGAIN));
        }
        if running >= self.limit {
            return Err(backstop.reject(Refusal::Full, ASK_AGAIN));
        }
        backstop.acquire(now)
    }

    /// A call came to an end that counts, while so many were running, itself included.
    pub(super) fn finish(&mut self, took: Duration, outcome: Outcome, running: u32, now: Instant) {
        match outcome {
            Outcome::Success => {
                self.calls.change(now, |calls| calls.accepted += 1);
                self.note(took);
                // A limit that nobody reaches says nothing, and must not rise.
                if running.saturating_mul(2) >= self.limit {
                    self.limit = self.limit.saturating_add(1).min(self.settings.at_once_max);
                }
            }
            Outcome::Failure(_) => {
                self.note(took);
                self.lower(now);
            }
            Outcome::Throttled { .. } => self.lower(now),
            Outcome::Ignored | Outcome::Abandoned => {}
        }
    }

    /// The part of the calls that is refused.
    pub(super) fn refused_share(&self, now: Instant) -> f64 {
        let AdaptiveSettings { multiplier, pad, refuse_max, .. } = self.settings;
        let (asked, accepted) = self.calls.recent(now).fold((0.0, 0.0), |(asked, accepted), calls| {
            (asked + calls.asked as f64, accepted + calls.accepted as f64)
        });
        ((asked - multiplier * accepted - f64::from(pad)) / (asked + 1.0)).max(0.0).min(refuse_max)
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether nothing is lost when it is forgotten.
    pub(super) fn is_blank(&self, now: Instant) -> bool {
        self.calls.recent(now).next().is_none()
    }

    /// At most once in the time that a call takes: calls that ran together failed for one reason.
    fn lower(&mut self, now: Instant) {
        let median = self.median();
        if self.lowered.is_some_and(|lowered| now.saturating_duration_since(lowered) < median) {
            return;
        }
        self.lowered = Some(now);
        self.limit =
            (u64::from(self.limit) * 9 / 10).try_into().unwrap_or(u32::MAX).max(self.settings.at_once_min).max(1);
    }

    fn note(&mut self, took: Duration) {
        if self.times.len() >= TIMES_MAX {
            self.times.pop_front();
        }
        self.times.push_back(took);
    }

    fn median(&self) -> Duration {
        let mut times: Vec<Duration> = self.times.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

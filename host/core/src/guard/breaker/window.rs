//! What happened lately? Counts over a span of time, in buckets, or over a number of calls, in a ring.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::settings::WindowSettings;

/// A span is cut into so many buckets; the oldest falls out as a whole.
const BUCKETS: u64 = 10;

/// How many calls ended, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls that count: those that succeeded and those that failed.
    pub total: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that were slow, whether they failed or not.
    pub slow: u64,
}

impl Counts {
    pub(super) fn one(failed: bool, slow: bool) -> Self {
        Counts { total: 1, failed: failed.into(), slow: slow.into() }
    }

    pub(super) fn plus(self, other: Counts) -> Self {
        Counts { total: self.total + other.total, failed: self.failed + other.failed, slow: self.slow + other.slow }
    }

    fn minus(self, other: Counts) -> Self {
        Counts {
            total: self.total.saturating_sub(other.total),
            failed: self.failed.saturating_sub(other.failed),
            slow: self.slow.saturating_sub(other.slow),
        }
    }
}

/// The counts that the rates of a breaker are made of.
#[derive(Debug)]
pub(super) enum Window {
    Time(Buckets<Counts>),
    Calls { ring: VecDeque<Counts>, most: usize, sum: Counts },
}

impl Window {
    pub(super) fn new(settings: WindowSettings, now: Instant) -> Self {
        match settings {
            WindowSettings::Time(span) => Window::Time(Buckets::new(span.0, now)),
            WindowSettings::Calls(most) => {
                Window::Calls { ring: VecDeque::new(), most: most as usize, sum: Counts::default() }
            }
        }
    }

    pub(super) fn add(&mut self, call: Counts, now: Instant) {
        match self {
            Window::Time(buckets) => buckets.change(now, |counts| *counts = counts.plus(call)),
            Window::Calls { ring, most, sum } => {
                if ring.len() >= *most
                    && let Some(oldest) = ring.pop_front()
                {
                    *sum = sum.minus(oldest);
                }
                ring.push_back(call);
                *sum = sum.plus(call);
            }
        }
    }

    /// Whether nothing is lost when it is forgotten. The calls of a ring get no older by themselves: for it, not to be used
    /// is enough.
    pub(super) fn is_blank(&self, now: Instant) -> bool {
        match self {
            Window::Time(buckets) => buckets.recent(now).next().is_none(),
            Window::Calls { .. } => true,
        }
    }

    /// The sum over what is in the window now.
    pub(super) fn counts(&self, now: Instant) -> Counts {
        match self {
            Window::Time(buckets) => buckets.recent(now).fold(Counts::default(), |sum, counts| sum.plus(*counts)),
            Window::Calls { sum, .. } => *sum,
        }
    }
}

/// Something counted by time. Only buckets in which something happened take room.
#[derive(Debug)]
pub(super) struct Buckets<T> {
    origin: Instant,
    width: Duration,
    buckets: VecDeque<(u64, T)>,
}

impl<T: Default> Buckets<T> {
    pub(super) fn new(span: Duration, now: Instant) -> Self {
        let width = (span / BUCKETS as u32).max(Duration::from_nanos(1));
        Buckets { origin: now, width, buckets: VecDeque::new() }
    }

    /// Changes the count of now.
    pub(super) fn change(&mut self, now: Instant, change: impl FnOnce(&mut T)) {
        let newest = self.buckets.back().map_or(0, |(at, _)| *at);
        // Two threads may read the clock in one order and come here in the other.
        let at = self.at(now).max(newest);
        while self.buckets.front().is_some_and(|(old, _)| is_past(*old, at)) {
            self.buckets.pop_front();
        }
        if self.buckets.back().is_none_or(|(newest, _)| *newest != at) {
            self.buckets.push_back((at, T::default()));
        }
        if let Some((_, count)) = self.buckets.back_mut() {
            change(count);
        }
    }

    /// The counts that are not yet past.
    pub(super) fn recent(&self, now: Instant) -> impl Iterator<Item = &T> {
        let at = self.at(now);
        self.buckets.iter().filter(move |(old, _)| !is_past(*old, at)).map(|(_, count)| count)
    }

    fn at(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(elapsed / self.width.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

fn is_past(old: u64, now: u64) -> bool {
    now.saturating_sub(old) >= BUCKETS
}

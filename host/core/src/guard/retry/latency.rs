//! How long does it take when it works? What a tool's last successes took: enough to see that too little time is left for
//! another attempt, and that one is slow enough to start a second beside it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many successes are remembered.
pub const SUCCESSES_MAX: usize = 128;

/// How many must be known before one is called slow.
pub const SUCCESSES_TO_HEDGE: usize = 20;

/// The least time that is left for an attempt, and the least after which a second is started beside it.
pub const ATTEMPT_TIME_LEAST: Duration = Duration::from_millis(50);

/// What the last successful attempts of a tool took.
#[derive(Debug, Default)]
pub struct Latencies(Mutex<VecDeque<Duration>>);

impl Latencies {
    /// An attempt succeeded, and took so long.
    pub fn succeeded(&self, time: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() >= SUCCESSES_MAX {
            times.pop_front();
        }
        times.push_back(time);
    }

    /// Takes over what another one remembers.
    pub fn remember(&self, other: &Latencies) {
        let times = other.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = times;
    }

    /// The time that another attempt should have before it is worth starting: 50 ms, or the median if that is more.
    #[must_use]
    pub fn floor(&self) -> Duration {
        self.percentile(50, 1).unwrap_or_default().max(ATTEMPT_TIME_LEAST)
    }

    /// The time within which 95 of a hundred are done, once enough is known to call anything slow.
    #[must_use]
    pub fn p95(&self) -> Option<Duration> {
        self.percentile(95, SUCCESSES_TO_HEDGE)
    }

    /// The time within which so many of a hundred are done, by nearest rank.
    fn percentile(&self, percent: usize, least: usize) -> Option<Duration> {
        let mut times: Vec<Duration> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        if times.len() < least {
            return None;
        }
        let rank = (times.len() * percent).div_ceil(100).checked_sub(1)?;
        times.sort_unstable();
        times.get(rank).copied()
    }
}

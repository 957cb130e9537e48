//! What makes a breaker open? Settings, with nothing left open: defaults that depend on the time of an attempt are filled in.

use std::time::Duration;

use super::news::Cause;
use super::settings::{AdaptiveSettings, Judge, StandardSettings, WindowSettings};
use super::window::Counts;

/// Settings, with nothing left open.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Whether results are looked at.
    pub(super) watches: bool,
    pub(super) consecutive: u32,
    /// The rates and the slow calls; nothing for a breaker that knows only failures in a row.
    pub(super) rates: Option<Rates>,
    pub(super) window: WindowSettings,
    pub(super) open: Duration,
    pub(super) open_max: Duration,
    pub(super) jitter: f64,
    pub(super) probes: u32,
    pub(super) probes_at_once: u32,
    pub(super) successes_to_close: u32,
    pub(super) judge: Judge,
    pub(super) probe_time: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) failure: f64,
    pub(super) slow: Option<(Duration, f64)>,
    pub(super) min_throughput: u64,
}

impl Rules {
    pub(super) fn new(settings: &StandardSettings, attempt_time_max: Duration) -> Self {
        let slow_call = settings.slow_call.map_or(attempt_time_max.mul_f64(0.8), |span| span.0);
        let slow_rate = settings.slow_rate.map_or(1.0, |rate| rate.0);
        let is_slow_on = settings.slow_call.is_some() || settings.slow_rate.is_some();
        let probe_time = attempt_time_max.saturating_mul(2).max(Duration::from_secs(60));
        Rules {
            watches: true,
            consecutive: settings.consecutive,
            rates: Some(Rates {
                failure: settings.failure_rate.0,
                slow: is_slow_on.then_some((slow_call, slow_rate)),
                min_throughput: settings.min_throughput.into(),
            }),
            window: settings.window,
            open: settings.open.0,
            open_max: settings.open_max.0,
            jitter: settings.jitter,
            // Read settings keep to this; those that a program makes up might leave it half-open for ever.
            probes: settings.probes.max(1),
            probes_at_once: settings.probes_at_once.max(1),
            successes_to_close: settings.successes_to_close.clamp(1, settings.probes.max(1)),
            judge: settings.judge,
            probe_time: settings.probe_time.map_or(probe_time, |span| span.0),
        }
    }

    /// The rules of a breaker that knows only failures in a row, behind an adaptive one.
    pub(super) fn backstop(settings: &AdaptiveSettings, attempt_time_max: Duration) -> Self {
        let standard = StandardSettings { consecutive: settings.consecutive, ..StandardSettings::default() };
        Rules { rates: None, ..Rules::new(&standard, attempt_time_max) }
    }

    /// The rules of a breaker that looks at nothing.
    pub(super) fn none() -> Self {
        Rules { watches: false, ..Rules::new(&StandardSettings::default(), Duration::ZERO) }
    }

    pub(super) fn is_slow(&self, took: Duration) -> bool {
        let slow = self.rates.and_then(|rates| rates.slow);
        slow.is_some_and(|(slow, _)| took >= slow)
    }

    /// What the rates say about these counts.
    pub(super) fn judge(&self, counts: Counts, least: u64) -> Option<Cause> {
        let rates = self.rates.filter(|_| counts.total >= least.max(1))?;
        let rate = |part: u64| part as f64 / counts.total as f64;
        if rate(counts.failed) >= rates.failure {
            return Some(Cause::FailureRate);
        }
        rates.slow.filter(|(_, slow)| rate(counts.slow) >= *slow).map(|_| Cause::SlowRate)
    }

    /// For how long it stays open after having opened again so often.
    pub(super) fn open_for(&self, reopened: u32) -> Duration {
        self.open.saturating_mul(1 << reopened.min(10)).min(self.open_max)
    }
}

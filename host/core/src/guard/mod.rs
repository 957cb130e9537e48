//! What keeps a call safe while it runs? Each guard hands out a value; dropping it gives back what was taken.

// Has it been done before?
pub mod replay;

// Is the answer known?
pub mod cache;

// Who may run now
pub mod rate;
pub mod slot;
pub(crate) mod turn;
pub mod usage;

// Is it well enough to be called?
pub mod breaker;

// Whether it may run again
pub mod retry;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use self::breaker::{Breaker, Key, Registry};
use self::cache::CacheSettings;
use self::rate::RateSettings;
use self::replay::{Idempotency, IdempotencySettings, ToolId};
use self::retry::{Latencies, RetryPolicy, RetrySettings};
use self::usage::{Price, PriceSettings};
use crate::catalog::settings::number_within;

/// The most calls that settings may let run at once, and the most that they may let wait.
pub const CALLS_MOST: u64 = 1_000_000;

/// What guards a tool, where it differs from what stands above: a tool's from its component's, those from the host's, those
/// from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardSettings {
    /// Whether its results are kept for equal calls: `true` for a tool that only computes, `{ ttl = "60s" }` also for one that
    /// reads. Default false.
    pub cache: Option<CacheSettings>,
    /// How often it may be called. Not limited by default.
    pub rate: Option<RateSettings>,
    /// Calls of the tool that run at once, 1 to 1000000, among those of the host. Default: as many as the host runs.
    #[serde(default, deserialize_with = "number_within::<_, _, 1, CALLS_MOST>")]
    #[schemars(range(min = 1, max = CALLS_MOST))]
    pub parallel: Option<usize>,
    /// Calls of the tool that may wait, up to 1000000, among those of the host. Default: as many as may wait in the host.
    #[serde(default, deserialize_with = "number_within::<_, _, 0, CALLS_MOST>")]
    #[schemars(range(min = 0, max = CALLS_MOST))]
    pub waiting: Option<usize>,
    /// Whether the tool runs alone among the tools of its component. Default false.
    pub exclusive: Option<bool>,
    /// What a call costs, for reports and budgets. Nothing by default.
    #[serde(default)]
    pub cost: PriceSettings,
    /// Which breaker leaves it alone when it fails, and each server that it sends to. Default: one of the kind "standard".
    pub breaker: Option<breaker::Settings>,
    /// How failed attempts are tried again.
    #[serde(default)]
    pub retry: RetrySettings,
    /// How repeated calls are known and answered.
    #[serde(default)]
    pub idempotency: IdempotencySettings,
}

/// What guards a tool.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    /// Whether its results are kept for equal calls.
    pub cache: CacheSettings,
    /// How often it may be called.
    pub rate: RateSettings,
    /// Calls of it that run at once, where that is limited.
    pub parallel: Option<usize>,
    /// Calls of it that may wait, where that is limited.
    pub waiting: Option<usize>,
    /// Whether it runs alone among the tools of its component; a native tool, alone with itself.
    pub exclusive: bool,
    /// What a call costs.
    pub price: Price,
    /// Which breaker leaves it alone when it fails, and each server that it sends to.
    pub breaker: breaker::Settings,
    /// How failed attempts are tried again.
    pub retry: RetryPolicy,
    /// How repeated calls are known and answered.
    pub idempotency: Idempotency,
    /// The breaker's key, which is made once.
    pub(crate) breaker_key: OnceLock<breaker::Key>,
    /// As the ledger writes the tool down, once it does.
    pub(crate) tool_id: OnceLock<Arc<ToolId>>,
    /// How long attempts that succeeded have taken.
    pub latencies: Arc<Latencies>,
    /// Whether other settings are in force by now.
    outdated: Arc<AtomicBool>,
}

impl Guards {
    /// No policies at all: one attempt, no breaker, no rate.
    #[must_use]
    pub fn none() -> Self {
        let retry = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
        Guards { breaker: breaker::Settings::None, retry, ..Guards::default() }
    }

    /// These, with what settings say over them.
    #[must_use]
    pub fn with(self, settings: &GuardSettings) -> Self {
        Guards {
            cache: settings.cache.unwrap_or(self.cache),
            rate: settings.rate.unwrap_or(self.rate),
            parallel: settings.parallel.or(self.parallel),
            waiting: settings.waiting.or(self.waiting),
            exclusive: settings.exclusive.unwrap_or(self.exclusive),
            price: self.price.with(&settings.cost),
            breaker: settings.breaker.clone().unwrap_or(self.breaker),
            retry: self.retry.with(&settings.retry),
            idempotency: self.idempotency.with(&settings.idempotency),
            breaker_key: OnceLock::new(),
            tool_id: OnceLock::new(),
            latencies: Arc::default(),
            outdated: Arc::default(),
        }
    }

    /// The same guards of a tool that has another key.
    pub(crate) fn renamed(self) -> Self {
        Guards { breaker_key: OnceLock::new(), tool_id: OnceLock::new(), latencies: Arc::default(), ..self }
    }

    /// The breaker that watches this by the tool's settings, if there is one.
    pub(crate) fn watching(&self, key: &Key, breakers: &Registry, attempt_time_max: Duration) -> Option<Arc<Breaker>> {
        match &self.breaker {
            // There is one only where an operator has something against it.
            breaker::Settings::None => breakers.find(key),
            settings => {
                // One of a tool whose settings were replaced goes on by those that are in force.
                let found = if self.is_outdated() { breakers.find(key) } else { None };
                Some(found.unwrap_or_else(|| breakers.get(key, settings, attempt_time_max)))
            }
        }
    }

    /// Goes on with what was learned under settings that are not in force any more.
    pub(crate) fn follow(&self, before: &Guards) {
        self.latencies.remember(&before.latencies);
    }

    /// Other settings are in force from now on. The calls that run keep these, but do not bring them back for others.
    pub(crate) fn retire(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    /// Whether other settings are in force by now.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }
}

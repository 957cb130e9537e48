//! Is it tried again? One decision behind each failed attempt: after so long, or not, and why not.
//!
//! In this order, because the first *no* is the one that is told:
//! 1. the **table** of [`fence`]: how it failed, and what it did before. It comes first so that an effect which may have
//!    happened is never told as anything else;
//! 2. the **policy**: whether settings want this class of failure tried again, and how many attempts there may be;
//! 3. the **wait**: the policy's own, and never less than the other side asked for. Is that longer than anybody waits,
//!    the call ends now, and the agent does something else meanwhile;
//! 4. the **deadline**: nobody sleeps towards an attempt that cannot end in time;
//! 5. the **budget** ([`budget`]), last, so that only what really happens is paid for.
//!
//! Time and chance are arguments; the decision changes nothing but the two counts that it takes from.

pub mod backoff;
pub mod budget;
pub mod fence;
pub mod hedge;
pub mod latency;

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

pub use backoff::{Backoff, Exponential, Fixed, Jitter};
pub use budget::{Budget, Budgets, CallRetries, Cost, Spent};
pub use fence::{ErrorClass, Fence};
pub use hedge::Hedge;
pub use latency::Latencies;

use crate::catalog::settings::number_within;
use crate::tell::{CallError, ErrorKind};
use backoff::between;
use fence::{Verdict, may_try_again};

/// The most attempts that any settings may allow.
pub const ATTEMPTS_MAX: u32 = 10;

/// The longest wait that the other side may ask for.
pub const HINT_MAX: Duration = Duration::from_secs(60);

/// Retries, where they differ from what stands above: those of a tool from its component's, those from the host's, those
/// from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrySettings {
    /// How the waits grow: "none", "fixed", "exponential", or a table. Default "exponential".
    pub backoff: Option<Backoff>,
    /// Attempts in all, 1 to 10. Default 3.
    #[serde(default, deserialize_with = "number_within::<_, _, 1, { ATTEMPTS_MAX as u64 }>")]
    #[schemars(range(min = 1, max = ATTEMPTS_MAX))]
    pub max_attempts: Option<u32>,
    /// Whether to wait as long as the other side asks. Default true.
    pub respect_retry_after: Option<bool>,
    /// What is tried again. Default ["transient", "throttled", "timed_out", "not_started"]; "circuit_open" can be added.
    pub retry_on: Option<BTreeSet<ErrorClass>>,
    /// When a slow attempt of a tool that only reads gets a second one beside it: { after = "p95" }, { after = "200ms" } or
    /// { after = "never" }. Never by default.
    pub hedge: Option<Hedge>,
}

/// How failed attempts are tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// How the waits grow.
    pub backoff: Backoff,
    /// Attempts in all; more than [`ATTEMPTS_MAX`] are not made.
    pub max_attempts: u32,
    /// Whether to wait as long as the other side asks.
    pub respect_retry_after: bool,
    /// What is tried again.
    pub retry_on: BTreeSet<ErrorClass>,
    /// When a slow attempt of a tool that only reads gets a second one beside it.
    pub hedge: Hedge,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        use ErrorClass::{NotStarted, Throttled, TimedOut, Transient};
        RetryPolicy {
            backoff: Backoff::default(),
            max_attempts: 3,
            respect_retry_after: true,
            retry_on: BTreeSet::from([Transient, Throttled, TimedOut, NotStarted]),
            hedge: Hedge::default(),
        }
    }
}

/// A failed attempt, and what is left to its call.
#[derive(Clone, Copy, Debug)]
pub struct AttemptInfo<'a> {
    /// The number of the attempt; the first is 1.
    pub number: u32,
    /// How it failed.
    pub error: &'a CallError,
    /// What it did before.
    pub fence: Fence,
    /// The wait in front of it, if it was a retry.
    pub waited_before: Option<Duration>,
    /// Now.
    pub now: Instant,
    /// When the call is over.
    pub deadline: Instant,
    /// The time that another attempt should have: [`Latencies::floor`].
    pub floor: Duration,
}

/// Whether it is tried again.
#[derive(Debug)]
pub enum Decision {
    /// Yes.
    Retry {
        /// The wait in front of it.
        after: Duration,
        /// What was paid for it; it comes back when the retry has worked.
        spent: Spent,
    },
    /// No.
    Stop {
        /// Why not.
        why: Stop,
    },
}

/// Why it is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Such a failure is never tried again.
    NotRetryable,
    /// Its effect may have happened already.
    MayHaveHappened,
    /// Settings, or the embedder's own backoff, do not want it.
    NotWanted,
    /// There were as many attempts as there may be, in all layers of the call together.
    NoAttemptLeft,
    /// The other side asks for a longer wait than the call has, or than anybody waits.
    HintTooLong,
    /// The call would be over before another attempt could end.
    DeadlineWouldPass,
    /// Too much is failing to try again.
    BudgetEmpty,
}

impl Stop {
    /// The reason as one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Stop::NotRetryable => "not_retryable",
            Stop::MayHaveHappened => "may_have_happened",
            Stop::NotWanted => "not_wanted",
            Stop::NoAttemptLeft => "no_attempt_left",
            Stop::HintTooLong => "hint_too_long",
            Stop::DeadlineWouldPass => "deadline_would_pass",
            Stop::BudgetEmpty => "budget_empty",
        }
    }

    /// Why nothing follows an attempt for which nobody waits any more. Somebody may look at its end all the same: what it may
    /// have done is told.
    pub(crate) fn of_gone(error: &CallError, fence: Fence) -> Self {
        match may_try_again(ErrorClass::of(error), fence) {
            Verdict::MayHaveHappened => Stop::MayHaveHappened,
            Verdict::Again | Verdict::Never => Stop::NotWanted,
        }
    }

    /// What the caller is told: the last error, unless the call's effect may have happened.
    #[must_use]
    pub fn tell(self, last: CallError) -> CallError {
        if self != Stop::MayHaveHappened {
            return last;
        }
        CallError::new(ErrorKind::OutcomeUnknown, last.stage, last.message.clone())
            .with_help("its effect may have happened, so it is not tried again; look before you call again")
            .because(last)
    }
}

impl RetryPolicy {
    /// This policy, with what settings say over it.
    #[must_use]
    pub fn with(self, settings: &RetrySettings) -> Self {
        let RetrySettings { backoff, max_attempts, respect_retry_after, retry_on, hedge } = settings.clone();
        RetryPolicy {
            backoff: backoff.unwrap_or(self.backoff),
            max_attempts: max_attempts.unwrap_or(self.max_attempts),
            respect_retry_after: respect_retry_after.unwrap_or(self.respect_retry_after),
            retry_on: retry_on.unwrap_or(self.retry_on),
            hedge: hedge.unwrap_or(self.hedge),
        }
    }

    /// Decides whether a failed attempt is followed by another one.
    ///
    /// A retry is taken from the call's own count and from the budget; a stop takes nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tokio::time::Instant;
    /// use toolpost_core::guard::retry::{AttemptInfo, Budget, CallRetries, Decision, Fence, RetryPolicy, Stop};
    /// use toolpost_core::{CallError, ErrorKind, Stage};
    ///
    /// let error = CallError::new(ErrorKind::TimedOut, Stage::Run, "the tool did not answer");
    /// let now = Instant::now();
    /// let mut info = AttemptInfo {
    ///     number: 1,
    ///     error: &error,
    ///     fence: Fence::ReadOnly,
    ///     waited_before: None,
    ///     now,
    ///     deadline: now + Duration::from_secs(10),
    ///     floor: Duration::from_millis(50),
    /// };
    /// let (policy, retries, budget) = (RetryPolicy::default(), CallRetries::default(), Budget::full());
    /// let mut rng = fastrand::Rng::new();
    /// assert!(matches!(policy.decide(&info, &retries, &budget, &mut rng), Decision::Retry { .. }));
    ///
    /// info.fence = Fence::Effect { idempotent: false };
    /// let decision = policy.decide(&info, &retries, &budget, &mut rng);
    /// assert!(matches!(decision, Decision::Stop { why: Stop::MayHaveHappened }));
    /// ```
    pub fn decide(&self, info: &AttemptInfo<'_>, retries: &CallRetries, budget: &Budget, rng: &mut Rng) -> Decision {
        let decided = self.judge(info, rng).and_then(|(after, cost)| {
            let spent = self.pay(info.number, cost, retries, budget)?;
            Ok((after, spent))
        });
        match decided {
            Ok((after, spent)) => Decision::Retry { after, spent },
            Err(why) => Decision::Stop { why },
        }
    }

    /// Takes an attempt beside another one, which has that number, from the call's own count and from the budget; nothing
    /// where it may not be made.
    #[must_use]
    pub fn pay_for_hedge(&self, number: u32, retries: &CallRetries, budget: &Budget) -> Option<Spent> {
        self.pay(number, Cost::Hedge, retries, budget).ok()
    }

    fn pay(&self, number: u32, cost: Cost, retries: &CallRetries, budget: &Budget) -> Result<Spent, Stop> {
        let max_attempts = self.max_attempts.min(ATTEMPTS_MAX);
        if number >= max_attempts || !retries.take(max_attempts) {
            return Err(Stop::NoAttemptLeft);
        }
        budget.spend(cost).ok_or_else(|| {
            retries.give_back();
            Stop::BudgetEmpty
        })
    }

    /// The wait and the price, before the counts are asked.
    fn judge(&self, info: &AttemptInfo<'_>, rng: &mut Rng) -> Result<(Duration, Cost), Stop> {
        let class = ErrorClass::of(info.error);
        match may_try_again(class, info.fence) {
            Verdict::Again => {}
            Verdict::Never => return Err(Stop::NotRetryable),
            Verdict::MayHaveHappened => return Err(Stop::MayHaveHappened),
        }
        let class = class.filter(|class| self.retry_on.contains(class)).ok_or(Stop::NotWanted)?;
        let own = self.backoff.delay(info, class, rng).ok_or(Stop::NotWanted)?;

        let remaining = info.deadline.saturating_duration_since(info.now);
        let after = match self.hint(info.error, class)? {
            Some(hint) if hint > remaining.min(HINT_MAX) => return Err(Stop::HintTooLong),
            // A little later than asked, because all the others were asked the same.
            Some(hint) => own.max(between(hint, hint + hint / 10, rng)),
            None => own,
        };
        if after.saturating_add(info.floor.max(latency::ATTEMPT_TIME_LEAST)) > remaining {
            return Err(Stop::DeadlineWouldPass);
        }
        let cost = if class == ErrorClass::Throttled { Cost::Throttled } else { Cost::Retry };
        Ok((after, cost))
    }

    /// How long the other side asks to wait. A breaker is believed whatever settings say: before it opens the way, an
    /// attempt is for nothing.
    fn hint(&self, error: &CallError, class: ErrorClass) -> Result<Option<Duration>, Stop> {
        match class {
            ErrorClass::CircuitOpen => error.retry_after.map(Some).ok_or(Stop::NotRetryable),
            _ => Ok(error.retry_after.filter(|_| self.respect_retry_after)),
        }
    }
}

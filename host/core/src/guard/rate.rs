//! Does it come too often? Token buckets per tool, per caller, and per tool and caller.
//!
//! A call is charged once, however often it is tried: [`Rates::admit`] asks every bucket that applies, and takes from all of
//! them or from none. A refusal says to the nanosecond when the same call would be let in.
//!
//! **Why our own arithmetic.** A bucket is one instant, the *theoretical arrival time* of the generic cell rate algorithm
//! (ITU-T I.371; in Rust, `governor`'s `gcra.rs`): the moment at which the bucket is full again. `governor` itself does not fit:
//! asking it is charging it, so two buckets cannot be taken together or not at all; its map grows until it is told to shrink;
//! and it rounds the time between two calls down, which admits a little more than the rate over a long time. Here it is
//! rounded up.
//!
//! **Why it cannot grow.** A full bucket is the same as none, so a table that holds its most drops those first. Where there is
//! no full one, it lets no new key in: to drop another bucket would be to forgive a debt.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashTable;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::Instant;

use crate::catalog::settings::schema::rate_pattern;
use crate::tell::{CallError, ErrorKind, Stage};

/// The most that a rate may allow in its span, and the largest burst.
pub const COUNT_MAX: u32 = 1_000_000;

/// The shortest span of a rate.
pub const PER_LEAST: Duration = Duration::from_millis(1);

/// The longest span of a rate.
pub const PER_MAX: Duration = Duration::from_secs(365 * 86_400);

/// The most buckets of each scope that are remembered, unless it is said otherwise.
pub const BUCKETS_MAX: usize = 10_000;

/// So many calls in such a span, and so many at once. In settings, `"60/min"` or `{ rate = "60/min", burst = 10 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Duration,
    burst: u32,
}

/// The rates that hold for a call; one that is not set does not limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateSettings {
    /// Calls of a tool, by all callers together. Not limited by default.
    pub tool: Option<Rate>,
    /// Calls by one caller, of all tools together. Not limited by default.
    pub caller: Option<Rate>,
    /// Calls of a tool by one caller. Not limited by default.
    pub tool_and_caller: Option<Rate>,
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RateScope {
    /// All calls of a tool.
    Tool,
    /// All calls by a caller.
    Caller,
    /// The calls of a tool by a caller.
    ToolAndCaller,
}

/// Why a call was not let in, and when it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRefusal {
    /// The bucket that is longest in refusing.
    pub scope: RateScope,
    /// Its rate; none when the host counts as many of them as it can, and has to forget one first.
    pub rate: Option<Rate>,
    /// The time until the call would be let in, if no other comes before.
    pub retry_after: Duration,
}

impl Rate {
    /// So many in such a span, all of them at once if they come so.
    ///
    /// # Errors
    /// There are none, or more than [`COUNT_MAX`]; or the span is not between [`PER_LEAST`] and [`PER_MAX`].
    pub fn new(count: u32, per: Duration) -> Result<Self, String> {
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(format!("expected a rate of 1 to {COUNT_MAX} calls, got {count}"));
        }
        if !(PER_LEAST..=PER_MAX).contains(&per) {
            return Err("expected a rate per 1ms to 365 days".into());
        }
        Ok(Rate { count, per, burst: count })
    }

    /// The same, with so many at once.
    ///
    /// # Errors
    /// There are none, or more than [`COUNT_MAX`].
    pub fn with_burst(self, burst: u32) -> Result<Self, String> {
        match burst {
            1..=COUNT_MAX => Ok(Rate { burst, ..self }),
            _ => Err(format!("expected a burst of 1 to {COUNT_MAX} calls, got {burst}")),
        }
    }

    /// How many may come at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// The time in which one token comes back, rounded up so that the rate is never passed.
    #[must_use]
    pub fn interval(self) -> Duration {
        let nanos = self.per.as_nanos().div_ceil(u128::from(self.count));
        u64::try_from(nanos).map_or(PER_MAX, Duration::from_nanos)
    }

    /// How far ahead of now a bucket may be that still has a token.
    fn tolerance(self) -> Duration {
        self.interval().saturating_mul(self.burst - 1)
    }

    /// How far ahead of now an empty bucket is.
    fn emptiness(self) -> Duration {
        self.interval().saturating_mul(self.burst)
    }
}

/// The buckets of a host.
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use toolpost_core::guard::rate::{RateSettings, Rates};
///
/// let now = Instant::now();
/// let rates = Rates::new(now);
/// let settings = RateSettings { tool: Some("1/min".parse()?), ..RateSettings::default() };
/// assert!(rates.admit(now, "greet", "ann", &settings).is_ok());
///
/// let refusal = rates.admit(now, "greet", "bob", &settings).unwrap_err();
/// assert_eq!(refusal.retry_after, Duration::from_secs(60));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug)]
pub struct Rates {
    /// Buckets count from here, because an `Instant` cannot be far away everywhere.
    epoch: Instant,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Callers read the clock before they get here, not always in order; here it never goes back.
    latest: Duration,
    tools: Buckets,
    callers: Buckets,
    pairs: Buckets,
}

/// A tool's name and a caller's id; empty where it does not matter.
#[derive(Clone, Copy, Debug)]
struct Key<'k> {
    hash: u64,
    tool: &'k str,
    caller: &'k str,
}

#[derive(Debug)]
struct Buckets {
    buckets_max: usize,
    table: HashTable<Bucket>,
    /// No bucket is full before that. When it is past, or not known, it is found anew by looking at all of them.
    none_full_before: Duration,
}

#[derive(Debug)]
struct Bucket {
    hash: u64,
    tool: Box<str>,
    caller: Box<str>,
    /// When it is full again, since the epoch.
    full_at: Duration,
}

impl Rates {
    /// No calls yet; at most [`BUCKETS_MAX`] buckets of each scope are remembered.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self::with_buckets_max(now, BUCKETS_MAX)
    }

    /// No calls yet, and so many buckets of each scope.
    #[must_use]
    pub fn with_buckets_max(now: Instant, buckets_max: usize) -> Self {
        let [tools, callers, pairs] = [(); 3].map(|()| Buckets::new(buckets_max));
        let state = State { latest: Duration::ZERO, tools, callers, pairs };
        Rates { epoch: now, hasher: RandomState::new(), state: Mutex::new(state) }
    }

    /// Takes a token from each bucket that applies, or from none.
    ///
    /// Settings may be other ones at each call: a bucket keeps its debt, but no more of it than its new rate can have.
    ///
    /// # Errors
    /// A bucket is empty. The refusal is that of the one which stays empty for longest.
    pub fn admit(&self, now: Instant, tool: &str, caller: &str, rates: &RateSettings) -> Result<(), RateRefusal> {
        if *rates == RateSettings::default() {
            return Ok(());
        }
        let asked = now.saturating_duration_since(self.epoch);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = asked.max(state.latest);
        state.latest = now;

        let State { tools, callers, pairs, .. } = &mut *state;
        let key = |tool, caller| Key { hash: self.hasher.hash_one((tool, caller)), tool, caller };
        let mut applying = [
            (RateScope::Tool, rates.tool, tools, key(tool, "")),
            (RateScope::Caller, rates.caller, callers, key("", caller)),
            (RateScope::ToolAndCaller, rates.tool_and_caller, pairs, key(tool, caller)),
        ];

        let refusals = applying.iter_mut().filter_map(|(scope, rate, buckets, key)| {
            let (until, why) = buckets.refused_until((*rate)?, *key, now)?;
            Some(RateRefusal { scope: *scope, rate: why, retry_after: until.saturating_sub(asked) })
        });
        if let Some(refusal) = refusals.max_by_key(|refusal| refusal.retry_after) {
            return Err(refusal);
        }
        for (_, rate, buckets, key) in applying {
            if let Some(rate) = rate {
                buckets.charge(rate, key, now);
            }
        }
        Ok(())
    }

    /// How many buckets are remembered, of all scopes.
    #[must_use]
    pub fn remembered(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        [&state.tools, &state.callers, &state.pairs].map(|buckets| buckets.table.len()).iter().sum()
    }
}

impl Buckets {
    fn new(buckets_max: usize) -> Self {
        Buckets { buckets_max: buckets_max.max(1), table: HashTable::new(), none_full_before: Duration::ZERO }
    }

    /// When the bucket has a token again, unless it has one now; and its rate, unless there is no room for the bucket.
    fn refused_until(&mut self, rate: Rate, key: Key<'_>, now: Duration) -> Option<(Duration, Option<Rate>)> {
        let (until, why) = if let Some(bucket) = self.bucket(key) {
            // It can be emptier than empty, when its rate was a slower one before.
            let full_at = bucket.full_at.min(now + rate.emptiness());
            bucket.full_at = full_at;
            self.none_full_before = self.none_full_before.min(full_at);
            (full_at.saturating_sub(rate.tolerance()), Some(rate))
        } else if self.has_room(now) {
            return None;
        } else {
            (self.none_full_before, None)
        };
        (until > now).then_some((until, why))
    }

    /// Takes a token that is there.
    fn charge(&mut self, rate: Rate, key: Key<'_>, now: Duration) {
        if let Some(bucket) = self.bucket(key) {
            let before = bucket.full_at;
            bucket.full_at = before.max(now) + rate.interval();
            if before == self.none_full_before {
                // It was the first one, and which is it now?
                self.none_full_before = Duration::ZERO;
            }
            return;
        }
        let Key { hash, tool, caller } = key;
        let bucket = Bucket { hash, tool: tool.into(), caller: caller.into(), full_at: now + rate.interval() };
        self.none_full_before = self.none_full_before.min(bucket.full_at);
        self.table.insert_unique(hash, bucket, |bucket| bucket.hash);
    }

    fn bucket(&mut self, key: Key<'_>) -> Option<&mut Bucket> {
        self.table.find_mut(key.hash, |bucket| *bucket.tool == *key.tool && *bucket.caller == *key.caller)
    }

    /// Whether another bucket may come, if need be in the place of full ones.
    fn has_room(&mut self, now: Duration) -> bool {
        if self.table.len() >= self.buckets_max && self.none_full_before <= now {
            self.table.retain(|bucket| bucket.full_at > now);
            self.none_full_before = self.table.iter().map(|bucket| bucket.full_at).min().unwrap_or(now);
        }
        self.table.len() < self.buckets_max
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = if self.count == 1 { "call" } else { "calls" };
        write!(f, "{} {calls} in {}", self.count, humantime::format_duration(self.per))
    }
}

impl From<RateRefusal> for CallError {
    fn from(refusal: RateRefusal) -> Self {
        let RateRefusal { scope, rate, retry_after } = refusal;
        let (whose, those, setting) = match scope {
            RateScope::Tool => ("this tool", "tools", "rate.tool"),
            RateScope::Caller => ("this caller", "callers", "rate.caller"),
            RateScope::ToolAndCaller => ("this caller with this tool", "callers and tools", "rate.tool_and_caller"),
        };
        // Rounded up: who waits as long as the words say is let in.
        let wait = Duration::from_millis(u64::try_from(retry_after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
        let wait = humantime::format_duration(wait);
        let message = match rate {
            Some(rate) => format!("the rate of {whose} is {rate}; call again in {wait}, or raise `{setting}`"),
            None => format!("too many {those} are counted at once; call again in {wait}"),
        };
        CallError::new(ErrorKind::RateLimited, Stage::Guard, message).retry_after(retry_after)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate; write for example \"60/min\", \"5/s\" or \"100/10s\"");
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let (count, per) = (count.trim(), per.trim());
        let one = if per.starts_with(|first: char| first.is_ascii_digit()) { "" } else { "1" };
        let per = humantime::parse_duration(&format!("{one}{per}")).map_err(|_| wrong())?;
        Rate::new(count.parse().map_err(|_| wrong())?, per)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            rate: String,
            burst: Option<u32>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Rate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate, for example \"60/min\" or { rate = \"60/min\", burst = 10 }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rate, A::Error> {
                let Written { rate, burst } = Written::deserialize(MapAccessDeserializer::new(map))?;
                let rate: Rate = rate.parse().map_err(A::Error::custom)?;
                burst.map_or(Ok(rate), |burst| rate.with_burst(burst)).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let rate = rate_pattern();
        json_schema!({"description": "So many calls in such a span, for example \"60/min\".", "anyOf": [
            {"type": "string", "pattern": rate},
            {
                "type": "object",
                "properties": {
                    "rate": {"type": "string", "pattern": rate, "description": "So many calls in such a span."},
                    "burst": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": COUNT_MAX,
                        "description": "So many of them at once. Default: as many as the rate allows in its span.",
                    },
                },
                "required": ["rate"],
                "additionalProperties": false,
            },
        ]})
    }
}

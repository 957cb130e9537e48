//! How long is waited before a retry? Never so long as to be polite, never all at the same time.
//!
//! Jitter by the names of the AWS architecture blog ("Exponential Backoff And Jitter"), the base and cap of the AWS SDKs.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::StrDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::AttemptInfo;
use super::fence::ErrorClass;
use crate::catalog::settings::{Span, one_of};

/// The base for what was throttled, where the policy's own is shorter.
pub const THROTTLED_BASE_LEAST: Duration = Duration::from_secs(1);

/// A way of waiting of the embedder's own: so long, or no retry. It is asked only where a retry is allowed, and the
/// deadline, the server's word and the budget hold for its answer as for any other.
pub type Custom = Arc<dyn Fn(&AttemptInfo<'_>) -> Option<Duration> + Send + Sync>;

/// How the waits grow. In settings, `"none"`, `"fixed"` or `"exponential"`, or a table:
/// `{ exponential = { base = "200ms", jitter = "equal" } }`.
#[derive(Clone)]
pub enum Backoff {
    /// No retries.
    None,
    /// The same wait each time.
    Fixed(Fixed),
    /// Each wait is longer than the one before; the default.
    Exponential(Exponential),
    /// As a function says.
    Custom(Custom),
}

/// The same wait each time.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fixed {
    /// The wait. Default "1s".
    #[serde(deserialize_with = "span")]
    #[schemars(with = "Span")]
    pub delay: Duration,
}

/// Waits that grow up to a cap.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exponential {
    /// The first wait; at least "1s" for what was throttled. Default "100ms".
    #[serde(deserialize_with = "span")]
    #[schemars(with = "Span")]
    pub base: Duration,
    /// How much longer the next one is, 1 to 10. Default 2.0.
    #[serde(deserialize_with = "factor")]
    #[schemars(range(min = 1.0, max = 10.0))]
    pub factor: f64,
    /// The longest wait. Default "20s".
    #[serde(deserialize_with = "span")]
    #[schemars(with = "Span")]
    pub cap: Duration,
    /// What is left to chance. Default "full".
    pub jitter: Jitter,
}

/// What of a wait is left to chance, so that those who failed together do not come back together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    /// Nothing.
    None,
    /// All of it: from zero to the wait.
    #[default]
    Full,
    /// Half of it: from half the wait to the wait.
    Equal,
    /// From the base to three times the wait before.
    Decorrelated,
}

impl Default for Fixed {
    fn default() -> Self {
        Fixed { delay: Duration::from_secs(1) }
    }
}

impl Default for Exponential {
    fn default() -> Self {
        Exponential {
            base: Duration::from_millis(100),
            factor: 2.0,
            cap: Duration::from_secs(20),
            jitter: Jitter::default(),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::Exponential(Exponential::default())
    }
}

impl Backoff {
    /// The wait behind an attempt, if there is to be another one.
    pub(super) fn delay(&self, info: &AttemptInfo<'_>, class: ErrorClass, rng: &mut Rng) -> Option<Duration> {
        match self {
            Backoff::None => None,
            Backoff::Fixed(fixed) => Some(fixed.delay),
            Backoff::Exponential(exponential) => Some(exponential.delay(info, class, rng)),
            Backoff::Custom(custom) => custom(info),
        }
    }
}

impl Exponential {
    fn delay(&self, info: &AttemptInfo<'_>, class: ErrorClass, rng: &mut Rng) -> Duration {
        let base = match class {
            ErrorClass::Throttled => self.base.max(THROTTLED_BASE_LEAST),
            _ => self.base,
        };
        let whole = self.grown(base, info.number.saturating_sub(1));
        match self.jitter {
            Jitter::None => whole,
            Jitter::Full => between(Duration::ZERO, whole, rng),
            Jitter::Equal => between(whole / 2, whole, rng),
            Jitter::Decorrelated => {
                let before = info.waited_before.unwrap_or(base);
                between(base, before.saturating_mul(3).max(base), rng).min(self.cap)
            }
        }
    }

    /// The wait before chance.
    fn grown(&self, base: Duration, times: u32) -> Duration {
        let factor = self.factor.powi(i32::try_from(times).unwrap_or(i32::MAX));
        // What is no span any more is longer than the cap.
        Duration::try_from_secs_f64(base.as_secs_f64() * factor).map_or(self.cap, |span| span.min(self.cap))
    }
}

/// A span between two, both included.
pub(super) fn between(least: Duration, most: Duration, rng: &mut Rng) -> Duration {
    let spread = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
    least.saturating_add(Duration::from_nanos(rng.u64(0..=spread)))
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Span::deserialize(deserializer).map(|span| span.0)
}

fn factor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let factor = f64::deserialize(deserializer)?;
    if (1.0..=10.0).contains(&factor) { Ok(factor) } else { Err(D::Error::custom("expected a number from 1 to 10")) }
}

/// A backoff by its name alone.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "BackoffName")]
enum Named {
    /// No retries.
    None,
    /// The same wait each time.
    Fixed,
    /// Each wait is longer than the one before.
    Exponential,
}

/// A backoff with its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "BackoffTable")]
enum Table {
    /// The same wait each time.
    Fixed(Fixed),
    /// Each wait is longer than the one before.
    Exponential(Exponential),
}

/// How the waits grow: a name, or a table.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used: a visitor reads it, with words for what does not fit")]
enum Written {
    Named(Named),
    Table(Table),
}

impl JsonSchema for Backoff {
    fn schema_name() -> Cow<'static, str> {
        "Backoff".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Backoff;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a backoff, for example \"exponential\" or { fixed = { delay = \"1s\" } }")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Backoff, E> {
                Ok(match Named::deserialize(StrDeserializer::new(name))? {
                    Named::None => Backoff::None,
                    Named::Fixed => Backoff::Fixed(Fixed::default()),
                    Named::Exponential => Backoff::default(),
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Backoff, A::Error> {
                Ok(match one_of(map, "`fixed` and `exponential`")? {
                    Table::Fixed(fixed) => Backoff::Fixed(fixed),
                    Table::Exponential(exponential) => Backoff::Exponential(exponential),
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl PartialEq for Backoff {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Backoff::None, Backoff::None) => true,
            (Backoff::Fixed(one), Backoff::Fixed(other)) => one == other,
            (Backoff::Exponential(one), Backoff::Exponential(other)) => one == other,
            (Backoff::Custom(one), Backoff::Custom(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backoff::None => f.write_str("None"),
            Backoff::Fixed(fixed) => fixed.fmt(f),
            Backoff::Exponential(exponential) => exponential.fmt(f),
            Backoff::Custom(_) => f.write_str("Custom(..)"),
        }
    }
}

//! How does a breaker judge? Its settings, with bounds and defaults.
//!
//! Agents call a tool seldom, so a rule that waits for a hundred calls would never speak: the rule that works by default is
//! the one of failures in a row.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

use super::{Key, Outcome};
use crate::catalog::settings::Span;

/// Which breaker guards a tool, or a server that tools talk to.
///
/// In settings it is a table with the key `kind`: `{ kind = "standard", consecutive = 3 }`.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// Every call goes through, and only counts. The operator can still isolate.
    None,
    /// Leaves alone what keeps failing, and tries it out after a while.
    Standard(StandardSettings),
    /// Lets through as much as succeeds.
    Adaptive(AdaptiveSettings),
    /// Judges as the embedding program says. Not in settings.
    Custom(CustomJudge),
}

impl Default for Settings {
    fn default() -> Self {
        Settings::Standard(StandardSettings::default())
    }
}

impl Settings {
    /// The kind as one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Settings::None => "none",
            Settings::Standard(_) => "standard",
            Settings::Adaptive(_) => "adaptive",
            Settings::Custom(_) => "custom",
        }
    }
}

/// The standard breaker: it opens when calls fail, and closes when calls that try it out succeed.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StandardSettings {
    /// Opens after so many failures in a row; 0 switches the rule off. Default 5.
    #[serde(deserialize_with = "within::<_, 0, 1_000_000>")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub consecutive: u32,
    /// Opens when this part of the calls in the window failed. Default 0.5.
    pub failure_rate: Rate,
    /// So many calls must be in the window before a rate says anything. Default 10.
    #[serde(deserialize_with = "within::<_, 1, 1_000_000>")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_throughput: u32,
    /// What the rates look at: a span such as "60s", or a number of calls such as 100. Default "60s".
    pub window: WindowSettings,
    /// A call that takes as long is slow. Off by default; 80 % of the time of an attempt when only `slow_rate` is set.
    pub slow_call: Option<Span>,
    /// Opens when this part of the calls in the window was slow. Off by default; 1.0 when only `slow_call` is set.
    pub slow_rate: Option<Rate>,
    /// Stays open for so long, and twice as long each time that it opens again. Default "30s".
    #[serde(deserialize_with = "span")]
    pub open: Span,
    /// Stays open no longer than that. Default "5m".
    #[serde(deserialize_with = "span")]
    pub open_max: Span,
    /// The time for which it stays open is longer or shorter by up to this part. Default 0.1; 0 switches it off.
    #[serde(deserialize_with = "part")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter: f64,
    /// So many calls try it out before it is decided whether it closes. Default 3.
    #[serde(deserialize_with = "within::<_, 1, 1_000>")]
    #[schemars(range(min = 1, max = 1_000))]
    pub probes: u32,
    /// So many of them run at once. Default 1.
    #[serde(deserialize_with = "within::<_, 1, 1_000>")]
    #[schemars(range(min = 1, max = 1_000))]
    pub probes_at_once: u32,
    /// Closes after so many of them succeeded. Default 2.
    #[serde(deserialize_with = "within::<_, 1, 1_000>")]
    #[schemars(range(min = 1, max = 1_000))]
    pub successes_to_close: u32,
    /// How the calls that try it out are judged. Default "first".
    pub judge: Judge,
    /// A call that tries it out is given up as lost after so long. Default: twice the time of an attempt, at least "60s".
    pub probe_time: Option<Span>,
}

impl Default for StandardSettings {
    fn default() -> Self {
        StandardSettings {
            consecutive: 5,
            failure_rate: Rate(0.5),
            min_throughput: 10,
            window: WindowSettings::Time(Span(Duration::from_secs(60))),
            slow_call: None,
            slow_rate: None,
            open: Span(Duration::from_secs(30)),
            open_max: Span(Duration::from_secs(300)),
            jitter: 0.1,
            probes: 3,
            probes_at_once: 1,
            successes_to_close: 2,
            judge: Judge::First,
            probe_time: None,
        }
    }
}

impl StandardSettings {
    fn check(&self) -> Result<(), String> {
        let StandardSettings { probes, probes_at_once, successes_to_close, open, open_max, min_throughput, .. } = self;
        if successes_to_close > probes {
            return Err(format!(
                "it could never close: `successes_to_close` is {successes_to_close}, `probes` {probes}"
            ));
        }
        if probes_at_once > probes {
            return Err(format!("`probes_at_once` is {probes_at_once}, which is more than `probes`, {probes}"));
        }
        if open.0 > open_max.0 {
            return Err("`open` is longer than `open_max`".into());
        }
        match self.window {
            WindowSettings::Calls(calls) if calls < *min_throughput => Err(format!(
                "no rate could ever speak: `min_throughput` is {min_throughput}, the window has {calls} calls"
            )),
            _ => Ok(()),
        }
    }
}

/// The adaptive breaker: a throttle that follows the successes, a limit on calls at once that follows the failures, and
/// behind them a standard breaker that knows only failures in a row.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveSettings {
    /// How far back the throttle looks. Default "120s"; four times the time of an attempt, where that is more.
    #[serde(deserialize_with = "span")]
    pub window: Span,
    /// So many calls are asked for each success before the throttle refuses some. Default 2.0, from 1.0 to 100.0.
    #[serde(deserialize_with = "multiplier")]
    #[schemars(range(min = 1.0, max = 100.0))]
    pub multiplier: f64,
    /// So many calls more, so that a tool that is used seldom is not throttled by its first failures. Default 5.
    #[serde(deserialize_with = "within::<_, 0, 1_000_000>")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub pad: u32,
    /// The throttle refuses no larger part than that: the rest finds out when all is well again. Default 0.95.
    #[serde(deserialize_with = "part")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub refuse_max: f64,
    /// So many calls may run at once to begin with. Default 8.
    #[serde(deserialize_with = "within::<_, 1, 1_000_000>")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub at_once: u32,
    /// The limit does not fall below that. Default 1.
    #[serde(deserialize_with = "within::<_, 1, 1_000_000>")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub at_once_min: u32,
    /// The limit does not rise above that. Default 64.
    #[serde(deserialize_with = "within::<_, 1, 1_000_000>")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub at_once_max: u32,
    /// Opens after so many failures in a row; 0 switches the rule off. Default 10.
    #[serde(deserialize_with = "within::<_, 0, 1_000_000>")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub consecutive: u32,
}

impl Default for AdaptiveSettings {
    fn default() -> Self {
        AdaptiveSettings {
            window: Span(Duration::from_secs(120)),
            multiplier: 2.0,
            pad: 5,
            refuse_max: 0.95,
            at_once: 8,
            at_once_min: 1,
            at_once_max: 64,
            consecutive: 10,
        }
    }
}

impl AdaptiveSettings {
    fn check(&self) -> Result<(), String> {
        if self.at_once_min <= self.at_once && self.at_once <= self.at_once_max {
            return Ok(());
        }
        Err("`at_once` does not lie between `at_once_min` and `at_once_max`".into())
    }
}

/// What the rates of a breaker look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowSettings {
    /// The calls of so long.
    Time(Span),
    /// So many calls, 1 to 10,000.
    Calls(u32),
}

/// How the calls that try out an open breaker are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// The first one that fails, or is slow, opens it again.
    First,
    /// All of them are waited for, then the rates decide.
    Rate,
}

/// A part of a whole: above 0, up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

/// What happens to a call that a custom breaker judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It wants to run.
    Asked,
    /// It ran, or was let go. Everything that was let run comes to this, once.
    Ended {
        /// What came of it.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
        /// Whether the operator, or new settings, came between its beginning and its end. It should not count then.
        stale: bool,
    },
}

/// Judges as the embedding program says. It keeps its own counts, must not block, and is called by many at once.
pub trait Custom: Send + Sync {
    /// Takes in what happens. To a call that asks, an answer is a refusal: for so long the call should stay away.
    fn judge(&self, key: &Key, moment: Moment, now: Instant) -> Option<Duration>;
}

/// A custom breaker, as settings hold it.
#[derive(Clone)]
pub struct CustomJudge(pub Arc<dyn Custom>);

impl PartialEq for CustomJudge {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for CustomJudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomJudge(..)")
    }
}

/// Which breaker guards a tool: a table with the key `kind`, and what this kind knows. The kind alone will do.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Written {
    /// Every call goes through, and only counts.
    None {},
    /// Leaves alone what keeps failing, and tries it out after a while.
    Standard(StandardSettings),
    /// Lets through as much as succeeds.
    Adaptive(AdaptiveSettings),
}

impl JsonSchema for Settings {
    fn schema_name() -> Cow<'static, str> {
        "Breaker".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "enum": ["none", "standard", "adaptive"]},
            Written::json_schema(generator),
        ]})
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"standard\", \"adaptive\", \"none\", or a table such as { kind = \"standard\" }")
            }
            fn visit_str<E: Error>(self, kind: &str) -> Result<Written, E> {
                match kind {
                    "none" => Ok(Written::None {}),
                    "standard" => Ok(Written::Standard(StandardSettings::default())),
                    "adaptive" => Ok(Written::Adaptive(AdaptiveSettings::default())),
                    _ => Err(E::invalid_value(Unexpected::Str(kind), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                Written::deserialize(MapAccessDeserializer::new(map))
            }
        }
        match deserializer.deserialize_any(Either)? {
            Written::None {} => Ok(Settings::None),
            Written::Standard(settings) => settings.check().map(|()| Settings::Standard(settings)),
            Written::Adaptive(settings) => settings.check().map(|()| Settings::Adaptive(settings)),
        }
        .map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for WindowSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Calls(u32),
            Time(String),
        }
        let window = match Written::deserialize(deserializer) {
            Ok(Written::Calls(calls @ 1..=10_000)) => Some(WindowSettings::Calls(calls)),
            Ok(Written::Time(text)) => text.parse().ok().and_then(bounded).map(WindowSettings::Time),
            _ => None,
        };
        let expected = "expected a span of time up to a day, for example \"60s\", or a number of calls from 1 to 10000";
        window.ok_or_else(|| serde::de::Error::custom(expected))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rate = part(deserializer).ok().filter(|rate| *rate > 0.0);
        rate.map(Rate).ok_or_else(|| serde::de::Error::custom("expected a number above 0 and up to 1, for example 0.5"))
    }
}

impl JsonSchema for WindowSettings {
    fn schema_name() -> Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<Span>();
        json_schema!({
            "description": "A span of time, or a number of calls.",
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": 10_000}, span],
        })
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Part".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "A part of a whole.", "type": "number", "exclusiveMinimum": 0, "maximum": 1})
    }
}

fn part<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let part = f64::deserialize(deserializer).ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| serde::de::Error::custom("expected a number from 0 to 1, for example 0.5"))
}

fn multiplier<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer).ok().filter(|number| (1.0..=100.0).contains(number));
    number.ok_or_else(|| serde::de::Error::custom("expected a number from 1 to 100, for example 2.0"))
}

fn within<'de, D, const LEAST: u64, const MOST: u64>(deserializer: D) -> Result<u32, D::Error>
where
    D: Deserializer<'de>,
{
    let number = u64::deserialize(deserializer).ok().filter(|number| (LEAST..=MOST).contains(number));
    let number = number.and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| serde::de::Error::custom(format!("expected a whole number from {LEAST} to {MOST}")))
}

/// A span of a window or of an open breaker. What is longer than a day was meant otherwise.
fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    let span = Span::deserialize(deserializer)?;
    bounded(span).ok_or_else(|| serde::de::Error::custom("expected a span of time up to a day, for example \"30s\""))
}

fn bounded(span: Span) -> Option<Span> {
    (span.0 <= Duration::from_secs(86_400)).then_some(span)
}

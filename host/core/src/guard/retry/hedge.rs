//! When is an attempt slow enough for a second one beside it?

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::latency::{ATTEMPT_TIME_LEAST, Latencies};
use crate::catalog::settings::Span;
use crate::effect::EffectClass;

/// When a second attempt is begun beside one that is slow. In settings, `{ after = "p95" }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hedge {
    /// Never.
    #[default]
    Never,
    /// When it takes longer than 95 of a hundred took that succeeded, and at least 50 ms.
    P95,
    /// When it takes longer than that.
    After(Duration),
}

impl Hedge {
    /// The time after which a second attempt is begun. There is never one of a tool that may change something, nor before
    /// enough is known to call anything slow.
    #[must_use]
    pub fn after(self, latencies: &Latencies, effect: EffectClass) -> Option<Duration> {
        let after = match self {
            _ if effect.may_change() => None,
            Hedge::Never => None,
            Hedge::P95 => latencies.p95(),
            Hedge::After(span) => Some(span),
        };
        after.map(|span| span.max(ATTEMPT_TIME_LEAST))
    }
}

impl JsonSchema for Hedge {
    fn schema_name() -> Cow<'static, str> {
        "Hedge".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<Span>();
        let after = json_schema!({
            "description": "\"p95\", when it takes longer than 95 of 100 that succeeded, \"never\", or a time of at least \"50ms\".",
            "anyOf": [{"enum": ["p95", "never"]}, span],
        });
        json_schema!({
            "description": "When a slow attempt gets a second one beside it.",
            "type": "object",
            "properties": {"after": after},
            "required": ["after"],
            "additionalProperties": false,
        })
    }
}

impl<'de> Deserialize<'de> for Hedge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            after: String,
        }
        let Written { after } = Written::deserialize(deserializer)?;
        let wrong = || {
            let expected = "expected `after` to be \"p95\", \"never\", or a time of at least \"50ms\"";
            serde::de::Error::custom(format!("{expected}, got \"{}\"", after.escape_debug()))
        };
        match after.as_str() {
            "never" => Ok(Hedge::Never),
            "p95" => Ok(Hedge::P95),
            span => match span.parse() {
                Ok(Span(span)) if span >= ATTEMPT_TIME_LEAST => Ok(Hedge::After(span)),
                _ => Err(wrong()),
            },
        }
    }
}

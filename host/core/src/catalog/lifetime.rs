//! How long does an instance live? A fresh one for each attempt, unless the operator says otherwise of a component.
//!
//! - **fresh**: nothing that a tool did in its memory survives into another attempt;
//! - **session**: a session of a caller has an instance of its own, which keeps what the tools have in their memory from one
//!   call to the next. Nobody else's call comes to it;
//! - **warm**: an instance serves calls of any caller, one after the other. It is quick, and what one call leaves in the memory
//!   is there in the next: for tools that leave nothing there that matters.
//!
//! Whatever the lifetime, each call has its own grants, limits and effects: only the memory is kept.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::settings::{Span, number_within};

/// The most instances that may be kept, of a component and in a host.
pub const KEPT_MOST: u64 = 10_000;

/// How long an instance lives, from the least that calls have in common to the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifetime {
    /// One attempt.
    #[default]
    Fresh,
    /// As long as the session of its caller, within bounds.
    Session,
    /// Some calls, whoever makes them.
    Warm,
}

impl Lifetime {
    /// The name, as in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Lifetime::Fresh => "fresh",
            Lifetime::Session => "session",
            Lifetime::Warm => "warm",
        }
    }

    /// What comes of it for a call, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Lifetime::Fresh => "memory of its own for each call",
            Lifetime::Session => "memory that is kept from call to call of one session",
            Lifetime::Warm => "memory that calls of other callers have used",
        }
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        *self == Lifetime::Fresh
    }
}

/// What is kept of a component's instances: in settings `"fresh"`, `"session"`, `"warm"`, or a table with the key `kind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    #[default]
    Nothing,
    /// One for each session, within these bounds.
    ForSessions(Bounds),
    /// Some for whoever calls next, within these bounds.
    Warm(Bounds),
}

/// How long an instance is kept at most, and how many are. Where there are too many, that goes which was not used for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Without a call.
    pub idle: Duration,
    /// In all.
    pub total: Duration,
    /// The calls that it serves.
    pub max_calls: Option<u64>,
    /// Of one component.
    pub max_instances: usize,
}

impl Keep {
    /// How long an instance lives.
    #[must_use]
    pub fn lifetime(self) -> Lifetime {
        match self {
            Keep::Nothing => Lifetime::Fresh,
            Keep::ForSessions(_) => Lifetime::Session,
            Keep::Warm(_) => Lifetime::Warm,
        }
    }

    /// Within which bounds; nothing where none is kept.
    #[must_use]
    pub fn bounds(self) -> Option<Bounds> {
        match self {
            Keep::Nothing => None,
            Keep::ForSessions(bounds) | Keep::Warm(bounds) => Some(bounds),
        }
    }
}

/// An instance for each session, which no other session ever comes to.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct SessionTable {
    /// It goes when it was not called for so long. Default "15m".
    idle: Span,
    /// It goes after so long in any case. Default "12h".
    total: Span,
    /// It goes after so many calls. Not limited by default.
    #[serde(deserialize_with = "number_within::<_, _, 1, { u64::MAX }>")]
    #[schemars(range(min = 1))]
    max_calls: Option<u64>,
    /// So many are kept, 1 to 10000; of more sessions, those that did not call for longest begin anew. Default 64.
    #[serde(deserialize_with = "instances")]
    #[schemars(range(min = 1, max = KEPT_MOST))]
    max_instances: usize,
}

/// Instances that serve calls of any caller, one after the other.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct WarmTable {
    /// One goes when it was not called for so long. Default "1m".
    idle: Span,
    /// One goes after so long in any case. Default "10m".
    total: Span,
    /// One goes after so many calls. Default 1000.
    #[serde(deserialize_with = "number_within::<_, _, 1, { u64::MAX }>")]
    #[schemars(range(min = 1))]
    max_calls: Option<u64>,
    /// So many are kept, 1 to 10000. Default 16.
    #[serde(deserialize_with = "instances")]
    #[schemars(range(min = 1, max = KEPT_MOST))]
    max_instances: usize,
}

impl Default for SessionTable {
    fn default() -> Self {
        let [idle, total] = [15 * 60, 12 * 3_600].map(|seconds| Span(Duration::from_secs(seconds)));
        SessionTable { idle, total, max_calls: None, max_instances: 64 }
    }
}

impl Default for WarmTable {
    fn default() -> Self {
        let [idle, total] = [60, 600].map(|seconds| Span(Duration::from_secs(seconds)));
        WarmTable { idle, total, max_calls: Some(1_000), max_instances: 16 }
    }
}

impl From<SessionTable> for Keep {
    fn from(table: SessionTable) -> Self {
        let SessionTable { idle: Span(idle), total: Span(total), max_calls, max_instances } = table;
        Keep::ForSessions(Bounds { idle, total, max_calls, max_instances })
    }
}

impl From<WarmTable> for Keep {
    fn from(table: WarmTable) -> Self {
        let WarmTable { idle: Span(idle), total: Span(total), max_calls, max_instances } = table;
        Keep::Warm(Bounds { idle, total, max_calls, max_instances })
    }
}

fn instances<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let given = number_within::<_, _, 1, KEPT_MOST>(deserializer)?;
    Ok(given.unwrap_or(1))
}

/// How long an instance lives: a table with the key `kind`, and within which bounds. The kind alone will do.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Written {
    /// One attempt.
    Fresh {},
    /// As long as a session.
    Session(SessionTable),
    /// Some calls, whoever makes them.
    Warm(WarmTable),
}

impl JsonSchema for Keep {
    fn schema_name() -> Cow<'static, str> {
        "Lifetime".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "enum": ["fresh", "session", "warm"]},
            Written::json_schema(generator),
        ]})
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"fresh\", \"session\", \"warm\", or a table such as { kind = \"session\", idle = \"1h\" }",
                )
            }
            fn visit_str<E: Error>(self, kind: &str) -> Result<Written, E> {
                match kind {
                    "fresh" => Ok(Written::Fresh {}),
                    "session" => Ok(Written::Session(SessionTable::default())),
                    "warm" => Ok(Written::Warm(WarmTable::default())),
                    _ => Err(E::invalid_value(Unexpected::Str(kind), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                Written::deserialize(MapAccessDeserializer::new(map))
            }
        }
        Ok(match deserializer.deserialize_any(Either)? {
            Written::Fresh {} => Keep::Nothing,
            Written::Session(table) => table.into(),
            Written::Warm(table) => table.into(),
        })
    }
}

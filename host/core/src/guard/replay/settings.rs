//! What does the operator say about repeated calls? Settings, with bounds and defaults.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::key::CallKey;
use crate::catalog::settings::Span;
use crate::catalog::shape::Field;

/// The longest time for which an outcome may be kept.
pub const TTL_MAX: Duration = Duration::from_secs(365 * 86_400);

/// The time for which an outcome is kept where nothing else is said.
pub const TTL: Duration = Duration::from_secs(86_400);

/// The most fields that may make a key.
pub const FIELDS_MAX: usize = 32;

/// How repeated calls are known and answered, where it differs from what stands above: a tool's from its component's, those
/// from the host's, those from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdempotencySettings {
    /// What makes two calls the same: "args", { fields = ["/order_id"] }, "caller", "call" or "none". With "none", the key
    /// that a caller gives still counts, for a tool that may change something. Default "none".
    pub key: Option<KeyFrom>,
    /// The hash: "blake3", "sha256" or "sha512". Default "blake3".
    pub hash: Option<Hash>,
    /// Whose calls can be the same: `["caller"]`, `["caller", "session"]`, or `[]` for everybody's. Default `["caller"]`.
    pub scope: Option<BTreeSet<Scope>>,
    /// What a call does while its twin runs: "wait" or "reject". Default "wait".
    pub on_conflict: Option<OnConflict>,
    /// What is done about a call whose host went away after its first effect: "unknown" or "rerun". Default "unknown"; where
    /// `idempotent` is set, "rerun".
    pub on_crash: Option<OnCrash>,
    /// Whether doing it twice is doing it once, or the servers behind the tool see to that by the key that goes along. Such
    /// a tool is tried again also after an effect. Default false.
    pub idempotent: Option<bool>,
    /// How long an outcome is kept, at most 365 days. Default "24h".
    #[serde(default, deserialize_with = "ttl")]
    pub ttl: Option<Span>,
    /// Whether a failure that the tool calls final is kept like a result. With an effect behind it, it always is. Default
    /// true.
    pub keep_errors: Option<bool>,
    /// What is kept of a success: the "result", or only the "fact". Default "result".
    pub keep: Option<Keep>,
}

/// How repeated calls of a tool are known and answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Idempotency {
    /// What makes two calls the same.
    pub key: KeyFrom,
    /// The hash.
    pub hash: Hash,
    /// Whose calls can be the same.
    pub scope: BTreeSet<Scope>,
    /// What a call does while its twin runs.
    pub on_conflict: OnConflict,
    /// What is done about a call whose host went away, where it is said.
    pub on_crash: Option<OnCrash>,
    /// Whether doing it twice is doing it once.
    pub idempotent: bool,
    /// How long an outcome is kept.
    pub ttl: Duration,
    /// Whether a final failure is kept like a result.
    pub keep_errors: bool,
    /// What is kept of a success.
    pub keep: Keep,
}

/// What makes two calls of a tool the same.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyFrom {
    /// Nothing, unless a caller gives a key to a tool that may change something.
    Nothing,
    /// All their arguments.
    Arguments,
    /// Some of their fields, by JSON pointer. A call without one of them is refused.
    Fields(Vec<String>),
    /// The key that the caller gives. A call without one is refused.
    Caller,
    /// The call's id: an agent that repeats a call, and not one that makes another like it.
    Call,
    /// What the embedding program says. Not in settings.
    Custom(CustomKey),
}

/// A key of the embedder's own.
#[derive(Clone)]
pub struct CustomKey(pub Arc<dyn CallKey>);

/// The hash that makes a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// BLAKE3, with 256 bits.
    #[default]
    Blake3,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// What else must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "IdempotencyScope")]
pub enum Scope {
    /// The caller's id.
    Caller,
    /// The session.
    Session,
}

/// What a call does while its twin runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// It waits, and gets the same answer.
    #[default]
    Wait,
    /// It is told so.
    Reject,
}

/// What is done about a call that may have had its effect, and of which nobody knows more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnCrash {
    /// It stays unknown until an operator says what is true.
    #[default]
    Unknown,
    /// The next call with the key runs it again.
    Rerun,
}

/// What is kept of a success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Its result.
    #[default]
    Result,
    /// That it was one.
    Fact,
}

impl Default for Idempotency {
    fn default() -> Self {
        Idempotency {
            key: KeyFrom::Nothing,
            hash: Hash::default(),
            scope: BTreeSet::from([Scope::Caller]),
            on_conflict: OnConflict::default(),
            on_crash: None,
            idempotent: false,
            ttl: TTL,
            keep_errors: true,
            keep: Keep::default(),
        }
    }
}

impl Idempotency {
    /// These, with what settings say over them.
    #[must_use]
    pub fn with(self, settings: &IdempotencySettings) -> Self {
        let said = settings.clone();
        Idempotency {
            key: said.key.unwrap_or(self.key),
            hash: said.hash.unwrap_or(self.hash),
            scope: said.scope.unwrap_or(self.scope),
            on_conflict: said.on_conflict.unwrap_or(self.on_conflict),
            on_crash: said.on_crash.or(self.on_crash),
            idempotent: said.idempotent.unwrap_or(self.idempotent),
            ttl: said.ttl.map_or(self.ttl, |ttl| ttl.0.min(TTL_MAX)),
            keep_errors: said.keep_errors.unwrap_or(self.keep_errors),
            keep: said.keep.unwrap_or(self.keep),
        }
    }

    /// What is done about a call whose host went away after its first effect.
    #[must_use]
    pub fn after_crash(&self) -> OnCrash {
        self.on_crash.unwrap_or(if self.idempotent { OnCrash::Rerun } else { OnCrash::Unknown })
    }

    /// Whether a tool with these parameters can have such a key: each field that makes it belongs to a parameter.
    ///
    /// # Errors
    /// The fields that do not.
    pub fn fits(&self, parameters: &[Field]) -> Result<(), String> {
        let KeyFrom::Fields(fields) = &self.key else { return Ok(()) };
        let first = |pointer: &str| pointer.split('/').nth(1).unwrap_or_default().replace("~1", "/").replace("~0", "~");
        let unknown = fields.iter().filter(|pointer| !parameters.iter().any(|known| known.key == first(pointer)));
        match unknown.map(|pointer| format!("`{pointer}`")).collect::<Vec<_>>() {
            unknown if unknown.is_empty() => Ok(()),
            unknown => {
                Err(format!("`guard.idempotency` makes its key from {}, which it does not take", unknown.join(", ")))
            }
        }
    }
}

impl fmt::Debug for CustomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomKey(..)")
    }
}

impl PartialEq for CustomKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl JsonSchema for KeyFrom {
    fn schema_name() -> Cow<'static, str> {
        "KeyFrom".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let fields = json_schema!({
            "description": "Fields of the arguments, as JSON pointers.",
            "type": "array",
            "items": {"type": "string", "pattern": "^/"},
            "minItems": 1,
            "maxItems": FIELDS_MAX,
        });
        let words = |word: &str, words: &str| json_schema!({"type": "string", "const": word, "description": words});
        json_schema!({"description": "What makes two calls of a tool the same.", "anyOf": [
            words("none", "Nothing, unless a caller gives a key to a tool that may change something."),
            words("args", "All their arguments."),
            words("caller", "The key that the caller gives. A call without one is refused."),
            words("call", "The id of the call."),
            {
                "type": "object",
                "properties": {"fields": fields},
                "required": ["fields"],
                "additionalProperties": false,
            },
        ]})
    }
}

impl<'de> Deserialize<'de> for KeyFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            fields: Vec<String>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = KeyFrom;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"args\", \"caller\", \"call\", \"none\", or { fields = [\"/order_id\"] }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<KeyFrom, E> {
                Ok(match text {
                    "none" => KeyFrom::Nothing,
                    "args" => KeyFrom::Arguments,
                    "caller" => KeyFrom::Caller,
                    "call" => KeyFrom::Call,
                    _ => return Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KeyFrom, A::Error> {
                let Written { fields } = Written::deserialize(MapAccessDeserializer::new(map))?;
                if fields.is_empty() || fields.len() > FIELDS_MAX {
                    return Err(A::Error::custom(format!("expected from 1 to {FIELDS_MAX} fields")));
                }
                match fields.iter().find(|field| !field.starts_with('/')) {
                    Some(field) => Err(A::Error::custom(format!("`{field}` is no JSON pointer; write `/{field}`"))),
                    None => Ok(KeyFrom::Fields(fields)),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

fn ttl<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
    let span = Span::deserialize(deserializer)?;
    match span.0 > TTL_MAX {
        true => Err(D::Error::custom("expected at most 365 days")),
        false => Ok(Some(span)),
    }
}

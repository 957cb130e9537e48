//! What does the operator say about tools? The parts of `toolpost.toml` that are about the host's limits and its tools.
//! Reading the file is not done here; an unknown key is an error wherever it is read.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::cast::Cast;
use crate::effect::EffectClass;

/// Limits, where they differ from what stands above: those of a tool from its component's, those from the host's, those
/// from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Operations of one attempt, about one per WebAssembly operator. Default 1000000000.
    pub fuel: Option<u64>,
    /// Memory of one attempt. Default "64 MiB".
    pub memory: Option<Bytes>,
    /// Time of one attempt. Default "30s".
    pub time: Option<Span>,
    /// Time of a call with all its attempts. Default "120s".
    pub call_time: Option<Span>,
    /// Length of the arguments as JSON. Default "1 MiB".
    pub arguments: Option<Bytes>,
    /// Size of a result. Default "8 MiB".
    pub result: Option<Bytes>,
    /// Handles and host resources of one attempt. Default 10000.
    pub handles: Option<u32>,
    /// The log that is kept of one attempt. Default "64 KiB".
    pub log: Option<Bytes>,
    /// The standard output, and the standard error, that are kept of one attempt. Default "64 KiB".
    pub stdio: Option<Bytes>,
}

/// What is said of one tool.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolSettings {
    /// Another name for the tool: at most 40 characters of a-z, 0-9 and _.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// What the tool may do to the world, where the operator knows better than what is derived from its powers.
    pub effect: Option<EffectClass>,
    /// How far arguments may be from the schema.
    pub cast: Option<Cast>,
    /// Values for parameters that a call leaves out, by the parameter's name.
    #[serde(default)]
    pub defaults: BTreeMap<String, serde_json::Value>,
    /// Limits of this tool.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Set to true to leave the tool out.
    #[serde(default)]
    pub hidden: bool,
}

/// A number of bytes: an integer, or text with a unit such as "64 MiB" or "10 kB".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A span of time: text such as "30s", "500ms" or "2m".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<bytesize::ByteSize>()
            .map(|size| Bytes(size.as_u64()))
            .map_err(|_| format!("`{text}` is no number of bytes; write for example \"64 MiB\""))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(span) if !span.is_zero() => Ok(Span(span)),
            _ => Err(format!("`{text}` is no span of time above zero; write for example \"30s\" or \"500ms\"")),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer) {
            Ok(Written::Number(bytes)) => Ok(Bytes(bytes)),
            Ok(Written::Text(text)) => text.parse().map_err(serde::de::Error::custom),
            Err(_) => Err(serde::de::Error::custom("expected a number of bytes, for example \"64 MiB\"")),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)
            .map_err(|_| serde::de::Error::custom("expected a span of time, for example \"30s\""))?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A number of bytes: an integer, or text with a unit such as \"64 MiB\" or \"10 kB\".",
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]
        })
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A span of time such as \"30s\", \"500ms\" or \"2m\".",
            "type": "string"
        })
    }
}

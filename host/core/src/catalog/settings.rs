//! What does the operator say about tools? The parts of `toolpost.toml` that are about the host's limits and its tools.
//! Reading the file is not done here; an unknown key is an error wherever it is read.

pub(crate) mod schema;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess};
use serde::{Deserialize, Deserializer};

use super::cast::Cast;
use super::grants::GrantSettings;
use super::selection::ToolLabel;
use crate::effect::EffectClass;
use crate::guard::GuardSettings;

pub use self::schema::bytes_between;

/// The least memory that settings may allow an attempt, in bytes: one page.
pub const MEMORY_BYTES_LEAST: u64 = 64 << 10;

/// The most memory that settings may allow an attempt, in bytes: what 32 bits can address.
pub const MEMORY_BYTES_MOST: u64 = 4 << 30;

/// The shortest result that settings may cut for its reader, in bytes.
pub const READER_BYTES_LEAST: u64 = 1 << 10;

/// Limits, where they differ from what stands above: those of a tool from its component's, those from the host's, those
/// from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Operations of one attempt, about one per WebAssembly operator; at least 1. Default 1000000000.
    #[serde(default, deserialize_with = "number_within::<_, _, 1, { u64::MAX }>")]
    #[schemars(range(min = 1))]
    pub fuel: Option<u64>,
    /// Memory of one attempt, "64 KiB" to "4 GiB". Default "64 MiB".
    #[serde(default, deserialize_with = "bytes_within::<_, MEMORY_BYTES_LEAST, MEMORY_BYTES_MOST>")]
    #[schemars(schema_with = "bytes_between::<MEMORY_BYTES_LEAST, MEMORY_BYTES_MOST>")]
    pub memory: Option<Bytes>,
    /// Time of one attempt. Default "30s".
    pub time: Option<Span>,
    /// Time of a call with all its attempts and its wait for a place. Default "120s".
    pub call_time: Option<Span>,
    /// Length of the arguments as JSON. Default "1 MiB".
    pub arguments: Option<Bytes>,
    /// Size of a result. Default "8 MiB".
    pub result: Option<Bytes>,
    /// Length of a result that its reader gets; of a longer one the beginning and the end, and all of it is kept. At least
    /// "1 KiB". Default "64 KiB".
    #[serde(default, deserialize_with = "bytes_within::<_, READER_BYTES_LEAST, { u64::MAX }>")]
    #[schemars(schema_with = "bytes_between::<READER_BYTES_LEAST, { u64::MAX }>")]
    pub reader: Option<Bytes>,
    /// Handles and host resources of one attempt. Default 10000.
    #[schemars(range(max = u32::MAX))]
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
    /// Another name for the tool: 1 to 40 characters of a-z, 0-9 and _, of which the first is a letter. Default: the names
    /// of its component and of its function.
    pub name: Option<String>,
    /// Another description, for the agent that chooses. Default: its author's.
    pub description: Option<String>,
    /// Words by which the tool is chosen, beside those of its component: 1 to 40 characters of a-z, 0-9, `_` and `-` each.
    /// Default: none.
    #[serde(default)]
    pub labels: Vec<ToolLabel>,
    /// What the tool may do to the world, where the operator knows better than what is derived from its powers.
    /// Default: what is derived.
    pub effect: Option<EffectClass>,
    /// How far arguments may be from the schema. Default: as of its component.
    pub cast: Option<Cast>,
    /// Values for parameters that a call leaves out or says nothing for, by the parameter's name.
    #[serde(default)]
    pub defaults: BTreeMap<String, serde_json::Value>,
    /// Arguments that nobody may see but the tool, as JSON pointers such as "/password" or "/users/*/token". Default: none.
    #[serde(default)]
    pub secret_arguments: Vec<String>,
    /// Limits of this tool. Default: its component's.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Rates, room, prices, breaker and retries of this tool. Default: its component's.
    #[serde(default)]
    pub guard: GuardSettings,
    /// What this tool may reach, in place of what its component may. Default: the same as its component.
    #[serde(default)]
    pub grants: GrantSettings,
    /// Whether the tool is left out. Default false.
    #[serde(default)]
    pub hidden: bool,
}

/// A number of bytes: an integer, or text with a unit such as "64 MiB" or "10 kB".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A span of time: text such as "30s", "500ms" or "2m".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Bytes {
    /// The same, if it lies between bounds.
    ///
    /// # Errors
    /// It does not; the error says what is allowed.
    pub fn within(self, least: u64, most: u64) -> Result<Self, String> {
        if (least..=most).contains(&self.0) {
            return Ok(self);
        }
        let shown = |bytes| ByteSize(bytes).display().iec().to_string().replace(".0 ", " ");
        let [least, most, got] = [least, most, self.0].map(shown);
        Err(format!("expected from {least} to {most}, got {got}"))
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<ByteSize>()
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

/// Reads one of several things out of a table that names it, and nothing else: an enum takes one entry, and would pass over
/// another.
///
/// # Errors
/// What stands there does not fit, or there is more than one entry; the error says what is allowed.
pub(crate) fn one_of<'de, T, A>(mut map: A, known: &str) -> Result<T, A::Error>
where
    T: Deserialize<'de>,
    A: MapAccess<'de>,
{
    let one = T::deserialize(MapAccessDeserializer::new(&mut map))?;
    match map.next_key::<IgnoredAny>()? {
        None => Ok(one),
        Some(_) => Err(serde::de::Error::custom(format!("expected one of {known}, got several; keep one"))),
    }
}

/// Reads a whole number between bounds: for `deserialize_with`, so that the fault is the value's, with its line.
///
/// # Errors
/// Something else stands there; the error says what is allowed.
pub fn number_within<'de, D, N, const LEAST: u64, const MOST: u64>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    let number = u64::deserialize(deserializer).ok().filter(|number| (LEAST..=MOST).contains(number));
    let number = number.and_then(|number| N::try_from(number).ok());
    number.map(Some).ok_or_else(|| match MOST {
        u64::MAX => serde::de::Error::custom(format!("expected a whole number of at least {LEAST}")),
        _ => serde::de::Error::custom(format!("expected a whole number from {LEAST} to {MOST}")),
    })
}

/// Reads a number of bytes between bounds, as [`number_within`] does.
///
/// # Errors
/// Something else stands there; the error says what is allowed.
pub fn bytes_within<'de, D, const LEAST: u64, const MOST: u64>(deserializer: D) -> Result<Option<Bytes>, D::Error>
where
    D: Deserializer<'de>,
{
    let bytes = Bytes::deserialize(deserializer)?;
    bytes.within(LEAST, MOST).map(Some).map_err(serde::de::Error::custom)
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

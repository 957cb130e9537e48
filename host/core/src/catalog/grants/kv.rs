//! Buckets of keys and values that a tool is given, and what it may do with each.
//!
//! A bucket belongs to the component that opens it: two components that both call theirs `notes` do not see each other's keys,
//! unless their grants name the same `namespace`. With a prefix, a tool has only the keys that begin with it, and it knows them
//! without it: the host puts it in front of every key. So there is no name for what lies outside.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::only::Only;
use super::{plain_bytes, shown_only};
use crate::catalog::Tool;
use crate::catalog::settings::{Bytes, bytes_between, bytes_within, number_within};
use crate::effect::EffectClass;

/// The bounds of what a grant of a bucket may allow.
const VALUE_BYTES_MOST: u64 = 16 << 20;
const KEYS_MOST: u64 = 100_000_000;
const BYTES_MOST: u64 = 1 << 40;

/// The longest name, and the longest prefix, in bytes.
const NAME_BYTES_MAX: usize = 64;
const PREFIX_BYTES_MAX: usize = 256;

/// A bucket of keys and values.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvGrant {
    /// The name by which the tool opens it; must be given.
    pub bucket: KvName,
    /// Where it is kept: the name of a store in `[kv]`. Default "default".
    #[serde(default = "KvName::default_store")]
    pub store: KvName,
    /// What the host puts in front of every key. The tool has no other keys, and knows these without it. Default "".
    #[serde(default)]
    pub prefix: KeyPrefix,
    /// What the tool may do there. Default "read".
    #[serde(default)]
    pub access: KvAccess,
    /// A name under which several components have the same keys. Default: they are the component's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<KvName>,
    /// Length of a value, up to "16 MiB". Default "1 MiB".
    #[serde(default = "value_bytes", deserialize_with = "value_bytes_up_to", serialize_with = "plain_bytes")]
    #[schemars(schema_with = "bytes_between::<0, VALUE_BYTES_MOST>")]
    pub max_value: Bytes,
    /// Keys in the bucket, up to 100000000. Default 10000.
    #[serde(default = "keys", deserialize_with = "keys_up_to")]
    #[schemars(range(min = 0, max = KEYS_MOST))]
    pub max_keys: u64,
    /// Length of all keys and values in the bucket, up to "1 TiB". Default "64 MiB".
    #[serde(default = "bytes", deserialize_with = "bytes_up_to", serialize_with = "plain_bytes")]
    #[schemars(schema_with = "bytes_between::<0, BYTES_MOST>")]
    pub max_bytes: Bytes,
    /// The argument that names what a call may reach of it, for example "${args.key}". It is a key as the tool knows it, with all below it (`KEY/..`). Default: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
}

/// What a tool may do in a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KvAccess {
    /// See keys and values.
    #[default]
    Read,
    /// Set, change and delete them, too.
    Write,
}

/// The name of a bucket, a store or a namespace: 1 to 64 letters, digits, `_`, `-` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KvName(String);

/// What stands in front of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct KeyPrefix(String);

impl KvAccess {
    /// How far a tool reaches with it.
    #[must_use]
    pub fn effect(self) -> EffectClass {
        if self == KvAccess::Write { EffectClass::Writes } else { EffectClass::Reads }
    }

    /// The name, as in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KvAccess::Read => "read",
            KvAccess::Write => "write",
        }
    }
}

impl fmt::Display for KvGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.access.name(), self.bucket)?;
        shown_only(self.only.as_ref(), f)?;
        write!(f, " (in the store {}", self.store)?;
        if let Some(namespace) = &self.namespace {
            write!(f, ", shared as {namespace}")?;
        }
        if !self.prefix.0.is_empty() {
            write!(f, ", under {}", self.prefix.0)?;
        }
        f.write_str(")")
    }
}

impl KvGrant {
    /// The name of the bucket's space in its store, for a tool: that of its component, also where a set has brought it along. What comes
    /// last has no `/`, nor has the name of a set, so no two of them are the same.
    #[must_use]
    pub fn space(&self, tool: &Tool) -> String {
        let (component, bucket) = (tool.component(), &self.bucket);
        match (&self.namespace, &tool.set) {
            (Some(namespace), _) => format!("shared/{namespace}"),
            (None, Some(set)) => format!("set/{}/{component}/{bucket}", set.as_str()),
            (None, None) => format!("component/{component}/{bucket}"),
        }
    }
}

impl KvName {
    /// Reads a name.
    ///
    /// # Errors
    /// It is none; the error says what would be one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if !(1..=NAME_BYTES_MAX).contains(&text.len()) || !text.bytes().all(plain) {
            let shown: String = text.chars().take(NAME_BYTES_MAX).flat_map(char::escape_debug).collect();
            return Err(format!(
                "`{shown}` is no name: it has 1 to {NAME_BYTES_MAX} letters, digits, `_`, `-` and `.`"
            ));
        }
        Ok(KvName(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The store of grants that name none.
    #[must_use]
    pub fn default_store() -> Self {
        KvName("default".into())
    }
}

impl fmt::Display for KvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KvName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        KvName::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for KvName {
    fn schema_name() -> Cow<'static, str> {
        "KvName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A name: 1 to 64 letters, digits, `_`, `-` and `.`.",
            "type": "string",
            "pattern": r"^[A-Za-z0-9_.-]{1,64}$",
        })
    }
}

impl KeyPrefix {
    /// Reads a prefix.
    ///
    /// # Errors
    /// It is too long, or has characters that no key should have.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PREFIX_BYTES_MAX || text.contains(char::is_control) {
            return Err("this prefix is too long, or has characters that no key should have".into());
        }
        Ok(KeyPrefix(text.to_owned()))
    }

    /// The prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for KeyPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        KeyPrefix::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for KeyPrefix {
    fn schema_name() -> Cow<'static, str> {
        "KeyPrefix".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What stands in front of keys, for example \"notes/\".",
            "type": "string",
            "maxLength": PREFIX_BYTES_MAX,
            "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$",
        })
    }
}

/// Reads a list in which no two buckets have the same name.
pub(super) fn of_different_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<KvGrant>>, D::Error> {
    let grants = Option::<Vec<KvGrant>>::deserialize(deserializer)?;
    let mut taken = BTreeSet::new();
    for grant in grants.iter().flatten() {
        if !taken.insert(&grant.bucket) {
            let twice = format!("two buckets are granted as `{}`; give one of them another name", grant.bucket);
            return Err(D::Error::custom(twice));
        }
    }
    Ok(grants)
}

fn value_bytes() -> Bytes {
    Bytes(ByteSize::mib(1).as_u64())
}

fn keys() -> u64 {
    10_000
}

fn bytes() -> Bytes {
    Bytes(ByteSize::mib(64).as_u64())
}

fn value_bytes_up_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let given = bytes_within::<_, 0, VALUE_BYTES_MOST>(deserializer)?;
    Ok(given.unwrap_or_else(value_bytes))
}

fn keys_up_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let given = number_within::<_, _, 0, KEYS_MOST>(deserializer)?;
    Ok(given.unwrap_or_else(keys))
}

fn bytes_up_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let given = bytes_within::<_, 0, BYTES_MOST>(deserializer)?;
    Ok(given.unwrap_or_else(bytes))
}

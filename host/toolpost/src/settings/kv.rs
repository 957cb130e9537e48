//! Where keys and values are kept: the stores to which grants of buckets lead.

use std::time::Duration;

use reqwest::Url;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toolpost_core::catalog::settings::{Span, number_within};
use toolpost_wasm::kv::TIME_MAX;

use super::secret_name::SecretName;

/// The most connections to one server.
const CONNECTIONS_MOST: u64 = 1_000;

/// A store of keys and values.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum KvSettings {
    /// An embedded database in the store of the host.
    Sqlite(EmbeddedSettings),
    /// In memory: it ends with the program.
    Memory(MemorySettings),
    /// A server that speaks Redis' protocol.
    Redis(ServerSettings),
    /// A table of DynamoDB.
    Dynamodb(TableSettings),
}

/// An embedded database.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddedSettings {
    /// How long one piece of work may take. Default "5s".
    pub timeout: Span,
}

/// Memory. Nothing more can be said of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemorySettings {}

/// A server that speaks Redis' protocol.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// The secret that is its URL, for example "${secret:REDIS_URL}"; must be given.
    pub url: SecretName,
    /// Connections to it, 1 to 1000. Default 8.
    #[serde(default = "connections", deserialize_with = "connections_within")]
    #[schemars(range(min = 1, max = CONNECTIONS_MOST))]
    pub pool: usize,
    /// How long one piece of work may take. Default "5s".
    #[serde(default = "time")]
    pub timeout: Span,
}

/// A table of DynamoDB, whose partition key is the text `space`, and whose sort key is the text `key`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableSettings {
    /// The name of the table; must be given.
    pub table: String,
    /// The region, for example "eu-central-1"; must be given.
    pub region: String,
    /// The id of the access key; must be given.
    pub access_key: String,
    /// The secret that is the access key, for example "${secret:AWS_SECRET_KEY}"; must be given.
    pub secret_key: SecretName,
    /// Where the service is, for example "http://127.0.0.1:8000". Default: in its region.
    #[serde(default, deserialize_with = "endpoint")]
    #[schemars(with = "Option<String>", regex(pattern = "^https?://.+"))]
    pub endpoint: Option<Url>,
    /// Requests to it at once, 1 to 1000. Default 8.
    #[serde(default = "connections", deserialize_with = "connections_within")]
    #[schemars(range(min = 1, max = CONNECTIONS_MOST))]
    pub pool: usize,
    /// How long one piece of work may take. Default "5s".
    #[serde(default = "time")]
    pub timeout: Span,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        EmbeddedSettings { timeout: Span(TIME_MAX) }
    }
}

impl Default for KvSettings {
    fn default() -> Self {
        KvSettings::Sqlite(EmbeddedSettings::default())
    }
}

impl KvSettings {
    /// How long one piece of work may take.
    #[must_use]
    pub fn time_max(&self) -> Duration {
        match self {
            KvSettings::Sqlite(embedded) => embedded.timeout.0,
            KvSettings::Redis(server) => server.timeout.0,
            KvSettings::Dynamodb(table) => table.timeout.0,
            KvSettings::Memory(_) => TIME_MAX,
        }
    }

    /// The secret that it needs.
    pub(crate) fn secret(&self) -> Option<&SecretName> {
        match self {
            KvSettings::Redis(server) => Some(&server.url),
            KvSettings::Dynamodb(table) => Some(&table.secret_key),
            KvSettings::Sqlite(_) | KvSettings::Memory(_) => None,
        }
    }
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let url = Url::parse(&String::deserialize(deserializer)?).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.map(Some).ok_or_else(|| D::Error::custom("is no URL of a service, for example \"http://127.0.0.1:8000\""))
}

fn connections() -> usize {
    8
}

fn time() -> Span {
    Span(TIME_MAX)
}

fn connections_within<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let number = number_within::<_, _, 1, CONNECTIONS_MOST>(deserializer)?;
    Ok(number.unwrap_or_else(connections))
}

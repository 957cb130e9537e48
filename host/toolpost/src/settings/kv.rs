//! Where keys and values are kept: the stores to which grants of buckets lead.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use toolpost_core::catalog::settings::Span;
use toolpost_wasm::kv::TIME_MAX;

/// A store of keys and values.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum KvSettings {
    /// An embedded database in the store of the host.
    Sqlite(EmbeddedSettings),
    /// In memory: it ends with the program.
    Memory(MemorySettings),
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
            KvSettings::Memory(_) => TIME_MAX,
        }
    }
}

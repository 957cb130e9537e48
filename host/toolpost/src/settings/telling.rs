//! What is told to whom: the log of calls.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use toolpost_core::catalog::settings::{Bytes, Span};

use crate::mask::Masks;

/// The log of calls, which is kept in the store.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Set to false to keep no log. Default true, where there is a store.
    pub enabled: bool,
    /// For how long a call is kept. Default "30d".
    pub keep: Span,
    /// The most calls that are kept. Default 100000.
    pub max_calls: u64,
    /// The most room that the log takes. Default "1 GiB".
    pub max_size: Bytes,
    /// Set to false to leave out what tools are called with. Default true.
    pub arguments: bool,
    /// Set to false to leave out what tools answer. Default true.
    pub results: bool,
    /// Keys and JSON pointers whose values are masked. Default: what is named like a password, a token or a key.
    pub mask: Masks,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            enabled: true,
            keep: Span(Duration::from_secs(30 * 86_400)),
            max_calls: 100_000,
            max_size: Bytes(1 << 30),
            arguments: true,
            results: true,
            mask: Masks::default(),
        }
    }
}

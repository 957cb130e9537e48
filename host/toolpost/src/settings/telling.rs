//! What is told to whom: the log of calls, traces and metrics.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
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

/// Who else is told.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// Where traces are sent, in OpenTelemetry's protocol over HTTP: "http://127.0.0.1:4318". Default: nowhere.
    #[serde(deserialize_with = "endpoint")]
    #[schemars(regex(pattern = "^https?://.+"))]
    pub otlp: Option<String>,
    /// Where Prometheus finds the metrics, under `/metrics`: an address of this machine, "127.0.0.1:9464". Default: nowhere.
    #[serde(deserialize_with = "loopback")]
    #[schemars(with = "Option<String>")]
    pub prometheus: Option<SocketAddr>,
    /// Set to true to have arguments, results and the words of failures in traces, masked as in the log. Default false.
    pub content: bool,
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() => Ok(Some(text)),
        _ => Err(D::Error::custom("expected the address of a collector, for example \"http://127.0.0.1:4318\"")),
    }
}

/// The names of tools are nobody else's business: whoever wants them elsewhere puts a server in front that knows who asks.
fn loopback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
        _ => Err(D::Error::custom("expected an address of this machine alone, for example \"127.0.0.1:9464\"")),
    }
}

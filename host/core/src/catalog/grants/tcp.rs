//! Connections over TCP, as they are granted: to one port of one host. A host by its name, which is looked up, or by its
//! address, which is then the only one.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Host;

use super::{plain_bytes, plain_span};
use crate::catalog::settings::{Bytes, Span, bytes_between, bytes_within, number_within};

/// The bounds of what a grant of connections may allow.
const CONNECTIONS_MOST: u64 = 1_000;
const BYTES_MOST: u64 = 1 << 40;

/// Connections over TCP to one port of one host.
///
/// It is read as one of [`NetGrants`](super::NetGrants).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpGrant {
    /// Where to, a name or an address and a port, for example "db.internal:5432" or "10.0.0.5:5432"; must be given.
    pub tcp: Endpoint,
    /// Whether the name may lead into a private network or to this machine. Default false.
    #[schemars(default)]
    pub private: bool,
    /// Connections of one attempt at once, 1 to 1000. Default 10.
    #[schemars(default = "connections", range(min = 1, max = CONNECTIONS_MOST))]
    pub max_connections: u32,
    /// What one attempt may send and receive there together, up to "1 TiB". Default "64 MiB".
    #[serde(serialize_with = "plain_bytes")]
    #[schemars(default = "bytes", schema_with = "bytes_between::<0, BYTES_MOST>")]
    pub max_bytes: Bytes,
    /// How long the other side may take to be found and to be connected to. Default "10s".
    #[serde(serialize_with = "plain_span")]
    #[schemars(default = "timeout", with = "Span")]
    pub timeout: Span,
}

/// A port of a host, whose name or address is in its normal form: lower case, punycode, no dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    host: Host<String>,
    port: u16,
}

impl fmt::Display for TcpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp://{}", self.tcp)?;
        if self.private {
            f.write_str(" (private networks too)")?;
        }
        Ok(())
    }
}

impl Endpoint {
    /// Reads a host and a port.
    ///
    /// # Errors
    /// They are none; the error says what would be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("`{text}` {what}; write for example \"db.internal:5432\""));
        let Some((host, port)) = text.rsplit_once(':') else {
            return wrong("names no port");
        };
        let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(port) = port.and_then(|port| port.parse().ok()).filter(|port| *port > 0) else {
            return wrong("names no port from 1 to 65535");
        };
        match host_name(host) {
            Some(host) => Ok(Endpoint { host, port }),
            None if host.contains(':') && !host.contains('/') => {
                Err(format!("`{text}` has no host; an IPv6 address stands in brackets, as in \"[::1]:5432\""))
            }
            None => wrong("has no host that can be granted: a host is one name or one address"),
        }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it names its host by an address.
    #[must_use]
    pub fn names_address(&self) -> bool {
        !matches!(self.host, Host::Domain(_))
    }
}

/// A host in the normal form in which hosts are compared; an IPv6 address stands in brackets. Nothing where it is none.
#[must_use]
pub fn host_name(text: &str) -> Option<Host<String>> {
    // The form of URLs would read `%` as an escape, and has names with quotes and stars in them.
    if text.len() > HOST_BYTES_MAX || text.contains('%') {
        return None;
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match Host::parse(text.strip_suffix('.').unwrap_or(text)).ok()? {
        Host::Domain(name) if name.is_empty() || name.ends_with('.') || !name.bytes().all(is_plain) => None,
        host => Some(host),
    }
}

/// The longest name of a host, in bytes.
const HOST_BYTES_MAX: usize = 255;

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Endpoint::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A port of a host: for example \"db.internal:5432\".",
            "type": "string",
            "pattern": r"^([^\s/\\?#*@%:\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$",
        })
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(super) fn connections() -> u32 {
    10
}

pub(super) fn bytes() -> Bytes {
    Bytes(ByteSize::mib(64).as_u64())
}

pub(super) fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

pub(super) fn connections_within<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = number_within::<_, _, 1, CONNECTIONS_MOST>(deserializer)?;
    Ok(number.unwrap_or_else(connections))
}

pub(super) fn bytes_up_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let number = bytes_within::<_, 0, BYTES_MOST>(deserializer)?;
    Ok(number.unwrap_or_else(bytes))
}

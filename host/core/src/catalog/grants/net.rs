//! Requests over HTTP, as they are granted. Whether one falls under a grant is decided on the URL that is sent, in its normal
//! form, and by comparing whole parts of it: scheme, host, port, and the path segment by segment.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Host, Url};

use super::inject::Inject;
use super::only::Only;
use super::template::Template;
use super::{plain_bytes, plain_span, shown_only};
use crate::catalog::settings::{Bytes, Span, bytes_between, bytes_within, number_within};
use crate::effect::EffectClass;

/// The bounds of what a grant of the network may allow.
const REQUESTS_MOST: u64 = 1_000_000;
const BODY_BYTES_MOST: u64 = 1 << 30;

/// Requests over HTTP to one destination.
///
/// It is read as one of [`NetGrants`](super::NetGrants).
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetGrant {
    /// Where to, for example "https://*.example.com:443/v1/**"; must be given.
    pub to: Destination,
    /// The methods. Default ["GET", "HEAD"].
    #[schemars(default)]
    pub methods: Methods,
    /// Length of the body of a request, up to "1 GiB". Default "8 MiB".
    #[serde(serialize_with = "plain_bytes")]
    #[schemars(default = "body_bytes", schema_with = "bytes_between::<0, BODY_BYTES_MOST>")]
    pub max_request: Bytes,
    /// Length of the body of a response, up to "1 GiB". Default "8 MiB".
    #[serde(serialize_with = "plain_bytes")]
    #[schemars(default = "body_bytes", schema_with = "bytes_between::<0, BODY_BYTES_MOST>")]
    pub max_response: Bytes,
    /// Requests of one attempt, 1 to 1000000. Default 100.
    #[schemars(default = "requests", range(min = 1, max = REQUESTS_MOST))]
    pub max_requests: u32,
    /// How long the other side may take to be connected to, to begin its answer, and between two parts of it. Default "10s".
    #[serde(serialize_with = "plain_span")]
    #[schemars(default = "timeout", with = "Span")]
    pub timeout: Span,
    /// Whether the destination may lie in a private network or on this machine. Default false.
    #[schemars(default)]
    pub private: bool,
    /// Whether requests that may change something carry the call's `Idempotency-Key`. Default false.
    #[schemars(default)]
    pub idempotency_key: bool,
    /// What the host puts into each request and the tool never sees: `headers`, `query`, `basic` and `aws`, with secrets of the host.
    /// Over `https` only, but for destinations on this machine or in a private network that are named as such.
    #[serde(skip_serializing_if = "Inject::is_empty")]
    #[schemars(default)]
    pub inject: Inject,
    /// The argument that names what a call may reach of it, for example "${args.url}". It is a URL; without a query of its own, every query of it. Default: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
}

/// Methods of HTTP, in capital letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Methods(pub(super) Vec<String>);

/// URLs, by a pattern: a scheme, a host or all hosts below one, a port, and a path with `*` for a part of a segment and
/// `**` for any number of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub(super) scheme: String,
    pub(super) host: HostPattern,
    pub(super) port: u16,
    pub(super) path: Vec<String>,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostPattern {
    Exactly(Host<String>),
    /// Every name that ends in a dot and this.
    Below(String),
}

/// How far a request with this method reaches: one that is safe by its definition only reads.
#[must_use]
pub fn method_effect(method: &str) -> EffectClass {
    if matches!(method, "GET" | "HEAD" | "OPTIONS") { EffectClass::Reads } else { EffectClass::Open }
}

impl fmt::Display for NetGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.methods, self.to)?;
        if self.private {
            f.write_str(" (private networks too)")?;
        }
        shown_only(self.only.as_ref(), f)?;
        if let Some(aws) = &self.inject.aws {
            write!(f, " (signed for {} in {})", aws.service, aws.region)?;
        }
        let names: BTreeSet<&str> = self.inject.templates().flat_map(Template::secrets).collect();
        if !names.is_empty() {
            write!(f, " (with {})", names.into_iter().collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

impl Methods {
    /// How far requests with them reach.
    #[must_use]
    pub fn effect(&self) -> EffectClass {
        self.0.iter().map(|method| method_effect(method)).max().unwrap_or(EffectClass::Pure)
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn allows(&self, method: &str) -> bool {
        self.0.iter().any(|allowed| allowed == method)
    }
}

impl Default for Methods {
    fn default() -> Self {
        Methods(["GET", "HEAD"].map(str::to_owned).to_vec())
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl<'de> Deserialize<'de> for Methods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let methods = Vec::<String>::deserialize(deserializer)
            .map_err(|_| D::Error::custom("expected a list of methods, for example [\"GET\", \"POST\"]"))?;
        if methods.is_empty() {
            return Err(D::Error::custom("a grant without methods grants nothing; take it out, or name one"));
        }
        for method in &methods {
            let upper = method.to_ascii_uppercase();
            if !(1..=20).contains(&method.len()) || !upper.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
            {
                return Err(D::Error::custom(format!("`{method}` is no method; write for example \"GET\"")));
            }
            if upper != *method {
                return Err(D::Error::custom(format!("methods are in capital letters: write \"{upper}\"")));
            }
            if upper == "CONNECT" {
                return Err(D::Error::custom("`CONNECT` opens a tunnel, through which a grant could not be kept"));
            }
        }
        Ok(Methods(methods))
    }
}

impl JsonSchema for Methods {
    fn schema_name() -> Cow<'static, str> {
        "Methods".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let method = json_schema!({"type": "string", "pattern": "^[A-Z-]{1,20}$", "not": {"const": "CONNECT"}});
        json_schema!({
            "description": "Methods of HTTP, in capital letters.", "type": "array", "items": method, "minItems": 1,
        })
    }
}

impl Destination {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is none; the error says what would be one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("`{text}` {what}"));
        let Some((scheme @ ("https" | "http"), rest)) = text.split_once("://") else {
            return wrong("is no destination; write for example \"https://api.example.com/v1/**\"");
        };
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '?' | '#')) {
            return wrong("is more than a scheme, a host, a port and a path; a query is always allowed");
        }
        let Some((authority, path)) = rest.split_once('/') else {
            return Err(format!("`{text}` names no path; write \"{text}/**\" for all of them"));
        };
        let below = authority.strip_prefix("*.");
        let plain = below.unwrap_or(authority);
        if plain.is_empty() || plain.contains(['*', '@']) {
            return wrong("has no host that can be granted: a host is a name, an address, or `*.` and a name");
        }
        let url = Url::parse(&format!("{scheme}://{plain}/{path}"));
        let url = url.map_err(|error| format!("`{text}` is no destination: {error}"))?;
        let host = match (url.host(), below) {
            (Some(Host::Domain(name)), Some(_)) => HostPattern::Below(name.to_owned()),
            (Some(host), None) => HostPattern::Exactly(host.to_owned()),
            _ => return wrong("has a `*.` before an address; it can stand before a name only"),
        };
        let path: Vec<String> = segments(&url).map(str::to_owned).collect();
        if path.iter().any(|segment| segment.len() > 2 && segment.contains("**")) {
            return wrong("has a `**` that is no segment of its own; it stands for whole segments, as in `/v1/**`");
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let star = if below.is_some() { "*." } else { "" };
        let text = format!("{scheme}://{star}{}", url.as_str().split_once("://").map_or("", |(_, rest)| rest));
        Ok(Destination { scheme: scheme.to_owned(), host, port, path, text })
    }

    /// Whether a URL is one of these. It must be in the normal form in which it is sent, which is that of [`Url`].
    #[must_use]
    pub fn covers(&self, url: &Url) -> bool {
        let host = match (&self.host, url.host()) {
            (HostPattern::Exactly(host), Some(other)) => *host == other.to_owned(),
            (HostPattern::Below(name), Some(Host::Domain(other))) => {
                other.strip_suffix(name.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            _ => false,
        };
        let path: Vec<&str> = segments(url).collect();
        host && url.scheme() == self.scheme
            && url.port_or_known_default() == Some(self.port)
            && path_matches(&self.path, &path, segment_matches)
    }

    pub(crate) fn host(&self) -> &HostPattern {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether what is sent there can be read on the way.
    #[must_use]
    pub fn is_open_to_read(&self) -> bool {
        self.scheme == "http"
    }

    /// Whether it names its host by an address of this machine, or of a network of one's own.
    #[must_use]
    pub fn names_own_address(&self) -> bool {
        match self.host {
            HostPattern::Exactly(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            HostPattern::Exactly(Host::Ipv6(ip)) => {
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
            _ => false,
        }
    }

    /// Whether it names its host by an address, and so every address behind it.
    #[must_use]
    pub fn names_address(&self) -> bool {
        matches!(self.host, HostPattern::Exactly(Host::Ipv4(_) | Host::Ipv6(_)))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Destination::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Destination {
    fn schema_name() -> Cow<'static, str> {
        "Destination".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "URLs, by a pattern: for example \"https://*.example.com:443/v1/**\".",
            "type": "string",
            "pattern": r"^https?://(\*\.)?[^\s/\\?#*@]+/[^\s\\?#]*$",
        })
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

fn segments(url: &Url) -> impl Iterator<Item = &str> {
    url.path().strip_prefix('/').unwrap_or_default().split('/')
}

/// Whether a path has the form of the pattern, of which a part other than `**` stands for whatever segment `fits` it. Goes
/// back to the last `**` only, so a long path is no burden.
pub(super) fn path_matches<S: AsRef<str>>(pattern: &[String], path: &[S], fits: impl Fn(&str, &str) -> bool) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), path.get(seen)) {
            (None, None) => return true,
            (Some(part), _) if part == "**" => {
                back = Some((at, seen));
                at += 1;
            }
            (Some(part), Some(segment)) if fits(part, segment.as_ref()) => {
                (at, seen) = (at + 1, seen + 1);
            }
            _ => match &mut back {
                Some((star, from)) if *from < path.len() => {
                    *from += 1;
                    (at, seen) = (*star + 1, *from);
                }
                _ => return false,
            },
        }
    }
}

/// Whether one segment has the form of a pattern, in which `*` stands for any characters.
pub(super) fn segment_matches(pattern: &str, segment: &str) -> bool {
    let (pattern, segment) = (pattern.as_bytes(), segment.as_bytes());
    let (mut at, mut seen) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), segment.get(seen)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                back = Some((at, seen));
                at += 1;
            }
            (Some(one), Some(other)) if one == other => (at, seen) = (at + 1, seen + 1),
            _ => match &mut back {
                Some((star, from)) if *from < segment.len() => {
                    *from += 1;
                    (at, seen) = (*star + 1, *from);
                }
                _ => return false,
            },
        }
    }
}

pub(super) fn body_bytes() -> Bytes {
    Bytes(ByteSize::mib(8).as_u64())
}

pub(super) fn requests() -> u32 {
    100
}

pub(super) fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

pub(super) fn body_bytes_within<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let bytes = bytes_within::<_, 0, BODY_BYTES_MOST>(deserializer)?;
    Ok(bytes.unwrap_or_else(body_bytes))
}

pub(super) fn requests_within<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = number_within::<_, _, 1, REQUESTS_MOST>(deserializer)?;
    Ok(number.unwrap_or_else(requests))
}

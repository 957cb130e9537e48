//! What the operator says of approval: rules, how long a question waits, and who is asked over the network.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toolpost_core::catalog::settings::{Span, number_within};
use toolpost_core::check::approve::rules::{Rule, that_allow, that_stop};
use toolpost_core::check::approve::{PENDING_MAX, Rules, TIMEOUT};

/// The longest that a question may wait.
const TIMEOUT_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The most questions that may wait at once.
const PENDING_MOST: u64 = 10_000;

/// What is allowed, denied and asked about, and who is asked.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalSettings {
    /// How long a question waits for its answer, up to "7d". Default "5m".
    #[serde(default, deserialize_with = "timeout")]
    pub timeout: Option<Span>,
    /// Questions that may wait at once, 1 to 10000. Default 100.
    #[serde(default, deserialize_with = "number_within::<_, _, 1, PENDING_MOST>")]
    #[schemars(range(min = 1, max = PENDING_MOST))]
    pub max_pending: Option<usize>,
    /// Whether a question waits for an answer from another process (`toolpost approvals`). Default true.
    pub elsewhere: Option<bool>,
    /// What may not run, whatever else is said.
    #[serde(default, deserialize_with = "that_stop")]
    pub deny: Vec<Rule>,
    /// What a person is asked about.
    #[serde(default, deserialize_with = "that_stop")]
    pub ask: Vec<Rule>,
    /// What runs without a question.
    #[serde(default, deserialize_with = "that_allow")]
    pub allow: Vec<Rule>,
    /// A service that is asked where nobody is at a terminal.
    pub webhook: Option<WebhookSettings>,
}

/// A service that is asked over HTTP.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where a question is posted to: `https`, or `http` on this machine.
    #[serde(deserialize_with = "destination")]
    #[schemars(with = "String")]
    pub url: Url,
    /// What questions and answers are signed with: a text of at least 16 bytes, which stands elsewhere.
    pub secret: SecretSource,
    /// Where answers that come later are waited for, as address and port. Default: they are not.
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
    /// The URL under which the service reaches that address. Default: the address itself, with `http`.
    #[serde(default, deserialize_with = "callback")]
    #[schemars(with = "Option<String>")]
    pub callback: Option<Url>,
}

/// Where a secret stands. It never stands in the settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// In an environment variable of that name.
    Env(String),
    /// In a file; a relative path counts from the folder of the settings. The end of its last line does not count.
    File(PathBuf),
}

impl JsonSchema for SecretSource {
    fn schema_name() -> Cow<'static, str> {
        "SecretSource".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let source = |key: &str, words: &str| {
            json_schema!({
                "type": "object",
                "properties": {key: {"type": "string", "description": words}},
                "required": [key],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "Where a secret stands: { env = \"NAME\" } or { file = \"PATH\" }.",
            "anyOf": [
                source("env", "The name of an environment variable."),
                source("file", "A file; a relative path counts from the folder of the settings."),
            ],
        })
    }
}

impl ApprovalSettings {
    /// The rules.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let (deny, ask, allow) = (self.deny.clone(), self.ask.clone(), self.allow.clone());
        Rules { deny, ask, allow, always: Vec::new() }
    }

    /// Whether a question waits for an answer from another process.
    #[must_use]
    pub fn elsewhere(&self) -> bool {
        self.elsewhere.unwrap_or(true)
    }

    /// How long a question waits, and how many may.
    #[must_use]
    pub fn waiting(&self) -> (Duration, usize) {
        let timeout = self.timeout.map_or(TIMEOUT, |span| span.0);
        (timeout, self.max_pending.unwrap_or(PENDING_MAX))
    }
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
    let span = Span::deserialize(deserializer)?;
    if span.0 > TIMEOUT_MAX {
        return Err(D::Error::custom("a question may wait for 7 days at most"));
    }
    Ok(Some(span))
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    Url::parse(&text).map_err(|error| D::Error::custom(format!("`{text}` is no URL: {error}")))
}

/// Questions show what tools are called with: they do not cross a network in the clear.
fn destination<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let url = url(deserializer)?;
    let here = url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    match url.scheme() {
        "https" => Ok(url),
        "http" if here => Ok(url),
        _ => Err(D::Error::custom(format!("`{url}` must be `https`, or `http` on this machine"))),
    }
}

fn callback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let url = url(deserializer)?;
    match url.scheme() {
        "https" | "http" => Ok(Some(url)),
        _ => Err(D::Error::custom(format!("`{url}` must be `https` or `http`"))),
    }
}

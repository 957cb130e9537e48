//! What does the host put into a request that the tool must not see? Headers, a login, parameters of the query, a signature:
//! written in settings with the names of secrets, and filled in after everything else was judged.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::NetGrant;
use super::template::Template;

/// Headers that belong to the connection, or say where the body ends.
const TAKEN: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "accept-encoding",
];

/// The headers that a signature for AWS consists of.
const OF_AWS: [&str; 4] = ["authorization", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];

/// What goes along with each request under a grant.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    /// Headers, for example { Authorization = "Bearer ${secret:API_TOKEN}" }. One of the same name that the tool sets is
    /// replaced.
    #[serde(default, deserialize_with = "headers", skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Template>,
    /// Parameters of the query, for example { key = "${secret:API_KEY}" }. Those of the same name that the tool sets are
    /// replaced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Template>,
    /// A login by name and password, as `Authorization: Basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
    /// A signature as the services of AWS ask for it (version 4), with a key that the tool never has. The headers that it consists
    /// of are replaced where the tool sets them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<Aws>,
}

/// A login by name and password.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The name.
    pub user: Template,
    /// The password, for example "${secret:PASSWORD}".
    pub password: Template,
}

/// What signs requests as the services of AWS ask for it, and those that are like them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// The service, by the name that it has in signatures, for example "s3" or "execute-api"; must be given.
    #[serde(deserialize_with = "word")]
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub service: String,
    /// The region, for example "eu-central-1"; must be given.
    #[serde(deserialize_with = "word")]
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub region: String,
    /// The id of the access key, for example "${secret:AWS_ACCESS_KEY}"; must be given.
    pub access_key: Template,
    /// The access key itself, for example "${secret:AWS_SECRET_KEY}"; must be given.
    pub secret_key: Template,
    /// What comes with a key that holds for a while only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Template>,
}

impl Aws {
    fn templates(&self) -> impl Iterator<Item = &Template> {
        [&self.access_key, &self.secret_key].into_iter().chain(&self.session_token)
    }
}

impl Inject {
    /// Whether nothing goes along.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Inject::default()
    }

    /// Takes out what may be a secret that stands here itself, in place of its name.
    pub(super) fn mask(&mut self) {
        let basic = self.basic.iter_mut().flat_map(|basic| [&mut basic.user, &mut basic.password]);
        let aws = self.aws.iter_mut().flat_map(|aws| {
            let Aws { access_key, secret_key, session_token, .. } = aws;
            [access_key, secret_key].into_iter().chain(session_token)
        });
        self.headers.values_mut().chain(self.query.values_mut()).chain(basic).chain(aws).for_each(Template::mask);
    }

    /// A header that would be set by two of its parts; the case of its letters does not tell names apart.
    fn said_twice(&self) -> Option<String> {
        let basic = self.basic.iter().map(|_| "authorization".to_owned());
        let aws = self.aws.iter().flat_map(|_| OF_AWS.map(str::to_owned));
        let mut names: Vec<_> =
            self.headers.keys().map(|name| name.to_ascii_lowercase()).chain(basic).chain(aws).collect();
        names.sort_unstable();
        names.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some(one.clone()),
            _ => None,
        })
    }

    /// The texts that are filled in.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        let basic = self.basic.iter().flat_map(|basic| [&basic.user, &basic.password]);
        self.headers.values().chain(self.query.values()).chain(basic).chain(self.aws.iter().flat_map(Aws::templates))
    }
}

/// A word that stands between slashes in what is signed.
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let word = String::deserialize(deserializer)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !(1..=64).contains(&word.len()) || !word.bytes().all(plain) {
        return Err(D::Error::custom(
            "expected 1 to 64 letters, digits, `-` and `_`, for example \"s3\" or \"eu-central-1\"",
        ));
    }
    Ok(word)
}

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Template>, D::Error> {
    let headers = BTreeMap::<String, Template>::deserialize(deserializer)?;
    for name in headers.keys() {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(D::Error::custom(format!("`{name}` is no name of a header")));
        }
        if TAKEN.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(D::Error::custom(format!("the header `{name}` is the host's own, and cannot be set")));
        }
    }
    Ok(headers)
}

/// Lets no secret go where anybody on the way can read it, nor two in one place.
pub(super) fn sound(grants: &[NetGrant]) -> Result<(), String> {
    for grant in grants {
        if let Some(name) = grant.inject.said_twice() {
            return Err(format!("the header `{name}` is set twice for `{}`: once is enough", grant.to));
        }
        let named = grant.private || grant.to.names_own_address();
        if grant.to.is_open_to_read() && !named && !grant.inject.is_empty() {
            return Err(format!(
                "what is injected for `{}` could be read on the way: write `https`, or `private = true` for a destination \
                 in a network of your own",
                grant.to
            ));
        }
    }
    Ok(())
}

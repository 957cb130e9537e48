//! What does the host put into a request that the tool must not see? Headers, a login, parameters of the query: written in
//! settings with the names of secrets, and filled in after everything else was judged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NetGrant;

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

/// A text in which `${secret:NAME}` stands for the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The value of the secret of that name.
    Secret(String),
}

impl Inject {
    /// Whether nothing goes along.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty() && self.basic.is_none()
    }

    /// A header that would be set by two of its parts; the case of its letters does not tell names apart.
    fn said_twice(&self) -> Option<String> {
        let basic = self.basic.iter().map(|_| "authorization".to_owned());
        let mut names: Vec<_> = self.headers.keys().map(|name| name.to_ascii_lowercase()).chain(basic).collect();
        names.sort_unstable();
        names.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some(one.clone()),
            _ => None,
        })
    }

    /// The texts that are filled in.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        let basic = self.basic.iter().flat_map(|basic| [&basic.user, &basic.password]);
        self.headers.values().chain(self.query.values()).chain(basic)
    }
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// A `${` in it begins no secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once("${") {
            let wrong = || format!("`${{{behind}` names no secret; write \"${{secret:NAME}}\"");
            let (inside, after) = behind.split_once('}').ok_or_else(wrong)?;
            let name = inside.strip_prefix("secret:").filter(|name| !name.is_empty()).ok_or_else(wrong)?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Secret(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Template(pieces))
    }

    /// Its pieces, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The secrets that it names.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Secret(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Secret(name) => write!(f, "${{secret:{name}}}"),
        })
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Template::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A text in which `${secret:NAME}` stands for the value of a secret."})
    }
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

/// Reads grants of the network, and lets no secret go where anybody on the way can read it, nor two in one place.
pub(super) fn sound<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<NetGrant>>, D::Error> {
    let grants = Option::<Vec<NetGrant>>::deserialize(deserializer)?;
    for grant in grants.iter().flatten() {
        if let Some(name) = grant.inject.said_twice() {
            return Err(D::Error::custom(format!(
                "the header `{name}` is set twice for `{}`: once is enough",
                grant.to
            )));
        }
        let named = grant.private || grant.to.names_own_address();
        if grant.to.is_open_to_read() && !named && !grant.inject.is_empty() {
            return Err(D::Error::custom(format!(
                "what is injected for `{}` could be read on the way: write `https`, or `private = true` for a destination \
                 in a network of your own",
                grant.to
            )));
        }
    }
    Ok(grants)
}

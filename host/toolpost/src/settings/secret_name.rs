//! A secret by its name, where a key of the settings takes nothing else.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A secret of the host, in the place where its value is to be: "${secret:NAME}".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName(String);

impl SecretName {
    /// The name under which the secret stands in `[secrets]`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name = text.strip_prefix("${secret:").and_then(|rest| rest.strip_suffix('}'));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let name = name.filter(|name| (1..=64).contains(&name.len()) && name.bytes().all(plain));
        // What was written instead is perhaps a secret.
        let wrong = || {
            D::Error::custom(
                "expected the name of a secret: put it into `[secrets]`, and write \"${secret:NAME}\" here",
            )
        };
        name.map(|name| SecretName(name.to_owned())).ok_or_else(wrong)
    }
}

impl JsonSchema for SecretName {
    fn schema_name() -> Cow<'static, str> {
        "SecretName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A secret of the host: \"${secret:NAME}\".",
            "type": "string",
            "pattern": r"^\$\{secret:[A-Za-z0-9_-]{1,64}\}$",
        })
    }
}

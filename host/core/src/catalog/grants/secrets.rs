//! Secrets that a tool works with itself. It holds a handle: what it can have made with the secret is one thing, to be shown the
//! secret is another, and is granted by itself.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A secret of the host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretGrant {
    /// The secret, by its name in `[secrets]`; must be given.
    pub name: String,
    /// Whether the tool may be shown it. Without this it can only have texts signed with it. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reveal: bool,
}

impl fmt::Display for SecretGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.reveal { " (shown)" } else { " (to sign with)" })
    }
}

/// Reads a list in which no secret stands twice.
pub(super) fn of_different_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<SecretGrant>>, D::Error> {
    let grants = Option::<Vec<SecretGrant>>::deserialize(deserializer)?;
    let mut taken = BTreeSet::new();
    for SecretGrant { name, .. } in grants.iter().flatten() {
        if !taken.insert(name) {
            return Err(D::Error::custom(format!("the secret `{name}` is granted twice; make one grant of both")));
        }
    }
    Ok(grants)
}

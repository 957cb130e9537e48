//! Words that a tool is given: environment variables, and settings of its own. What stands in them it may read, so a secret in
//! them is one that it is shown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::template::Template;

/// The most variables of one grant, and the longest name and text, in bytes.
const VARIABLES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 256;
const TEXT_BYTES_MAX: usize = 32 << 10;

/// Words by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Variables(BTreeMap<String, Template>);

impl Variables {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names and texts, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Template)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text))
    }

    /// Takes out what may be a secret that stands here itself, in place of its name.
    pub(super) fn mask(&mut self) {
        self.0.values_mut().for_each(Template::mask);
    }

    /// The grant, a line for each; what a text is, is left to the settings.
    pub(super) fn lines(&self, kind: &str) -> impl Iterator<Item = String> {
        self.iter().map(move |(name, text)| {
            let secrets: Vec<&str> = text.secrets().collect();
            let shows = if secrets.is_empty() { String::new() } else { format!(" (shows {})", secrets.join(", ")) };
            format!("{kind} {name}{shows}")
        })
    }
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let variables = BTreeMap::<String, Template>::deserialize(deserializer)?;
        if variables.len() > VARIABLES_MAX {
            let many = variables.len();
            return Err(D::Error::custom(format!(
                "there are {many} variables; at most {VARIABLES_MAX} can be granted"
            )));
        }
        for (name, text) in &variables {
            let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(['=', '\0']);
            if !is_name {
                let name = name.escape_debug();
                return Err(D::Error::custom(format!(
                    "`{name}` is no name of a variable: it is empty, too long, or has `=` in it"
                )));
            }
            let text = text.to_string();
            if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
                return Err(D::Error::custom(format!(
                    "the text of `{name}` has more than {TEXT_BYTES_MAX} bytes, or a NUL byte"
                )));
            }
        }
        Ok(Variables(variables))
    }
}

//! Which tools are meant? Those of some names, those with some labels, or all.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::cast::nearest;
use super::{Tool, shown};
use crate::check::authorize::Pattern;

/// The longest label, in characters.
const LABEL_CHARACTERS_MAX: usize = 40;

/// A word by which an operator sorts tools: 1 to 40 characters of a-z, 0-9, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ToolLabel(String);

/// A choice among tools. One without names and labels chooses all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// The names that are chosen; without one, any.
    pub names: Vec<Pattern>,
    /// The labels of which a tool has one; without one, any tool, with or without labels.
    pub labels: Vec<ToolLabel>,
}

impl Selection {
    /// Whether a tool is chosen: by its name, and by its labels.
    #[must_use]
    pub fn fits(&self, tool: &Tool) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|pattern| pattern.fits(&tool.name));
        named && (self.labels.is_empty() || self.labels.iter().any(|label| tool.labels.contains(label)))
    }

    /// The tools that are chosen, in their order.
    ///
    /// # Errors
    /// A name or a label that no tool has: who chooses it means something that is not there.
    pub fn among(&self, tools: &[Arc<Tool>]) -> Result<Vec<Arc<Tool>>, String> {
        let unmet = self.names.iter().find(|pattern| !tools.iter().any(|tool| pattern.fits(&tool.name)));
        if let Some(pattern) = unmet {
            let near = nearest(pattern.as_str(), tools.iter().map(|tool| tool.name.as_str()));
            return Err(format!("no tool is named `{}`{}", shown(pattern.as_str()), meant(near)));
        }
        let known: BTreeSet<&ToolLabel> = tools.iter().flat_map(|tool| &tool.labels).collect();
        if let Some(label) = self.labels.iter().find(|label| !known.contains(label)) {
            let near = nearest(label.as_str(), known.into_iter().map(ToolLabel::as_str));
            return Err(format!("no tool has the label `{label}`{}", meant(near)));
        }
        Ok(tools.iter().filter(|tool| self.fits(tool)).cloned().collect())
    }
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

impl ToolLabel {
    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ToolLabel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if !(1..=LABEL_CHARACTERS_MAX).contains(&text.len()) || !text.bytes().all(plain) {
            let most = LABEL_CHARACTERS_MAX;
            return Err(format!(
                "`{}` is no label: it has 1 to {most} characters of a-z, 0-9, `_` and `-`",
                shown(text)
            ));
        }
        Ok(ToolLabel(text.to_owned()))
    }
}

impl fmt::Display for ToolLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ToolLabel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for ToolLabel {
    fn schema_name() -> Cow<'static, str> {
        "ToolLabel".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A word by which tools are sorted: 1 to 40 characters of a-z, 0-9, `_` and `-`.",
            "type": "string",
            "pattern": "^[a-z0-9_-]{1,40}$",
        })
    }
}

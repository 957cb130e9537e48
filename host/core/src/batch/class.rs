//! How may a call run beside others? By what its tool can do, unless an operator says otherwise.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalog::Tool;
use crate::check::authorize::Pattern;
use crate::effect::EffectClass;

/// How a call may run beside others of its batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "class")]
pub enum Class {
    /// Beside all that do not change what it uses.
    Parallel {
        /// Whether that was said by an operator: then it is in nobody's way.
        #[serde(skip)]
        said: bool,
    },
    /// Behind the earlier calls that use what it may change; and of its group, one at a time.
    Sequential {
        /// The group, where an operator has put it into one.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<Arc<str>>,
    },
    /// Alone, and asked about first.
    Destructive,
}

/// What operators say of the classes of tools: the first rule that fits a tool counts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<ClassRule>")]
pub struct Classes(Vec<ClassRule>);

/// One rule.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassRule {
    /// The tools, by name, for example "browser_*"; `*` stands for any characters, `?` for one. It must be given.
    pub tools: Pattern,
    /// How they may run beside others in a batch. It must be given.
    pub class: Said,
    /// Those with which they run one at a time, by any name: for `class = "sequential"`. Default: the pattern of `tools`.
    #[serde(default)]
    pub group: Option<String>,
}

/// A class, as an operator says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// In nobody's way, whatever they may change.
    Parallel,
    /// One at a time among those of their group.
    Sequential,
    /// Alone, and asked about first, as what destroys is.
    Destructive,
}

impl Class {
    /// The class in one word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Class::Parallel { .. } => "parallel",
            Class::Sequential { .. } => "sequential",
            Class::Destructive => "destructive",
        }
    }
}

impl Classes {
    /// The class of a tool.
    #[must_use]
    pub fn of(&self, tool: &Tool) -> Class {
        match self.0.iter().find(|rule| rule.tools.fits(&tool.name)) {
            Some(ClassRule { class: Said::Parallel, .. }) => Class::Parallel { said: true },
            Some(ClassRule { class: Said::Destructive, .. }) => Class::Destructive,
            Some(ClassRule { class: Said::Sequential, group, tools }) => {
                Class::Sequential { group: Some(group.as_deref().unwrap_or(tools.as_str()).into()) }
            }
            None if tool.effect == EffectClass::Destroys => Class::Destructive,
            None if tool.effect.may_change() => Class::Sequential { group: None },
            None => Class::Parallel { said: false },
        }
    }
}

impl TryFrom<Vec<ClassRule>> for Classes {
    type Error = String;

    /// # Errors
    /// A rule cannot mean what it says; the error says why.
    fn try_from(rules: Vec<ClassRule>) -> Result<Self, String> {
        match rules.iter().find(|rule| rule.group.is_some() && rule.class != Said::Sequential) {
            None => Ok(Classes(rules)),
            Some(odd) => {
                let tools = odd.tools.as_str();
                Err(format!(
                    "the class of `{tools}` has a `group`, which only `class = \"sequential\"` knows; take it out"
                ))
            }
        }
    }
}

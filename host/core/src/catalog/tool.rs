//! What is a tool? Its contract, where it comes from, what it may do, and what runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::cast::{self, Cast, nearest};
use super::grants::Grants;
use super::hidden::SecretArguments;
use super::lifetime::{Keep, Lifetime};
use super::schema;
use super::selection::ToolLabel;
use super::set::SetName;
use super::shape::{Field, Shape};
use crate::effect::EffectClass;
use crate::guard::Guards;
use crate::limits::Limits;
use crate::run::Runner;

/// A tool, ready to be called.
#[derive(Clone)]
pub struct Tool {
    /// The name by which it is called: 1 to 40 characters of a-z, 0-9 and _, of which the first is a letter.
    pub name: String,
    /// What it does, for the one who chooses.
    pub description: String,
    /// The words by which operators sort it.
    pub labels: BTreeSet<ToolLabel>,
    /// What it takes, in order.
    pub parameters: Vec<Field>,
    /// What it answers with when it succeeds.
    pub result: Option<Shape>,
    /// What it can do to the world, with what it has been granted.
    pub effect: EffectClass,
    /// What its powers would let it do, where an operator says in `effect` that it does less.
    pub reach: EffectClass,
    /// What an operator or an author has said of it, in place of that.
    pub said: Option<EffectClass>,
    /// What it asks for, in words, and what of it is open: for whoever is asked whether it may run.
    pub powers: Vec<String>,
    /// How far arguments may be from the schema.
    pub cast: Cast,
    /// The arguments that nobody may see but the tool.
    pub secret_arguments: SecretArguments,
    /// The secrets that it may have, by name.
    pub secrets: BTreeSet<String>,
    /// What one call of it may use.
    pub limits: Limits,
    /// What keeps it, and others from it, safe.
    pub guards: Guards,
    /// What it may reach.
    pub grants: Grants,
    /// How long what it has in its memory lives.
    pub lifetime: Lifetime,
    /// Where it comes from.
    pub origin: Origin,
    /// The set that has brought it along, where it is none of the host's own.
    pub set: Option<SetName>,
    /// What runs it.
    pub runner: Arc<dyn Runner>,
}

/// What holds for a tool where nothing else is said of it.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// What one call of it may use.
    pub limits: Limits,
    /// What keeps it, and others from it, safe.
    pub guards: Guards,
    /// How far arguments may be from its schema.
    pub cast: Cast,
    /// What it may reach.
    pub grants: Grants,
    /// What is kept of its component's instances.
    pub keep: Keep,
    /// What its component is set up with, by the parameters of what does that.
    pub setup: BTreeMap<String, Value>,
}

/// Where a tool comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Origin {
    /// An exported function of a component.
    Component {
        /// The component's name in this host.
        component: String,
        /// `sha256:` and the hash of the component's bytes.
        digest: String,
        /// The function, with the interface that exports it, as the component names them.
        function: String,
    },
    /// A function of the host's own program.
    Native,
}

impl Origin {
    /// The function behind the tool, as the tool's author names it.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Origin::Component { component, function, .. } => format!("`{function}` of component `{component}`"),
            Origin::Native => "a native function".into(),
        }
    }
}

impl Tool {
    /// Sets values for parameters that a call leaves out, by the parameter's name.
    ///
    /// # Errors
    /// There is no such parameter, or the value does not fit it: every fault, between semicolons.
    pub fn set_defaults(&mut self, defaults: &BTreeMap<String, Value>) -> Result<(), String> {
        let faults: Vec<String> =
            defaults.iter().filter_map(|(name, value)| self.set_default(name, value).err()).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }

    fn set_default(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let names: Vec<_> = self.parameters.iter().map(|field| field.key.clone()).collect();
        let field = self.parameters.iter_mut().find(|field| field.key == name || field.name == name);
        let field = field.ok_or_else(|| match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("it has no parameter `{name}`; did you mean `{near}`?"),
            None => format!("it has no parameter `{name}`"),
        })?;
        let value = cast::cast_one(value, &field.shape).map_err(|fault| {
            format!("the default of `{name}` does not fit: expected {}, got {}", fault.expected, fault.got)
        })?;
        field.default = Some(value);
        Ok(())
    }

    /// The name under which settings know it: its component's, or its own.
    #[must_use]
    pub fn component(&self) -> &str {
        match &self.origin {
            Origin::Component { component, .. } => component,
            Origin::Native => &self.name,
        }
    }

    /// The name of what keeps its state for a session, with all tools that have it in common; nothing where nothing is kept so.
    #[must_use]
    pub fn keeper(&self) -> Option<&str> {
        (self.lifetime == Lifetime::Session).then(|| self.component())
    }

    /// What would grant it this, as one more item of the list `grants.KEY`: the line of the settings, for a refusal.
    #[must_use]
    pub fn allowing(&self, key: &str, item: &str, has_others: bool) -> String {
        let component = self.component();
        match has_others {
            true => format!("the operator can allow it with `{item}` in `grants.{key}` of component `{component}`"),
            false => format!("the operator can allow it with `grants.{key} = [{item}]` in `[components.{component}]`"),
        }
    }

    /// The JSON Schema of its arguments.
    #[must_use]
    pub fn input_schema(&self) -> Value {
        schema::input_schema(&self.parameters)
    }

    /// The JSON Schema of its result; nothing for a tool without one.
    #[must_use]
    pub fn output_schema(&self) -> Option<Value> {
        schema::output_schema(self.result.as_ref())
    }
}

impl std::fmt::Debug for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tool").field("name", &self.name).field("origin", &self.origin).finish_non_exhaustive()
    }
}

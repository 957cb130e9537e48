//! What a grant comes to in one call: what an argument names, and no more.
//!
//! The grant says how far calls may reach at all. `only = "${args.path}"` says that each call reaches what its argument `path`
//! names within that. Whoever calls chooses among what was granted, and never what is.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::Grants;
use crate::catalog::cast::nearest;
use crate::catalog::hidden::SecretArguments;
use crate::catalog::shape::{Field, Shape};

/// An argument, by the name of its parameter: `${args.path}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Only(String);

impl Only {
    /// Reads a text.
    ///
    /// # Errors
    /// It names no argument.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("${args.").and_then(|rest| rest.strip_suffix('}'));
        let is_name =
            |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let name = name.filter(is_name);
        name.map(|name| Only(name.to_owned()))
            .ok_or_else(|| format!("`{text}` names no argument; write for example \"${{args.path}}\""))
    }

    /// What the argument names: one text, several, or nothing where it is left out.
    pub fn values<'a>(&self, arguments: &'a Value) -> impl Iterator<Item = &'a str> + use<'a> {
        let value = arguments.get(&self.0).unwrap_or(&Value::Null);
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        items.iter().filter_map(Value::as_str)
    }

    /// # Errors
    /// There is no such parameter, it holds no text, or nobody may see it.
    fn fits(&self, parameters: &[Field], secret: &SecretArguments) -> Result<(), String> {
        let Only(name) = self;
        let Some(field) = parameters.iter().find(|field| field.key == *name) else {
            let near = nearest(name, parameters.iter().map(|field| field.key.as_str()));
            let help = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(format!("`only = \"{self}\"`: it has no parameter `{name}`{help}"));
        };
        if !is_text(&field.shape) {
            return Err(format!("`only = \"{self}\"`: the parameter `{name}` is no text, and no list of texts"));
        }
        if secret.covers(name) {
            return Err(format!("`only = \"{self}\"`: the argument is secret, and what a call may reach must be seen"));
        }
        Ok(())
    }
}

fn is_text(shape: &Shape) -> bool {
    match shape {
        Shape::String => true,
        Shape::Option(inner) | Shape::List(inner) => is_text(inner),
        _ => false,
    }
}

impl Grants {
    /// What calls are narrowed to: the grant in a few words, and the argument.
    fn narrowed(&self) -> impl Iterator<Item = (String, &Only)> {
        let net = self
            .net
            .http
            .iter()
            .filter_map(|grant| grant.only.as_ref().map(|only| (format!("net {}", grant.to), only)));
        let dirs = self
            .dirs
            .iter()
            .filter_map(|grant| grant.only.as_ref().map(|only| (format!("dirs {}", grant.guest), only)));
        let kv =
            self.kv.iter().filter_map(|grant| grant.only.as_ref().map(|only| (format!("kv {}", grant.bucket), only)));
        let sql = self
            .sql
            .iter()
            .filter_map(|grant| grant.only.as_ref().map(|only| (format!("sql {}", grant.database), only)));
        net.chain(dirs).chain(kv).chain(sql)
    }

    /// What of its grants a call may reach, a line for each grant that is narrowed.
    #[must_use]
    pub fn narrowed_to(&self, arguments: &Value) -> Vec<String> {
        let line = |(words, only): (String, &Only)| {
            let values: Vec<String> =
                only.values(arguments).map(|value| format!("`{}`", value.escape_debug())).collect();
            let to = if values.is_empty() { "nothing".to_owned() } else { format!("only {}", values.join(", ")) };
            format!("{words}: {to}")
        };
        self.narrowed().map(line).collect()
    }

    /// Whether the arguments that narrow its grants are there, and can be seen.
    ///
    /// # Errors
    /// One is not; the error names it.
    pub fn fit(&self, parameters: &[Field], secret: &SecretArguments) -> Result<(), String> {
        self.narrowed().try_for_each(|(_, only)| only.fits(parameters, secret))
    }
}

impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{args.{}}}", self.0)
    }
}

impl Serialize for Only {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Only {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Only::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Only {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Only".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^\$\{args\.[A-Za-z0-9_-]+\}$";
        json_schema!({"type": "string", "pattern": pattern, "description": "An argument, such as \"${args.path}\"."})
    }
}

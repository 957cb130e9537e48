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

use super::{DirGrant, Grants};
use crate::catalog::cast::nearest;
use crate::catalog::hidden::SecretArguments;
use crate::catalog::shape::{Field, Shape};
use crate::check::approve::shown::{escaped, is_secret, masked_url};

/// What of one argument is told in a line: so many texts, and of each so many bytes.
const TOLD_MAX: usize = 20;
const TOLD_BYTES_MAX: usize = 256;

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

    /// What the argument names: one text, several, or nothing where it is left out. An empty text names nothing: it must not come
    /// to be all that there is.
    pub fn values<'a>(&self, arguments: &'a Value) -> impl Iterator<Item = &'a str> + use<'a> {
        let value = arguments.get(&self.0).unwrap_or(&Value::Null);
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        items.iter().filter_map(Value::as_str).filter(|text| !text.is_empty())
    }

    /// What of a grant these arguments name, in words. `words` has those of one text: nothing for all of the grant, and no words
    /// where it names nothing.
    fn words(&self, arguments: &Value, words: impl Fn(&str) -> Option<Option<String>>) -> String {
        let (mut told, mut count) = (Vec::new(), 0_usize);
        for named in self.values(arguments).filter_map(words) {
            let Some(named) = named else { return "all of it".into() };
            count += 1;
            if told.len() < TOLD_MAX {
                told.push(named);
            }
        }
        match count.saturating_sub(told.len()) {
            _ if told.is_empty() => "nothing".into(),
            0 => format!("only {}", told.join(", ")),
            more => format!("only {} and {more} more", told.join(", ")),
        }
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
        if secret.covers(name) || is_secret(name) {
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

/// A text of the arguments for a reader: without what looks like a secret, and so that it looks like nothing else.
fn quoted(text: &str) -> String {
    let text = escaped(&masked_url(text)).replace('`', "\\u{60}");
    match text.get(..text.floor_char_boundary(TOLD_BYTES_MAX)) {
        Some(cut) if cut.len() < text.len() => format!("`{cut}…`"),
        _ => format!("`{text}`"),
    }
}

/// What a path comes to, in words. Where `..` stands in it, links may lead elsewhere than the words say, so these are told, too.
fn of_path(grant: &DirGrant, path: &str) -> Option<Option<String>> {
    let below = grant.below(path)?;
    let mut names = Vec::new();
    let mut stays = true;
    for name in below.split('/').filter(|name| !name.is_empty()) {
        match name {
            ".." => stays &= names.pop().is_some(),
            name => names.push(name),
        }
    }
    let turns = below.split('/').any(|name| name == "..");
    // What is shown elsewhere as a URL without its secrets is shown so here.
    let plain = if masked_url(path) == path { grant.shown(&names.join("/")) } else { path.to_owned() };
    Some(match (stays, names.is_empty()) {
        (false, _) => Some(format!("where {} leads", quoted(path))),
        (true, true) => None,
        (true, false) if turns => Some(format!("{} (written {})", quoted(&plain), quoted(path))),
        (true, false) => Some(quoted(&plain)),
    })
}

impl Grants {
    /// The arguments that calls are narrowed by.
    fn narrowing(&self) -> impl Iterator<Item = &Only> {
        let net = self.net.http.iter().filter_map(|grant| grant.only.as_ref());
        let dirs = self.dirs.iter().filter_map(|grant| grant.only.as_ref());
        let kv = self.kv.iter().filter_map(|grant| grant.only.as_ref());
        let sql = self.sql.iter().filter_map(|grant| grant.only.as_ref());
        net.chain(dirs).chain(kv).chain(sql)
    }

    /// What of its grants a call may reach, a line for each grant that is narrowed. What looks like a secret is masked in it; what
    /// the host knows to be one is as it is in the arguments.
    #[must_use]
    pub fn narrowed_to(&self, arguments: &Value) -> Vec<String> {
        let named = |text: &str| Some(Some(quoted(text)));
        let plain = |only: &Only| only.words(arguments, named);
        let net = self.net.http.iter().filter_map(|grant| {
            let to = plain(grant.only.as_ref()?);
            Some(format!("net {}: {to}", grant.to))
        });
        let dirs = self.dirs.iter().filter_map(|grant| {
            let to = grant.only.as_ref()?.words(arguments, |path| of_path(grant, path));
            Some(format!("dirs {}: {to}", grant.guest))
        });
        let kv = self.kv.iter().filter_map(|grant| {
            let to = plain(grant.only.as_ref()?);
            Some(format!("kv {}: {to}", grant.bucket))
        });
        let sql = self.sql.iter().filter_map(|grant| {
            let to = plain(grant.only.as_ref()?);
            Some(format!("sql {}: {to}", grant.database))
        });
        net.chain(dirs).chain(kv).chain(sql).collect()
    }

    /// Whether the arguments that narrow its grants are there, and can be seen.
    ///
    /// # Errors
    /// One is not; the error names it.
    pub fn fit(&self, parameters: &[Field], secret: &SecretArguments) -> Result<(), String> {
        self.narrowing().try_for_each(|only| only.fits(parameters, secret))
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

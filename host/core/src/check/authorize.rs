//! Who may use which tool?
//!
//! A tool that a caller may not use does not exist for that caller: it is not listed, not found, and not named as the one
//! that was perhaps meant.

use std::borrow::Cow;

use globset::{Glob, GlobMatcher};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::call::Caller;

/// What begins the name of a group, where callers are named.
pub(super) const GROUP: &str = "group:";

/// Who may use which tool. Without a rule everybody may use every tool; with one, nobody may what no rule allows.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Access {
    rules: Vec<AccessRule>,
}

/// One rule. A rule that denies beats all that allow.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessRule {
    /// The tools, by name; `*` stands for any characters, `?` for one. Default ["*"].
    #[serde(default = "anything")]
    pub tools: Vec<Pattern>,
    /// The callers, by id, or by group as `group:NAME`; `*` stands for any characters. Default ["*"].
    #[serde(default = "anything")]
    pub callers: Vec<Pattern>,
    /// Whether the rule forbids what it names. Default false.
    #[serde(default)]
    pub deny: bool,
}

/// A name, perhaps with `*` and `?` for any characters and for one.
#[derive(Clone, Debug)]
pub struct Pattern {
    glob: GlobMatcher,
    /// What stands before, between and behind the stars, where nothing else is special: most patterns are such, each call is
    /// held against all of them, and looking for a text is quicker than a regular expression is.
    pieces: Option<Box<[Box<str>]>>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Why the text is none.
    pub fn new(text: &str) -> Result<Self, String> {
        let glob = Glob::new(text).map_err(|error| format!("`{text}`: {}", error.kind()))?.compile_matcher();
        let is_plain = !text.contains(['?', '[', ']', '{', '}', '\\', '!']) && !text.contains("**");
        Ok(Pattern { glob, pieces: is_plain.then(|| text.split('*').map(Box::from).collect()) })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.glob.glob().glob()
    }

    /// Whether the name fits.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        match self.pieces.as_deref() {
            Some([begin, rest @ ..]) => fit(begin, rest, name),
            _ => self.glob.is_match(name),
        }
    }

    /// Whether the name of a group fits, as rules write it.
    fn fits_group(&self, group: &str) -> bool {
        match self.pieces.as_deref() {
            Some([begin, rest @ ..]) if let Some(begin) = begin.strip_prefix(GROUP) => fit(begin, rest, group),
            Some([begin, ..]) if !GROUP.starts_with(&**begin) => false,
            _ => self.fits(&format!("{GROUP}{group}")),
        }
    }
}

/// Whether a name has that beginning, and the pieces behind it, with a star before each.
fn fit(begin: &str, rest: &[Box<str>], name: &str) -> bool {
    let [between @ .., end] = rest else { return begin == name };
    let Some(rest) = name.strip_prefix(begin).and_then(|rest| rest.strip_suffix(&**end)) else { return false };
    between.iter().try_fold(rest, |rest, piece| Some(rest.split_once(&**piece)?.1)).is_some()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.glob.glob() == other.glob.glob()
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Pattern::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

/// The pattern that everything fits.
pub(crate) fn anything() -> Vec<Pattern> {
    Pattern::new("*").into_iter().collect()
}

impl Access {
    /// Access by these rules.
    #[must_use]
    pub fn new(rules: Vec<AccessRule>) -> Self {
        Access { rules }
    }

    /// What the rules say of one caller.
    #[must_use]
    pub fn of<'a>(&'a self, caller: &'a Caller) -> CallerAccess<'a> {
        CallerAccess { rules: &self.rules, caller }
    }
}

/// What the rules say of one caller.
#[derive(Debug)]
pub struct CallerAccess<'a> {
    rules: &'a [AccessRule],
    caller: &'a Caller,
}

impl CallerAccess<'_> {
    /// Whether the caller may use the tool of that name.
    #[must_use]
    pub fn allows(&self, tool: &str) -> bool {
        let mut fitting = self.rules.iter().filter(|rule| rule.fits(self.caller, tool)).peekable();
        self.rules.is_empty() || fitting.peek().is_some() && fitting.all(|rule| !rule.deny)
    }
}

impl AccessRule {
    fn fits(&self, caller: &Caller, tool: &str) -> bool {
        self.tools.iter().any(|pattern| pattern.fits(tool)) && means(&self.callers, caller)
    }
}

/// Whether one of the patterns means the caller, by id or by group. An id that calls itself a group is none.
pub(crate) fn means(callers: &[Pattern], Caller { id, groups, .. }: &Caller) -> bool {
    let by_id = |pattern: &Pattern| !id.starts_with(GROUP) && pattern.fits(id);
    callers.iter().any(|pattern| by_id(pattern) || groups.iter().any(|group| pattern.fits_group(group)))
}

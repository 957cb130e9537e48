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

    /// Whether every name fits: it is `*`.
    fn fits_all(&self) -> bool {
        matches!(self.pieces.as_deref(), Some([begin, end]) if begin.is_empty() && end.is_empty())
    }

    /// Whether the name fits.
    #[must_use]
    pub fn fits<'n>(&self, name: &'n str) -> bool {
        match self.pieces.as_deref() {
            Some([whole]) => **whole == *name,
            Some([begin, end]) if begin.is_empty() && end.is_empty() => true,
            Some([begin, between @ .., end]) => {
                let rest = name.strip_prefix(&**begin).and_then(|rest| rest.strip_suffix(&**end));
                let behind = |rest: &'n str, piece: &str| rest.split_once(piece).map(|(_, rest)| rest);
                let mut between = between.iter();
                rest.and_then(|rest| between.try_fold(rest, |rest, piece| behind(rest, piece))).is_some()
            }
            _ => self.glob.is_match(name),
        }
    }
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
pub(super) fn anything() -> Vec<Pattern> {
    Pattern::new("*").into_iter().collect()
}

impl Access {
    /// Access by these rules.
    #[must_use]
    pub fn new(rules: Vec<AccessRule>) -> Self {
        Access { rules }
    }

    /// What the rules say of one caller, whose names are put together once for all tools.
    #[must_use]
    pub fn of(&self, caller: &Caller) -> CallerAccess<'_> {
        let names = if self.rules.is_empty() { Vec::new() } else { names(caller) };
        CallerAccess { rules: &self.rules, names }
    }
}

/// What the rules say of one caller.
#[derive(Debug)]
pub struct CallerAccess<'a> {
    rules: &'a [AccessRule],
    names: Vec<String>,
}

impl CallerAccess<'_> {
    /// Whether the caller may use the tool of that name.
    #[must_use]
    pub fn allows(&self, tool: &str) -> bool {
        let mut fitting = self.rules.iter().filter(|rule| rule.fits(&self.names, tool)).peekable();
        self.rules.is_empty() || fitting.peek().is_some() && fitting.all(|rule| !rule.deny)
    }
}

impl AccessRule {
    fn fits(&self, names: &[String], tool: &str) -> bool {
        self.tools.iter().any(|pattern| pattern.fits(tool))
            && self.callers.iter().any(|pattern| names.iter().any(|name| pattern.fits(name)))
    }
}

/// The names by which rules can speak of a caller. What calls itself a group is none.
fn names(caller: &Caller) -> Vec<String> {
    let groups = caller.groups.iter().map(|group| format!("{GROUP}{group}"));
    let id = Some(caller.id.clone()).filter(|id| !id.starts_with(GROUP));
    id.into_iter().chain(groups).collect()
}

/// Whether one of the patterns means the caller, by id or by group.
pub(super) fn means(callers: &[Pattern], caller: &Caller) -> bool {
    if callers.iter().any(Pattern::fits_all) && !caller.id.starts_with(GROUP) {
        return true;
    }
    let names = names(caller);
    callers.iter().any(|pattern| names.iter().any(|name| pattern.fits(name)))
}

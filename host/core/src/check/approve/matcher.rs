//! Do the arguments fit what a rule says of them?
//!
//! A rule names a place and a test. A place that holds other values stands for all that lie in it, so that nothing hides in
//! a list: where a rule denies or asks, one value that fits is enough; where it allows, every one has to fit.

use std::borrow::Cow;
use std::fmt;

use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value};

use crate::catalog::settings::one_of;
use crate::check::authorize::Pattern;

/// The most memory that a compiled regular expression may take, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What stands for any member or item in a place, and alone for any argument.
const ANY: &str = "*";

/// Where in the arguments: a JSON pointer such as `/path` or `/users/*/name`, or `*` for any argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    text: String,
    steps: Vec<String>,
}

/// What has to be true of the values at a place.
#[derive(Clone, Debug)]
pub enum Test {
    /// The whole text fits a pattern: `*` stands for any characters, `?` for one.
    Glob(Pattern),
    /// The text is a path, and fits a pattern whichever way it is written: without `.`, `..`, and slashes that say nothing. One
    /// that leads out of where it begins fits where a rule denies or asks, and never where it allows.
    Path(Pattern),
    /// The whole text fits a regular expression; `.` is any character, also the end of a line.
    Regex(Regex),
    /// The value is that one.
    Equals(Value),
    /// The number lies within bounds.
    Range(Range),
}

/// Numbers, the bounds included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// The most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
}

/// How many of the values at a place have to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    One,
    Every,
}

impl Place {
    /// Reads a place.
    ///
    /// # Errors
    /// Why the text is none.
    pub fn new(text: &str) -> Result<Self, String> {
        let steps = match text.strip_prefix('/') {
            Some(steps) => steps.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect(),
            None if text.is_empty() || text == ANY => Vec::new(),
            None => return Err(format!("`{text}` is no place; write a JSON pointer such as \"/path\", or \"*\"")),
        };
        Ok(Place { text: text.to_owned(), steps })
    }

    /// The values there; what is absent or null is none.
    fn values<'v>(&self, arguments: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![arguments];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| inside(value, step)).collect();
        }
        found.retain(|value| !value.is_null());
        found
    }
}

fn inside<'v>(value: &'v Value, step: &str) -> Vec<&'v Value> {
    match value {
        Value::Object(members) if step == ANY => members.values().collect(),
        Value::Array(items) if step == ANY => items.iter().collect(),
        Value::Object(members) => members.get(step).into_iter().collect(),
        Value::Array(items) => step.parse::<usize>().ok().and_then(|at| items.get(at)).into_iter().collect(),
        _ => Vec::new(),
    }
}

impl Test {
    /// A test that the whole text fits that regular expression.
    ///
    /// # Errors
    /// Why the text is none.
    pub fn regex(text: &str) -> Result<Self, String> {
        let fault = |error: regex::Error| format!("`{text}` is no regular expression: {error}");
        // By itself first: `a)|(b` is none, and would be one between brackets.
        Regex::new(text).map_err(fault)?;
        let mut whole = RegexBuilder::new(&format!(r"\A(?:{text})\z"));
        whole.dot_matches_new_line(true).size_limit(REGEX_BYTES_MAX).build().map(Test::Regex).map_err(fault)
    }

    /// Whether the arguments fit at that place.
    pub(super) fn fits(&self, place: &Place, arguments: &Value, need: Need) -> bool {
        let values = place.values(arguments);
        let values = match self {
            // One whole value is meant.
            Test::Equals(Value::Array(_) | Value::Object(_)) if place.text != ANY => values,
            _ => {
                let mut leaves = Vec::new();
                values.into_iter().for_each(|value| collect(value, &mut leaves));
                leaves
            }
        };
        match need {
            Need::One => values.into_iter().any(|value| self.fits_one(value, need)),
            Need::Every => !values.is_empty() && values.into_iter().all(|value| self.fits_one(value, need)),
        }
    }

    /// Whether texts fit that are no arguments.
    pub(super) fn fits_texts(&self, texts: &[String], need: Need) -> bool {
        let fits = |text: &String| self.fits_one(&Value::String(text.clone()), need);
        match need {
            Need::One => texts.iter().any(fits),
            Need::Every => texts.iter().all(fits),
        }
    }

    fn fits_one(&self, value: &Value, need: Need) -> bool {
        match self {
            Test::Glob(pattern) => pattern.fits(&text(value)),
            Test::Path(pattern) => match plain_path(&text(value)) {
                Some(path) => pattern.fits(&path),
                None => need == Need::One,
            },
            Test::Regex(regex) => regex.is_match(&text(value)),
            Test::Equals(wanted) => same(wanted, value),
            Test::Range(range) => match number(value) {
                Some(number) => range.holds(number, need),
                None => false,
            },
        }
    }
}

fn collect<'v>(value: &'v Value, leaves: &mut Vec<&'v Value>) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| collect(item, leaves)),
        Value::Object(members) => members.values().for_each(|member| collect(member, leaves)),
        _ => leaves.push(value),
    }
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

/// A path without what can be said in another way: empty steps, `.`, and `..` with the step before it. None where it leads out
/// of where it begins. Backslashes are steps too, as they are on some systems.
fn plain_path(text: &str) -> Option<String> {
    let text = text.replace('\\', "/");
    let mut steps = Vec::new();
    for step in text.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()?),
            step => steps.push(step),
        }
    }
    let root = if text.starts_with('/') { "/" } else { "" };
    Some(format!("{root}{}", steps.join("/")))
}

#[derive(Clone, Copy)]
enum Num {
    Whole(i128),
    Float(f64),
}

/// A number, also one that JSON can only carry as text.
fn number(value: &Value) -> Option<Num> {
    match value {
        Value::Number(number) => Some(of(number)),
        Value::String(text) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => {
            text.parse().ok().map(Num::Float)
        }
        _ => None,
    }
}

fn of(number: &Number) -> Num {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    whole.map_or_else(|| Num::Float(number.as_f64().unwrap_or(f64::NAN)), Num::Whole)
}

fn less(one: Num, other: Num) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a fraction is compared with what is nearest")]
    let float = |number| match number {
        Num::Whole(whole) => whole as f64,
        Num::Float(float) => float,
    };
    match (one, other) {
        (Num::Whole(one), Num::Whole(other)) => one < other,
        _ => float(one) < float(other),
    }
}

impl Range {
    fn holds(&self, number: Num, need: Need) -> bool {
        if matches!(number, Num::Float(float) if float.is_nan()) {
            // It lies nowhere: who forbids a range is asked about it, who allows one has not allowed it.
            return need == Need::One;
        }
        self.min.as_ref().is_none_or(|min| !less(number, of(min)))
            && self.max.as_ref().is_none_or(|max| !less(of(max), number))
    }

    fn check(&self) -> Result<(), &'static str> {
        match (&self.min, &self.max) {
            (None, None) => Err("a range needs `min`, `max`, or both"),
            (Some(min), Some(max)) if less(of(max), of(min)) => Err("no number is in this range: `min` is above `max`"),
            _ => Ok(()),
        }
    }
}

/// Whether two values are the same one: whatever the order of members, `1` and `1.0` alike, and null as what is left out.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (of(one), of(other));
            !less(one, other) && !less(other, one)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let all = |one: &serde_json::Map<String, Value>, other: &serde_json::Map<String, Value>| {
                one.iter().all(|(key, value)| same(value, other.get(key).unwrap_or(&Value::Null)))
            };
            all(one, other) && all(other, one)
        }
        _ => one == other,
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "all arguments" } else { &self.text })
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Place::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Test::Glob(one), Test::Glob(other)) | (Test::Path(one), Test::Path(other)) => one == other,
            (Test::Regex(one), Test::Regex(other)) => one.as_str() == other.as_str(),
            (Test::Equals(one), Test::Equals(other)) => one == other,
            (Test::Range(one), Test::Range(other)) => one == other,
            _ => false,
        }
    }
}

/// A test as it is written, if it is no glob alone.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Written {
    /// The whole text fits a pattern: `*` stands for any characters, `?` for one.
    Glob(Pattern),
    /// The text is a path, and fits a pattern whichever way it is written: `/tmp/../etc` is `/etc`.
    Path(Pattern),
    /// The whole text fits a regular expression; `.` is any character, also the end of a line.
    Regex(String),
    /// The value is this one.
    Equals(Value),
    /// The number lies within these bounds.
    Range(Range),
}

impl JsonSchema for Place {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Place".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r"^(\*|(/.*)?)$"})
    }
}

impl JsonSchema for Test {
    fn schema_name() -> Cow<'static, str> {
        "Test".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A glob such as \"/tmp/*\", or one of { glob, path, regex, equals, range }.",
            "anyOf": [{"type": "string"}, Written::json_schema(generator)],
        })
    }
}

impl Serialize for Test {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Test::Glob(pattern) => Written::Glob(pattern.clone()),
            Test::Path(pattern) => Written::Path(pattern.clone()),
            Test::Regex(regex) => Written::Regex(inner(regex).to_owned()),
            Test::Equals(value) => Written::Equals(value.clone()),
            Test::Range(range) => Written::Range(range.clone()),
        };
        written.serialize(serializer)
    }
}

/// The expression as it was written.
fn inner(regex: &Regex) -> &str {
    regex.as_str().strip_prefix(r"\A(?:").and_then(|text| text.strip_suffix(r")\z")).unwrap_or_default()
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Glob(pattern) => write!(f, "glob `{}`", pattern.as_str()),
            Test::Path(pattern) => write!(f, "path `{}`", pattern.as_str()),
            Test::Regex(regex) => write!(f, "regex `{}`", inner(regex)),
            Test::Equals(value) => write!(f, "the value {value}"),
            Test::Range(Range { min: Some(min), max: Some(max) }) => write!(f, "a number from {min} to {max}"),
            Test::Range(Range { min: Some(min), .. }) => write!(f, "a number of at least {min}"),
            Test::Range(Range { max, .. }) => {
                write!(f, "a number of at most {}", max.as_ref().map(Number::to_string).unwrap_or_default())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Test {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Test;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a glob such as \"/tmp/*\", or one of { glob, path, regex, equals, range }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Test, E> {
                Pattern::new(text).map(Test::Glob).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Test, A::Error> {
                match one_of(map, "`glob`, `path`, `regex`, `equals` and `range`")? {
                    Written::Glob(pattern) => Ok(Test::Glob(pattern)),
                    Written::Path(pattern) => Ok(Test::Path(pattern)),
                    Written::Regex(text) => Test::regex(&text).map_err(A::Error::custom),
                    Written::Equals(value) => Ok(Test::Equals(value)),
                    Written::Range(range) => {
                        range.check().map_err(A::Error::custom)?;
                        Ok(Test::Range(range))
                    }
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

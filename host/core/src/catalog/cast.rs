//! Does this value fit that shape, and what is it then? Models send almost-right JSON.
//!
//! A cast is lossless, or it is an error; every cast that was applied is written down, and all faults of a value are found
//! together. What comes out is *canonical*: one spelling for one typed value (WIT order, `snake_case` field names, absent
//! options as `null`, bytes as base64, integers past 2^53-1 as strings), the same in every mode. So policies judge, people
//! see, keys are made of, and the tool receives the very same value.

mod names;
mod numbers;
mod text;
mod written;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::json::Node;
use super::shape::{Case, Field, Handle, Label, Shape};

pub use self::names::nearest;
pub use self::numbers::{canonical_integer, widen};
pub use self::written::arguments;
pub(super) use self::written::cast_one;

/// How far a value may be from its schema. Each mode accepts all that the one before it does, with the same meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cast {
    /// What the schema says.
    Strict,
    /// Also what a model gets wrong without leaving any doubt about what it means: `"42"` for 42, a list as a JSON string,
    /// one item for a list of one, a name in another case.
    #[default]
    Safe,
    /// Also what leaves a little doubt: `"yes"` for true, `"a, b"` for a list, unknown fields (which are dropped, except
    /// for a tool that may change something).
    Lax,
}

/// A cast that was applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Where, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What was found there, shortened.
    pub from: String,
    /// What was made of it.
    pub to: String,
}

/// A place where a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What would fit.
    pub expected: String,
    /// What was found there, shortened.
    pub got: String,
}

/// The most faults and changes that are listed for one value; more are counted.
const LISTED_MAX: usize = 100;
const EXCERPT_BYTES: usize = 60;
const POINTER_PART_BYTES: usize = 200;

/// One run of the cast over one value.
pub(super) struct Caster {
    mode: Cast,
    /// Whether unknown fields may be dropped in `lax`.
    may_drop: bool,
    at: Vec<String>,
    pub(super) changes: Vec<Change>,
    pub(super) changes_unlisted: usize,
    pub(super) faults: Vec<Fault>,
    pub(super) faults_unlisted: usize,
}

impl Caster {
    pub(super) fn new(mode: Cast, may_drop: bool) -> Self {
        Caster {
            mode,
            may_drop,
            at: Vec::new(),
            changes: Vec::new(),
            changes_unlisted: 0,
            faults: Vec::new(),
            faults_unlisted: 0,
        }
    }

    /// The canonical value, or nothing where a fault was written down.
    pub(super) fn cast(&mut self, node: &Node<'_>, shape: &Shape) -> Option<Value> {
        match shape {
            Shape::Bool => self.bool(node),
            Shape::Integer(integer) => self.integer(node, *integer),
            Shape::F32 => self.float(node, true),
            Shape::F64 => self.float(node, false),
            Shape::Char => self.char(node),
            Shape::String => self.string(node),
            Shape::Bytes => self.bytes(node),
            Shape::List(item) => self.list(node, shape, item),
            Shape::FixedList(item, length) => self.tuple(node, shape, *length, std::iter::repeat(&**item)),
            Shape::Tuple(items) => self.tuple(node, shape, items.len(), items.iter()),
            Shape::Record(fields) => self.record(node, fields),
            Shape::Option(some) => self.option(node, some),
            Shape::Variant(cases) => self.variant(node, shape, cases),
            Shape::Enum(labels) => self.enumeration(node, labels),
            Shape::Flags(labels) => self.flags(node, labels),
            Shape::Result { ok, err } => self.result(node, shape, ok.as_deref(), err.as_deref()),
            Shape::Handle(handle) => self.handle(node, handle),
        }
    }

    /// Whether there is such a one, only the instance knows that has it.
    fn handle(&mut self, node: &Node<'_>, handle: &Handle) -> Option<Value> {
        let expected = || format!("a handle to a `{}`, as a tool has returned it", handle.resource);
        let Node::String(text) = node else { return self.fault(node, &expected()) };
        match text.trim() {
            whole if whole.len() == text.len() && handle.fits(whole) => Some(json!(whole)),
            trimmed if handle.fits(trimmed) => self.changed(Cast::Safe, node, json!(trimmed), &expected()),
            _ => self.fault(node, &expected()),
        }
    }

    fn bool(&mut self, node: &Node<'_>) -> Option<Value> {
        let (value, needs) = match node {
            Node::Bool(value) => return Some(json!(value)),
            Node::String(text) => match text.trim().to_lowercase().as_str() {
                "true" => (true, Cast::Safe),
                "false" => (false, Cast::Safe),
                "1" | "yes" | "on" | "y" | "t" => (true, Cast::Lax),
                "0" | "no" | "off" | "n" | "f" => (false, Cast::Lax),
                _ => return self.fault(node, "true or false"),
            },
            Node::Number(text) if text == "1" => (true, Cast::Lax),
            Node::Number(text) if text == "0" => (false, Cast::Lax),
            _ => return self.fault(node, "true or false"),
        };
        self.changed(needs, node, json!(value), "true or false")
    }

    fn char(&mut self, node: &Node<'_>) -> Option<Value> {
        match node {
            Node::String(text) if text.chars().count() == 1 => Some(json!(text)),
            _ => self.fault(node, "a string of exactly one character"),
        }
    }

    fn string(&mut self, node: &Node<'_>) -> Option<Value> {
        match node {
            Node::String(text) => Some(json!(text)),
            Node::Number(text) => self.changed(Cast::Safe, node, json!(text), "a string"),
            Node::Bool(value) => self.changed(Cast::Safe, node, json!(value.to_string()), "a string"),
            Node::Array(_) | Node::Object(_) => self.changed(Cast::Lax, node, json!(node.text()), "a string"),
            Node::Null => self.fault(node, "a string"),
        }
    }

    fn bytes(&mut self, node: &Node<'_>) -> Option<Value> {
        const EXPECTED: &str =
            "bytes as a base64 string (RFC 4648, section 4, with padding), or an array of integers from 0 to 255";
        match node {
            Node::String(text) if BASE64.decode(text.as_bytes()).is_ok() => Some(json!(text)),
            Node::String(text) => match text::parsed(text, '[') {
                Some(inner) if self.mode >= Cast::Safe => {
                    let value = self.bytes(&inner)?;
                    self.changed(Cast::Safe, node, value, EXPECTED)
                }
                _ => self.fault(node, EXPECTED),
            },
            Node::Array(items) => {
                let byte = |item: &Node<'_>| match item {
                    Node::Number(text) => text.parse::<u8>().ok(),
                    _ => None,
                };
                match items.iter().map(byte).collect::<Option<Vec<u8>>>() {
                    Some(bytes) => Some(json!(BASE64.encode(bytes))),
                    None => self.fault(node, EXPECTED),
                }
            }
            _ => self.fault(node, EXPECTED),
        }
    }

    fn list(&mut self, node: &Node<'_>, shape: &Shape, item: &Shape) -> Option<Value> {
        let expected = || format!("an array ({})", shape.wit());
        let opens_array = matches!(node, Node::String(text) if text.trim_start().starts_with('['));
        match node {
            Node::Array(items) => {
                // A fault in one item does not hide the faults of the others.
                let cast: Vec<Option<Value>> =
                    items.iter().enumerate().map(|(index, node)| self.within(index, node, item)).collect();
                cast.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
            }
            Node::String(text) if opens_array => self.parse_text(node, text, '[', shape, &expected()),
            Node::Null => self.fault(node, &expected()),
            _ if self.mode == Cast::Strict => self.fault(node, &expected()),
            _ => {
                if let Some(value) = self.attempt(|caster| caster.cast(node, item)) {
                    return self.changed(Cast::Safe, node, json!([value]), "an array");
                }
                let split = match node {
                    Node::String(text) if text.contains(',') && self.mode == Cast::Lax => {
                        let items = text.split(',').map(|part| Node::String(part.trim().into())).collect();
                        self.attempt(|caster| caster.list(&Node::Array(items), shape, item))
                    }
                    _ => None,
                };
                match split {
                    Some(value) => self.changed(Cast::Lax, node, value, "an array"),
                    None => self.fault(node, &expected()),
                }
            }
        }
    }

    fn tuple<'s>(
        &mut self,
        node: &Node<'_>,
        shape: &Shape,
        length: usize,
        items: impl Iterator<Item = &'s Shape>,
    ) -> Option<Value> {
        let expected = || format!("an array of exactly {length} ({})", shape.wit());
        match node {
            Node::Array(nodes) if nodes.len() == length => {
                let pairs = nodes.iter().zip(items).enumerate();
                let cast: Vec<Option<Value>> =
                    pairs.map(|(index, (node, item))| self.within(index, node, item)).collect();
                cast.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
            }
            Node::String(text) => self.parse_text(node, text, '[', shape, &expected()),
            Node::Object(members) if members.len() == length && self.mode == Cast::Lax => {
                let mut nodes = vec![None; length];
                for (key, node) in members {
                    let index = key.parse::<usize>().ok().filter(|index| *key == index.to_string());
                    if let Some(slot) = index.and_then(|index| nodes.get_mut(index)) {
                        *slot = Some(node.clone());
                    }
                }
                let Some(nodes) = nodes.into_iter().collect() else { return self.fault(node, &expected()) };
                let value = self.tuple(&Node::Array(nodes), shape, length, items)?;
                self.changed(Cast::Lax, node, value, &expected())
            }
            _ => self.fault(node, &expected()),
        }
    }

    /// A record; also the whole of a tool's arguments.
    pub(super) fn record(&mut self, node: &Node<'_>, fields: &[Field]) -> Option<Value> {
        const EXPECTED: &str = "an object";
        let members = match node {
            Node::Object(members) => members,
            Node::String(text) => {
                let Some(inner) = text::parsed(text, '{').filter(|_| self.mode >= Cast::Safe) else {
                    return self.fault(node, EXPECTED);
                };
                let value = self.record(&inner, fields)?;
                return self.changed(Cast::Safe, node, value, EXPECTED);
            }
            _ => return self.fault(node, EXPECTED),
        };
        let faults = self.faults_found();
        let mut given: Vec<Option<&Node<'_>>> = vec![None; fields.len()];
        for (key, node) in members {
            self.place(key, node, fields, &mut given);
        }
        let mut object = Map::with_capacity(fields.len());
        for (field, node) in fields.iter().zip(given) {
            // Strict modes of models have no word for absent but `null`.
            let value = match (node, &field.default) {
                (None | Some(Node::Null), Some(default)) => self.default(field, default),
                (Some(node), _) => self.within(&field.key, node, &field.shape),
                (None, None) if matches!(field.shape, Shape::Option(_)) => Some(Value::Null),
                (None, None) => self.absent(field),
            };
            if let Some(value) = value {
                object.insert(field.key.clone(), value);
            }
        }
        (self.faults_found() == faults).then_some(Value::Object(object))
    }

    /// A default is cast like a value that was given, but it is no change to what the caller sent.
    fn default(&mut self, field: &Field, default: &Value) -> Option<Value> {
        let changes = (self.changes.len(), self.changes_unlisted);
        let value = match Node::of(default) {
            Ok(node) => self.within(&field.key, &node, &field.shape),
            Err(error) => self.fault_got(error.to_string(), &field.shape.wit()),
        };
        self.changes.truncate(changes.0);
        self.changes_unlisted = changes.1;
        value
    }

    fn option(&mut self, node: &Node<'_>, some: &Shape) -> Option<Value> {
        if *node == Node::Null {
            return Some(Value::Null);
        }
        if let Shape::Option(_) = some {
            return match node {
                Node::Object(members) => match members.as_slice() {
                    [(key, inner)] if key == "some" => Some(json!({"some": self.within("some", inner, some)?})),
                    _ => self.fault(node, "null or an object with the one key `some`"),
                },
                _ => self.fault(node, "null or an object with the one key `some`"),
            };
        }
        let spells_none = matches!(node, Node::String(text) if text == "null" || text == "None");
        if spells_none && self.mode == Cast::Lax && *some != Shape::String {
            // A value of that very name comes first: an enum may have a case `none`.
            return match self.attempt(|caster| caster.cast(node, some)) {
                Some(value) => Some(value),
                None => self.changed(Cast::Lax, node, Value::Null, "nothing"),
            };
        }
        self.cast(node, some)
    }

    fn enumeration(&mut self, node: &Node<'_>, labels: &[Label]) -> Option<Value> {
        let names = || labels.iter().map(|label| label.name.as_str());
        match node {
            Node::String(text) => match names::find(text, names()) {
                names::Found::Exact(name) => Some(json!(name)),
                names::Found::Folded(name) => self.changed(Cast::Safe, node, json!(name), &names::one_of(names())),
                names::Found::No => self.fault(node, &names::one_of(names())),
            },
            _ => self.fault(node, &names::one_of(names())),
        }
    }

    fn flags(&mut self, node: &Node<'_>, labels: &[Label]) -> Option<Value> {
        let names = || labels.iter().map(|label| label.name.as_str());
        let expected = || format!("an array of different names, each {}", names::one_of(names()));
        let given: Vec<Node<'_>> = match node {
            Node::Array(items) => items.clone(),
            Node::String(text) => text.split(',').map(|part| Node::String(part.trim().into())).collect(),
            Node::Object(members) if members.iter().all(|(_, on)| matches!(on, Node::Bool(_))) => members
                .iter()
                .filter(|(_, on)| *on == Node::Bool(true))
                .map(|(name, _)| Node::String(name.clone()))
                .collect(),
            _ => return self.fault(node, &expected()),
        };
        if !matches!(node, Node::Array(_)) && self.mode < Cast::Lax {
            return self.fault(node, &expected());
        }
        let faults = self.faults_found();
        let mut set = Vec::new();
        for (index, item) in given.iter().enumerate() {
            self.at.push(index.to_string());
            if let Some(name) = self.enumeration(item, labels) {
                if set.contains(&name) {
                    self.fault(item, "a name that does not stand there already");
                }
                set.push(name);
            }
            self.at.pop();
        }
        if self.faults_found() > faults {
            return None;
        }
        let value = json!(names().filter(|name| set.iter().any(|on| on == name)).collect::<Vec<_>>());
        if matches!(node, Node::Array(_)) { Some(value) } else { self.changed(Cast::Lax, node, value, &expected()) }
    }

    fn variant(&mut self, node: &Node<'_>, shape: &Shape, cases: &[Case]) -> Option<Value> {
        let expected = || format!("a string for a case without payload, else an object with one key ({})", shape.wit());
        let (name, payload) = match node {
            Node::String(text) => (text.as_ref(), None),
            Node::Object(members) => match members.as_slice() {
                [(key, payload)] => (key.as_ref(), Some(payload)),
                _ => return self.fault(node, &expected()),
            },
            _ => return self.fault(node, &expected()),
        };
        let found = names::find(name, cases.iter().map(|case| case.name.as_str()));
        let (names::Found::Exact(name) | names::Found::Folded(name)) = found else {
            return self.fault(node, &expected());
        };
        let case = cases.iter().find(|case| case.name == name)?;
        let value = match (&case.payload, payload) {
            (None, None) => json!(case.name),
            (Some(shape), Some(node)) => json!({ name: self.within(name, node, shape)? }),
            _ => return self.fault(node, &expected()),
        };
        match found {
            names::Found::Folded(_) => self.changed(Cast::Safe, node, value, &expected()),
            _ => Some(value),
        }
    }

    fn result(&mut self, node: &Node<'_>, shape: &Shape, ok: Option<&Shape>, err: Option<&Shape>) -> Option<Value> {
        let expected = || format!("an object with the one key `ok` or `err` ({})", shape.wit());
        let Node::Object(members) = node else { return self.fault(node, &expected()) };
        let (name, payload, inner) = match members.as_slice() {
            [(key, inner)] if key == "ok" => ("ok", ok, inner),
            [(key, inner)] if key == "err" => ("err", err, inner),
            _ => return self.fault(node, &expected()),
        };
        match payload {
            Some(payload) => Some(json!({ name: self.within(name, inner, payload)? })),
            None if *inner == Node::Null => Some(json!({ name: null })),
            None => self.fault(inner, "null"),
        }
    }

    fn parse_text(&mut self, node: &Node<'_>, text: &str, opens: char, shape: &Shape, expected: &str) -> Option<Value> {
        let Some(inner) = text::parsed(text, opens).filter(|_| self.mode >= Cast::Safe) else {
            return self.fault(node, expected);
        };
        let value = self.cast(&inner, shape)?;
        self.changed(Cast::Safe, node, value, expected)
    }

    /// Casts a part, with its name or index on the pointer.
    fn within(&mut self, name: impl ToString, node: &Node<'_>, shape: &Shape) -> Option<Value> {
        self.at.push(name.to_string());
        let value = self.cast(node, shape);
        self.at.pop();
        value
    }

    /// Tries a cast; where it fails it leaves no trace.
    fn attempt(&mut self, cast: impl FnOnce(&mut Self) -> Option<Value>) -> Option<Value> {
        let (changes, faults) = (self.changes.len(), self.faults.len());
        let unlisted = (self.changes_unlisted, self.faults_unlisted);
        let value = cast(self);
        if value.is_none() {
            self.changes.truncate(changes);
            self.faults.truncate(faults);
            (self.changes_unlisted, self.faults_unlisted) = unlisted;
        }
        value
    }

    /// A cast that is allowed from the mode `needs` on.
    fn changed(&mut self, needs: Cast, node: &Node<'_>, to: Value, expected: &str) -> Option<Value> {
        if self.mode < needs {
            return self.fault(node, expected);
        }
        self.change(node, Node::of(&to).map(|node| node.excerpt(EXCERPT_BYTES)).unwrap_or_default());
        Some(to)
    }

    fn change(&mut self, node: &Node<'_>, to: String) {
        if self.changes.len() < LISTED_MAX {
            self.changes.push(Change { pointer: self.pointer(), from: node.excerpt(EXCERPT_BYTES), to });
        } else {
            self.changes_unlisted += 1;
        }
    }

    fn fault(&mut self, node: &Node<'_>, expected: &str) -> Option<Value> {
        self.fault_got(node.excerpt(EXCERPT_BYTES), expected)
    }

    fn fault_got(&mut self, got: String, expected: &str) -> Option<Value> {
        if self.faults.len() < LISTED_MAX {
            self.faults.push(Fault { pointer: self.pointer(), expected: expected.to_owned(), got });
        } else {
            self.faults_unlisted += 1;
        }
        None
    }

    fn faults_found(&self) -> usize {
        self.faults.len() + self.faults_unlisted
    }

    fn pointer(&self) -> String {
        self.at.iter().fold(String::new(), |pointer, part| {
            // No field has such a name; what is sent as one is not sent back.
            let (part, cut) = match part.get(..part.floor_char_boundary(POINTER_PART_BYTES)) {
                Some(start) if start.len() < part.len() => (start, "…"),
                _ => (part.as_str(), ""),
            };
            pointer + "/" + &part.replace('~', "~0").replace('/', "~1") + cut
        })
    }
}

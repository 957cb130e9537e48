//! What changed between two versions of a tool's types? An outline of each, a line for each part, and the difference of two
//! outlines in words.
//!
//! ```text
//! from_line?: u32 - The first line, from 1.
//! options: record
//! options.deep: bool
//! paths: list
//! paths[].name: string
//! ```
//!
//! A line is a place, as a caller spells it, a `?` where a value may be left out or be null, the type in the words of WIT, and
//! what the author says of it. What has no parts of its own stands on one line, lists of it too. Lines are sorted by their
//! places, so that the same types have the same outline. It is for people, and for keeping in a file that people review: what
//! is exact is the schema, and [`fingerprint`] its hash.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::json::canonical::canonical;
use super::schema;
use super::shape::{Case, Field, Label, Shape};
use crate::check::approve::shown::escaped;

/// The longest outline, in bytes. What does not fit is not listed, and a last line says so.
const BYTES_MAX: usize = 64 << 10;

/// The place of a result as a whole.
const RESULT: &str = "result";

/// The place of the line that says that there is more. It stands behind all others.
const MORE: &str = "~";

/// The outline of a tool's arguments.
#[must_use]
pub fn of_arguments(parameters: &[Field]) -> Vec<String> {
    let mut outline = Outline::default();
    outline.fields("", parameters);
    outline.lines()
}

/// The outline of a tool's result; nothing where there is none.
#[must_use]
pub fn of_result(result: Option<&Shape>) -> Vec<String> {
    let mut outline = Outline::default();
    if let Some(shape) = result {
        outline.shape(RESULT.into(), shape, false, None);
    }
    outline.lines()
}

/// What arguments and result are, exactly: `sha256:` and the hash of both schemas in canonical JSON.
#[must_use]
pub fn fingerprint(parameters: &[Field], result: Option<&Shape>) -> String {
    let schemas = json!({"input": schema::input_schema(parameters), "output": schema::output_schema(result)});
    let hash = Sha256::digest(canonical(&schemas));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

/// Whose outline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The arguments: what a caller gives.
    Arguments,
    /// The result.
    Result,
}

/// What changed from one outline to another, in words; nothing where they are the same. Of what came or went with its parts,
/// the parts are not listed.
#[must_use]
pub fn differences(side: Side, was: &[String], is: &[String]) -> Vec<String> {
    let [was, is] = [was, is].map(|lines| lines.iter().map(|line| Part::read(line)).collect::<BTreeMap<_, _>>());
    let kind = |parts: &BTreeMap<&str, Part<'_>>, at: &str| parts.get(at).map(|part| part.kind.to_owned());
    // A part is spoken of where the thing around it is of the same kind as before.
    let stays = |at: &str| around(at).is_none_or(|outer| kind(&was, outer) == kind(&is, outer));
    let mut places: Vec<&str> = was.keys().chain(is.keys()).copied().collect();
    places.sort_unstable();
    places.dedup();
    let listed = places.into_iter().filter(|at| stays(at));
    // Something that a caller has to give, or may leave out.
    let is_field = |at: &str| {
        let outer = around(at).map(|outer| kind(&is, outer).or_else(|| kind(&was, outer)));
        side == Side::Arguments && outer.is_none_or(|outer| outer.as_deref() == Some("record"))
    };
    listed.flat_map(|at| words(side, at, (was.get(at), is.get(at)), is_field(at))).collect()
}

fn words(side: Side, at: &str, parts: (Option<&Part<'_>>, Option<&Part<'_>>), is_field: bool) -> Vec<String> {
    let is_whole = side == Side::Result && at == RESULT;
    match parts {
        (None, None) => Vec::new(),
        _ if at == MORE => vec!["it has more parts than are listed".into()],
        (Some(_), None) if is_whole => vec!["it returns nothing any more".into()],
        (None, Some(is)) if is_whole => vec![format!("it returns something now: {is}")],
        (Some(_), None) => vec![format!("`{at}` is gone")],
        (None, Some(is)) => {
            let must = match (is_field, is.absent) {
                (true, true) => ", and may be left out",
                (true, false) => ", and must be given",
                _ => "",
            };
            vec![format!("`{at}` is new{must}: {is}")]
        }
        (Some(was), Some(is)) => changed(at, was, is, is_field),
    }
}

fn changed(at: &str, was: &Part<'_>, is: &Part<'_>, is_field: bool) -> Vec<String> {
    let mut words = Vec::new();
    if was.kind != is.kind {
        words.extend(
            names_changed(at, was.kind, is.kind)
                .unwrap_or_else(|| vec![format!("`{at}` is {}, was {}", is.kind, was.kind)]),
        );
    }
    if was.absent != is.absent {
        words.push(match (is_field, is.absent) {
            (true, true) => format!("`{at}` may be left out now"),
            (true, false) => format!("`{at}` must be given now"),
            (false, true) => format!("`{at}` may be nothing now"),
            (false, false) => format!("`{at}` is never nothing any more"),
        });
    }
    if was.says != is.says {
        // No quotation mark in it looks like its end.
        let quoted = |part: &Part<'_>| format!("\"{}\"", part.says.replace('"', "\\\""));
        words.push(match (was.says.is_empty(), is.says.is_empty()) {
            (_, true) => format!("`{at}` is described no more; it was {}", quoted(was)),
            (true, _) => format!("`{at}` is described now: {}", quoted(is)),
            _ => format!("`{at}` is described as {}, was {}", quoted(is), quoted(was)),
        });
    }
    words
}

/// The names that came to an enum or flags, and those that went.
fn names_changed(at: &str, was: &str, is: &str) -> Option<Vec<String>> {
    let names = |kind: &'_ str| {
        let inside = kind.strip_prefix("enum { ").or_else(|| kind.strip_prefix("flags { "))?.strip_suffix(" }")?;
        Some(inside.split(", ").map(str::to_owned).collect::<Vec<_>>())
    };
    let (before, now) = (names(was)?, names(is)?);
    let listed = |these: &[String], others: &[String]| {
        let these: Vec<_> =
            these.iter().filter(|name| !others.contains(name)).map(|name| format!("`{name}`")).collect();
        these.join(", ")
    };
    let (new, gone) = (listed(&now, &before), listed(&before, &now));
    let same_kind = was.split(' ').next() == is.split(' ').next();
    if !same_kind || new.is_empty() && gone.is_empty() {
        return None;
    }
    let new = (!new.is_empty()).then(|| format!("`{at}` may be {new} too"));
    let gone = (!gone.is_empty()).then(|| format!("`{at}` may not be {gone} any more"));
    Some(new.into_iter().chain(gone).collect())
}

/// The place around a place.
fn around(at: &str) -> Option<&str> {
    at.rfind(['.', '[']).and_then(|end| at.get(..end))
}

/// One line.
struct Part<'l> {
    absent: bool,
    kind: &'l str,
    says: &'l str,
}

impl<'l> Part<'l> {
    /// A line's place, and the rest. A line that is none stands for itself.
    fn read(line: &'l str) -> (&'l str, Self) {
        let (at, rest) = line.split_once(": ").unwrap_or((line, ""));
        let (kind, says) = rest.split_once(" - ").unwrap_or((rest, ""));
        let place = at.strip_suffix('?');
        (place.unwrap_or(at), Part { absent: place.is_some(), kind, says })
    }
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if self.says.is_empty() { Ok(()) } else { write!(f, " - {}", self.says) }
    }
}

/// An outline in the making: its places, and the lines.
#[derive(Default)]
struct Outline {
    parts: Vec<(String, String)>,
    bytes: usize,
}

impl Outline {
    fn lines(mut self) -> Vec<String> {
        self.parts.sort();
        let more = (self.bytes > BYTES_MAX).then(|| format!("{MORE}: more than is listed"));
        self.parts.into_iter().map(|(_, line)| line).chain(more).collect()
    }

    fn fields(&mut self, at: &str, fields: &[Field]) {
        let dot = if at.is_empty() { "" } else { "." };
        for field in fields {
            let (shape, absent) = match &field.shape {
                Shape::Option(some) => (&**some, true),
                shape => (shape, false),
            };
            let default = field.default.as_ref().map(|value| format!(", {value} where it is left out"));
            let absent = absent || default.is_some();
            self.part(format!("{at}{dot}{}", field.key), shape, absent, (field.docs.as_deref(), default));
        }
    }

    fn shape(&mut self, at: String, shape: &Shape, absent: bool, docs: Option<&str>) {
        match shape {
            Shape::Option(some) if !absent => self.part(at, some, true, (docs, None)),
            shape => self.part(at, shape, absent, (docs, None)),
        }
    }

    /// A value with its parts, if it has some.
    fn part(&mut self, at: String, shape: &Shape, absent: bool, (docs, default): (Option<&str>, Option<String>)) {
        let kind = match shape {
            shape if is_plain(shape) => shape.wit(),
            Shape::Record(_) => "record".into(),
            Shape::List(_) => "list".into(),
            Shape::FixedList(_, length) => format!("list of {length}"),
            Shape::Tuple(_) => "tuple".into(),
            Shape::Variant(_) => "variant".into(),
            Shape::Result { .. } => "result".into(),
            _ => "option".into(),
        };
        let says = [docs.map(str::to_owned), meanings(shape)].into_iter().flatten().collect::<Vec<_>>().join(" ");
        self.line(&at, absent, &format!("{kind}{}", default.unwrap_or_default()), &says);
        // Where there is no room for more, all that is inside need not be looked at.
        if is_plain(shape) || self.bytes > BYTES_MAX {
            return;
        }
        match shape {
            Shape::Record(fields) => self.fields(&at, fields),
            Shape::List(item) | Shape::FixedList(item, _) => self.shape(format!("{at}[]"), item, false, None),
            Shape::Option(some) => self.shape(format!("{at}.some"), some, false, None),
            Shape::Tuple(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(index, item)| self.shape(format!("{at}[{index}]"), item, false, None));
            }
            Shape::Variant(cases) => cases.iter().for_each(|case| self.case(&at, case)),
            Shape::Result { ok, err } => {
                for (name, payload) in [("ok", ok), ("err", err)] {
                    let payload = payload.as_deref().cloned();
                    self.case(&at, &Case::new(name, payload));
                }
            }
            _ => {}
        }
    }

    fn case(&mut self, at: &str, case: &Case) {
        let at = format!("{at}.{}", case.name);
        match &case.payload {
            Some(payload) => self.shape(at, payload, false, case.docs.as_deref()),
            None => self.line(&at, false, "nothing with it", case.docs.as_deref().unwrap_or_default()),
        }
    }

    fn line(&mut self, at: &str, absent: bool, kind: &str, says: &str) {
        let says = escaped(&says.split_whitespace().collect::<Vec<_>>().join(" "));
        let says = if says.is_empty() { String::new() } else { format!(" - {says}") };
        let line = format!("{at}{}: {kind}{says}", if absent { "?" } else { "" });
        self.bytes += line.len();
        if self.bytes <= BYTES_MAX {
            self.parts.push((at.to_owned(), line));
        }
    }
}

/// Whether a type is said in a few words: it has no parts that could come and go by themselves.
fn is_plain(shape: &Shape) -> bool {
    match shape {
        Shape::Record(_) | Shape::Variant(_) => false,
        Shape::List(item) | Shape::FixedList(item, _) | Shape::Option(item) => is_plain(item),
        Shape::Tuple(items) => items.iter().all(is_plain),
        Shape::Result { ok, err } => [ok, err].into_iter().flatten().all(|side| is_plain(side)),
        _ => true,
    }
}

/// What the author says of names among which a caller chooses.
fn meanings(shape: &Shape) -> Option<String> {
    let (Shape::Enum(labels) | Shape::Flags(labels)) = shape else { return None };
    let meaning = |label: &Label| label.docs.as_ref().map(|docs| format!("`{}`: {docs}", label.name));
    let meanings: Vec<String> = labels.iter().filter_map(meaning).collect();
    (!meanings.is_empty()).then(|| meanings.join(" "))
}

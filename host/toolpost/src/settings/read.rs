//! All faults of a settings text at once: what does not fit is named, taken out, and the rest is read on.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};
use toolpost_core::catalog::cast::nearest;

/// The most faults that are looked for.
const FAULTS_MAX: usize = 50;

/// Something that is wrong with a settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line, where it is one line's fault.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.message),
            None => write!(f, "{}: {}", self.file.display(), self.message),
        }
    }
}

impl std::error::Error for Fault {}

/// What fits, and what does not, in the order of the text.
pub(crate) fn all<T: DeserializeOwned + Default>(text: &str, file: &Path) -> (T, Vec<Fault>) {
    let fault = |error: &toml::de::Error| {
        let line = error.span().map(|span| line_of(text, span.start));
        Fault { file: file.to_owned(), line, message: words(error.message()) }
    };
    let (mut table, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<Fault> = errors.iter().map(fault).collect();
    if !faults.is_empty() {
        return (T::default(), faults);
    }
    let mut taken: Vec<Vec<String>> = Vec::new();
    let value = loop {
        match T::deserialize(Deserializer::from(table.clone())) {
            Ok(value) => break value,
            Err(error) => {
                let removed = error.span().and_then(|span| remove(table.get_mut(), &span));
                if !is_ours(&error, removed.as_deref(), &taken) {
                    faults.push(fault(&error));
                }
                let Some(removed) = removed.filter(|_| faults.len() < FAULTS_MAX) else { break T::default() };
                taken.push(removed);
            }
        }
    };
    faults.sort_by_key(|fault| fault.line);
    (value, faults)
}

/// Whether a key is missing only because its value was wrong and is taken out: that was said already.
fn is_ours(error: &toml::de::Error, within: Option<&[String]>, taken: &[Vec<String>]) -> bool {
    let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    let (Some(within), Some(missing)) = (within, missing) else { return false };
    taken.iter().any(|taken| taken.split_last().is_some_and(|(key, above)| key == missing && above == within))
}

/// The line of each tool's settings, by its component and its key.
pub(super) fn lines_of_tools(text: &str) -> BTreeMap<(String, String), usize> {
    let (root, _) = DeTable::parse_recoverable(text);
    let mut lines = BTreeMap::new();
    for (component, said) in within(root.get_ref(), "components").into_iter().flatten() {
        let tools = said.get_ref().as_table().and_then(|said| within(said, "tools"));
        for (key, _) in tools.into_iter().flatten() {
            let name = (component.get_ref().to_string(), key.get_ref().to_string());
            lines.insert(name, line_of(text, key.span().start));
        }
    }
    lines
}

fn within<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t DeTable<'i>> {
    table.get(key).and_then(|value| value.get_ref().as_table())
}

/// Removes the smallest entry that a span lies in, or the item of a list; says where it was, if there was one.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    let within = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end && outer.start < outer.end;
    let mut found = None;
    for (key, value) in table.iter_mut() {
        if within(key.span()) {
            found = Some(key.clone());
            break;
        }
        let removed = match value.get_mut() {
            DeValue::Table(inner) => remove(inner, span),
            // Of an item nothing is left that could miss something.
            DeValue::Array(items) => remove_item(items, &within).then(Vec::new),
            _ => None,
        };
        if let Some(mut path) = removed {
            path.insert(0, key.get_ref().to_string());
            return Some(path);
        }
        if within(value.span()) {
            found = Some(key.clone());
        }
    }
    let found: Spanned<_> = found?;
    table.remove(&found).map(|_| vec![found.get_ref().to_string()])
}

/// Removes the item that a span lies in, as a whole: without one of its keys it would say something else.
fn remove_item(items: &mut DeArray<'_>, within: &impl Fn(Range<usize>) -> bool) -> bool {
    let Some(found) = items.iter().position(|item| holds(item, within)) else { return false };
    let all = std::mem::replace(items, DeArray::new()).into_iter().enumerate();
    *items = all.filter(|(at, _)| *at != found).map(|(_, item)| item).collect();
    true
}

/// Whether a span lies in an item, or in a key or value of it: the span of a table that has a head is that of its head.
fn holds(item: &Spanned<DeValue<'_>>, within: &impl Fn(Range<usize>) -> bool) -> bool {
    within(item.span())
        || match item.get_ref() {
            DeValue::Table(table) => table.iter().any(|(key, value)| within(key.span()) || holds(value, within)),
            DeValue::Array(items) => items.iter().any(|item| holds(item, within)),
            _ => false,
        }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The reader's message in our words: an unknown key gets the nearest known one.
fn words(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else { return message.to_owned() };
    let mut names = rest.split('`').step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("unknown key `{unknown}`; did you mean `{near}`?"),
        None if known.is_empty() => format!("unknown key `{unknown}`; no key is known here"),
        None => {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("unknown key `{unknown}`; known here: {}", known.join(", "))
        }
    }
}

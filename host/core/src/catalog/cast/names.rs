//! Which of the known names is meant? Names of fields and cases: exact, or exact but for case and separators.

use std::borrow::Cow;

use super::super::json::Node;
use super::super::shape::{Field, folded};
use super::{Cast, Caster};

pub(super) enum Found<'a> {
    Exact(&'a str),
    /// The one name that is the same but for case and separators.
    Folded(&'a str),
    No,
}

pub(super) fn find<'a>(text: &str, names: impl Iterator<Item = &'a str> + Clone) -> Found<'a> {
    if let Some(name) = names.clone().find(|name| *name == text) {
        return Found::Exact(name);
    }
    let wanted = folded(text);
    let mut near = names.filter(|name| folded(name) == wanted);
    match (near.next(), near.next()) {
        (Some(name), None) => Found::Folded(name),
        _ => Found::No,
    }
}

pub(super) fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", names.join(", ")),
    }
}

impl Caster {
    /// Finds the field that a key of an object means, and puts the member there.
    pub(super) fn place<'n, 'a>(
        &mut self,
        key: &str,
        node: &'n Node<'a>,
        fields: &[Field],
        given: &mut [Option<&'n Node<'a>>],
    ) {
        let exact = fields.iter().position(|field| field.key == key || field.name == key);
        let index = exact.or_else(|| match find(key, fields.iter().map(|field| field.key.as_str())) {
            Found::Exact(name) | Found::Folded(name) if self.mode >= Cast::Safe => {
                fields.iter().position(|field| field.key == name)
            }
            _ => None,
        });
        let Some((index, field)) = index.and_then(|index| Some((index, fields.get(index)?))) else {
            return self.unknown(key, node, fields);
        };
        self.at.push(key.to_owned());
        match given.get_mut(index) {
            Some(slot @ None) => {
                *slot = Some(node);
                if exact.is_none() {
                    let renamed = Node::String(Cow::Borrowed(key));
                    self.changed(Cast::Safe, &renamed, field.key.clone().into(), "");
                }
            }
            _ => {
                self.fault(node, &format!("one spelling of `{}`, not two", field.key));
            }
        }
        self.at.pop();
    }

    fn unknown(&mut self, key: &str, node: &Node<'_>, fields: &[Field]) {
        self.at.push(key.to_owned());
        if self.mode == Cast::Lax && self.may_drop {
            self.change(node, "dropped: no such field".into());
        } else {
            let expected = match nearest(key, fields.iter().map(|field| field.key.as_str())) {
                Some(near) => format!("no such field; did you mean `{near}`?"),
                None if fields.is_empty() => "no such field; there are none".into(),
                None => format!("no such field; the fields are {}", one_of(fields.iter().map(|f| f.key.as_str()))),
            };
            self.fault(node, &expected);
        }
        self.at.pop();
    }

    pub(super) fn absent(&mut self, field: &Field) -> Option<serde_json::Value> {
        self.at.push(field.key.clone());
        let value = self.fault_got("nothing".into(), &field.shape.wit());
        self.at.pop();
        value
    }
}

/// The known name that a misspelt one most likely means: at most two edits away, or the same but for case and separators.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name);
    let length = wanted.chars().count();
    known
        .map(|known| (folded(known), known))
        // A name of any length may be asked for, and comparing takes time and memory by the product of the lengths.
        .filter(|(other, _)| other.chars().count().abs_diff(length) <= 2)
        .map(|(other, known)| (strsim::damerau_levenshtein(&wanted, &other), known))
        .filter(|(distance, known)| *distance <= 2.min(known.len() / 2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

//! What must not be written down? The values of certain keys and places, in arguments and results that go to a log.
//!
//! A text is no longer than it may be, and work is done only for what is written: a megabyte costs no more than a page.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;
use toolpost_core::CallError;
use toolpost_core::check::authorize::Pattern;

/// What stands in the place of a value that is masked.
pub const MASKED: &str = "***";

/// The keys whose values are masked where the operator says nothing else.
const DEFAULT: [&str; 10] = [
    "*password*",
    "*passwd*",
    "*passphrase*",
    "*secret*",
    "*token*",
    "*api?key*",
    "*apikey*",
    "*private?key*",
    "*credential*",
    "*authorization*",
];

/// The shortest part of a text that is shown of it at all, in bytes.
const TEXT_BYTES_LEAST: usize = 16;

/// One place whose value is masked.
#[derive(Clone, Debug, PartialEq)]
pub enum Mask {
    /// A JSON pointer; in each of its parts `*` stands for any characters.
    Pointer(Vec<Pattern>),
    /// A key, wherever it stands, in capital letters or not; `*` stands for any characters, `?` for one.
    Key(Pattern),
}

/// All that is masked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Masks(Vec<Mask>);

impl Default for Masks {
    fn default() -> Self {
        Masks(DEFAULT.iter().filter_map(|key| key.parse().ok()).collect())
    }
}

impl FromStr for Mask {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('/') {
            Some(parts) => {
                parts.split('/').map(|part| Pattern::new(&unescaped(part))).collect::<Result<_, _>>().map(Mask::Pointer)
            }
            None if text.is_empty() => {
                Err("expected a key such as \"*token*\", or a JSON pointer such as \"/password\"".into())
            }
            None => Pattern::new(&text.to_lowercase()).map(Mask::Key),
        }
    }
}

impl<'de> Deserialize<'de> for Mask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Mask {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Mask".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1})
    }
}

impl Masks {
    /// These masks.
    #[must_use]
    pub fn new(masks: Vec<Mask>) -> Self {
        Masks(masks)
    }

    /// The value as JSON text, with what is masked left out, of about so many bytes at most. What is left out because of
    /// its length is counted; the text is JSON still.
    #[must_use]
    pub fn show(&self, value: &Value, bytes_max: usize) -> String {
        let mut page = Page { masks: self, path: Vec::new(), text: String::new(), bytes_max };
        page.value(value);
        page.text
    }

    /// Whether what stands at that JSON pointer is masked, itself or with all that it lies in.
    #[must_use]
    pub fn hides(&self, pointer: &str) -> bool {
        let parts: Vec<Cow<'_, str>> = pointer.split('/').skip(1).map(|part| unescaped(part).into()).collect();
        (1..=parts.len()).any(|end| parts.get(..end).is_some_and(|path| self.fits(path)))
    }

    /// Why a call failed, without the values of arguments that are masked; with `arguments` off, without any of them.
    #[must_use]
    pub fn message(&self, error: &CallError, arguments: bool) -> String {
        let mut message = error.message.clone();
        let faults = error.detail.as_ref().and_then(|detail| detail.get("faults")).and_then(Value::as_array);
        for fault in faults.into_iter().flatten() {
            let of = |key: &str| fault.get(key).and_then(Value::as_str).unwrap_or_default();
            if !of("got").is_empty() && (!arguments || self.hides(of("pointer"))) {
                message = message.replace(of("got"), MASKED);
            }
        }
        message
    }

    fn fits(&self, path: &[Cow<'_, str>]) -> bool {
        let Some(key) = path.last() else { return false };
        let key = key.to_lowercase();
        self.0.iter().any(|mask| match mask {
            Mask::Key(pattern) => pattern.fits(&key),
            Mask::Pointer(parts) => {
                parts.len() == path.len() && parts.iter().zip(path).all(|(pattern, part)| pattern.fits(part))
            }
        })
    }
}

/// A part of a JSON pointer as it is meant (RFC 6901).
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// What is being written.
struct Page<'m, 'v> {
    masks: &'m Masks,
    path: Vec<Cow<'v, str>>,
    text: String,
    bytes_max: usize,
}

impl<'v> Page<'_, 'v> {
    fn value(&mut self, value: &'v Value) {
        match value {
            Value::String(text) => self.words(text),
            Value::Array(items) => {
                let members = items.iter().enumerate().map(|(at, item)| (Cow::Owned(at.to_string()), item));
                self.all(['[', ']'], items.len(), members, false);
            }
            Value::Object(members) => {
                let len = members.len();
                let members = members.iter().map(|(key, item)| (Cow::Borrowed(key.as_str()), item));
                self.all(['{', '}'], len, members, true);
            }
            short => self.text.push_str(&short.to_string()),
        }
    }

    fn all(
        &mut self,
        [open, close]: [char; 2],
        len: usize,
        members: impl Iterator<Item = (Cow<'v, str>, &'v Value)>,
        with_keys: bool,
    ) {
        self.text.push(open);
        for (at, (key, item)) in members.enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            if self.text.len() >= self.bytes_max {
                let more = quoted(&format!("… {} more", len - at));
                self.text.push_str(&if with_keys { format!("{more}:null") } else { more });
                break;
            }
            if with_keys {
                self.words(&key);
                self.text.push(':');
            }
            self.path.push(key);
            if !item.is_null() && self.masks.fits(&self.path) {
                self.text.push_str(&quoted(MASKED));
            } else {
                self.value(item);
            }
            self.path.pop();
        }
        self.text.push(close);
    }

    fn words(&mut self, words: &str) {
        let left = self.bytes_max.saturating_sub(self.text.len()).max(TEXT_BYTES_LEAST);
        self.text.push_str(&quoted(&cut(words, left)));
    }
}

/// The beginning of a text, and how much is missing.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    let kept = text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default();
    match text.len() - kept.len() {
        0 => Cow::Borrowed(text),
        more => Cow::Owned(format!("{kept}… ({more} bytes more)")),
    }
}

/// Text as JSON text.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn masks(list: &[&str]) -> Masks {
        Masks::new(list.iter().map(|mask| mask.parse().expect("a mask")).collect())
    }

    #[test]
    fn a_key_is_masked_wherever_it_stands_and_a_pointer_only_where_it_points() {
        let value = json!({"Access_TOKEN": 7, "user": {"name": "ann", "tokens": ["a"]}, "list": [{"pin": 1, "to": 2}], "pin": 3});
        let shown = masks(&["*token*", "/list/*/pin", "/user/name"]).show(&value, 1_000);
        assert_eq!(
            shown,
            r#"{"Access_TOKEN":"***","user":{"name":"***","tokens":"***"},"list":[{"pin":"***","to":2}],"pin":3}"#
        );
    }

    #[test]
    fn a_place_inside_of_what_is_masked_is_masked() {
        let masks = masks(&["*secret*", "/a~1b/c"]);
        assert!(masks.hides("/the_secret/list/0") && masks.hides("/a~1b/c") && masks.hides("/a~1b/c/d"));
        assert!(!masks.hides("/a~1b") && !masks.hides(""));
    }

    #[test]
    fn what_is_too_long_is_cut_counted_and_still_json() {
        let value = json!({"text": "ä".repeat(500_000), "list": vec![1; 100_000], "more": {"a": [], "b": 1}});
        for bytes_max in [0, 1, 10, 100, 1_000, 20_000] {
            let shown = Masks::default().show(&value, bytes_max);
            assert!(shown.len() <= bytes_max + 200, "{bytes_max}: {}", shown.len());
            serde_json::from_str::<Value>(&shown).unwrap_or_else(|error| panic!("{bytes_max}: {error}: {shown}"));
        }
        assert!(Masks::default().show(&value, 100).contains("bytes more)"));
    }

    #[test]
    fn what_is_short_is_shown_as_it_is() {
        let value = json!({"a": [1, 2.5, null, true, "x\n"], "b": {}});
        assert_eq!(Masks::default().show(&value, 1_000), value.to_string());
    }
}

//! Taking secrets out of texts and values: Aho-Corasick over every form of every known value, in one pass.

use std::borrow::Cow;
use std::fmt;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use serde_json::{Map, Value};

use super::forms::{self, Form};
use super::{Secret, SecretError};

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// What the host's own cuts end with.
const ELLIPSIS: &str = "…";

/// So much of the beginning of a secret, in bytes, is masked where a text was cut within it.
const CUT_BYTES_LEAST: usize = 4;

/// Knows the secrets of a host, in order to take them out. Without secrets it costs nothing.
#[derive(Default)]
pub struct Masker {
    finder: Option<Finder>,
}

struct Finder {
    automaton: AhoCorasick,
    /// In order, to find what begins with a text.
    forms: Vec<Form>,
    longest: usize,
    /// Whether a number can be a secret.
    numbers: bool,
}

impl Masker {
    /// A masker of these secrets.
    ///
    /// # Errors
    /// They are too many to be looked for.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Result<Self, SecretError> {
        let mut forms: Vec<Form> = secrets.into_iter().flat_map(|secret| forms::of(secret.reveal())).collect();
        forms.sort_by(|one, other| one.as_slice().cmp(other));
        forms.dedup();
        if forms.is_empty() {
            return Ok(Masker::default());
        }
        let patterns = forms.iter().map(|form| form.as_slice());
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(patterns)
            .map_err(|error| SecretError::new(format!("the secrets cannot be looked for: {error}")))?;
        let numeric =
            |form: &Form| form.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
        let longest = forms.iter().map(|form| form.len()).max().unwrap_or_default();
        Ok(Masker { finder: Some(Finder { automaton, longest, numbers: forms.iter().any(numeric), forms }) })
    }

    /// Whether there is nothing to be masked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.finder.is_none()
    }

    /// The text without secrets.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some(finder) = &self.finder else { return Cow::Borrowed(text) };
        let mut masked: Option<String> = None;
        let mut from = 0;
        for found in finder.automaton.find_iter(text) {
            let masked = masked.get_or_insert_default();
            masked.push_str(text.get(from..found.start()).unwrap_or_default());
            masked.push_str(MASK);
            from = found.end();
        }
        let rest = |masked: String| masked + text.get(from..).unwrap_or_default();
        let masked = masked.map_or(Cow::Borrowed(text), |masked| Cow::Owned(rest(masked)));
        if masked.contains(ELLIPSIS) { Cow::Owned(finder.cuts(&masked)) } else { masked }
    }

    /// Masks a text in place.
    pub fn text_in(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.text(text) {
            *text = masked;
        }
    }

    /// Masks the texts of a value in place, and numbers that are a secret.
    pub fn value_in(&self, value: &mut Value) {
        let Some(finder) = &self.finder else { return };
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                if finder.numbers && finder.automaton.is_match(&number.to_string()) {
                    *value = MASK.into();
                }
            }
            Value::String(text) => self.text_in(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value_in(item)),
            Value::Object(members) => {
                members.values_mut().for_each(|member| self.value_in(member));
                if members.keys().any(|key| finder.automaton.is_match(key)) {
                    let masked = std::mem::take(members).into_iter();
                    *members =
                        masked.map(|(key, member)| (self.text(&key).into_owned(), member)).collect::<Map<_, _>>();
                }
            }
        }
    }

    /// Masks what has come of a stream so far, and hands it out but for an end that may be the beginning of a secret.
    pub(super) fn stream(&self, pending: &mut Vec<u8>, mut out: impl FnMut(&[u8])) {
        let Some(finder) = &self.finder else {
            out(pending);
            return pending.clear();
        };
        let hold = finder.beginning(pending);
        let mut from = 0;
        for found in finder.automaton.find_iter(pending.as_slice()).take_while(|found| found.start() < hold) {
            out(pending.get(from..found.start()).unwrap_or_default());
            out(MASK.as_bytes());
            from = found.end();
        }
        out(pending.get(from..hold).unwrap_or_default());
        pending.drain(..from.max(hold));
    }

    /// As [`Masker::text`], for bytes that may be no text.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        match &self.finder {
            Some(finder) => finder.automaton.replace_all_bytes(bytes, &vec![MASK; finder.forms.len()]),
            None => bytes.to_vec(),
        }
    }
}

impl Finder {
    /// Where the last bytes begin that are the beginning of a secret, and could become all of it.
    fn beginning(&self, bytes: &[u8]) -> usize {
        let first = bytes.len().saturating_sub(self.longest - 1);
        let begins = |at: &usize| self.begins(bytes.get(*at..).unwrap_or_default());
        (first..bytes.len()).find(begins).unwrap_or(bytes.len())
    }

    /// Whether a form begins with these bytes, and goes on.
    fn begins(&self, bytes: &[u8]) -> bool {
        // A form that begins with them stands where they would stand, or right behind.
        let place = self.forms.partition_point(|form| form.as_slice() <= bytes);
        self.forms.get(place).is_some_and(|form| form.starts_with(bytes))
    }

    /// Masks what the host's own cuts have left of a secret.
    fn cuts(&self, text: &str) -> String {
        let mut pieces = text.split(ELLIPSIS).peekable();
        let mut whole = String::with_capacity(text.len());
        while let Some(piece) = pieces.next() {
            let cut = pieces.peek().is_some();
            match self.beginning(piece.as_bytes()) {
                at if cut && piece.len() - at >= CUT_BYTES_LEAST => {
                    whole.push_str(piece.get(..at).unwrap_or_default());
                    whole.push_str(MASK);
                }
                _ => whole.push_str(piece),
            }
            whole.push_str(if cut { ELLIPSIS } else { "" });
        }
        whole
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("empty", &self.is_empty()).finish_non_exhaustive()
    }
}

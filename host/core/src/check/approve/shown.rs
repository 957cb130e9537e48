//! What does a person see of the arguments? All of it, and nothing that looks like something else.
//!
//! Whatever cannot be seen (control characters, marks of direction, characters without width), and whatever looks like
//! something else, is written as `\u{..}`. A line of the arguments never looks like a line of the question, because each line
//! of a longer text has a bar in front. What cannot be shown in full says so, and cannot be allowed for ever.

use serde_json::{Map, Value};

use crate::call::AcceptedCall;
use crate::secret::{MASK, Masker};

/// The most that is shown of one call's arguments, in bytes.
const SHOWN_BYTES_MAX: usize = 16 << 10;

/// The longest list of plain values that is shown on one line, in bytes.
const INLINE_BYTES_MAX: usize = 80;

/// Names of arguments, and of parameters in URLs, that are secrets; also behind an underscore, as in `client_secret`.
const SECRETS: [&str; 12] = [
    "api_key",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "secret",
    "token",
];

/// The arguments as lines of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The lines; none has a character that cannot be seen.
    pub lines: Vec<String>,
    /// Whether the lines show all there is.
    pub whole: bool,
}

/// The arguments as lines of text, each parameter by its name.
#[must_use]
pub fn shown(arguments: &Value) -> Shown {
    let mut lines = Vec::new();
    match arguments {
        Value::Object(members) => self::members(members, 0, &mut lines),
        other => value("", other, 0, &mut lines),
    }
    let mut left = SHOWN_BYTES_MAX;
    let fitting = lines.iter().take_while(|line| {
        let fits = line.len() < left;
        left = left.saturating_sub(line.len() + 1);
        fits
    });
    let fitting = fitting.count();
    let hidden: usize = lines.drain(fitting..).map(|line| line.len() + 1).sum();
    let whole = hidden == 0;
    if !whole {
        lines.push(format!("... and {hidden} bytes more, which are not shown"));
    }
    Shown { lines, whole }
}

fn members(members: &Map<String, Value>, depth: usize, lines: &mut Vec<String>) {
    // What is left out is null here: there is nothing to show of it.
    for (key, member) in members.iter().filter(|(_, member)| !member.is_null()) {
        value(&format!("{}: ", escaped(key)), member, depth, lines);
    }
}

fn value(label: &str, value_: &Value, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let mut line = |text: &str| lines.push(format!("{indent}{label}{text}").trim_end().to_owned());
    match value_ {
        Value::String(text) if text.contains('\n') => {
            line("");
            lines.extend(text.split('\n').map(|text| format!("{indent}  | {}", line_of(text))));
        }
        Value::Array(items) => match inline(items) {
            Some(text) => line(&text),
            None => {
                line("");
                items.iter().for_each(|item| value("- ", item, depth + 1, lines));
            }
        },
        Value::Object(inner) if inner.is_empty() => line("{}"),
        Value::Object(inner) => {
            line("");
            members(inner, depth + 1, lines);
        }
        plain => line(&scalar(plain)),
    }
}

/// A short list of plain values on one line.
fn inline(items: &[Value]) -> Option<String> {
    if items.iter().any(|item| item.is_array() || item.is_object() || item.as_str().is_some_and(|s| s.contains('\n'))) {
        return None;
    }
    let text = format!("[{}]", items.iter().map(scalar).collect::<Vec<_>>().join(", "));
    (text.len() <= INLINE_BYTES_MAX).then_some(text)
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", escaped(text).replace('"', "\\\"")),
        other => other.to_string(),
    }
}

/// A line of a longer text. Spaces at its end would not be seen.
fn line_of(text: &str) -> String {
    let kept = text.trim_end_matches(' ');
    format!("{}{}", escaped(kept), "\\u{20}".repeat(text.len() - kept.len()))
}

/// A text with everything that cannot be seen, or looks like something else, as a visible escape. A backslash is doubled, so
/// that no text can look like an escape.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
        // Another script's letters deceive among Latin ones, and in a word of nothing but look-alikes.
        let is_latin = word.chars().any(|c| c.is_ascii_alphabetic());
        let is_alike = word.chars().filter(|c| c.is_alphanumeric()).all(looks_latin);
        for c in word.chars() {
            match c {
                '\\' => shown.push_str("\\\\"),
                ' ' => shown.push(' '),
                c if c.is_control() || c.is_whitespace() || is_hidden(c) || is_alike_sign(c) => {
                    shown.extend(c.escape_unicode());
                }
                c if is_latin && is_other_script(c) || is_alike && looks_latin(c) => shown.extend(c.escape_unicode()),
                c => shown.push(c),
            }
        }
    }
    shown
}

/// Characters that take no room, change the direction of others, or have no agreed look.
fn is_hidden(c: char) -> bool {
    match c {
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => true,
        '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}' => true,
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        // For private use
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => true,
        // Marks that are put on the letter before
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' => true,
        '\u{fe20}'..='\u{fe2f}' => true,
        _ => false,
    }
}

/// Signs, and letters in other shapes, that look like those of paths, hosts and commands.
fn is_alike_sign(c: char) -> bool {
    match c {
        // Hyphens, dots, slashes, bars, colons
        '\u{2010}'..='\u{2012}' | '\u{2212}' | '\u{2024}' | '\u{fe52}' | '\u{ff0e}' => true,
        '\u{2044}' | '\u{2215}' | '\u{2571}' | '\u{29f8}' | '\u{ff0f}' => true,
        '\u{2216}' | '\u{2572}' | '\u{29f5}' | '\u{29f9}' | '\u{fe68}' | '\u{ff3c}' => true,
        '\u{1c0}' | '\u{1c3}' | '\u{2223}' | '\u{2d0}' | '\u{2236}' | '\u{2f8}' | '\u{a789}' | '\u{fe55}' => true,
        '\u{37e}' | '\u{223c}' => true,
        // Wide, mathematical and framed letters and digits
        '\u{ff10}'..='\u{ff19}' | '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' | '\u{1d400}'..='\u{1d7ff}' => true,
        '\u{2100}'..='\u{218b}' | '\u{2460}'..='\u{24ff}' | '\u{1f100}'..='\u{1f1ff}' => true,
        _ => false,
    }
}

/// Letters of scripts that have look-alikes of Latin letters, and Latin ones that look like others.
fn is_other_script(c: char) -> bool {
    matches!(c, '\u{370}'..='\u{5ff}' | '\u{10a0}'..='\u{10ff}' | '\u{13a0}'..='\u{13ff}' | '\u{1c80}'..='\u{1c8f}'
        | '\u{2c80}'..='\u{2cff}' | '\u{a4d0}'..='\u{a4ff}' | '\u{a640}'..='\u{a69f}' | '\u{ab70}'..='\u{abbf}')
        || matches!(c, 'ɑ' | 'ɡ' | 'ı' | 'ɩ' | 'ʏ' | 'ɪ' | 'ʟ' | 'ɴ' | 'ʀ' | 'ƨ' | 'ƽ' | 'ƅ' | 'ȷ')
}

/// Letters of other scripts that one takes for Latin ones.
fn looks_latin(c: char) -> bool {
    "АВЕКМНОРСТХУЅІЈԌԚԜасеорхуѕіјһԁԛԝӏӀΑΒΕΖΗΙΚΜΝΟΡΤΥΧαινορυϲϳՕօսցյ".contains(c)
        || matches!(c, '\u{13a0}'..='\u{13ff}' | '\u{a4d0}'..='\u{a4ff}')
}

/// Arguments in which every secret is masked, and nothing that says where it goes: hosts, paths, verbs and names stay.
#[must_use]
pub fn masked(arguments: &Value) -> Value {
    match arguments {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, member)| {
                    let hide = is_secret(key) && !member.is_null();
                    (key.clone(), if hide { MASK.into() } else { masked(member) })
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        Value::String(text) => Value::String(masked_url(text)),
        other => other.clone(),
    }
}

/// The arguments of a call for a person: without those that are secret, without the values of secrets that the host knows,
/// and without what looks like a secret.
pub(super) fn masked_for(call: &AcceptedCall, masker: &Masker) -> Value {
    let mut arguments = masked(&call.tool.secret_arguments.replace(&call.arguments, |_| MASK.into()));
    masker.value_in(&mut arguments);
    arguments
}

/// Arguments that came back from somebody who saw only the masked ones: what was not changed is what it was.
///
/// # Errors
/// A mask stands where no secret was.
pub(super) fn unmasked(edited: Value, shown: &Value, original: &Value) -> Result<Value, String> {
    if shown == original {
        return Ok(edited);
    }
    let whole = restored(edited, shown, original);
    if has_mask(&whole) && !has_mask(original) {
        return Err(format!("`{MASK}` stands for a secret that was not there; write the value itself"));
    }
    Ok(whole)
}

fn restored(edited: Value, shown: &Value, original: &Value) -> Value {
    if edited == *shown {
        return original.clone();
    }
    match (edited, shown, original) {
        (Value::Object(edited), Value::Object(shown), Value::Object(original)) => Value::Object(
            edited
                .into_iter()
                .map(|(key, member)| match (shown.get(&key), original.get(&key)) {
                    (Some(shown), Some(was)) => (key, restored(member, shown, was)),
                    _ => (key, member),
                })
                .collect(),
        ),
        (Value::Array(edited), Value::Array(shown), Value::Array(original)) => {
            let was = shown.iter().zip(original).map(Some).chain(std::iter::repeat(None));
            let items = edited.into_iter().zip(was).map(|(item, was)| match was {
                Some((shown, was)) => restored(item, shown, was),
                None => item,
            });
            Value::Array(items.collect())
        }
        (edited, ..) => edited,
    }
}

fn has_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MASK),
        Value::Array(items) => items.iter().any(has_mask),
        Value::Object(members) => members.values().any(has_mask),
        _ => false,
    }
}

pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRETS.iter().any(|secret| name.strip_suffix(secret).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')))
}

/// A URL without its password and without the values of its secret parameters; any other text as it is.
pub(crate) fn masked_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split_once(':').map_or(user.to_owned(), |(name, _)| format!("{name}:{MASK}"));
            format!("{user}@{host}")
        }
        None => authority.to_owned(),
    };
    let path = match path.split_once('?') {
        Some((path, query)) => {
            let parameter = |parameter: &str| match parameter.split_once('=') {
                Some((name, _)) if is_secret(name) => format!("{name}={MASK}"),
                _ => parameter.to_owned(),
            };
            format!("{path}?{}", query.split('&').map(parameter).collect::<Vec<_>>().join("&"))
        }
        None => path.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

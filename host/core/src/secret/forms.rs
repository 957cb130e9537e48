//! In which forms does a value turn up? As it is, and in the encodings that stand between a tool and its reader.

use std::fmt::Write as _;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::zeroize::Zeroizing;

use super::SECRET_BYTES_LEAST;

/// One form of a secret value; wiped when it is dropped.
pub(super) type Form = Zeroizing<Vec<u8>>;

/// Every form of a value: plain, base64, hexadecimal, percent-encoded and escaped as in JSON.
pub(super) fn of(value: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut add = |form: String| {
        let form = Form::new(form.into_bytes());
        // A value of eight bytes has no shorter form; nothing shorter is ever looked for.
        if form.len() >= SECRET_BYTES_LEAST {
            forms.push(form);
        }
    };
    add(value.to_owned());
    for before in 0..3 {
        add(inside_base64(&STANDARD_NO_PAD, value, before));
        add(inside_base64(&URL_SAFE_NO_PAD, value, before));
    }
    for upper in [false, true] {
        add(value.bytes().fold(String::new(), |text, byte| text + &hex(byte, upper)));
        for safe in SAFE {
            add(percent(value, safe, false, upper));
        }
        // A web form: a space is a plus.
        add(percent(value, "*-._", true, upper));
        add(json(value, true, upper));
    }
    add(json(value, false, false));
    // Some writers of JSON also escape slashes.
    add(json(value, false, false).replace('/', "\\/"));
    add(json(value, true, false).replace('/', "\\/"));
    forms
}

/// What percent-encoders leave as it is beside letters and digits: RFC 3986, JavaScript's two, and none of it.
const SAFE: [&str; 4] = ["-._~", "-._~!*'()", "-._~!*'();/?:@&=+$,#", ""];

/// The part of a base64 text that stands for the value alone, where so many bytes stand before it, up to a multiple of three.
fn inside_base64(engine: &impl base64::Engine, value: &str, before: usize) -> String {
    let bytes = Zeroizing::new([&[0].repeat(before), value.as_bytes()].concat());
    let text = engine.encode(&*bytes);
    // A character stands for six bits; the first and the last may be shared with what is beside the value.
    let (start, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    text.get(start..end).unwrap_or_default().to_owned()
}

fn percent(value: &str, safe: &str, plus: bool, upper: bool) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        match char::from(byte) {
            ' ' if plus => text.push('+'),
            c if c.is_ascii_alphanumeric() || byte.is_ascii() && safe.contains(c) => text.push(c),
            _ => {
                text.push('%');
                text.push_str(&hex(byte, upper));
            }
        }
        text
    })
}

/// The inside of a JSON string. `ascii` escapes every other character, as many writers do.
fn json(value: &str, ascii: bool, upper: bool) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    if !ascii {
        return inner.to_owned();
    }
    let mut units = [0; 2];
    inner.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii() {
            text.push(c);
            return text;
        }
        for unit in c.encode_utf16(&mut units) {
            let _ = if upper { write!(text, "\\u{unit:04X}") } else { write!(text, "\\u{unit:04x}") };
        }
        text
    })
}

fn hex(byte: u8, upper: bool) -> String {
    if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }
}

//! Numbers, without the loss of a digit.

use serde_json::{Number, Value, json};

use super::super::json::Node;
use super::super::shape::{Integer, SAFE_INTEGER_MAX};
use super::{Cast, Caster};

impl Caster {
    pub(super) fn integer(&mut self, node: &Node<'_>, integer: Integer) -> Option<Value> {
        let (minimum, maximum) = integer.range();
        let expected = format!("an integer from {minimum} to {maximum}");
        let found = match node {
            Node::Number(text) => match text.parse::<i128>() {
                Ok(value) => Some((value, Cast::Strict)),
                Err(_) => {
                    whole(text).filter(|value| value.abs() <= SAFE_INTEGER_MAX + 1).map(|value| (value, Cast::Safe))
                }
            },
            Node::String(text) => integer_text(text, integer),
            _ => None,
        };
        match found {
            Some((value, needs)) if (minimum..=maximum).contains(&value) => {
                let canonical = canonical_integer(value);
                if needs == Cast::Strict { Some(canonical) } else { self.changed(needs, node, canonical, &expected) }
            }
            _ => self.fault(node, &expected),
        }
    }

    pub(super) fn float(&mut self, node: &Node<'_>, single: bool) -> Option<Value> {
        let expected =
            if single { "a number that a 32-bit float can hold" } else { "a number that a 64-bit float can hold" };
        let (value, needs) = match node {
            Node::Number(text) => (float(text, single), Cast::Strict),
            Node::String(text) => match text.as_ref() {
                "NaN" | "Infinity" | "-Infinity" => return Some(json!(text)),
                _ => (decimal(text).and_then(|text| float(text, single)), Cast::Safe),
            },
            _ => (None, Cast::Strict),
        };
        match value.and_then(Number::from_f64) {
            Some(number) if needs == Cast::Strict => Some(Value::Number(number)),
            Some(number) => self.changed(needs, node, Value::Number(number), expected),
            None => self.fault(node, expected),
        }
    }
}

/// An integer as the host prints it: a string where a reader with 64-bit floats would lose digits.
#[must_use]
pub fn canonical_integer(value: i128) -> Value {
    match i64::try_from(value) {
        Ok(value) if i128::from(value).abs() <= SAFE_INTEGER_MAX => json!(value),
        _ => json!(value.to_string()),
    }
}

/// A 32-bit float as the 64-bit float that prints the same shortest digits.
#[must_use]
pub fn widen(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// What a string says, and from which mode on it may say it.
fn integer_text(text: &str, integer: Integer) -> Option<(i128, Cast)> {
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let value = trimmed.parse::<i128>().ok()?;
        let printed = integer.is_wide() && canonical_integer(value) == json!(text);
        return Some((value, if printed { Cast::Strict } else { Cast::Safe }));
    }
    let grouped =
        trimmed.split('_').all(|group| !group.is_empty() && group.starts_with(|c: char| c != '+' && c != '-'))
            || trimmed.strip_prefix('-').is_some_and(|rest| rest.split('_').all(|group| !group.is_empty()));
    let plain = trimmed.replace('_', "");
    let has_exponent = plain.contains(['e', 'E']);
    if grouped && !has_exponent { Some((whole(decimal(&plain)?)?, Cast::Lax)) } else { None }
}

/// The integer that a decimal text says exactly: `3.0`, `1e3`, `2.50e1`; nothing for `3.5`.
fn whole(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let digits = format!("{integer}{fraction}");
    match u32::try_from(shift) {
        Ok(shift) if digits.bytes().all(|b| b == b'0' || b == b'-' || b == b'+') || shift <= 40 => {
            let digits: i128 = digits.parse().ok()?;
            if digits == 0 { Some(0) } else { digits.checked_mul(10_i128.checked_pow(shift)?) }
        }
        Ok(_) => None,
        Err(_) => {
            let cut = digits.len().checked_sub(usize::try_from(shift.unsigned_abs()).ok()?);
            let (kept, dropped) = match cut {
                Some(cut) => digits.split_at_checked(cut)?,
                None => ("", digits.as_str()),
            };
            if !dropped.trim_start_matches(['-', '+']).bytes().all(|b| b == b'0') {
                return None;
            }
            match kept {
                "" | "-" | "+" => Some(0),
                _ => kept.parse().ok(),
            }
        }
    }
}

/// The float that a decimal text says: finite, and where the text is an integer, that very integer.
fn float(text: &str, single: bool) -> Option<f64> {
    // What is printed in the fewest digits is not always the very number that a 32-bit float holds.
    let (printed, held) = if single {
        let value: f32 = text.parse().ok()?;
        (widen(value), f64::from(value))
    } else {
        let value: f64 = text.parse().ok()?;
        (value, value)
    };
    let is_integer = text.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'+');
    // Up to this an integer of either sign can be compared exactly; past it, digits decide.
    let exact = !is_integer
        || format!("{held:.0}").trim_start_matches('-') == text.trim_start_matches(['-', '+', '0'])
        || held == 0.0;
    (held.is_finite() && exact).then_some(printed)
}

/// A number in a string, without the spaces around it and a leading plus; nothing if it is not a decimal number.
fn decimal(text: &str) -> Option<&str> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let fits = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && text.parse::<f64>().is_ok();
    fits.then_some(text)
}

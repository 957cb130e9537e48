//! One text for one value, so that what is equal has one hash.
//!
//! It is the JSON of RFC 8785 (keys sorted by their UTF-16 units, the shortest escapes, numbers as in ECMAScript), but for two
//! things in which that RFC makes different values the same: an integer keeps all its digits, where the RFC prints
//! 9007199254740993 as 9007199254740992; and `-0` stays apart from `0`.

use serde_json::{Number, Value};

/// The canonical text.
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = Vec::with_capacity(CAPACITY);
    write(value, &mut text);
    // It is text, piece by piece.
    String::from_utf8(text).unwrap_or_default()
}

/// Room for most arguments.
const CAPACITY: usize = 256;

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => plain(value, out),
        Value::Number(number) => out.extend(number_text(number).as_bytes()),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            out.push(b'{');
            for (index, (key, item)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                plain(key, out);
                out.push(b':');
                write(item, out);
            }
            out.push(b'}');
        }
    }
}

/// As JSON is written; there is nothing to choose in it. What is written into memory cannot fail.
fn plain(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, value);
}

fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => float_text(float),
        _ => number.to_string(),
    }
}

/// A float as ECMAScript's `Number::toString` prints it, from the shortest digits that read back as the same float.
fn float_text(float: f64) -> String {
    let sign = if float.is_sign_negative() { "-" } else { "" };
    let scientific = format!("{:e}", float.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    // The value is 0.DIGITS times ten to this power.
    let point = exponent.parse::<i32>().unwrap_or_default() + 1;
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let text = match point {
        _ if count <= point && point <= 21 => format!("{digits}{}", zeros(point - count)),
        1..=21 => {
            let (whole, rest) = digits.split_at(usize::try_from(point).unwrap_or_default());
            format!("{whole}.{rest}")
        }
        -5..=0 => format!("0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{first}{dot}{rest}e{}{}", if point > 0 { "+" } else { "" }, point - 1)
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::canonical;

    #[test]
    fn numbers_are_written_as_in_ecmascript_and_integers_with_all_their_digits() {
        let cases = [
            (json!(1.0), "1"),
            (json!(0.0), "0"),
            (json!(-0.0), "-0"),
            (json!(-1.5), "-1.5"),
            (json!(123456.789), "123456.789"),
            (json!(1e20), "100000000000000000000"),
            (json!(1e21), "1e+21"),
            (json!(1.5e300), "1.5e+300"),
            (json!(0.000001), "0.000001"),
            (json!(0.0000001), "1e-7"),
            (json!(5e-324), "5e-324"),
            (json!(333_333_333.333_333_3), "333333333.3333333"),
            (json!(9007199254740993_u64), "9007199254740993"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(i64::MIN), "-9223372036854775808"),
        ];
        for (value, text) in cases {
            assert_eq!(canonical(&value), text);
        }
    }

    #[test]
    fn keys_are_sorted_by_their_utf_16_units_at_every_depth() {
        // U+1F600 is written with two units below U+FB33, and stands behind it as a character.
        let value = json!({"\u{fb33}": 1, "\u{1f600}": 2, "b": {"z": [null, true], "a": "\u{7}\"é"}, "a": 3});
        let text = "{\"a\":3,\"b\":{\"a\":\"\\u0007\\\"é\",\"z\":[null,true]},\"\u{1f600}\":2,\"\u{fb33}\":1}";
        assert_eq!(canonical(&value), text);
    }
}

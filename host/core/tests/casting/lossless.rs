//! Whatever is sent, it arrives as what it was, or not at all.

use proptest::prelude::*;
use toolpost_core::Cast;
use toolpost_core::catalog::shape::{Integer, Shape};

use super::{MODES, U32, cast, check, labels, list, option, point, refused};

#[test]
fn casting_is_lossless_or_it_is_an_error_with_a_json_pointer() {
    // `refused` wants the pointer, in every mode.
    refused(&U32, &["3.9", "\"3.9\"", "3.0000000000000000001", "-1", "4294967296", "\"three\"", "true", "[1, 2]"]);
    refused(&Shape::Bool, &["\"maybe\"", "2", "-1", "0.5", "\"\"", "\"tru\"", "[]"]);
    refused(&Shape::F64, &["9007199254740993", "\"1,5\"", "\"about 3\""]);
    refused(&Shape::Enum(labels(&["red", "green"])), &["\"re\"", "\"redgreen\"", "0", "\"blue\""]);
    refused(&list(U32), &["[1, 2.5]", "[1, null]", "\"1;2\""]);
    refused(&point(), &["{\"x_pos\": 1.5}", "{\"x_pos\": \"one\"}", "{}"]);
    refused(&option(U32), &["\"nothing\"", "1.5"]);
    check(&U32, Cast::Safe, "3.0", "3");
    check(&Shape::Bool, Cast::Safe, "\"true\"", "true");

    // The pointer leads to the very place.
    let faulty = r#"{"value": [0, 1, 3.9]}"#;
    for mode in MODES {
        let error = cast(mode, &list(U32), faulty).unwrap_err();
        assert_eq!(error.detail.unwrap()["faults"][0]["pointer"], "/value/2", "{mode:?}");
    }
}

/// A number: its sign, its digits without zeros at either end, and the power of ten of the last one.
type Exact = (bool, String, i64);

/// What a decimal says, to the last digit. It may be quoted, and grouped.
fn exact(text: &str) -> Exact {
    let plain: String = text.chars().filter(|c| !matches!(c, '"' | '_' | ' ' | '+')).collect();
    let (is_negative, plain) = plain.strip_prefix('-').map_or((false, &*plain), |rest| (true, rest));
    let (digits, power) =
        plain.split_once(['e', 'E']).map_or((plain, 0), |(digits, power)| (digits, power.parse().unwrap()));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{part}");
    let short = digits.trim_end_matches('0');
    let last = power - part.len() as i64 + (digits.len() - short.len()) as i64;
    match short.trim_start_matches('0') {
        "" => (false, String::new(), 0),
        digits => (is_negative, digits.to_owned(), last),
    }
}

/// A number as a model may write it: bare or quoted, with a fraction that may be nothing, and a power of ten.
fn number() -> impl Strategy<Value = String> {
    let bounds =
        prop::sample::select(vec![127_u128, 128, 255, 256, 65_535, 1 << 31, 1 << 32, 1 << 53, 1 << 63, 1 << 64]);
    let near = (bounds, 0..3_u128).prop_map(|(bound, more)| bound - 1 + more);
    let digits = prop_oneof![near, 0..100_u128, any::<u64>().prop_map(u128::from), 0..u128::MAX];
    let part = prop_oneof![Just(String::new()), "\\.0{1,3}", "\\.[0-9]{1,4}"];
    let power = prop_oneof![3 => Just(String::new()), 1 => "e-?[0-9]", 1 => "e-?[12][0-9]"];
    let frame = prop::sample::select(vec![("", ""), ("\"", "\""), ("\" ", " \""), ("\"+", "\""), ("\"0", "\"")]);
    (prop::bool::ANY, digits, part, power, frame).prop_map(|(is_negative, digits, part, power, (open, close))| {
        let sign = if is_negative && !open.ends_with(['+', '0']) { "-" } else { "" };
        format!("{open}{sign}{digits}{part}{power}{close}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_number_becomes_another_number_in_any_mode(sent in number()) {
        use Integer as I;
        for integer in [I::U8, I::U16, I::U32, I::U64, I::S8, I::S16, I::S32, I::S64] {
            for mode in MODES {
                match cast(mode, &Shape::Integer(integer), format!("{{\"value\": {sent}}}")) {
                    Ok(accepted) => {
                        let became = accepted.arguments["value"].to_string();
                        prop_assert_eq!(exact(&became), exact(&sent), "{:?} {:?}: {} became {}", mode, integer, sent, became);
                    }
                    Err(error) => {
                        prop_assert_eq!(&error.detail.unwrap()["faults"][0]["pointer"], "/value", "{}", sent);
                    }
                }
            }
        }
    }
}

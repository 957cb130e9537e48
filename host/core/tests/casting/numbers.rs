//! Integers and floats: no digit is lost, or the value is refused.

use toolpost_core::Cast;
use toolpost_core::catalog::shape::{Integer, Shape};

use super::{S8, S64, U32, U64, check, check_text, refused};

#[test]
fn an_integer_is_taken_up_to_both_ends_of_its_type_and_never_wraps() {
    use Integer as I;
    for integer in [I::U8, I::U16, I::U32, I::U64, I::S8, I::S16, I::S32, I::S64] {
        let (minimum, maximum) = integer.range();
        let shape = Shape::Integer(integer);
        for value in [minimum, 0, 1, maximum] {
            let wide = value.abs() > 9_007_199_254_740_991;
            let canonical = if wide { format!("\"{value}\"") } else { value.to_string() };
            check(&shape, Cast::Strict, &value.to_string(), &canonical);
        }
        refused(&shape, &[&(minimum - 1).to_string(), &(maximum + 1).to_string(), &format!("\"{}\"", maximum + 1)]);
    }
    refused(&U32, &["340282366920938463463374607431768211456", "-340282366920938463463374607431768211456"]);
}

#[test]
fn an_integer_past_two_to_the_53_keeps_every_digit() {
    check(&U64, Cast::Strict, "9007199254740993", "\"9007199254740993\"");
    check(&U64, Cast::Strict, "\"9007199254740993\"", "\"9007199254740993\"");
    check(&S64, Cast::Strict, "\"-9223372036854775808\"", "\"-9223372036854775808\"");
    // Only the spelling that the host prints is the schema's; another one of the same number is a cast.
    for other in ["\"+9007199254740993\"", "\" 9007199254740993\"", "\"09007199254740993\""] {
        check(&U64, Cast::Safe, other, "\"9007199254740993\"");
    }
    check(&U64, Cast::Safe, "\"9007199254740991\"", "9007199254740991");
    refused(&U64, &["\"18446744073709551616\"", "\"-9007199254740993\""]);
}

#[test]
fn a_number_that_happens_to_be_whole_is_an_integer_past_strict() {
    check(&U32, Cast::Safe, "3.0", "3");
    check(&U32, Cast::Safe, "1e3", "1000");
    check(&U32, Cast::Safe, "2.50e1", "25");
    check_text(&U32, Cast::Safe, "30000000000000000000000e-22", "3");
    check(&S8, Cast::Safe, "-7.0", "-7");
    check(&S8, Cast::Safe, "-0.0", "0");
    check_text(&S8, Cast::Safe, "-0e-2", "0");
    check_text(&S8, Cast::Strict, "-0", "0");
    check(&S64, Cast::Safe, "9007199254740992.0", "\"9007199254740992\"");
    refused(&S64, &["9007199254740993.0", "9007199254740994.0", "1e16", "-1e16", "1e400", "1e-400"]);
    refused(&S8, &["128.0", "1e3", "-1.29e2"]);
}

#[test]
fn a_number_with_a_fraction_is_never_cut_to_an_integer() {
    refused(&U32, &["3.5", "0.1", "1e-1", "2.9999999999999999", "\"3.5\"", "\"0.1\"", "\"2.9999999999999999\""]);
    refused(&S64, &["-0.5", "-5e-1", "-5e-2", "\"-0.5\"", "123456789012345678.5"]);
}

#[test]
fn digits_in_a_string_are_an_integer_past_strict() {
    for (input, canonical) in [("\"42\"", "42"), ("\" 42 \"", "42"), ("\"+42\"", "42"), ("\"\\t042\\n\"", "42")] {
        check(&U32, Cast::Safe, input, canonical);
    }
    check(&S8, Cast::Safe, "\"-7\"", "-7");
    refused(&U32, &["\"-7\"", "\"4 2\"", "\"0x10\"", "\"1e3\"", "\"--1\"", "\"+-1\"", "\"4294967296\"", "\"٤٢\""]);
}

#[test]
fn a_whole_decimal_or_grouped_digits_in_a_string_are_an_integer_only_in_lax() {
    check(&U32, Cast::Lax, "\"42.0\"", "42");
    check(&U32, Cast::Lax, "\"1_000\"", "1000");
    check(&S8, Cast::Lax, "\"-4_2.00\"", "-42");
    refused(&U32, &["\"42.5\"", "\"1__000\"", "\"_1\"", "\"1_\"", "\"1,000\"", "\"1_0e1\"", "\"4294967296.0\""]);
}

#[test]
fn what_is_no_number_is_no_integer() {
    refused(&U32, &["true", "false", "3.5", "\"\"", "\" \"", "null", "[]", "{}", "[1]", "\"one\"", "\"NaN\""]);
}

#[test]
fn a_float_takes_every_integer_that_it_can_hold_exactly_and_no_other() {
    check(&Shape::F64, Cast::Strict, "1", "1.0");
    check(&Shape::F64, Cast::Strict, "-9007199254740992", "-9007199254740992.0");
    check(&Shape::F64, Cast::Strict, "0", "0.0");
    check_text(&Shape::F64, Cast::Strict, "1180591620717411303424", "1.1805916207174113e+21");
    refused(&Shape::F64, &["9007199254740993", "18446744073709551615", "\"9007199254740993\""]);
    check(&Shape::F32, Cast::Strict, "16777216", "16777216.0");
    // The digits that a 32-bit float prints are not always the integer that it holds.
    check(&Shape::F32, Cast::Strict, "1073741952", "1073742000.0");
    refused(&Shape::F32, &["16777217", "1073742000", "1073741953", "\"16777217\""]);
    refused(&Shape::F32, &["1267650600000000000000000000000"]);
    check_text(&Shape::F32, Cast::Strict, "1267650600228229401496703205376", "1.2676506e+30");
}

#[test]
fn a_float_is_rounded_to_the_nearest_and_printed_in_its_shortest_form() {
    check(&Shape::F64, Cast::Strict, "0.1", "0.1");
    check(&Shape::F32, Cast::Strict, "0.1", "0.1");
    check(&Shape::F32, Cast::Strict, "0.1000000014901161", "0.1");
    check(&Shape::F64, Cast::Strict, "-0.0", "-0.0");
    check_text(&Shape::F32, Cast::Strict, "1.00000005960464483090178016573190689086914062500001", "1.0000001");
    refused(&Shape::F32, &["1e39", "-1e39", "\"1e39\""]);
    refused(&Shape::F64, &["1e400", "-1e400", "\"1e400\""]);
}

#[test]
fn a_decimal_in_a_string_is_a_float_past_strict() {
    for (input, canonical) in [("\"3.14\"", "3.14"), ("\"1e3\"", "1000.0"), ("\" -2 \"", "-2.0"), ("\"+1.5\"", "1.5")] {
        check(&Shape::F64, Cast::Safe, input, canonical);
        check(&Shape::F32, Cast::Safe, input, canonical);
    }
    refused(&Shape::F64, &["\"3,14\"", "\"1_000.0\"", "\"0x1p3\"", "\"\"", "\"pi\"", "true", "null", "[1]"]);
}

#[test]
fn what_is_not_finite_is_taken_in_the_declared_spelling_only() {
    for shape in [Shape::F32, Shape::F64] {
        for declared in ["\"NaN\"", "\"Infinity\"", "\"-Infinity\""] {
            check(&shape, Cast::Strict, declared, declared);
        }
        refused(&shape, &["\"nan\"", "\"inf\"", "\"-inf\"", "\"infinity\"", "\"+Infinity\"", "\" NaN \""]);
    }
}

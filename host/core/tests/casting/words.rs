//! Bools, strings, names, characters and bytes.

use toolpost_core::Cast;
use toolpost_core::catalog::shape::{Case, Handle, Shape};

use super::{U32, check, check_text, labels, refused};

#[test]
fn a_bool_in_words_is_a_bool_past_strict() {
    check(&Shape::Bool, Cast::Strict, "true", "true");
    check(&Shape::Bool, Cast::Strict, "false", "false");
    for (input, canonical) in [("\"true\"", "true"), ("\" False \"", "false"), ("\"TRUE\"", "true")] {
        check(&Shape::Bool, Cast::Safe, input, canonical);
    }
    refused(&Shape::Bool, &["\"truth\"", "\"tru e\"", "\"maybe\"", "\"\"", "null", "[true]"]);
}

#[test]
fn a_bool_in_other_words_is_a_bool_only_in_lax() {
    for yes in ["1", "\"1\"", "\"yes\"", "\"on\"", "\"y\"", "\"t\"", "\" YES \""] {
        check(&Shape::Bool, Cast::Lax, yes, "true");
    }
    for no in ["0", "\"0\"", "\"no\"", "\"off\"", "\"n\"", "\"f\"", "\"Off\""] {
        check(&Shape::Bool, Cast::Lax, no, "false");
    }
    refused(&Shape::Bool, &["2", "-1", "0.5", "\"2\"", "\"yeah\"", "\"nope\""]);
}

#[test]
fn a_number_becomes_the_string_in_which_it_was_written() {
    check(&Shape::String, Cast::Strict, "\"1.0\"", "\"1.0\"");
    check(&Shape::String, Cast::Safe, "1.0", "\"1.0\"");
    check(&Shape::String, Cast::Safe, "true", "\"true\"");
    check_text(&Shape::String, Cast::Safe, "1.50", "\"1.50\"");
    check_text(&Shape::String, Cast::Safe, "1e400", "\"1e400\"");
    let digits = "123456789012345678901234567890";
    check_text(&Shape::String, Cast::Safe, digits, &format!("\"{digits}\""));
    refused(&Shape::String, &["null"]);
}

#[test]
fn an_object_or_array_becomes_a_string_of_json_only_in_lax() {
    check(&Shape::String, Cast::Lax, "[1, \"a\"]", r#""[1,\"a\"]""#);
    check_text(&Shape::String, Cast::Lax, "{\"a\": 1.50}", r#""{\"a\":1.50}""#);
    refused(&Shape::String, &["null"]);
}

#[test]
fn a_name_of_an_enum_is_found_past_case_and_separators_if_only_one_fits() {
    let shape = Shape::Enum(labels(&["dark-red", "blue", "b-c", "bc"]));
    check(&shape, Cast::Strict, "\"dark-red\"", "\"dark-red\"");
    check(&shape, Cast::Strict, "\"bc\"", "\"bc\"");
    for other in ["\"dark_red\"", "\"Dark Red\"", "\"DARKRED\"", "\" dark-red \""] {
        check(&shape, Cast::Safe, other, "\"dark-red\"");
    }
    refused(&shape, &["\"dark\"", "\"dark-redd\"", "\"\"", "\"b_c\"", "\"BC\"", "1", "null", "[\"blue\"]"]);
}

#[test]
fn a_case_of_a_variant_is_found_past_case_and_separators() {
    let shape = Shape::Variant(vec![Case::new("no-fill", None), Case::new("solid-fill", Some(U32))]);
    check(&shape, Cast::Strict, "\"no-fill\"", "\"no-fill\"");
    check(&shape, Cast::Strict, "{\"solid-fill\": 7}", "{\"solid-fill\":7}");
    check(&shape, Cast::Safe, "\"No Fill\"", "\"no-fill\"");
    check(&shape, Cast::Safe, "{\"solid_fill\": 7}", "{\"solid-fill\":7}");
    check(&shape, Cast::Safe, "{\"solid-fill\": \"7\"}", "{\"solid-fill\":7}");
    refused(&shape, &["\"solid-fill\"", "{\"no-fill\": 1}", "\"fill\"", "{}", "null", "1"]);
    refused(&shape, &["{\"solid-fill\": 1, \"no-fill\": null}", "{\"solid-fill\": -1}", "[\"no-fill\"]"]);
}

#[test]
fn flags_are_an_array_of_different_names_and_come_out_in_order() {
    let shape = Shape::Flags(labels(&["read", "write-all", "exec"]));
    check(&shape, Cast::Strict, "[]", "[]");
    check(&shape, Cast::Strict, "[\"exec\", \"read\"]", "[\"read\",\"exec\"]");
    check(&shape, Cast::Safe, "[\"WRITE_ALL\"]", "[\"write-all\"]");
    for (input, canonical) in [
        ("\"exec,read\"", "[\"read\",\"exec\"]"),
        ("\"read\"", "[\"read\"]"),
        ("{\"read\": true}", "[\"read\"]"),
        ("{\"exec\": false, \"write_all\": true}", "[\"write-all\"]"),
    ] {
        check(&shape, Cast::Lax, input, canonical);
    }
    refused(&shape, &["[\"read\", \"read\"]", "[\"read\", \"READ\"]", "\"read,read\"", "[\"delete\"]", "\"\""]);
    refused(&shape, &["\"read,,exec\"", "{\"read\": 1}", "{\"delete\": true}", "null", "1", "[[\"read\"]]"]);
}

#[test]
fn a_char_is_exactly_one_scalar_value() {
    for one in ["\"a\"", "\"é\"", "\"😀\"", "\" \""] {
        check(&Shape::Char, Cast::Strict, one, one);
    }
    refused(&Shape::Char, &["\"\"", "\"ab\"", "\"e\\u0301\"", "1", "null", "[\"a\"]"]);
}

#[test]
fn bytes_are_padded_standard_base64_or_an_array_of_bytes() {
    check(&Shape::Bytes, Cast::Strict, "\"aGk=\"", "\"aGk=\"");
    check(&Shape::Bytes, Cast::Strict, "\"\"", "\"\"");
    check(&Shape::Bytes, Cast::Strict, "[104, 105]", "\"aGk=\"");
    check(&Shape::Bytes, Cast::Strict, "[]", "\"\"");
    check(&Shape::Bytes, Cast::Safe, "\"[104, 105]\"", "\"aGk=\"");
    // Without padding, with bits left over, in the alphabet for URLs, with a break: another spelling of the same bytes.
    refused(&Shape::Bytes, &["\"aGk\"", "\"aGl=\"", "\"-_8=\"", "\"aG k=\"", "\"aGk=\\n\"", "\"hi!\""]);
    refused(&Shape::Bytes, &["[256]", "[-1]", "[1.5]", "[null]", "null", "{}", "\"[104, 256]\"", "\"[104\""]);
}

#[test]
fn a_handle_is_taken_as_it_was_given_out_and_no_other_text_for_one() {
    let number = "0123456789abcdef0123456789abcdef";
    for owned in [true, false] {
        let shape = Shape::Handle(Handle { resource: "shopping-basket".into(), owned });
        let whole = format!("\"shopping_basket_{number}\"");
        check(&shape, Cast::Strict, &whole, &whole);
        check(&shape, Cast::Safe, &format!("\" shopping_basket_{number}\\n\""), &whole);
        for wrong in [
            format!("\"{number}\""),
            format!("\"basket_{number}\""),
            format!("\"shopping-basket_{number}\""),
            format!("\"shopping_basket_{}\"", number.to_uppercase()),
            format!("\"shopping_basket_{number}0\""),
            format!("[{whole}]"),
            format!("{{\"shopping_basket\": {whole}}}"),
        ] {
            refused(&shape, &[&wrong]);
        }
        refused(&shape, &["\"\"", "null", "7", "\"shopping_basket\"", "\"shopping_basket_\""]);
    }
}

//! Lists, tuples, options, results and records: values with parts.

use serde_json::json;
use toolpost_core::Cast;
use toolpost_core::catalog::shape::{Field, Shape};

use super::{U32, assert_refused, cast, check, labels, list, option, point, refused};

#[test]
fn a_result_inside_of_a_value_has_exactly_one_side() {
    let shape = Shape::Result { ok: Some(Box::new(U32)), err: None };
    check(&shape, Cast::Strict, "{\"ok\": 1}", "{\"ok\":1}");
    check(&shape, Cast::Strict, "{\"err\": null}", "{\"err\":null}");
    check(&shape, Cast::Safe, "{\"ok\": \"1\"}", "{\"ok\":1}");
    refused(&shape, &["{\"ok\": 1, \"err\": null}", "{}", "{\"err\": 1}", "{\"OK\": 1}", "1", "\"ok\"", "null"]);
}

#[test]
fn one_item_for_a_list_is_wrapped_past_strict() {
    check(&list(U32), Cast::Strict, "[5]", "[5]");
    check(&list(U32), Cast::Safe, "5", "[5]");
    check(&list(U32), Cast::Safe, "\"5\"", "[5]");
    check(&list(Shape::String), Cast::Safe, "\"a\"", "[\"a\"]");
    check(&list(Shape::String), Cast::Safe, "\"\"", "[\"\"]");
    check(&list(point()), Cast::Safe, "{\"x_pos\": 1}", "[{\"x_pos\":1,\"label\":null}]");
    check(&list(Shape::String), Cast::Strict, "[]", "[]");
    refused(&list(U32), &["null", "true", "-5", "{}", "\"five\"", "[5, \"five\"]", "[null]"]);
    refused(&Shape::Bytes, &["104"]);
}

#[test]
fn a_list_record_or_tuple_is_read_out_of_a_string_of_json_if_the_json_is_whole() {
    check(&list(U32), Cast::Safe, "\"[1, 2]\"", "[1,2]");
    check(&list(U32), Cast::Safe, "\" [1, \\\"2\\\"] \"", "[1,2]");
    refused(&list(U32), &["\"[1, 2\"", "\"[1, 2] and\"", "\"[1, 2,]\"", "\"{}\"", "\"[3.5]\""]);
    check(&point(), Cast::Safe, "\"{\\\"x_pos\\\": 1}\"", "{\"x_pos\":1,\"label\":null}");
    refused(&point(), &["\"{\\\"x_pos\\\": 1\"", "\"{'x_pos': 1}\"", "\"[1]\"", "\"\"", "1"]);
    let pair = Shape::Tuple(vec![U32, Shape::String]);
    check(&pair, Cast::Safe, "\"[1, \\\"a\\\"]\"", "[1,\"a\"]");
    refused(&pair, &["\"[1, \\\"a\\\"\"", "\"[1]\"", "\"1, a\""]);
    let three = Shape::FixedList(Box::new(U32), 3);
    check(&three, Cast::Safe, "\"[1,2,3]\"", "[1,2,3]");
    refused(&three, &["\"[1,2]\"", "\"[1,2,3\""]);
}

#[test]
fn a_string_that_opens_an_array_is_never_wrapped_in_safe() {
    for mode in [Cast::Strict, Cast::Safe] {
        let text = json!({"value": "[draft] hello"});
        assert_refused(cast(mode, &list(Shape::String), text), "[draft] hello");
    }
}

#[test]
fn a_string_with_commas_is_split_only_in_lax_and_only_where_it_cannot_be_one_item() {
    check(&list(U32), Cast::Lax, "\"1, 2\"", "[1,2]");
    check(&list(Shape::Bool), Cast::Lax, "\"yes,no\"", "[true,false]");
    check(&list(Shape::Enum(labels(&["red", "blue"]))), Cast::Lax, "\"red, Blue\"", "[\"red\",\"blue\"]");
    check(&list(Shape::String), Cast::Safe, "\"a, b\"", "[\"a, b\"]");
    refused(&list(U32), &["\"1, two\"", "\"1; 2\"", "\"1,,2\"", "\"1, 2,\"", "\",\"", "\"[1, 2\""]);
}

#[test]
fn null_stands_for_nothing_and_the_word_for_it_only_in_lax() {
    check(&option(U32), Cast::Strict, "null", "null");
    check(&option(U32), Cast::Strict, "3", "3");
    check(&option(U32), Cast::Lax, "\"null\"", "null");
    check(&option(U32), Cast::Lax, "\"None\"", "null");
    check(&option(Shape::String), Cast::Strict, "\"null\"", "\"null\"");
    check(&option(Shape::Enum(labels(&["none", "all"]))), Cast::Safe, "\"None\"", "\"none\"");
    refused(&option(U32), &["\"none\"", "\"nil\"", "\"\"", "false", "-1"]);
    refused(&U32, &["null", "\"null\""]);
}

#[test]
fn an_option_in_an_option_says_which_of_the_two_is_missing() {
    let shape = option(option(U32));
    check(&shape, Cast::Strict, "null", "null");
    check(&shape, Cast::Strict, "{\"some\": null}", "{\"some\":null}");
    check(&shape, Cast::Strict, "{\"some\": 1}", "{\"some\":1}");
    check(&shape, Cast::Safe, "{\"some\": \"1\"}", "{\"some\":1}");
    check(&shape, Cast::Lax, "{\"some\": \"null\"}", "{\"some\":null}");
    refused(&shape, &["1", "{}", "{\"Some\": 1}", "{\"some\": 1, \"none\": 2}", "{\"some\": -1}"]);
}

#[test]
fn a_key_is_found_past_case_and_separators_if_only_one_fits() {
    let canonical = "{\"x_pos\":1,\"label\":null}";
    check(&point(), Cast::Strict, "{\"x_pos\": 1}", canonical);
    check(&point(), Cast::Strict, "{\"x-pos\": 1}", canonical);
    check(&point(), Cast::Strict, "{\"label\": null, \"x_pos\": 1}", canonical);
    for other in ["{\"xPos\": 1}", "{\"X_POS\": 1}", "{\"x pos\": 1}", "{\"xpos\": 1}"] {
        check(&point(), Cast::Safe, other, canonical);
    }
    refused(&point(), &["{\"x-pos\": 1, \"x_pos\": 1}", "{\"x_pos\": 1, \"xPos\": 2}", "{\"XPos\": 1, \"xPos\": 1}"]);
    refused(&point(), &["{}", "{\"x_pos\": null}", "{\"pos\": 1}"]);
    let twins = Shape::Record(vec![Field::new("a-b", option(U32)), Field::new("ab", option(U32))]);
    check(&twins, Cast::Strict, "{\"ab\": 1, \"a_b\": 2}", "{\"a_b\":2,\"ab\":1}");
    for mode in [Cast::Strict, Cast::Safe] {
        assert_refused(cast(mode, &twins, json!({"value": {"AB": 1}})), "a name that two fields share");
    }
}

#[test]
fn an_object_with_numbered_keys_is_a_tuple_only_in_lax() {
    let pair = Shape::Tuple(vec![U32, Shape::String]);
    check(&pair, Cast::Strict, "[1, \"a\"]", "[1,\"a\"]");
    check(&pair, Cast::Safe, "[\"1\", \"a\"]", "[1,\"a\"]");
    check(&pair, Cast::Lax, "{\"1\": \"a\", \"0\": 1}", "[1,\"a\"]");
    refused(
        &pair,
        &["{\"0\": 1}", "{\"1\": 1, \"2\": \"a\"}", "{\"0\": 1, \"1\": \"a\", \"2\": 3}", "{\"00\": 1, \"1\": 2}"],
    );
    refused(&pair, &["[1]", "[1, \"a\", 2]", "[]", "1", "null"]);
    let two = Shape::FixedList(Box::new(U32), 2);
    check(&two, Cast::Strict, "[1, 2]", "[1,2]");
    check(&two, Cast::Lax, "{\"0\": 1, \"1\": 2}", "[1,2]");
    refused(&two, &["[1]", "[1, 2, 3]", "1", "{\"0\": 1, \"2\": 2}"]);
}

#[test]
fn a_fixed_list_of_any_length_costs_no_more_than_what_was_sent() {
    refused(&Shape::FixedList(Box::new(U32), usize::MAX), &["[1]", "[]", "1", "\"[1]\"", "{\"0\": 1}"]);
}

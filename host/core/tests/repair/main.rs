//! How JSON text is read, strict and repaired: nothing is ever made up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod oracle;

use serde_json::{Value, json};
use tokio::time::Instant;
use toolpost_core::catalog::json::{Node, Repair};

/// The text is read as that value after exactly those repairs.
fn check(text: &str, value: &Value, repairs: &[Repair]) {
    let (node, done) = Node::read_repaired(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(node.text(), value.to_string(), "{text}");
    assert_eq!(done, repairs, "{text}");
    assert_eq!(Node::read(text).is_ok(), repairs.is_empty(), "only what is not strict JSON needs a repair: {text}");
}

/// The text is refused, strict and with repairs.
fn refused(text: &str) {
    assert!(Node::read(text).is_err(), "{text}");
    if let Ok((node, repairs)) = Node::read_repaired(text) {
        panic!("{text}: became {} after {repairs:?}", node.text());
    }
}

#[test]
fn strict_json_needs_no_repair() {
    for text in [r#"{"a":[1,true,null,"x\né"],"b":{}}"#, "[]", "\"a // b, 'c' ``` {\"", "1.5", "null"] {
        check(text, &serde_json::from_str(text).unwrap(), &[]);
    }
    check(" \t\r\n{ \"a\" : [ 1 , 2 ] } \n", &json!({"a": [1, 2]}), &[]);
}

#[test]
fn each_way_of_being_almost_json_is_repaired_and_named() {
    let wanted = json!({"a": [1, true], "b": null});
    for (repair, text) in [
        (Repair::ByteOrderMark, "\u{feff}{\"a\":[1,true],\"b\":null}"),
        (Repair::CodeFence, "```json\n{\"a\":[1,true],\"b\":null}\n```"),
        (Repair::CodeFence, "```\n{\"a\":[1,true],\"b\":null}\n``` \n"),
        (Repair::CodeFence, " ```{\"a\":[1,true],\"b\":null}```"),
        (Repair::LeadingText, "Here are the arguments: {\"a\":[1,true],\"b\":null}"),
        (Repair::LeadingText, "json\n{\"a\":[1,true],\"b\":null}"),
        (Repair::TrailingComma, "{\"a\":[1,true,],\"b\":null , }"),
        (Repair::Comment, "{\"a\":[1,/* two */true], // three\n # four\n\"b\":null} // five"),
        (Repair::SingleQuotes, "{'a':[1,true],'b':null}"),
        (Repair::UnquotedKey, "{a:[1,true],b:null}"),
        (Repair::PythonLiteral, "{\"a\":[1,True],\"b\":None}"),
    ] {
        check(text, &wanted, &[repair]);
    }
    check(
        "{$a_1-b: False, ключ: 1}",
        &json!({"$a_1-b": false, "ключ": 1}),
        &[Repair::UnquotedKey, Repair::PythonLiteral],
    );
    check(r#"['it\'s', 'a "b"', '\u00e9\n']"#, &json!(["it's", "a \"b\"", "é\n"]), &[Repair::SingleQuotes]);
}

#[test]
fn several_repairs_go_together() {
    use Repair::{
        ByteOrderMark, CodeFence, Comment, LeadingText, PythonLiteral, SingleQuotes, TrailingComma, UnquotedKey,
    };
    check(
        "\u{feff}Sure! {'a': True,}",
        &json!({"a": true}),
        &[ByteOrderMark, LeadingText, TrailingComma, SingleQuotes, PythonLiteral],
    );
    let fenced = "Of course, here it is:\n```json\n{a: 'x', // the first\n}\n```";
    check(fenced, &json!({"a": "x"}), &[CodeFence, LeadingText, TrailingComma, Comment, SingleQuotes, UnquotedKey]);
}

#[test]
fn what_only_looks_like_a_slip_inside_of_a_string_is_left_alone() {
    for inside in ["// no comment", "# none", "/* none */", "a,]", "True", "```", "{", "it's", "key: 1"] {
        check(&json!({"a": inside}).to_string(), &json!({"a": inside}), &[]);
        let sloppy = format!("{{a: {}, }}", json!(inside));
        check(&sloppy, &json!({"a": inside}), &[Repair::TrailingComma, Repair::UnquotedKey]);
    }
}

#[test]
fn what_would_have_to_be_guessed_is_refused() {
    for text in [
        "",
        "   ",
        "{\"a\": 1 \"b\": 2}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{\"a\": 1}}",
        "{\"a\": 1} {\"b\": 2}",
        "{\"a\": 1} Done.",
        "```json\n{\"a\": 1}\n``` Done.",
        "{\"a\": 1]",
        "[1}",
        "[,1]",
        "[1,,2]",
        "{,}",
        "[1 2]",
        "{a: red}",
        "{a b: 1}",
        "{1: 2}",
        "{'it's': 1}",
        "{\"a\": \"x\ny\"}",
        "{“a”: 1}",
        "{\"a\": NaN}",
        "{\"a\": undefined}",
        "{\"a\": TRUE}",
        "{\"a\": nullx}",
        "{\"a\": +1}",
        "{\"a\": 01}",
        "{\"a\": .5}",
        "{\"a\": 5.}",
        "{\"a\": 0x10}",
        "{\"a\": 1_000}",
        "{\"a\": 1e}",
        "{\"a\": \"\\x41\"}",
        "{\"a\": \"\\'\"}",
        "{\"a\": \"\\ud800\"}",
        "{\"a\": \"\\ud800\\u0041\"}",
        "{\"a\": \"\\udc00\"}",
        "{\"a\": \"\\u12g4\"}",
        "{\"a\": 1 /* never closed }",
        "name: \"x\", rest: {\"a\": 1}",
        "[1] or {\"a\": 1}",
        "Sure: [1]",
        "\u{feff}",
        "```json\n```",
    ] {
        refused(text);
    }
}

#[test]
fn a_text_that_ends_early_is_never_completed() {
    let strict = r#"{"path": "/srv/\u00e9\\\"x", "deep": [{"n": -1.5e+300, "t": true}, [], null, false], "é😀": {}}"#;
    check(strict, &serde_json::from_str(strict).unwrap(), &[]);
    for (cut, _) in strict.char_indices() {
        let prefix = &strict[..cut];
        refused(prefix);
        assert!(Node::read(prefix).unwrap_err().ends_early, "{prefix}");
        assert!(Node::read_repaired(prefix).unwrap_err().ends_early, "{prefix}");
    }
    let sloppy =
        "\u{feff}So:\n```json\n{'path': '/srv/it\\'s', // the path\n deep: [{n: None, t: True,}, /* x */ [],], }";
    assert!(Node::read_repaired(sloppy).is_ok());
    for (cut, _) in sloppy.char_indices() {
        refused(&sloppy[..cut]);
    }
}

#[test]
fn a_key_that_stands_twice_is_refused_however_it_is_spelled() {
    for text in [
        r#"{"a": 1, "a": 1}"#,
        r#"{"a": 1, "b": 2, "\u0061": 1}"#,
        r#"{"x": [{"a": 1, "a": 1}]}"#,
        "{'a': 1, \"a\": 1}",
        "{a: 1, 'a': 1,}",
    ] {
        refused(text);
    }
    let error = Node::read(r#"{"a": 1, "\u0061": 2}"#).unwrap_err();
    assert_eq!(error.to_string(), "the key \"a\" stands twice (at byte 9)");
    check(r#"[{"a": 1}, {"a": 1, "A": 2, "": 3}]"#, &json!([{"a": 1}, {"a": 1, "A": 2, "": 3}]), &[]);
}

#[test]
fn arrays_and_objects_nest_to_64_levels_and_no_deeper() {
    let nested = |levels: usize, open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    for (open, inner, close) in [("[", "", "]"), ("[", "1", "]"), ("{\"a\":", "\"b\"", "}"), ("[{\"a\":", "1", "}]")] {
        let levels = 64 / open.matches(['[', '{']).count();
        let (fits, deeper) = (nested(levels, open, inner, close), format!("[{}]", nested(levels, open, inner, close)));
        assert!(Node::read(&fits).is_ok(), "{fits}");
        refused(&deeper);
        assert!(Node::read(&deeper).unwrap_err().message.contains("64 levels"), "{deeper}");
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert!(Node::of(&value(&fits)).is_ok(), "{fits}");
        assert!(Node::of(&value(&deeper)).is_err(), "{deeper}");
    }
}

#[test]
fn a_number_keeps_the_text_in_which_it_was_written() {
    let digits = "3.".to_owned() + &"14".repeat(50);
    for number in ["0", "-0", "1.50", "1E+05", "12345678901234567890123", "1e999", "-0.000", &digits] {
        let text = format!("[{number}]");
        assert_eq!(Node::read(&text).unwrap().text(), text);
        let sloppy = format!("[{number},]");
        assert_eq!(Node::read_repaired(&sloppy).unwrap().0.text(), text);
    }
}

#[test]
fn a_mebibyte_of_mischief_is_answered_quickly_on_a_small_stack() {
    let mut texts: Vec<String> = [
        "[", "{\"a\":", "{a:", "[[],", "'", "\"", "\\", "\"\\", "\\u", "['',", "[\"\",", "[1,", "[,", "/*", "//",
        "/**/", "#\n", "```", "``` {", "```\n", " ", "9", "-", "1e", "0.", "é", "\u{feff}", "a{", "a ", ",", ":", "}",
        "True ", "[None,", "{'a':1,", "{a:1}",
    ]
    .iter()
    .map(|piece| piece.repeat((1 << 20) / piece.len()))
    .collect();
    texts.push(format!("[{}]", vec!["'\\n\\u0041'"; 90_000].join(",")));
    texts.push(format!("{{{}}}", (0..70_000).map(|n| format!("k{n}:[],")).collect::<String>()));
    texts.push(format!("{}1", "[1,".repeat(63)));
    let work = move || {
        for text in &texts {
            let started = Instant::now();
            let _ = Node::read(text);
            let _ = Node::read_repaired(text);
            let start: String = text.chars().take(20).collect();
            assert!(started.elapsed().as_secs() < 10, "{start}… took {:?}", started.elapsed());
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(work).unwrap().join().unwrap();
}

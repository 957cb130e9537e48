//! What a person sees of the arguments: all of it, and nothing that looks like something else.

use proptest::prelude::*;
use serde_json::{Value, json};
use toolpost_core::check::approve::shown::{escaped, masked, shown};

fn check(arguments: Value, lines: &[&str]) {
    assert_eq!(shown(&arguments).lines, lines, "{arguments}");
}

#[test]
fn arguments_are_shown_by_name_and_what_is_left_out_is_not() {
    check(
        json!({"path": "/tmp/a", "count": 3, "force": true, "mode": null, "tags": ["a", "b"], "none": [], "o": {}}),
        &["path: \"/tmp/a\"", "count: 3", "force: true", "tags: [\"a\", \"b\"]", "none: []", "o: {}"],
    );
    check(json!({"options": {"deep": [{"a": 1}, [2]]}}), &["options:", "  deep:", "    -", "      a: 1", "    - [2]"]);
}

#[test]
fn a_longer_text_has_a_bar_before_each_line_so_that_none_looks_like_another_argument() {
    check(json!({"text": "a\npath: \"/etc\"\nb  "}), &["text:", "  | a", "  | path: \"/etc\"", "  | b\\u{20}\\u{20}"]);
}

#[test]
fn whatever_cannot_be_seen_or_looks_like_something_else_is_an_escape() {
    for (text, seen) in [
        ("a\u{202e}b", r"a\u{202e}b"),
        ("a\u{200b}b\u{feff}", r"a\u{200b}b\u{feff}"),
        ("a\tb\rc\u{1b}[2J", r"a\u{9}b\u{d}c\u{1b}[2J"),
        ("a\u{a0}b\u{3000}c\u{2028}", r"a\u{a0}b\u{3000}c\u{2028}"),
        ("\u{e0041}\u{fe0f}\u{ad}", r"\u{e0041}\u{fe0f}\u{ad}"),
        ("e\u{301}", r"e\u{301}"),
        // A Cyrillic letter in a Latin word, and a word of nothing but look-alikes.
        ("p\u{430}ypal.com", r"p\u{430}ypal.com"),
        ("\u{441}\u{43e}\u{441}\u{43e}", r"\u{441}\u{43e}\u{441}\u{43e}"),
        ("/etc\u{2044}passwd \u{ff0f}\u{2215}", r"/etc\u{2044}passwd \u{ff0f}\u{2215}"),
        ("\u{1d41a}\u{ff41}", r"\u{1d41a}\u{ff41}"),
        // A text that looks like an escape is none.
        (r"\u{202e}", r"\\u{202e}"),
        // Other languages are no attack.
        ("日本語、Grüße, мир, Ελλάδα", "日本語、Grüße, мир, Ελλάδα"),
    ] {
        assert_eq!(escaped(text), seen, "{text:?}");
    }
    check(json!({"a": "say \"x\""}), &[r#"a: "say \"x\"""#]);
}

#[test]
fn a_lot_is_cut_and_says_so() {
    let lines: Vec<String> = (0..2_000).map(|line| format!("line number {line}")).collect();
    let shown = shown(&json!({"text": lines.join("\n")}));
    assert!(!shown.whole);
    let last = shown.lines.last().unwrap();
    assert!(last.starts_with("... and ") && last.ends_with(" bytes more, which are not shown"), "{last}");
    assert!(shown.lines.iter().map(String::len).sum::<usize>() < 17_000);
    let one_line = super::shown::shown(&json!({"text": "x".repeat(100_000)}));
    assert!(!one_line.whole);
}

proptest! {
    #[test]
    fn different_texts_are_shown_differently(one in any::<String>(), other in any::<String>()) {
        prop_assert_eq!(one == other, escaped(&one) == escaped(&other));
    }

    #[test]
    fn nothing_that_is_shown_moves_the_cursor_or_hides(text in any::<String>()) {
        for line in shown(&json!({"text": text})).lines {
            prop_assert!(!line.chars().any(|c| c.is_control() || ('\u{200b}'..='\u{200f}').contains(&c)
                || ('\u{202a}'..='\u{202e}').contains(&c)), "{:?}", line);
        }
    }
}

#[test]
fn masks_hide_values_and_nothing_else() {
    let arguments = json!({
        "url": "https://ann:hunter2@example.com:8080/pay/now?to=bob&access_token=abc#x",
        "method": "DELETE",
        "headers": {"Authorization": "Bearer abc", "x-api-key": "abc", "accept": "*/*"},
        "max_tokens": 5,
        "password": null,
        "users": [{"client_secret": 7, "name": "root"}],
    });
    let seen = json!({
        "url": "https://ann:***@example.com:8080/pay/now?to=bob&access_token=***",
        "method": "DELETE",
        "headers": {"Authorization": "***", "x-api-key": "***", "accept": "*/*"},
        "max_tokens": 5,
        "password": null,
        "users": [{"client_secret": "***", "name": "root"}],
    });
    let mut masked = masked(&arguments);
    // The fragment belongs to the last parameter here; it goes with it.
    assert_eq!(masked["url"].take().as_str().unwrap(), seen["url"].as_str().unwrap());
    let mut seen = seen;
    seen["url"].take();
    assert_eq!(masked, seen);
}

//! The reader against `serde_json`, on texts that are JSON, almost JSON, and noise.

use proptest::prelude::*;
use serde_json::Value;
use toolpost_core::catalog::json::Node;

/// The same value, member by member, with numbers compared as `serde_json` reads their text.
fn same(node: &Node<'_>, value: &Value) -> bool {
    match (node, value) {
        (Node::Null, Value::Null) => true,
        (Node::Bool(one), Value::Bool(other)) => one == other,
        (Node::Number(text), Value::Number(_)) => serde_json::from_str::<Value>(text).is_ok_and(|one| one == *value),
        (Node::String(one), Value::String(other)) => one == other,
        (Node::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(node, value)| same(node, value))
        }
        (Node::Object(one), Value::Object(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len() && pairs.all(|((a, node), (b, value))| a == b && same(node, value))
        }
        _ => false,
    }
}

/// Both readers say the same about the text.
fn check(text: &str) -> Result<(), TestCaseError> {
    match (Node::read(text), serde_json::from_str::<Value>(text)) {
        (Ok(node), Ok(value)) => {
            prop_assert!(same(&node, &value), "{text}: {} is not {value}", node.text());
            let (repaired, repairs) = Node::read_repaired(text).unwrap();
            prop_assert_eq!(&repaired, &node, "{}", text);
            prop_assert_eq!(repairs, vec![], "{}", text);
        }
        (Err(_), Err(_)) => {}
        // A number keeps its digits here; what cannot hold it is told by the cast.
        (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("out of range"), "{text}: {error}"),
        (Err(error), Ok(_)) => prop_assert!(error.message.contains("stands twice"), "{text}: {error}"),
    }
    Ok(())
}

fn json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), "[a-c'\"\\\\/{}\\[\\],:#` é😀]{0,6}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, move |item| {
        prop_oneof![
            prop::collection::vec(item.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((text.clone(), item), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\"a\"",
    "\"b\":",
    "'",
    "1",
    "0",
    "-",
    "+",
    ".",
    "e",
    "E5",
    "12",
    "1e999",
    "true",
    "false",
    "null",
    "nul",
    "None",
    " ",
    "\n",
    "\t",
    "\u{c}",
    "\u{a0}",
    "\u{feff}",
    "\u{0}",
    "/",
    "//",
    "#",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\ud800",
    "é",
    "😀",
];

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(PIECES.to_vec())
}

/// Puts the piece in place of so many characters.
fn damaged(text: &str, at: prop::sample::Index, cut: usize, piece: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let at = at.index(characters.len() + 1);
    let (head, tail) = characters.split_at(at);
    head.iter().copied().chain(piece.chars()).chain(tail.iter().skip(cut).copied()).collect()
}

/// Writes a value the way models do, with slips chosen by `slips`.
fn sloppy(value: &Value, slips: &mut impl FnMut(usize) -> usize, out: &mut String) {
    let space = |slips: &mut dyn FnMut(usize) -> usize, out: &mut String| {
        out.push_str(["", " ", "\n", "/* a 'b' { */", "// it's\n", "# \"\n"][slips(6)]);
    };
    let string = |text: &str, slips: &mut dyn FnMut(usize) -> usize, out: &mut String| {
        let quoted = Value::from(text).to_string();
        match slips(2) {
            0 => out.push_str(&quoted),
            _ => out.push_str(&format!("'{}'", quoted[1..quoted.len() - 1].replace('\'', "\\'"))),
        }
    };
    match value {
        Value::Null => out.push_str(["null", "None"][slips(2)]),
        Value::Bool(true) => out.push_str(["true", "True"][slips(2)]),
        Value::Bool(false) => out.push_str(["false", "False"][slips(2)]),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => string(text, slips, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                space(slips, out);
                sloppy(item, slips, out);
                space(slips, out);
                out.push_str(if index + 1 < items.len() || slips(2) == 1 { "," } else { "" });
            }
            space(slips, out);
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, item)) in members.iter().enumerate() {
                space(slips, out);
                let plain =
                    key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(char::is_alphanumeric);
                if plain && slips(2) == 1 {
                    out.push_str(key)
                } else {
                    string(key, slips, out)
                }
                space(slips, out);
                out.push(':');
                space(slips, out);
                sloppy(item, slips, out);
                space(slips, out);
                out.push_str(if index + 1 < members.len() || slips(2) == 1 { "," } else { "" });
            }
            space(slips, out);
            out.push('}');
        }
    }
}

/// An object, written with slips that follow from `seed`.
fn sloppy_object(value: Value, seed: u64) -> (Value, String) {
    let object = Value::Object([("a".to_owned(), value)].into_iter().collect());
    let mut state = seed | 1;
    let mut slips = |choices: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % choices as u64).unwrap_or_default()
    };
    let mut text = ["", "\u{feff}", "Sure, it is:\n", "```json\n", "Here:\n```\n", "// it\n"][slips(6)].to_owned();
    sloppy(&object, &mut slips, &mut text);
    (object, text)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_in_the_alphabet_of_json_is_judged_as_serde_json_judges_it(pieces in prop::collection::vec(piece(), 0..12)) {
        check(&pieces.concat())?;
    }

    #[test]
    fn a_printed_value_is_read_back(value in json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            check(&text)?;
            prop_assert!(Node::read(&text).is_ok(), "{text}");
            prop_assert!(same(&Node::of(&value).unwrap(), &value), "{text}");
        }
    }

    #[test]
    fn a_damaged_text_is_judged_as_serde_json_judges_it(
        value in json(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..3, piece()), 1..4),
    ) {
        let damage = |text: String, (at, cut, piece): (prop::sample::Index, usize, &str)| damaged(&text, at, cut, piece);
        check(&damages.into_iter().fold(value.to_string(), damage))?;
    }

    #[test]
    fn a_value_that_was_written_with_slips_is_read_as_itself(value in json(), seed in any::<u64>()) {
        let (value, text) = sloppy_object(value, seed);
        match Node::read_repaired(&text) {
            Ok((node, _)) => prop_assert!(same(&node, &value), "{text}: {} is not {value}", node.text()),
            Err(error) => prop_assert!(false, "{text}: {error}"),
        }
    }

    #[test]
    fn an_object_that_was_written_with_slips_is_never_completed(
        value in json(),
        seed in any::<u64>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (_, text) = sloppy_object(value, seed);
        let cut = cut.index(text.len());
        let prefix = &text[..text.floor_char_boundary(cut)];
        prop_assert!(Node::read_repaired(prefix).is_err(), "{prefix}");
    }
}

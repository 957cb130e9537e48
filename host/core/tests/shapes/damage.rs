//! Values that are almost right, and values that are wrong, in the ways in which models get them wrong.

use serde_json::{Map, Value, json};

/// A small source of choices; the same seed makes the same ones.
struct Choices(u64);

impl Choices {
    fn below(&mut self, count: usize) -> usize {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % count.max(1) as u64).unwrap_or_default()
    }
}

/// Damages one part of the arguments, never the object of arguments itself.
pub(super) fn somewhere(mut arguments: Value, seed: u64) -> Value {
    let mut choices = Choices(seed);
    let parts = count(&arguments, &|_| true);
    let chosen = 1 + choices.below(parts.saturating_sub(1));
    change(&mut arguments, &mut { chosen }, &|_| true, &mut |part| *part = damaged(part, &mut choices));
    arguments
}

/// Puts a scalar of another type in place of one scalar.
pub(super) fn one_scalar(mut arguments: Value, seed: u64) -> Value {
    let scalar = |value: &Value| !value.is_array() && !value.is_object();
    let mut choices = Choices(seed);
    let mut chosen = choices.below(count(&arguments, &scalar));
    change(&mut arguments, &mut chosen, &scalar, &mut |part| {
        // Every string here is base64 too: a schema cannot say what a string of base64 is.
        let mutants = [json!(true), json!(3), json!(-1.5), json!(300), json!("eHh4"), json!(""), Value::Null];
        let others: Vec<_> = mutants.into_iter().filter(|mutant| kind(mutant) != kind(part)).collect();
        *part = others[choices.below(others.len())].clone();
    });
    arguments
}

fn kind(value: &Value) -> std::mem::Discriminant<Value> {
    std::mem::discriminant(value)
}

fn count(value: &Value, fits: &impl Fn(&Value) -> bool) -> usize {
    let parts = match value {
        Value::Array(items) => items.iter().map(|item| count(item, fits)).sum(),
        Value::Object(members) => members.values().map(|item| count(item, fits)).sum(),
        _ => 0,
    };
    parts + usize::from(fits(value))
}

/// Changes the part of that number, counted in the order of the text.
fn change(value: &mut Value, chosen: &mut usize, fits: &impl Fn(&Value) -> bool, with: &mut impl FnMut(&mut Value)) {
    if fits(value) {
        if *chosen == 0 {
            *chosen = usize::MAX;
            return with(value);
        }
        *chosen -= 1;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| change(item, chosen, fits, with)),
        Value::Object(members) => members.values_mut().for_each(|item| change(item, chosen, fits, with)),
        _ => {}
    }
}

fn damaged(value: &Value, choices: &mut Choices) -> Value {
    match choices.below(10) {
        0 => json!(value.to_string()),
        1 => json!([value]),
        2 => any_scalar(choices),
        _ => match value {
            Value::Null => [json!("null"), json!("None"), json!({}), json!("")][choices.below(4)].clone(),
            Value::Bool(flag) => {
                let word = if *flag { ["True", "yes", "1", " true"] } else { ["FALSE", "no", "0", "f"] };
                [json!(word[choices.below(4)]), json!(i32::from(*flag))][choices.below(2)].clone()
            }
            Value::Number(number) => number_damaged(number, choices),
            Value::String(text) => string_damaged(text, choices),
            Value::Array(items) => array_damaged(items, choices),
            Value::Object(members) => object_damaged(members, choices),
        },
    }
}

fn any_scalar(choices: &mut Choices) -> Value {
    let scalars = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-7),
        json!(3.0),
        json!(3.5),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!("a, b"),
        json!("1,2"),
        json!("[]"),
        json!("{}"),
        json!("aGk="),
        json!([]),
        json!({}),
    ];
    scalars[choices.below(scalars.len())].clone()
}

fn number_damaged(number: &serde_json::Number, choices: &mut Choices) -> Value {
    let float = number.as_f64().unwrap_or_default();
    match choices.below(7) {
        0 => json!(float),
        1 => json!(format!(" {number} ")),
        2 => json!(format!("+{number}")),
        3 => json!(format!("{number}.0")),
        4 => json!(float + 0.5),
        5 => json!(float * 256.0),
        _ => json!(number.to_string()),
    }
}

fn string_damaged(text: &str, choices: &mut Choices) -> Value {
    match choices.below(6) {
        0 => json!(text.to_uppercase()),
        1 => json!(text.replace('-', "_")),
        2 => json!(text.replace('-', " ")),
        3 => serde_json::from_str(text).unwrap_or(json!(format!(" {text}"))),
        4 => json!({ text: true }),
        _ => json!(format!("{text}, {text}")),
    }
}

fn array_damaged(items: &[Value], choices: &mut Choices) -> Value {
    let texts = || items.iter().map(|item| item.as_str().map_or(item.to_string(), str::to_owned)).collect::<Vec<_>>();
    match (choices.below(6), items) {
        (0, [one]) => one.clone(),
        (0 | 1, _) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item.clone())).collect(),
        (2, _) => json!(texts().join(",")),
        (3, _) => texts().into_iter().map(|text| (text, json!(true))).collect(),
        (4, _) => json!(items.iter().rev().collect::<Vec<_>>()),
        (_, [_, rest @ ..]) => json!(rest),
        _ => json!("[]"),
    }
}

fn object_damaged(members: &Map<String, Value>, choices: &mut Choices) -> Value {
    let at = choices.below(members.len());
    let how = choices.below(7);
    let mut out = Map::new();
    for (index, (key, value)) in members.iter().enumerate() {
        match (how, index == at) {
            (0, true) => drop(out.insert(key.to_uppercase(), value.clone())),
            (1, _) => drop(out.insert(key.replace('_', "-"), value.clone())),
            (2, true) => drop(out.insert(key.replace(['_', '-'], ""), value.clone())),
            // Absent, or there and absent.
            (3, true) => {}
            (4, true) => drop(out.insert(key.clone(), Value::Null)),
            (5, true) => {
                out.insert(key.clone(), value.clone());
                out.insert(key.to_uppercase(), value.clone());
            }
            _ => drop(out.insert(key.clone(), value.clone())),
        }
    }
    if how == 6 {
        out.insert("unheard-of".into(), json!(1));
    }
    Value::Object(out)
}

//! Schema and reader accept the same, and refuse the same.

use std::path::Path;

use serde_json::{Value, json};

use crate::keys::Keys;
use crate::{ROOT, accepted, example_text, faults, validator};

/// Values that fit some keys and not others.
fn values() -> Vec<toml::Value> {
    let values = json!([
        true, -1, 0, 1, 11, 1_001, 10_001, 1_000_001, 4_294_967_296_i64, -0.5, 0.5, 1.5, 10.5, 100.5, "", "x", "safe", "0s",
        "00.0s", "30s", "1.5 h", "30", "1h 30m", "3fortnights", "64 MiB", "64.5k", "MiB", "60/min", "0/min", "5/2 h", "60/",
        "none", "fixed", [], ["x"], [1], ["transient", "throttled"], {}, {"x": 1}, {"kind": "none"}, {"kind": "none", "x": 1},
        {"kind": "standard"}, {"kind": "x"}, {"rate": "5/s"}, {"burst": 5}, {"rate": "5/s", "burst": 0},
        {"after": "p95"}, {"after": "p9"}, {"fixed": {}}, {"fixed": {}, "exponential": {}}, {"exponential": {"cap": 5}},
    ]);
    serde_json::from_value::<Vec<toml::Value>>(values).unwrap()
}

/// What only a value tells, and the schema cannot know: bounds of what is written as a text, and keys that go together.
const ONLY_READ: [&str; 18] = [
    "it could never close",
    " is above `",
    "which is more than `probes`",
    "`open` is longer than",
    "no rate could ever speak",
    "does not lie between",
    "expected from ",
    "up to a day",
    "expected a rate per",
    "its own example",
    "the example `",
    "which it says it does not",
    "is no regular expression",
    "is no URL",
    "must be `https`",
    "7 days at most",
    "a range needs",
    "no number is in this range",
];

/// The example with all that is commented out in it, as far as it goes together, and the paths of all its values.
fn full() -> toml::Table {
    let mut text = String::new();
    for line in example_text().lines() {
        let said = line.strip_prefix('#').filter(|said| said.starts_with(|first: char| first.is_ascii_lowercase()));
        text.push_str(said.unwrap_or(line));
        text.push('\n');
    }
    // Tables may be written anew only where they are not there yet.
    let more = "[components.pi.guard.rate]\ntool = \"5/s\"\ncaller = { rate = \"5/s\", burst = 2 }\ntool_and_caller = \"1/h\"\n\
                [components.pi.guard.retry]\nbackoff = { fixed = { delay = \"2s\" } }\n\
                [components.divide.guard.retry.backoff.exponential]\nbase = \"1s\"\nfactor = 3.0\ncap = \"2s\"\njitter = \"none\"\n\
                [components.divide.limits]\nmemory = \"1 MiB\"\n\
                [components.divide.tools.divide]\nname = \"d\"\ndescription = \"\"\neffect = \"pure\"\ndefaults = { dividend = 1 }\n\
                limits = { fuel = 5 }\nguard = { parallel = 1, waiting = 2, retry = { hedge = { after = \"p95\" } } }\n\
                [components.pi.guard.cost]\nper_call = 0.5\nper_fuel = 1";
    let budget =
        "[budget.session]\ncalls = 1\nattempts = 2\nfuel = 3\ntime = \"1h\"\noutput = 4\ncost = 0.5\nper = \"1d\"\n";
    let text = text.replace("[budget.session]\n", budget);
    format!("{text}\n{more}").parse().unwrap()
}

/// Every place in a table where a value stands, or could stand that is not known.
fn places(value: &toml::Value, here: &mut Vec<String>, places: &mut Vec<Vec<String>>) {
    match value {
        toml::Value::Table(table) => {
            places.push([here.as_slice(), &["unknown".into()]].concat());
            for (key, value) in table {
                here.push(key.clone());
                places.push(here.clone());
                self::places(value, here, places);
                here.pop();
            }
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            here.push("0".into());
            self::places(&items[0], here, places);
            here.pop();
        }
        _ => {}
    }
}

/// Of the file as much as is needed around a place.
fn part(full: &toml::Table, place: &[String]) -> toml::Table {
    let mut part = full.clone();
    part.retain(|key, _| *key == place[0]);
    if let (Some(toml::Value::Table(components)), Some(name)) = (part.get_mut("components"), place.get(1)) {
        components.retain(|key, _| key == name);
    }
    part
}

fn get<'t>(table: &'t toml::Table, place: &[String]) -> Option<&'t toml::Value> {
    let (first, below) = place.split_first()?;
    below.iter().try_fold(table.get(first)?, |inner, key| match inner {
        toml::Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        inner => inner.get(key.as_str()),
    })
}

fn set(table: &toml::Table, place: &[String], value: &toml::Value) -> toml::Table {
    let mut table = toml::Value::Table(table.clone());
    let (last, above) = place.split_last().unwrap();
    let parent = above.iter().fold(&mut table, |inner, key| match inner {
        toml::Value::Array(items) => &mut items[key.parse::<usize>().unwrap()],
        inner => &mut inner[key.as_str()],
    });
    parent.as_table_mut().unwrap().insert(last.clone(), value.clone());
    table.as_table().unwrap().clone()
}

#[test]
fn whatever_stands_at_a_key_schema_and_reader_agree_about_it() {
    let (full, validator) = (full(), validator());
    accepted(&full.to_string());
    let mut all = Vec::new();
    places(&toml::Value::Table(full.clone()), &mut Vec::new(), &mut all);
    assert!(all.len() > 100, "{}", all.len());
    let (mut both_accept, mut both_refuse, mut differ) = (0, 0, Vec::new());
    for place in &all {
        let part = part(&full, place);
        for value in &values() {
            let changed = set(&part, place, value);
            // Serde takes the items of an array for the keys of a table, in their order. That is nobody's mistake.
            if value.is_array() && get(&part, place).is_some_and(toml::Value::is_table) {
                continue;
            }
            let faults = faults(&changed.to_string());
            let valid = validator.is_valid(&serde_json::to_value(&changed).unwrap());
            let only_read = faults.iter().any(|fault| ONLY_READ.iter().any(|part| fault.contains(part)));
            if valid != faults.is_empty() && !(valid && only_read) {
                differ.push(format!("{place:?} = {value}: valid {valid}, {faults:?}"));
            }
            *if valid { &mut both_accept } else { &mut both_refuse } += 1;
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(both_accept > 200 && both_refuse > 2_000, "{both_accept} {both_refuse}");
}

#[test]
fn numbers_have_the_bounds_in_the_schema_that_they_have_in_the_reader() {
    let (full, validator) = (full(), validator());
    let accepts = |place: &[&str], number: i64| {
        let place: Vec<String> = place.iter().map(|&key| key.to_owned()).collect();
        let changed = set(&full, &place, &toml::Value::Integer(number));
        let read = faults(&changed.to_string()).is_empty();
        assert_eq!(validator.is_valid(&serde_json::to_value(&changed).unwrap()), read, "{place:?} = {number}");
        read
    };
    for (place, least, most) in [
        (&["host", "max_parallel"] as &[&str], 1, 1_000_000),
        (&["host", "max_waiting"], 0, 1_000_000),
        (&["host", "max_depth"], 0, 12),
        (&["share", "0", "weight"], 1, 1_000),
        (&["budget", "session", "calls"], 0, i64::MAX),
        (&["budget", "session", "cost"], 0, i64::MAX),
        (&["components", "divide", "tools", "divide", "guard", "parallel"], 1, 1_000_000),
        (&["components", "divide", "tools", "divide", "guard", "waiting"], 0, 1_000_000),
        (&["host", "stack"], 64 << 10, 64 << 20),
        (&["limits", "memory"], 64 << 10, 4 << 30),
        (&["limits", "fuel"], 1, i64::MAX),
        (&["limits", "handles"], 0, u32::MAX.into()),
        (&["guard", "retry", "max_attempts"], 1, 10),
        (&["components", "pi", "guard", "breaker", "consecutive"], 0, 1_000_000),
        (&["components", "pi", "guard", "rate", "caller", "burst"], 1, 1_000_000),
    ] {
        assert!(accepts(place, least) && accepts(place, most), "{place:?}");
        assert!(!accepts(place, least - 1), "{place:?}");
        assert!(most == i64::MAX || !accepts(place, most + 1), "{place:?}");
    }
}

#[test]
fn every_settings_text_of_the_readme_is_one() {
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let texts: Vec<&str> = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!texts.is_empty());
    texts.into_iter().for_each(accepted);
}

#[test]
fn every_key_has_words_that_an_operator_can_read() {
    let schema = toolpost::settings::schema();
    for ((place, key), said) in Keys::of_settings().all() {
        let is_tag = said["const"].is_string();
        // A table with one key says of itself what the key means.
        let table = schema.pointer(&place).filter(|table| table["properties"].as_object().unwrap().len() == 1);
        let words = said["description"].as_str().or(table.and_then(|table| table["description"].as_str()));
        let words = words.unwrap_or_default();
        assert!(is_tag || words.ends_with('.'), "{place} {key}: {words:?}");
        assert!(!words.contains("[`") && !words.contains("::"), "{place} {key}: {words}");
    }
}

#[test]
fn the_schema_is_of_2020_12_and_the_same_each_time() {
    let schema = toolpost::settings::schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema.get("$id"), None);
    assert_eq!(schema.to_string(), toolpost::settings::schema().to_string());
    let null = |text: &str| text.contains("null");
    assert!(!null(&schema.to_string()), "TOML has no null");
    let _: Value = schema;
}

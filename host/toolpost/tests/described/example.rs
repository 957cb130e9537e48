//! `toolpost.example.toml`: every key is in it, every default that it shows is the real one, and every key does something.

use std::path::Path;
use std::sync::Once;

use serde_json::json;
use toolpost::core::guard::cache::CACHED_BYTES_MAX;
use toolpost::{Builder, Loaded, Reloader, Settings, Store};

use crate::keys::Keys;
use crate::{ROOT, accepted, example_text, faults, json};

/// A line of the example that is commented out.
struct Line {
    number: usize,
    said: String,
    is_default: bool,
}

fn lines() -> Vec<Line> {
    let text = example_text();
    let lines = text.lines().enumerate().filter_map(|(number, line)| {
        let line = line.strip_prefix('#')?;
        let example = line.strip_prefix(" for example: ");
        let is_key = line.starts_with(|first: char| first.is_ascii_lowercase());
        let said = example.or(Some(line).filter(|_| is_key))?.to_owned();
        Some(Line { number, said, is_default: example.is_none() })
    });
    lines.collect()
}

/// The example with these lines in it.
fn with<'a>(lines: impl IntoIterator<Item = &'a Line>) -> String {
    let text = example_text();
    let mut text: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.into_iter().for_each(|line| text[line.number] = line.said.clone());
    text.join("\n")
}

/// The settings of a text, with compiled code in a folder of the tests.
fn settings(text: &str) -> Settings {
    const OF_TESTS: &str = env!("CARGO_TARGET_TMPDIR");
    let cache = format!("\ncache = \"{OF_TESTS}/");
    let text = match text.contains("\ncache = \"/var/cache/") {
        true => text.replace("\ncache = \"/var/cache/", &cache),
        false => text.replace("\n[host]\n", &format!("\n[host]\n{cache}compiled\"\n")),
    };
    let secret = format!("file = \"{OF_TESTS}/secret\"");
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| std::fs::write(format!("{OF_TESTS}/secret"), "long enough for a secret").unwrap());
    let text = text.replace("env = \"TOOLPOST_WEBHOOK_SECRET\"", &secret).replace("file = \"webhook.secret\"", &secret);
    assert_eq!(faults(&text), Vec::<String>::new(), "{text}");
    Settings::parse(&text, &Path::new(ROOT).join("toolpost.toml")).unwrap()
}

/// A host by the example, which is then made anew by other texts.
struct Made(Reloader);

impl Made {
    async fn of_example() -> Self {
        let loaded: Loaded = Builder::new().settings(settings(&example_text())).load().await;
        assert_eq!(loaded.faults, []);
        Made(loaded.reloader("toolpost.toml"))
    }

    /// All that a text comes to: what its tools are, and what they share.
    async fn by(&self, text: &str) -> String {
        let settings = settings(text);
        // What is not of a tool, and is not here, does nothing for the test either.
        let shared = (settings.host_limits(), settings.engine_options(), settings.store_dir());
        let approval = &settings.approval;
        let asked = (approval.waiting(), approval.elsewhere.unwrap_or(true), approval.rules(), &approval.webhook);
        let batches = settings.batch.with(&settings.class);
        let shared = format!("{shared:?} {:?} {:?} {asked:?} {batches:?}", settings.access, settings.share);
        let shared = format!("{shared} {:?} {:?}", settings.repeat, settings.budget);
        let artifacts = Store::at("").artifacts(&settings.artifacts);
        let cached = settings.host.cached_results.map_or(CACHED_BYTES_MAX, |bytes| bytes.0);
        let tasks = &settings.tasks;
        let tasks = (tasks.parallel(), tasks.max_waiting(), tasks.max_kept(), tasks.keep(), tasks.partial_bytes_max());
        let more = (settings.tasks.reruns(), settings.tasks.wait(), settings.tasks.after());
        let shared = format!("{shared} {artifacts:?} {cached} {:?} {tasks:?} {more:?}", settings.secrets);
        let shared =
            format!("{shared} {:?} {:?} {:?} {:?}", settings.log, settings.telemetry, settings.kv, settings.sql);
        let kept: Vec<_> = settings.components.values().map(|said| (said.lifetime, &said.setup)).collect();
        let shared = format!("{shared} {kept:?}");
        self.0.reload_with(settings).await.unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        let catalog = self.0.host().catalog();
        let tools = catalog.tools().map(|tool| {
            let about = (&tool.name, &tool.description, &tool.labels, &tool.parameters, tool.effect, tool.cast);
            format!("{about:?} {:?} {:?} {:?} {:?}", tool.secret_arguments, tool.limits, tool.guards, tool.grants)
        });
        tools.chain([shared]).collect::<Vec<_>>().join("\n")
    }
}

#[tokio::test]
async fn the_example_is_read_and_all_is_well_with_it() {
    accepted(&example_text());
    Made::of_example().await;
}

#[test]
fn every_line_that_is_commented_out_may_be_taken_in() {
    assert!(lines().len() > 60, "{}", lines().len());
    for line in lines() {
        accepted(&with([&line]));
    }
    accepted(&with(&lines().into_iter().filter(|line| line.is_default).collect::<Vec<_>>()));
}

#[tokio::test]
async fn every_default_in_the_example_is_the_real_one() {
    let made = Made::of_example().await;
    let expected = made.by(&example_text()).await;
    for line in lines().iter().filter(|line| line.is_default) {
        assert_eq!(made.by(&with([line])).await, expected, "{}: {}", line.number + 1, line.said);
    }
}

#[tokio::test]
async fn every_key_of_the_example_does_something() {
    let made = Made::of_example().await;
    let expected = made.by(&example_text()).await;
    for line in lines() {
        let line = if line.is_default { other(line) } else { line };
        assert_ne!(made.by(&with([&line])).await, expected, "{}: {}", line.number + 1, line.said);
    }
}

#[test]
fn no_key_is_missing_in_the_example() {
    let keys = Keys::of_settings();
    let mut missing = keys.all();
    for text in [example_text()].into_iter().chain(lines().iter().map(|line| with([line]))) {
        for key in keys.in_file(&json(&text)).keys() {
            missing.remove(key);
        }
    }
    assert!(missing.is_empty(), "not in `toolpost.example.toml`: {:?}", missing.keys());
}

#[test]
fn the_schema_says_the_defaults_of_the_example() {
    let keys = Keys::of_settings();
    let bare = keys.in_file(&json(&example_text()));
    for line in lines().iter().filter(|line| line.is_default) {
        let (name, value) = line.said.split_once(" = ").unwrap();
        let found = keys.in_file(&json(&with([line])));
        let new = found.into_iter().find(|(key, _)| !bare.contains_key(key) && key.1 == name);
        // A key that the example has elsewhere too was looked at there.
        let Some((_, said)) = new else { continue };
        let words = said["description"].as_str().unwrap();
        let is_inherited = words.contains("Default: as of");
        assert!(is_inherited || words.contains(&format!("Default {value}")), "{}: {words}", line.said);
    }
}

/// The line with another value.
fn other(line: Line) -> Line {
    let keys = Keys::of_settings();
    let (name, written) = line.said.split_once(" = ").unwrap();
    let table: toml::Table = line.said.parse().unwrap();
    let other = match &table[name] {
        toml::Value::Integer(number) => json!(number + 1),
        toml::Value::Float(number) => json!(number * 0.9),
        toml::Value::Boolean(set) => json!(!set),
        toml::Value::Array(items) if items.len() > 1 => json!(items[1..]),
        toml::Value::Array(_) => json!(["somebody"]),
        toml::Value::String(text) => {
            let digits = text.chars().take_while(char::is_ascii_digit).count();
            if digits > 0 {
                json!(format!("{}{}", text[..digits].parse::<u64>().unwrap() + 1, &text[digits..]))
            } else {
                let file = json(&with([&line]));
                let found = keys.in_file(&file);
                let of_name = found.iter().filter(|((_, key), _)| key == name);
                let words = of_name.flat_map(|(_, said)| keys.words(said));
                json!(words.into_iter().find(|word| word != text).unwrap())
            }
        }
        value => panic!("{value}"),
    };
    assert_ne!(other.to_string(), written);
    Line { said: format!("{name} = {other}"), ..line }
}

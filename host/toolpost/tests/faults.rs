//! What is wrong with tools is named all at once, and nothing that the operator said goes unheard.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use serde_json::json;
use toolpost::settings::{LimitSettings, Settings, Span};
use toolpost::{Builder, Loaded, Native};

const PREBUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-examples/prebuilt");

/// A builder with the settings, whose paths count from the prebuilt guests.
fn builder(text: &str) -> Builder {
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled");
    let text = format!("host.cache = {}\n{text}", json!(cache));
    Builder::new().settings(Settings::parse(&text, &Path::new(PREBUILT).join("toolpost.toml")).unwrap()).in_memory()
}

/// This is what is found wrong with the components of the settings, and they serve so many tools.
async fn check(text: &str, faults: &[&str], tools: usize) {
    let loaded = builder(text).load().await;
    assert_eq!(told(&loaded), faults, "{text}");
    assert_eq!(loaded.host.catalog().tools().count(), tools, "{text}");
}

fn told(loaded: &Loaded) -> Vec<String> {
    loaded.faults.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_function_may_be_named_in_each_way_but_only_once() {
    let text = |tools: &str| format!("[components.text]\npath = \"text.wasm\"\n{tools}");
    for key in ["word-count", "word_count"] {
        check(&text(&format!("tools.{key}.hidden = true")), &[], 2).await;
    }
    let twice = text("tools.word-count.limits.fuel = 5\ntools.word_count.hidden = true");
    let fault = "component `text`: the settings speak more than once of its tool `word-count`: as `word-count` (line 4) \
                 and as `word_count` (line 5); keep one";
    check(&twice, &[fault], 0).await;
}

#[tokio::test]
async fn a_function_of_an_interface_is_spoken_of_once_too() {
    let api = r#"(component
        (core module $m (func (export "f") (result i32) (i32.const 7)))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $api (export "find-it" (func $f)))
        (export "a:b/api" (instance $api)))"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.wasm");
    std::fs::write(&file, wat::parse_str(api).unwrap()).unwrap();
    let text = |tools: &str| format!("[components.api]\npath = {}\n[components.api.tools]\n{tools}", json!(file));
    for key in ["find-it", "find_it", "\"a:b/api#find-it\""] {
        check(&text(&format!("{key}.name = \"found\"")), &[], 1).await;
    }
    let fault = "component `api`: the settings speak more than once of its tool `a:b/api#find-it`: as `a:b/api#find-it` \
                 (line 5) and as `find-it` (line 6); keep one";
    check(&text("\"a:b/api#find-it\".name = \"found\"\nfind-it.hidden = true"), &[fault], 0).await;
}

#[tokio::test]
async fn all_faults_of_a_component_are_named_at_once() {
    let text = r#"[components.text]
path = "text.wasm"
[components.text.tools.word-cuont]
hidden = true
[components.text.tools.nothing-like-it]
[components.text.tools.echo]
name = "Bad Name!"
defaults = { txet = "a", colour = 1 }
[components.text.tools.replace]
defaults = { pattern = 5 }
"#;
    let malformed = "component `text`: `echo` of component `text` cannot be named `Bad Name!`: a name has 1 to 40 \
                     characters of a-z, 0-9 and _, and begins with a letter; give it another one in the settings";
    let faults = [
        "component `text`: the settings speak of its tool `nothing-like-it` (line 6), which it does not have",
        "component `text`: the settings speak of its tool `word-cuont` (line 4), which it does not have; did you mean \
         `word-count`?",
        "component `text`: `echo` (line 7): it has no parameter `colour`; it has no parameter `txet`; did you mean `text`?",
        malformed,
        "component `text`: `replace` (line 10): the default of `pattern` does not fit: expected a string, got 5",
    ];
    check(text, &faults, 0).await;
}

#[tokio::test]
async fn a_grant_of_what_a_component_does_not_ask_for_is_a_fault() {
    let use_of = "`grants.net` is of no use to it: it does not import `wasi:http/outgoing-handler`; take the grant out";
    let net = "grants.net = [{ to = \"https://a.org/**\" }]";
    let text = format!("[components.divide]\npath = \"divide.wasm\"\n{net}\n");
    check(&text, &[&format!("component `divide`: {use_of}")], 0).await;
    let text = format!("[components.divide]\npath = \"divide.wasm\"\n[components.divide.tools.divide]\n{net}\n");
    check(&text, &[&format!("component `divide`: `divide` (line 4): {use_of}")], 0).await;
}

#[tokio::test]
async fn a_tools_grants_take_the_place_of_its_components_and_say_what_it_may_do() {
    let text = r#"[components.orders]
path = "orders.wasm"
grants.net = [{ to = "https://a.org/**", methods = ["POST"] }]
tools.find.grants.net = [{ to = "https://a.org/orders/*" }]
[components.fetch]
path = "fetch.wasm"
grants.net = [{ to = "https://a.org/**" }]
tools.many.grants.net = []
"#;
    let host = builder(text).build().await.unwrap();
    let catalog = host.catalog();
    let tool = |name: &str| {
        let tool = catalog.find(name).unwrap();
        (tool.effect.name(), tool.grants.lines())
    };
    assert_eq!(tool("orders_create"), ("open", vec!["net POST https://a.org/**".into()]));
    assert_eq!(tool("orders_find"), ("reads", vec!["net GET, HEAD https://a.org/orders/*".into()]));
    assert_eq!(tool("fetch_request"), ("reads", vec!["net GET, HEAD https://a.org/**".into()]));
    assert_eq!(tool("fetch_many"), ("pure", Vec::new()));
}

#[tokio::test]
async fn a_component_whose_name_begins_no_tools_name_is_a_fault() {
    for name in ["", "日本", "2"] {
        let text = format!("[components.\"{name}\"]\npath = \"divide.wasm\"\n");
        let loaded = builder(&text).load().await;
        let told = told(&loaded);
        assert_eq!(told.len(), 2, "one for each function: {told:?}");
        assert!(told.iter().all(|fault| fault.contains("a name has 1 to 40 characters")), "{told:?}");
        // What counts is how the tools are named.
        let named = "tools.divide.name = \"divide\"\ntools.divide-integers.name = \"divide_integers\"";
        check(&format!("{text}{named}"), &[], 2).await;
    }
}

#[tokio::test]
async fn results_are_not_kept_of_a_tool_whose_effect_does_not_allow_it() {
    let text = |effect: &str, cache: &str| {
        format!("[components.text]\npath = \"text.wasm\"\ntools.echo.effect = \"{effect}\"\nguard.cache = {cache}")
    };
    for (effect, cache) in
        [("pure", "true"), ("pure", "{ ttl = \"1s\" }"), ("reads", "{ ttl = \"1s\" }"), ("open", "false")]
    {
        check(&text(effect, cache), &[], 3).await;
    }
    let writes = "component `text`: `echo` (line 4): its effect is `writes`, so an earlier result cannot stand for a call of \
                  it; write guard.cache = false";
    check(&text("writes", "true"), &[writes], 0).await;
    let but = format!("{}\ntools.echo.guard.cache = false", text("writes", "true"));
    check(&but, &[], 3).await;
    let reads = "component `text`: `echo` (line 4): what it reads may change; say how long a result holds, such as \
                 guard.cache = { ttl = \"60s\" }";
    check(&text("reads", "true"), &[reads], 0).await;
    let native = |effect| {
        builder("guard.cache = true").native(Native::new("say", "").effect(effect), |_| async { Ok(json!(1)) })
    };
    assert_eq!(told(&native(toolpost::EffectClass::Pure).load().await), [""; 0]);
    let fault = "tool `say`: its effect is `open`, so an earlier result cannot stand for a call of it; write guard.cache = false";
    assert_eq!(told(&native(toolpost::EffectClass::Open).load().await), [fault]);
}

#[tokio::test]
async fn a_native_tool_whose_key_is_made_of_what_it_does_not_take_is_a_fault() {
    let native = |field: &str| {
        let text = format!("guard.idempotency.key = {{ fields = [\"/{field}\"] }}");
        let tool = Native::new("say", "").parameter("words", toolpost::core::catalog::shape::Shape::String);
        builder(&text).native(tool, |_| async { Ok(json!(1)) })
    };
    assert_eq!(told(&native("words").load().await), [""; 0]);
    let fault = "tool `say`: `guard.idempotency` makes its key from `/order_id`, which it does not take";
    assert_eq!(told(&native("order_id").load().await), [fault]);
}

#[tokio::test]
async fn secret_arguments_that_do_not_exist_are_a_fault_and_not_passed_over() {
    let text = |pointer: &str| {
        format!("[components.text]\npath = \"text.wasm\"\ntools.echo.secret_arguments = [\"{pointer}\"]")
    };
    check(&text("/text"), &[], 3).await;
    let fault = "component `text`: `echo` (line 4): `secret_arguments` speaks of `/txet`, but there is no `txet`; did you mean \
                 `text`?";
    check(&text("/txet"), &[fault], 0).await;
}

#[tokio::test]
async fn a_native_tool_needs_a_name_of_its_own() {
    let native = |name| Native::new(name, "");
    let builder = builder("").native(native("Bad Name!"), |_| async { Ok(json!(1)) });
    let builder = builder.native(native("good"), |_| async { Ok(json!(1)) });
    let loaded = builder.native(native("good"), |_| async { Ok(json!(2)) }).load().await;
    let faults = [
        "a native tool: a native function cannot be named `Bad Name!`: a name has 1 to 40 characters of a-z, 0-9 and _, \
         and begins with a letter; give it another one in the settings",
        "a native tool: two tools would be named `good`: a native function and a native function; give one of them \
         another name in the settings",
    ];
    assert_eq!(told(&loaded), faults);
    assert_eq!(loaded.host.catalog().tools().count(), 1);
}

#[tokio::test]
async fn limits_of_a_native_tool_stand_above_the_settings_and_below_what_is_given_for_once() {
    let time = |text: &str| LimitSettings { time: Some(text.parse::<Span>().unwrap()), ..LimitSettings::default() };
    let set = || {
        let builder = builder("[limits]\ntime = \"5s\"\ncall_time = \"50s\"");
        let builder = builder.native(Native::new("said", "").limits(time("7s")), |_| async { Ok(json!(1)) });
        builder.native(Native::new("unsaid", ""), |_| async { Ok(json!(1)) })
    };
    let cases = [(set(), [7, 5]), (set().override_limits(time("1s")), [1, 1])];
    for (builder, seconds) in cases {
        let host = builder.build().await.unwrap();
        let limits = ["said", "unsaid"].map(|name| host.catalog().find(name).unwrap().limits);
        assert_eq!(limits.map(|limits| limits.attempt_time_max.as_secs()), seconds);
        assert_eq!(limits.map(|limits| limits.call_time_max.as_secs()), [50, 50]);
    }
}

#[tokio::test]
async fn a_file_that_the_settings_name_is_not_loaded_again_under_its_own_name() {
    let file = Path::new(PREBUILT).join("text.wasm");
    let settings = "[components.words]\npath = \"text.wasm\"\ntools.echo.hidden = true";
    let loaded = builder(settings).tools(&file).tools(PREBUILT).load().await;
    let names: Vec<String> = loaded.components.iter().map(|component| component.name.clone()).collect();
    let files = std::fs::read_dir(PREBUILT).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    let mut guests: Vec<String> = files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    guests.retain(|name| name != "text");
    guests.sort();
    assert_eq!(names[..1], ["words"]);
    assert_eq!(names[1..], guests);
    assert_eq!(told(&loaded), Vec::<String>::new());
}

//! Keys and values: what is granted is done and written down, what is not is refused and says what would allow it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;

use common::disk::{effects, kind, log};
use common::prebuilt_file;
use serde_json::{Value, json};
use toolpost_core::catalog::grants::{GrantSettings, Grants, KvName};
use toolpost_core::catalog::settings::ToolSettings;
use toolpost_core::{Catalog, EffectClass, ErrorKind, Host, Outcome};
use toolpost_wasm::kv::{Backend as _, Change, KvOptions, KvStore, Only, Range, Scope, TIME_MAX};
use toolpost_wasm::sql::Databases;
use toolpost_wasm::{Component, Engine, EngineOptions, Memory};

/// Everything is kept here, and can be looked at from behind.
struct Ground {
    memory: Arc<Memory>,
    engine: Engine,
}

impl Ground {
    fn new() -> Self {
        let memory = Arc::new(Memory::default());
        let store = KvStore { backend: memory.clone(), is_server: false, time_max: TIME_MAX };
        let stores = [("default", store.clone()), ("fast", store)];
        let stores = stores.into_iter().map(|(name, store)| (KvName::parse(name).unwrap(), store)).collect();
        let engine = Engine::new(&EngineOptions { kv: KvOptions { stores }, ..EngineOptions::default() }).unwrap();
        Ground { memory, engine }
    }

    fn component(&self, name: &str) -> Component {
        self.engine.load_file(name, &prebuilt_file("keys")).unwrap()
    }

    /// A host whose `keys` has these buckets.
    fn host(&self, kv: Value) -> Host {
        host(&self.component("keys"), kv)
    }

    fn scope(space: &str) -> Scope {
        Scope { space: space.into(), now_ms: 0, keys_max: 100, bytes_max: 1 << 20 }
    }

    async fn set(&self, space: &str, key: &str, value: &str) {
        let set = Change::Set { value: value.into(), expires_ms: None, only: Only::Always };
        self.memory.change(&Ground::scope(space), vec![(key.into(), set)]).await.remove(0).unwrap();
    }

    /// The keys and values of a space.
    async fn all(&self, space: &str) -> Vec<String> {
        let range = Range { prefix: String::new(), after: None, limit: 100 };
        let keys = self.memory.list(&Ground::scope(space), range).await.unwrap();
        let values = self.memory.get(&Ground::scope(space), &keys).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        keys.into_iter().zip(values).map(|(key, entry)| format!("{key}={}", text(entry.unwrap().value))).collect()
    }
}

fn host(keys: &Component, kv: Value) -> Host {
    let grants: GrantSettings = serde_json::from_value(json!({ "kv": kv })).unwrap();
    let settings = ToolSettings { grants, ..ToolSettings::default() };
    let mut catalog = Catalog::default();
    for function in &keys.functions {
        catalog.add(keys.tool(function, &common::strict(), &settings).unwrap()).unwrap();
    }
    Host::new(catalog)
}

/// What came of each step, and of the call.
async fn steps(host: &Host, steps: Value) -> (Vec<String>, Outcome) {
    let outcome = common::call(host, "keys_steps", json!({"bucket": "b", "steps": steps})).await;
    let done = outcome.result.as_ref().unwrap_or_else(|error| panic!("{error:?}"));
    (done.value.as_array().unwrap().iter().map(|done| done.as_str().unwrap().to_owned()).collect(), outcome)
}

fn pair(key: &str, text: &str) -> Value {
    json!({"key": key, "text": text})
}

fn put(key: &str, text: &str) -> Value {
    json!({"set": pair(key, text)})
}

#[tokio::test]
async fn what_the_interfaces_promise_is_kept() {
    let ground = Ground::new();
    let host = ground.host(json!([{"bucket": "b", "access": "write"}]));
    let first = json!([
        put("a", "1"),
        {"get": "a"},
        {"exists": "a"},
        {"exists": "x"},
        {"increment": {"key": "n", "number": 5}},
        {"increment": {"key": "n", "number": -7}},
        {"swap": pair("a", "2")},
        {"swap": pair("new", "3")},
        {"swap-late": pair("a", "4")},
        {"set-many": [pair("p/1", "x"), pair("p/2", "y")]},
        {"get-many": ["p/2", "none", "a"]},
        {"list-keys": null},
        {"delete-many": ["n", "new"]},
        {"delete": "a"},
        {"get": "a"},
        {"list-from": {"prefix": "p/", "limit": 1}},
        {"list-from": {"prefix": "p/", "cursor": "p/1"}},
        {"put": {"key": "p/1", "text": "z", "if-not-exists": true}},
        {"put": {"key": "t", "text": "z", "if-not-exists": true, "ttl-ms": 3_600_000}},
        {"swap-version": {"key": "p/1", "text": "z", "version": 5}},
    ]);
    let (done, _) = steps(&host, first).await;
    let expected = [
        "",
        "1",
        "true",
        "false",
        "5",
        "-2",
        "1",
        "none",
        "stale other swapped",
        "",
        "p/2=y none=none a=4",
        "a n new p/1 p/2 | ",
        "",
        "",
        "none",
        "p/1 | p/1",
        "p/2 | ",
        "left",
    ];
    assert_eq!(done[..18], expected);
    assert!(done[18].parse::<u64>().is_ok() && done[19].starts_with("stale ") && done[19].ends_with(" x"), "{done:?}");
    let version = done[19].split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    let then = json!([
        {"swap-version": {"key": "p/1", "text": "swapped", "version": version}},
        {"entry": "p/1"},
        {"entry": "t"},
        {"entry": "none"},
        {"swap-version": {"key": "p/1", "text": "never"}},
        {"swap-version": {"key": "p/3", "text": "made"}},
        {"get": "p/3"},
    ]);
    let (done, _) = steps(&host, then).await;
    assert_eq!(done[1], format!("{} swapped", done[0]));
    assert!(done[2].ends_with(" z ends"), "{done:?}");
    assert_eq!((done[3].as_str(), done[6].as_str()), ("none", "made"));
    assert_eq!(done[4], format!("stale {} swapped", done[0]));
}

#[tokio::test]
async fn every_effect_is_in_the_report_with_the_key_that_the_tool_knows() {
    let ground = Ground::new();
    let host = ground.host(json!([{"bucket": "b", "access": "write", "prefix": "deep/"}]));
    let all = json!([
        put("a", "one"),
        {"get": "a"},
        {"exists": "a"},
        {"list-keys": null},
        {"increment": {"key": "n", "number": 1}},
        {"increment": {"key": "a", "number": 1}},
        {"set-many": [pair("x", ""), pair("y", "12")]},
        {"swap-version": {"key": "a", "text": "new", "version": 1}},
        {"delete": "a"},
    ]);
    let outcome = steps(&host, all).await.1;
    let wanted = [
        "kv.set b/a Done",
        "kv.get b/a Done",
        "kv.get b/a Done",
        "kv.list b/* Done",
        "kv.increment b/n Done",
        "kv.increment b/a Failed",
        "kv.set b/x Done",
        "kv.set b/y Done",
        "kv.swap b/a Failed",
        "kv.delete b/a Done",
    ];
    assert_eq!(effects(&outcome), wanted);
    let details: Vec<_> = outcome.report.effects.iter().filter_map(|it| it.effect.detail.as_deref()).collect();
    assert_eq!(details, ["3 bytes", "+1", "+1", "0 bytes", "2 bytes", "3 bytes"]);
    let classes = outcome.report.effects.iter().map(|it| it.effect.class).collect::<Vec<_>>();
    assert_eq!((classes[0], classes[1], classes[3]), (EffectClass::Writes, EffectClass::Reads, EffectClass::Reads));
    assert_eq!(ground.all("component/keys/b").await, ["deep/n=1", "deep/x=", "deep/y=12"]);
}

#[tokio::test]
async fn a_tool_without_a_grant_is_refused_and_told_the_line() {
    let ground = Ground::new();
    ground.set("component/keys/b", "a", "secret").await;
    let count =
        async |host: &Host, bucket: &str| common::call(host, "keys_count", json!({"bucket": bucket, "key": "a"})).await;
    let outcome = count(&ground.host(json!([])), "b").await;
    assert_eq!(kind(&outcome), Some(ErrorKind::CapabilityDenied));
    assert_eq!(
        outcome.result.unwrap_err().message,
        "the tool may not open the bucket `b`; the operator can allow it with `grants.kv = [{ bucket = \"b\" }]` in \
         `[components.keys]`; the tool ended with: access-denied"
    );
    // Where there is a grant, another bucket is one more.
    let host = ground.host(json!([{"bucket": "other", "access": "write"}]));
    let outcome = count(&host, "b").await;
    assert_eq!(effects(&outcome), ["kv.open b Refused"]);
    let line = "with `{ bucket = \"b\" }` in `grants.kv` of component `keys`";
    assert!(outcome.result.unwrap_err().message.contains(line));
    assert_eq!(ground.all("component/keys/b").await, ["a=secret"]);
}

#[tokio::test]
async fn who_may_only_read_changes_nothing_and_is_told_the_setting() {
    let ground = Ground::new();
    ground.set("component/keys/b", "a", "1").await;
    let host = ground.host(json!([{"bucket": "b"}]));
    assert_eq!(steps(&host, json!([{"get": "a"}, {"list-keys": null}])).await.0, ["1", "a | "]);
    for step in [
        put("a", "2"),
        json!({"delete": "a"}),
        json!({"increment": {"key": "a", "number": 1}}),
        json!({"swap": pair("a", "2")}),
        json!({"set-many": [pair("x", "")]}),
        json!({"delete-many": ["a"]}),
        json!({"put": {"key": "x", "text": "", "if-not-exists": true}}),
        json!({"swap-version": {"key": "x", "text": ""}}),
    ] {
        let (done, outcome) = steps(&host, json!([step])).await;
        assert_eq!(done, ["!access-denied"], "{step}");
        let last = effects(&outcome).pop().unwrap();
        assert!(last.ends_with(" Refused"), "{step}: {last}");
        let line = "; the operator can allow it with `access = \"write\"` in the grant of bucket `b`\n";
        assert!(log(&outcome).ends_with(line), "{step}: {}", log(&outcome));
        assert_eq!(ground.all("component/keys/b").await, ["a=1"], "{step}");
    }
}

/// What lies outside of a prefix, of a bucket, and of a component, and every way to name it.
#[tokio::test]
async fn no_key_leads_out_of_the_prefix() {
    let ground = Ground::new();
    for (space, key) in [
        ("component/keys/b", "outside"),
        ("component/keys/b", "mine"),
        ("component/keys/b", "mine0"),
        ("component/keys/b", "min"),
        ("component/keys/other", "x"),
        ("component/keys2/b", "mine/x"),
        ("shared/b", "mine/x"),
    ] {
        ground.set(space, key, "secret").await;
    }
    let spaces = ["component/keys/b", "component/keys/other", "component/keys2/b", "shared/b"];
    let everything = async || {
        let mut all = Vec::new();
        for space in spaces {
            all.extend(ground.all(space).await);
        }
        all
    };
    let before = everything().await;
    let host = ground.host(json!([{"bucket": "b", "access": "write", "prefix": "mine/"}]));
    let climbing = ["../outside", "..", "a/../../outside", "..\\outside", "%2e%2e/outside", "x/..%2Foutside"];
    for key in climbing {
        for step in [
            json!({"get": key}),
            json!({"exists": key}),
            put(key, "over"),
            json!({"delete": key}),
            json!({"increment": {"key": key, "number": 1}}),
            json!({"swap": pair(key, "over")}),
            json!({"get-many": ["fine", key]}),
            json!({"set-many": [pair("fine", ""), pair(key, "over")]}),
            json!({"delete-many": ["fine", key]}),
            json!({"entry": key}),
            json!({"put": {"key": key, "text": "over", "if-not-exists": false}}),
            json!({"swap-version": {"key": key, "text": "over"}}),
            json!({"list-from": {"prefix": key}}),
            json!({"list-keys": key}),
        ] {
            let (done, outcome) = steps(&host, json!([step])).await;
            assert_eq!(done, ["!access-denied"], "{step}");
            assert!(effects(&outcome).iter().all(|effect| effect.ends_with(" Refused")), "{step}");
            let line = format!(
                "`{key}` leads out of `b`, where the tool may not go; the operator can grant what lies there as a bucket of \
                 its own, with `{{ bucket = \"NAME\", prefix = \"PREFIX\" }}` in `grants.kv` of component `keys`\n"
            );
            assert!(log(&outcome).ends_with(&line), "{step}: {}", log(&outcome));
        }
        let outcome = common::call(&host, "keys_count", json!({"bucket": "b", "key": key})).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::CapabilityDenied), "{key}");
    }
    // What names nothing outside is a key inside.
    let (done, _) = steps(&host, json!([{"get": "outside"}, {"get": "/outside"}, {"list-keys": null}])).await;
    assert_eq!(done, ["none", "none", " | "]);
    // A mark from elsewhere leads nowhere.
    for cursor in ["0", "\u{10ffff}", "a"] {
        assert_eq!(steps(&host, json!([{"list-keys": cursor}])).await.0, [" | "], "{cursor}");
    }
    for key in ["a\u{0}b", "a\nb", ""] {
        let done = steps(&host, json!([{"get": key}])).await.0;
        assert!(done[0].starts_with("!a key has 1 to 1024 bytes"), "{done:?}");
    }
    assert_eq!(everything().await, before);
}

#[tokio::test]
async fn no_name_of_a_bucket_leads_elsewhere() {
    let ground = Ground::new();
    let spaces = ["component/keys/b", "component/keys/other", "shared/b", "component/keys2/b"];
    for space in spaces {
        ground.set(space, "n", "7").await;
    }
    let host = ground.host(json!([{"bucket": "mine", "access": "write"}]));
    for bucket in [
        "",
        "b",
        "other",
        "default",
        "fast",
        "../other",
        "mine/../other",
        "mine/",
        "/mine",
        "Mine",
        "component/keys/other",
        "shared/b",
        "mine\u{0}",
        "mine\n",
        "*",
    ] {
        let outcome = common::call(&host, "keys_count", json!({"bucket": bucket, "key": "n"})).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::CapabilityDenied), "{bucket}");
        let message = outcome.result.as_ref().unwrap_err().message.clone();
        assert!(message.contains("{ bucket = \"") && message.contains("of component `keys`"), "{message}");
        assert!(!message.contains(['\0', '\n']), "{message}");
        assert!(effects(&outcome).iter().all(|effect| effect.ends_with(" Refused")), "{bucket}");
    }
    for space in spaces {
        assert_eq!(ground.all(space).await, ["n=7"]);
    }
}

#[tokio::test]
async fn two_components_share_keys_only_where_their_grants_name_the_same_namespace() {
    let ground = Ground::new();
    let grant = |namespace: Option<&str>| {
        let mut grant = json!({"bucket": "b", "access": "write"});
        if let Some(namespace) = namespace {
            grant["namespace"] = namespace.into();
        }
        json!([grant])
    };
    let count = async |component: &str, namespace| {
        let host = host(&ground.component(component), grant(namespace));
        let tool = format!("{component}_count");
        common::call(&host, &tool, json!({"bucket": "b", "key": "n"})).await.result.unwrap().value
    };
    assert_eq!(count("one", None).await, 1);
    assert_eq!(count("two", None).await, 1);
    assert_eq!(count("one", Some("team")).await, 1);
    assert_eq!(count("two", Some("team")).await, 2);
    assert_eq!(count("one", None).await, 2);
}

#[tokio::test]
async fn what_is_too_large_or_too_much_is_refused_and_names_the_setting() {
    let ground = Ground::new();
    let grant = json!({"bucket": "b", "access": "write", "max_value": 10, "max_keys": 2, "max_bytes": 12});
    let host = ground.host(json!([grant]));
    steps(&host, json!([put("a", "1234")])).await;
    for (step, key, message) in [
        (put("b", "12345678901"), "max_value", "a value in `b` may have 10 B, and no more"),
        (json!({"set-many": [pair("b", ""), pair("c", "12345678901")]}), "max_value", "a value in `b` may have 10 B"),
        (put("b", "1234567"), "max_bytes", "the keys and values in `b` may have 12 B, and no more"),
        (json!({"set-many": [pair("b", ""), pair("c", "")]}), "max_keys", "`b` may have 2 keys, and no more"),
    ] {
        let (done, outcome) = steps(&host, json!([step])).await;
        assert!(done[0].starts_with('!'), "{step}: {done:?}");
        let line = format!("; the operator can raise `{key}` in the grant of bucket `b`\n");
        assert!(log(&outcome).contains(message) && log(&outcome).ends_with(&line), "{step}: {}", log(&outcome));
        assert!(effects(&outcome).last().unwrap().ends_with(" Refused"), "{step}");
    }
    let outcome = common::call(&host, "keys_count", json!({"bucket": "b", "key": "other"})).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::QuotaExceeded));
    let many: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    let done = steps(&host, json!([{"get-many": many}, {"get": "k".repeat(1_025)}, {"hold": 256}])).await.0;
    assert_eq!(done[0], "!there are 101 keys; 100 can be worked on at once");
    assert!(done[1].starts_with("!a key has 1 to 1024 bytes"), "{done:?}");
    assert_eq!(done[2], "!256 buckets and handles are open already");
    let done = steps(&host, json!([{"hold": 255}, {"hold": 255}])).await.0;
    assert_eq!(done, ["255", "255"]);
}

#[test]
fn how_far_a_tool_reaches_follows_from_its_grant() {
    let ground = Ground::new();
    let keys = ground.component("keys");
    let of = |kv: Value| {
        let grants: GrantSettings = serde_json::from_value(json!({ "kv": kv })).unwrap();
        let grants = Grants::default().with(&grants);
        (keys.effect(&grants), keys.powers(&grants))
    };
    let (effect, powers) = of(json!([]));
    assert_eq!(effect, EffectClass::Pure);
    assert!(powers.contains(&"keys and values (closed)".to_owned()), "{powers:?}");
    let (effect, powers) = of(json!([{"bucket": "b"}]));
    assert_eq!(effect, EffectClass::Reads);
    assert!(powers.contains(&"keys and values (granted)".to_owned()), "{powers:?}");
    assert_eq!(of(json!([{"bucket": "b"}, {"bucket": "c", "access": "write"}])).0, EffectClass::Writes);
}

#[test]
fn a_grant_that_leads_nowhere_is_an_error() {
    let ground = Ground::new();
    let takes = |component: &Component, kv: Value| {
        let grants: GrantSettings = serde_json::from_value(json!({ "kv": kv })).unwrap();
        component.takes(&Grants::default().with(&grants), &Databases::default()).unwrap_err()
    };
    assert_eq!(
        takes(&ground.component("keys"), json!([{"bucket": "b", "store": "slow"}])),
        "the bucket `b` is granted in the store `slow`, which is not in `[kv]`; there is `default`, `fast`"
    );
    assert_eq!(
        takes(&common::prebuilt("nap"), json!([{"bucket": "b"}])),
        "`grants.kv` is of no use to it: it does not import `wasi:keyvalue/store`; take the grant out"
    );
}

//! Stores that fail, break off or say nothing: what the tool hears, what the report says, and that nothing hangs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::disk::{effects, kind, log};
use common::{prebuilt_file, span, timed};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending, ready};
use serde_json::json;
use toolpost_core::catalog::grants::{GrantSettings, KvName};
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::{Catalog, ErrorKind, Host};
use toolpost_wasm::kv::{Backend, Change, Changed, Entry, Fault, KvOptions, KvStore, Range, Scope};
use toolpost_wasm::{Engine, EngineOptions};

/// A store that says the same to everybody; nothing where it is to say nothing.
struct Moody {
    mood: Option<Fault>,
    asked: AtomicUsize,
}

impl Moody {
    fn says<T: Send + 'static>(&self, told: impl FnOnce(Fault) -> T) -> BoxFuture<'_, T> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.mood.clone() {
            Some(fault) => ready(told(fault)).boxed(),
            None => pending().boxed(),
        }
    }
}

impl Backend for Moody {
    fn get<'a>(&'a self, _: &'a Scope, _: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Entry>>, Fault>> {
        self.says(Err)
    }

    fn change<'a>(
        &'a self,
        _: &'a Scope,
        changes: Vec<(String, Change)>,
    ) -> BoxFuture<'a, Vec<Result<Changed, Fault>>> {
        self.says(move |fault| vec![Err(fault); changes.len()])
    }

    fn list<'a>(&'a self, _: &'a Scope, _: Range) -> BoxFuture<'a, Result<Vec<String>, Fault>> {
        self.says(Err)
    }
}

/// A host with such a store, which has so much time.
fn host(mood: Option<Fault>, store_time: Duration, time: &str) -> (Host, Arc<Moody>) {
    let moody = Arc::new(Moody { mood, asked: AtomicUsize::new(0) });
    let store = KvStore { backend: moody.clone(), is_server: false, time_max: store_time };
    let stores = BTreeMap::from([(KvName::default_store(), store)]);
    let engine = Engine::new(&EngineOptions { kv: KvOptions { stores }, ..EngineOptions::default() }).unwrap();
    let keys = engine.load_file("keys", &prebuilt_file("keys")).unwrap();
    let grants: GrantSettings = serde_json::from_value(json!({"kv": [{"bucket": "b", "access": "write"}]})).unwrap();
    let limits = LimitSettings { time: span(time), ..LimitSettings::default() };
    let settings = ToolSettings { grants, limits, ..ToolSettings::default() };
    let mut catalog = Catalog::default();
    for function in &keys.functions {
        catalog.add(keys.tool(function, &common::strict(), &settings).unwrap()).unwrap();
    }
    (Host::new(catalog), moody)
}

#[tokio::test]
async fn what_a_store_says_decides_what_became_of_the_effect() {
    let away = "!unavailable: the store does not answer";
    for (mood, told, fate) in [
        (Fault::Away("it is not there".into()), away, "Failed"),
        (Fault::Cut("it broke off".into()), away, "Indeterminate"),
        (Fault::TooManyKeys, "!the bucket is full", "Refused"),
        (Fault::TooManyBytes, "!the bucket is full", "Refused"),
        (Fault::Unfit("that does not fit"), "!that does not fit", "Failed"),
    ] {
        let (host, _) = host(Some(mood.clone()), Duration::from_secs(5), "10s");
        let pair = |key| json!({"key": key, "text": ""});
        let steps = json!([{"set": pair("a")}, {"set-many": [pair("b"), pair("c")]}, {"delete": "a"}]);
        let outcome = common::call(&host, "keys_steps", json!({"bucket": "b", "steps": steps})).await;
        assert_eq!(outcome.result.as_ref().unwrap().value, json!([told, told, told]));
        let wanted = ["kv.set b/a", "kv.set b/b", "kv.set b/c", "kv.delete b/a"];
        assert_eq!(effects(&outcome), wanted.map(|effect| format!("{effect} {fate}")));
        // The operator learns more than the tool.
        if let Fault::Away(why) | Fault::Cut(why) = mood {
            assert!(
                log(&outcome).contains(&format!("warn: kv.set: the store `default`: {why}\n")),
                "{}",
                log(&outcome)
            );
        }
    }
}

#[tokio::test]
async fn what_only_reads_has_not_happened_where_the_store_breaks_off() {
    let (host, _) = host(Some(Fault::Cut("it broke off".into())), Duration::from_secs(5), "10s");
    let steps = json!([{"get": "a"}, {"list-keys": null}, {"get-many": ["a", "b"]}]);
    let outcome = common::call(&host, "keys_steps", json!({"bucket": "b", "steps": steps})).await;
    let wanted = ["kv.get b/a Failed", "kv.list b/* Failed", "kv.get b/a Failed", "kv.get b/b Failed"];
    assert_eq!(effects(&outcome), wanted);
}

#[tokio::test]
async fn a_store_that_says_nothing_is_given_up_after_its_time_and_the_tool_goes_on() {
    let (host, _) = host(None, Duration::from_millis(50), "30s");
    let steps = json!([{"set": {"key": "a", "text": ""}}, {"get": "a"}]);
    let call = common::call(&host, "keys_steps", json!({"bucket": "b", "steps": steps}));
    let (outcome, time) = timed(call).await;
    let away = "!unavailable: the store does not answer";
    assert_eq!(outcome.result.as_ref().unwrap().value, json!([away, away]));
    assert_eq!(effects(&outcome), ["kv.set b/a Indeterminate", "kv.get b/a Failed"]);
    assert!(time < Duration::from_secs(10), "{time:?}");
}

#[tokio::test]
async fn the_end_of_the_attempt_ends_the_wait_and_nobody_knows_what_became_of_the_change() {
    let (host, _) = host(None, Duration::from_secs(3_600), "100ms");
    let (outcome, time) = timed(common::call(&host, "keys_count", json!({"bucket": "b", "key": "n"}))).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::OutcomeUnknown));
    assert_eq!(effects(&outcome), ["kv.increment b/n Indeterminate"]);
    assert!(time < Duration::from_secs(10), "{time:?}");
}

#[tokio::test]
async fn a_store_is_never_asked_for_what_was_refused() {
    let (host, moody) = host(Some(Fault::TooManyKeys), Duration::from_secs(5), "10s");
    let pair = |key: &str| json!({"key": key, "text": ""});
    let many: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    let steps = json!([
        {"get": "../a"},
        {"set-many": [pair("a"), pair("../a")]},
        {"get": ""},
        {"get-many": many},
        {"get-many": []},
        {"set-many": []},
        {"set-bytes": {"key": "a", "number": 1_048_577}},
        {"list-from": {"prefix": "a/../.."}},
    ]);
    let outcome = common::call(&host, "keys_steps", json!({"bucket": "b", "steps": steps})).await;
    assert_eq!(outcome.result.unwrap().value.as_array().unwrap().len(), 8);
    assert_eq!(moody.asked.load(Ordering::SeqCst), 0);
}

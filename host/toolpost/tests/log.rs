//! The log of calls: what is in it, what is not, and that no call waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use toolpost::core::catalog::shape::Shape;
use toolpost::store::log::{Filter, Found, Logged, Story};
use toolpost::store::orders::{Action, Order};
use toolpost::{
    Builder, Call, CallError, CallId, Caller, EffectClass, ErrorKind, Host, Native, Outcome, Settings, Stage, Store,
};

const ALL: Filter = Filter { tool: None, failed: false, limit: 10_000 };

fn settings(text: &str) -> Settings {
    Settings::parse(text, Path::new("toolpost.toml")).unwrap()
}

/// A host with a tool that echoes its text and one that fails, with a log in that store.
async fn host(store: &Arc<Store>, said: &str) -> Host {
    let text = Shape::Option(Box::new(Shape::String));
    let open = |name: &str| {
        let native = Native::new(name, "").parameter("text", text.clone()).parameter("password", text.clone());
        native.effect(EffectClass::Writes)
    };
    let builder = Builder::new().settings(settings(said)).store(store.clone());
    let builder = builder.native(open("echo"), |attempt| async move {
        attempt.log(toolpost::Level::Info, "it echoes");
        Ok(attempt.call.arguments.clone())
    });
    let builder = builder.native(open("fail"), |_| async {
        Err(CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, "it is broken")
            .because("a wire is loose"))
    });
    builder.build().await.unwrap()
}

async fn call(host: &Host, tool: &str, arguments: Value) -> Outcome {
    host.call(Call::new(tool, arguments)).await
}

async fn story(store: &Store, id: &str) -> Story {
    match store.call(id).await.unwrap() {
        Found::One(story) => *story,
        other => panic!("{other:?}"),
    }
}

fn kinds(story: &Story) -> Vec<&str> {
    story.events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

fn new_store() -> (tempfile::TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::at(folder.path().join("kept")));
    (folder, store)
}

#[tokio::test]
async fn a_call_is_written_down_with_all_that_happened_in_it() {
    let (_folder, store) = new_store();
    let host = host(&store, "").await;
    let caller = Caller { session: Some("s1".into()), ..Caller::named("ann") };
    let parent = Some(CallId::given("outer"));
    let asked = Call { parent, ..Call::new("echo", json!({"text": "hello"})).by(caller) };
    let outcome = host.call(asked).await;
    host.flush().await;
    let told = story(&store, outcome.call.as_str()).await;
    assert_eq!(kinds(&told), ["accepted", "attempt_started", "log", "attempt_ended", "ended"]);
    assert!(told.events.is_sorted_by_key(|event| event["at_ms"].as_f64().unwrap()), "{:?}", told.events);
    let Logged { call, tool, caller, session, parent, arguments, outcome, message, result, attempts, .. } = told.call;
    assert_eq!(
        (tool.as_str(), caller.as_str(), session.as_deref(), parent.as_deref()),
        ("echo", "ann", Some("s1"), Some("outer"))
    );
    assert_eq!(arguments.as_deref(), Some(r#"{"text":"hello","password":null}"#));
    assert_eq!((outcome.as_deref(), message, attempts), (Some("ok"), None, 1));
    assert!(result.unwrap().contains("hello") && call.starts_with("call_"));
}

#[tokio::test]
async fn why_a_call_failed_is_written_down_with_what_only_the_operator_may_know() {
    let (_folder, store) = new_store();
    let host = host(&store, "").await;
    let failed = call(&host, "fail", json!({})).await;
    let unknown = call(&host, "fial", json!({})).await;
    let invalid = call(&host, "echo", json!({"text": {"a": 7}})).await;
    host.flush().await;
    let told = story(&store, failed.call.as_str()).await;
    assert_eq!(told.call.message.as_deref(), Some("it is broken"));
    assert_eq!(told.events.last().unwrap()["source"], "a wire is loose");
    assert_eq!(story(&store, unknown.call.as_str()).await.call.outcome.as_deref(), Some("unknown_tool"));
    assert_eq!(story(&store, invalid.call.as_str()).await.call.arguments.as_deref(), Some(r#"{"text":{"a":7}}"#));
    let failed = Filter { failed: true, tool: Some("f*".into()), ..ALL };
    let tools: Vec<String> = store.calls(&failed).await.unwrap().into_iter().map(|call| call.tool).collect();
    assert_eq!(tools, ["fail", "fial"]);
}

#[tokio::test]
async fn what_is_masked_is_nowhere_in_the_folder_whatever_becomes_of_the_call() {
    let (folder, store) = new_store();
    let host = host(&store, "").await;
    call(&host, "echo", json!({"text": "hello", "password": "hunter2"})).await;
    call(&host, "echo", json!({"text": "hello", "password": ["hunter2"]})).await;
    call(&host, "nobody", json!({"password": "hunter2"})).await;
    host.call(Call::new("nobody", r#"{"password": "hunter2"}"#)).await;
    host.call(Call::new("nobody", r#"{"password": "hunter2""#)).await;
    host.call(Call::new("echo", r#"{"password": "hunter2", "text": }"#)).await;
    host.flush().await;
    assert_eq!(store.calls(&ALL).await.unwrap().len(), 6);
    for file in std::fs::read_dir(folder.path().join("kept")).unwrap().flatten() {
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(!bytes.windows(7).any(|bytes| bytes == b"hunter2"), "{:?}", file.path());
    }
}

#[tokio::test]
async fn of_a_name_that_is_looked_for_only_the_star_and_the_question_mark_are_special() {
    let (_folder, store) = new_store();
    let host = host(&store, "").await;
    for tool in ["a[b", "a]b", "ab"] {
        call(&host, tool, json!({})).await;
    }
    host.flush().await;
    for (tool, found) in
        [("[", vec![]), ("a[b", vec!["a[b"]), ("?[*", vec!["a[b"]), ("a[]b]b", vec![]), ("a?b", vec!["a[b", "a]b"])]
    {
        let filter = Filter { tool: Some(tool.into()), ..ALL };
        let calls = store.calls(&filter).await.unwrap();
        assert_eq!(calls.iter().map(|call| call.tool.as_str()).collect::<Vec<_>>(), found, "{tool}");
        assert_eq!(store.calls_since(0, &filter).await.unwrap().len(), found.len(), "{tool}");
    }
}

#[tokio::test]
async fn a_time_has_no_more_digits_than_were_measured() {
    let (_folder, store) = new_store();
    let host = host(&store, "").await;
    let id = call(&host, "echo", json!({})).await.call;
    host.flush().await;
    let told = story(&store, id.as_str()).await;
    for micros in 0..2_000 {
        let time = Duration::from_micros(micros);
        let shown = json!(Logged { time, ..told.call.clone() })["time_ms"].to_string();
        assert!(shown.split_once('.').is_none_or(|(_, digits)| digits.len() <= 3), "{shown}");
    }
}

#[tokio::test]
async fn of_a_cast_that_is_masked_neither_what_came_nor_what_was_made_of_it_is_written_down() {
    for said in ["", "[log]\narguments = false\nresults = false"] {
        let (folder, store) = new_store();
        let host = host(&store, said).await;
        let outcome = call(&host, "echo", json!({"password": 4_711_815})).await;
        assert_eq!(outcome.result.unwrap().value["password"], "4711815");
        host.flush().await;
        let told = story(&store, outcome.call.as_str()).await;
        assert_eq!(told.events[0]["cast"], json!([{"pointer": "/password", "from": "***", "to": "***"}]));
        for file in std::fs::read_dir(folder.path().join("kept")).unwrap().flatten() {
            let bytes = std::fs::read(file.path()).unwrap();
            assert!(!bytes.windows(7).any(|bytes| bytes == b"4711815"), "{:?}", file.path());
        }
    }
}

#[tokio::test]
async fn arguments_and_results_are_left_out_where_the_settings_say_so() {
    let (_folder, store) = new_store();
    let host = host(&store, "[log]\narguments = false\nresults = false").await;
    let outcome = call(&host, "echo", json!({"text": "hello"})).await;
    let invalid = call(&host, "echo", json!({"text": {"a": 12_345}})).await;
    host.flush().await;
    let Logged { arguments, result, .. } = story(&store, outcome.call.as_str()).await.call;
    assert_eq!((arguments, result), (None, None));
    let message = story(&store, invalid.call.as_str()).await.call.message.unwrap();
    assert!(message.contains("expected") && !message.contains("12345"), "{message}");
}

#[tokio::test]
async fn without_a_log_in_the_settings_nothing_is_written() {
    let (_folder, store) = new_store();
    let host = host(&store, "[log]\nenabled = false").await;
    call(&host, "echo", json!({})).await;
    host.flush().await;
    assert!(!store.has_log());
}

#[tokio::test]
async fn the_beginning_of_an_id_is_enough_if_no_other_begins_so() {
    let (_folder, store) = new_store();
    let host = host(&store, "").await;
    for id in ["call_abc1", "call_abc2", "call_b", "call_b2", "x%", "y"] {
        host.call(Call { id: CallId::given(id), ..Call::new("echo", json!({})) }).await;
    }
    host.flush().await;
    assert_eq!(story(&store, "abc1").await.call.call, "call_abc1");
    assert_eq!(story(&store, "call_b").await.call.call, "call_b", "a whole id means that call");
    assert_eq!(story(&store, "x").await.call.call, "x%");
    assert!(matches!(store.call("abc").await.unwrap(), Found::Several(ids) if ids == ["call_abc1", "call_abc2"]));
    assert!(matches!(store.call("%").await.unwrap(), Found::None));
}

#[tokio::test]
async fn a_call_that_may_change_something_is_written_when_it_begins_so_that_a_crash_leaves_a_trace() {
    let (_folder, store) = new_store();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let inside = (begun.clone(), go_on.clone());
    let slow = Native::new("slow", "").effect(EffectClass::Writes);
    let builder = Builder::new().store(store.clone()).native(slow, move |_| {
        let (begun, go_on) = inside.clone();
        async move {
            begun.notify_one();
            go_on.notified().await;
            Ok(Value::Null)
        }
    });
    let host = builder.build().await.unwrap();
    let running = tokio::spawn({
        let host = host.clone();
        async move { host.call(Call { id: CallId::given("one"), ..Call::new("slow", json!({})) }).await }
    });
    begun.notified().await;
    host.flush().await;
    let told = story(&store, "one").await;
    assert_eq!((told.call.outcome.clone(), kinds(&told)), (None, vec!["accepted", "attempt_started"]));
    assert!(store.calls_since(0, &ALL).await.unwrap().is_empty(), "who follows sees calls that ended");
    go_on.notify_one();
    running.await.unwrap();
    host.flush().await;
    assert_eq!(story(&store, "one").await.call.outcome.as_deref(), Some("ok"));
    assert_eq!(store.calls(&ALL).await.unwrap().len(), 1, "one call is one row");
}

#[tokio::test]
async fn a_disk_that_is_blocked_holds_up_no_call_and_what_is_missing_then_is_counted() {
    const CALLS: usize = 3_000;
    let (_folder, store) = new_store();
    let host = host(&store, "").await;
    call(&host, "echo", json!({})).await;
    host.flush().await;
    let other = Store::at(store.dir());
    let blocking = other.log().await.unwrap().write().await.unwrap();
    let began = Instant::now();
    for _ in 0..CALLS {
        assert!(call(&host, "fial", json!({})).await.result.is_err());
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "the other one has the disk for longer than {took:?}");
    drop(blocking);
    host.flush().await;
    call(&host, "echo", json!({})).await;
    host.flush().await;
    let written = store.calls(&ALL).await.unwrap().len();
    let lost = usize::try_from(store.calls_lost().await.unwrap()).unwrap();
    assert_eq!(written + lost, CALLS + 2);
    assert!((1_000..CALLS).contains(&written), "{written}");
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_fails_no_call() {
    let (_folder, store) = new_store();
    std::fs::create_dir_all(store.dir().join("log.db")).unwrap();
    let host = host(&store, "").await;
    assert!(call(&host, "echo", json!({})).await.result.is_ok());
    timeout(Duration::from_secs(4), host.flush()).await.expect("a flush does not wait for what will never be");
}

#[tokio::test]
async fn the_story_of_a_talkative_call_is_bounded_and_says_how_much_is_missing() {
    let (_folder, store) = new_store();
    let builder = Builder::new().store(store.clone()).native(Native::new("talks", ""), |attempt| async move {
        for at in 0..10_000 {
            attempt.progress(at, None, Some(&"x".repeat(1_000)));
        }
        Ok(Value::from("ä".repeat(100_000)))
    });
    let host = builder.build().await.unwrap();
    let outcome = call(&host, "talks", json!({})).await;
    host.flush().await;
    let told = story(&store, outcome.call.as_str()).await;
    let size = serde_json::to_string(&told).unwrap().len();
    assert!(size < 100_000, "{size}");
    let kinds = kinds(&told);
    let kept = kinds.iter().filter(|kind| **kind == "progress").count() as u64;
    assert!((20..=100).contains(&kept) && kinds.ends_with(&["attempt_ended", "ended"]), "{kinds:?}");
    assert_eq!(told.events.last().unwrap()["unlisted"], 10_000 - kept);
}

#[tokio::test]
async fn what_is_old_or_too_much_is_forgotten() {
    let (_folder, store) = new_store();
    let host = host(&store, "[log]\nmax_calls = 100").await;
    for _ in 0..2_500 {
        call(&host, "nobody", json!({})).await;
        tokio::task::yield_now().await;
    }
    host.flush().await;
    let left = store.calls(&ALL).await.unwrap().len();
    assert!((100..1_500).contains(&left), "{left}");

    sleep(Duration::from_millis(20)).await;
    let later = self::host(&store, "[log]\nkeep = \"10ms\"").await;
    call(&later, "nobody", json!({})).await;
    later.flush().await;
    assert_eq!(store.calls(&ALL).await.unwrap().len(), 1, "who comes later tidies up at once");
}

#[tokio::test]
async fn a_log_that_takes_too_much_room_loses_its_oldest_calls() {
    let (_folder, store) = new_store();
    let host = host(&store, "[log]\nmax_size = \"400 KiB\"").await;
    for _ in 0..3 {
        for _ in 0..700 {
            call(&host, "nobody", json!({"text": "x".repeat(1_000)})).await;
        }
        host.flush().await;
    }
    let left = store.calls(&ALL).await.unwrap().len();
    assert!((500..2_000).contains(&left), "{left}");
}

fn order(action: Action) -> Order {
    Order { breaker: "tool echo".into(), action, by: "ann".into(), why: "it misbehaves".into(), until: None }
}

/// Waits until a call of `echo` ends so.
async fn until(host: &Host, end: &str) {
    let wait = async {
        while call(host, "echo", json!({})).await.name() != end {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("no call ends with {end}"));
}

#[tokio::test]
async fn an_operators_order_reaches_hosts_that_run_and_those_that_start_later() {
    let (_folder, store) = new_store();
    let operator = Store::at(store.dir());
    let running = host(&store, "").await;
    until(&running, "ok").await;
    operator.order(&order(Action::Isolate)).await.unwrap();
    until(&running, "circuit_open").await;
    let later = host(&Arc::new(Store::at(store.dir())), "").await;
    let error = call(&later, "echo", json!({})).await.result.unwrap_err();
    assert_eq!(error.message, "`echo` is switched off by the operator: it misbehaves; go on without it");
    assert!(call(&later, "fail", json!({})).await.name() == "tool_failed", "other tools go on");

    operator.order(&order(Action::Release)).await.unwrap();
    until(&running, "ok").await;
    until(&later, "ok").await;
    running.flush().await;
    later.flush().await;
    let known = operator.breakers().await.unwrap();
    let said: Vec<_> = known.iter().map(|it| (it.breaker.as_str(), it.was.as_str(), it.status.as_str())).collect();
    assert_eq!(said, [("tool echo", "isolated", "closed")]);
    assert_eq!(known[0].cause, "ann: it misbehaves");
}

#[tokio::test]
async fn an_order_whose_time_is_over_is_not_followed_any_more() {
    let (_folder, store) = new_store();
    let past = std::time::SystemTime::now() - Duration::from_secs(1);
    store.order(&Order { until: Some(past), ..order(Action::Isolate) }).await.unwrap();
    let host = host(&store, "").await;
    assert!(call(&host, "echo", json!({})).await.result.is_ok());
}

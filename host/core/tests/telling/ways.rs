//! A host with a tool for each way in which a call can end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::sleep;
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::guard::{GuardSettings, Guards};
use toolpost_core::{
    AcceptedCall, Attempt, Call, CallError, Catalog, Check, Effect, EffectClass, ErrorKind, Host, Native, Outcome,
    Stage, Tool,
};

/// A reason that counts how often it is put into words.
#[derive(Debug)]
struct Reason(Arc<AtomicUsize>);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fetch_add(1, Ordering::SeqCst);
        f.write_str("a reason")
    }
}

impl std::error::Error for Reason {}

fn tool(
    name: &str,
    settings: Value,
    run: fn(Attempt, Arc<AtomicUsize>) -> BoxFuture<'static, Result<Value, CallError>>,
) -> Made {
    Made { name: name.into(), settings, run, words: Arc::default() }
}

/// A tool in the making.
struct Made {
    name: String,
    settings: Value,
    run: fn(Attempt, Arc<AtomicUsize>) -> BoxFuture<'static, Result<Value, CallError>>,
    words: Arc<AtomicUsize>,
}

impl Made {
    fn made(self) -> Tool {
        let settings: GuardSettings = serde_json::from_value(self.settings).unwrap();
        let Made { name, run, words, .. } = self;
        let number = Shape::Option(Box::new(Shape::Integer(Integer::U8)));
        let native = Native::new(&name, "Does something").parameter("number", number).effect(EffectClass::Reads);
        let mut tool = native.run(move |attempt| run(attempt, words.clone()));
        tool.guards = Guards::none().with(&settings);
        tool.limits.attempt_time_max = Duration::from_secs(10);
        tool
    }
}

fn fails(kind: ErrorKind, words: Arc<AtomicUsize>) -> CallError {
    CallError::new(kind, Stage::Run, "it is away").because(Reason(words))
}

/// A host with a tool for each way in which a call can end; the reasons of its failures count into `words`.
pub(crate) fn host(words: &Arc<AtomicUsize>) -> Host {
    let mut catalog = Catalog::default();
    let mut add = |mut tool: Made| {
        tool.words = words.clone();
        catalog.add(tool.made()).unwrap();
    };
    add(tool("works", json!({}), |attempt, _| {
        async move {
            attempt.progress(1, Some(2), None);
            let effect =
                Effect { class: EffectClass::Reads, action: "files.read".into(), target: "a.txt".into(), detail: None };
            attempt.pass(effect).await?.done();
            Ok(json!(7))
        }
        .boxed()
    }));
    add(tool("limited", json!({"rate": {"tool": "1/h"}}), |_, _| async { Ok(Value::Null) }.boxed()));
    add(tool("away", json!({"retry": {"max_attempts": 2}}), |_, words| {
        async { Err(fails(ErrorKind::ToolFailed { retryable: true }, words)) }.boxed()
    }));
    add(tool("broken", json!({"breaker": {"kind": "standard", "consecutive": 1}}), |_, words| {
        async { Err(fails(ErrorKind::Trapped, words)) }.boxed()
    }));
    add(tool("slow", json!({}), |_, _| {
        async {
            sleep(Duration::from_secs(60)).await;
            Ok(Value::Null)
        }
        .boxed()
    }));
    add(tool("panics", json!({}), |_, _| async { panic!("it panics") }.boxed()));
    Host::new(catalog).with_check(Arc::new(NotNine))
}

/// A check that does not like the number 9.
struct NotNine;

impl Check for NotNine {
    fn check<'a>(&'a self, call: &'a AcceptedCall) -> BoxFuture<'a, Result<(), CallError>> {
        let is_nine = call.arguments["number"] == json!(9);
        let declined = || CallError::new(ErrorKind::Declined, Stage::Check, "nobody likes 9");
        async move { if is_nine { Err(declined()) } else { Ok(()) } }.boxed()
    }
}

pub(crate) async fn call(host: &Host, tool: &str, arguments: Value) -> Outcome {
    host.call(Call::new(tool, arguments)).await
}

/// All the ways, and how they end.
pub(crate) async fn all_ways(host: &Host) {
    for (tool, arguments, end) in [
        ("works", json!({}), "ok"),
        ("nobody", json!({}), "unknown_tool"),
        ("works", json!({"number": "many"}), "invalid_arguments"),
        ("works", json!({"number": 9}), "declined"),
        ("limited", json!({}), "ok"),
        ("limited", json!({}), "rate_limited"),
        ("away", json!({}), "tool_failed"),
        ("broken", json!({}), "trapped"),
        ("broken", json!({}), "circuit_open"),
        ("slow", json!({}), "timed_out"),
        ("panics", json!({}), "internal"),
    ] {
        assert_eq!(call(host, tool, arguments).await.name(), end, "{tool}");
    }
    assert!(call(host, "slow", json!({})).now_or_never().is_none(), "it is dropped half way");
}

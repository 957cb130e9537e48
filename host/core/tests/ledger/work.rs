//! A tool that counts how often it is run, and a host of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::guard::GuardSettings;
use toolpost_core::guard::replay::{How, Ledger, LedgerStore, Memory, Standing};
use toolpost_core::{
    Attempt, Call, CallError, Caller, Catalog, Effect, EffectClass, ErrorKind, Host, Native, Outcome, Stage,
};

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn guard(settings: Value) -> GuardSettings {
    serde_json::from_value(settings).unwrap()
}

/// A tool that does what `act` says, by the number of times that it was run; and that number.
pub(crate) fn tool<R>(
    class: EffectClass,
    settings: Value,
    act: impl Fn(u32, Attempt) -> R + Send + Sync + 'static,
) -> (toolpost_core::Tool, Arc<AtomicU32>)
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let tool = Native::new("work", "")
        .parameter("n", Shape::Integer(Integer::U64))
        .parameter("note", Shape::Option(Box::new(Shape::String)))
        .effect(class)
        .guard(guard(settings))
        .run(move |attempt| act(counted.fetch_add(1, SeqCst) + 1, attempt));
    (tool, runs)
}

pub(crate) fn host_on(store: Arc<dyn LedgerStore>, tool: toolpost_core::Tool) -> Host {
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    Host::new(catalog).with_ledger(Arc::new(Ledger::new(store)))
}

/// A host of such a tool, with a ledger of its own.
pub(crate) fn host<R>(
    class: EffectClass,
    settings: Value,
    act: impl Fn(u32, Attempt) -> R + Send + Sync + 'static,
) -> (Host, Arc<AtomicU32>)
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let (tool, runs) = tool(class, settings, act);
    (host_on(Arc::new(Memory::default()), tool), runs)
}

/// Passes the gate with a change.
pub(crate) async fn change(attempt: &Attempt) -> Result<(), CallError> {
    let effect = Effect { class: EffectClass::Writes, action: "files.write".into(), target: "a".into(), detail: None };
    attempt.pass(effect).await?.done();
    Ok(())
}

/// A change that takes a second, and answers with the number of the run.
pub(crate) async fn works(run: u32, attempt: Attempt) -> Result<Value, CallError> {
    change(&attempt).await?;
    sleep(seconds(1)).await;
    Ok(json!(run))
}

pub(crate) fn failed(retryable: bool) -> CallError {
    CallError::new(ErrorKind::ToolFailed { retryable }, Stage::Run, "it did not work")
}

/// A call with that key.
pub(crate) fn keyed(n: u64, key: &str) -> Call {
    Call { idempotency_key: Some(key.into()), ..Call::new("work", json!({"n": n})).by(Caller::named("ann")) }
}

pub(crate) fn how(outcome: &Outcome) -> Option<How> {
    outcome.report.idempotency.as_ref().map(|report| report.how)
}

/// How the record of a call stands, by the key that its report names.
pub(crate) async fn standing(host: &Host, outcome: &Outcome) -> Option<Standing> {
    let key = &outcome.report.idempotency.as_ref().expect("it has a key").key;
    let (record, now) = host.ledger().book().get(key).await.unwrap();
    record.map(|record| record.standing(now))
}

/// Waits until nothing is left to be written.
pub(crate) async fn settled(host: &Host) {
    let until = Instant::now() + seconds(600);
    while host.ledger().in_use() != (0, 0) {
        assert!(Instant::now() < until, "a key or a waiting call is left behind: {:?}", host.ledger().in_use());
        sleep(Duration::from_millis(10)).await;
    }
}

//! The gate: what a tool does to the world is written down, and nothing is done once the attempt is over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::json;
use toolpost_core::effect::{EFFECTS_BYTES_MAX, EFFECTS_LISTED_MAX, Fate};
use toolpost_core::{Call, CallError, Catalog, Effect, EffectClass, ErrorKind, Gate, Host, Native, Outcome, Stage};

fn effect(target: &str) -> Effect {
    Effect { class: EffectClass::Writes, action: "files.write".into(), target: target.into(), detail: None }
}

/// What the gate wrote down: each target and its fate.
fn check(gate: &Gate, wanted: &[(&str, Fate)]) {
    let (records, unlisted) = gate.records();
    let records: Vec<_> = records.iter().map(|record| (record.effect.target.as_str(), record.fate)).collect();
    assert_eq!(records, wanted);
    assert_eq!(unlisted, 0);
}

#[tokio::test(start_paused = true)]
async fn an_effect_is_indeterminate_until_it_is_told_how_it_went() {
    let gate = Gate::new(1);
    let [done, failed, untold, dropped] = ["a", "b", "c", "d"].map(|target| gate.pass(effect(target)));
    let (done, failed) = (done.await.unwrap(), failed.await.unwrap());
    let _untold = untold.await.unwrap();
    drop(dropped.await.unwrap());
    check(
        &gate,
        &[
            ("a", Fate::Indeterminate),
            ("b", Fate::Indeterminate),
            ("c", Fate::Indeterminate),
            ("d", Fate::Indeterminate),
        ],
    );
    failed.failed();
    done.done();
    check(&gate, &[("a", Fate::Done), ("b", Fate::Failed), ("c", Fate::Indeterminate), ("d", Fate::Indeterminate)]);
}

#[tokio::test(start_paused = true)]
async fn asking_without_awaiting_leaves_no_trace() {
    let gate = Gate::new(1);
    drop(gate.pass(effect("a")));
    check(&gate, &[]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_refuses_for_good_and_writes_the_refusal_down() {
    let gate = Gate::new(1);
    let clone = gate.clone();
    let before = gate.pass(effect("before")).await.unwrap();
    assert!(gate.check().is_ok());
    clone.close();
    for _ in 0..2 {
        let error = gate.pass(effect("after")).await.unwrap_err();
        let told = "the call is over; nothing more is done for it";
        assert_eq!((error.kind, error.stage, error.message.as_str()), (ErrorKind::Cancelled, Stage::Run, told));
        assert_eq!(gate.check().unwrap_err().message, told);
        gate.close();
    }
    // What had passed before may still have happened, and its driver may say so.
    before.done();
    check(&gate, &[("before", Fate::Done), ("after", Fate::Refused), ("after", Fate::Refused)]);
}

#[tokio::test(start_paused = true)]
async fn effects_past_the_list_are_counted_and_still_pass() {
    let gate = Gate::new(1);
    for _ in 0..EFFECTS_LISTED_MAX + 5 {
        gate.pass(effect("a")).await.unwrap().done();
    }
    gate.close();
    assert!(gate.pass(effect("b")).await.is_err());
    let (records, unlisted) = gate.records();
    assert_eq!((records.len(), unlisted), (EFFECTS_LISTED_MAX, 6));
    assert!(records.iter().all(|record| record.fate == Fate::Done));
}

#[tokio::test(start_paused = true)]
async fn effects_that_say_too_much_for_the_list_are_counted_and_still_pass() {
    let gate = Gate::new(1);
    let target = "a".repeat(EFFECTS_BYTES_MAX / 8 - "files.write".len());
    for _ in 0..10 {
        gate.pass(effect(&target)).await.unwrap().done();
    }
    gate.pass(effect("b")).await.unwrap().done();
    let (records, unlisted) = gate.records();
    assert_eq!((records.len(), unlisted), (8, 3));
}

/// What a call of a tool comes to that is refused two things and then ends with that error.
async fn refused_and_then(error: CallError) -> Outcome {
    let tool = Native::new("work", "").effect(EffectClass::Writes).run(move |attempt| {
        let error = error.clone();
        async move {
            let denied =
                |what: &str| CallError::new(ErrorKind::CapabilityDenied, Stage::Run, format!("{what} is not granted"));
            attempt.refuse(effect("a"), denied("a"));
            attempt.pass(effect("b")).await?.refused();
            attempt.keep_from(denied("b"));
            Err(error)
        }
    });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    Host::new(catalog).call(Call::new("work", json!({}))).await
}

#[tokio::test(start_paused = true)]
async fn what_a_driver_refuses_is_written_down_and_is_why_the_tool_failed() {
    for kind in [ErrorKind::ToolFailed { retryable: true }, ErrorKind::Trapped] {
        let outcome = refused_and_then(CallError::new(kind, Stage::Run, "no luck")).await;
        let error = outcome.result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::CapabilityDenied);
        assert_eq!(error.message, "a is not granted; the tool ended with: no luck");
        let fates: Vec<_> = outcome.report.effects.iter().map(|record| record.fate).collect();
        assert_eq!(fates, [Fate::Refused, Fate::Refused]);
        assert_eq!(outcome.report.attempts[0].log.text, "warn: a is not granted\nwarn: b is not granted\n");
        assert_eq!(outcome.report.attempts.len(), 1, "the same refusal would come again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_no_refusal_brings_about_stays_what_it_is() {
    for kind in [ErrorKind::OutOfFuel, ErrorKind::InvalidArguments, ErrorKind::Internal] {
        let outcome = refused_and_then(CallError::new(kind, Stage::Run, "no luck")).await;
        assert_eq!(outcome.result.unwrap_err().message, "no luck");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_lists_what_the_call_did() {
    let tool = Native::new("work", "").effect(EffectClass::Writes).run(|attempt| async move {
        attempt.pass(effect("a")).await?.done();
        attempt.pass(Effect { detail: Some("3 bytes".into()), ..effect("b") }).await?.failed();
        drop(attempt.pass(effect("c")).await?);
        Err(attempt.pass(effect("d")).await.map(drop).err().unwrap_or(toolpost_core::bug!(Stage::Run, "as asked")))
    });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let outcome = Host::new(catalog).call(Call::new("work", json!({}))).await;
    assert_eq!(outcome.result.unwrap_err().kind, ErrorKind::Internal, "a call that failed lists its effects too");
    let record = |target: &str, fate: &str| json!({"class": "writes", "action": "files.write", "target": target, "attempt": 1, "fate": fate});
    let mut failed = record("b", "failed");
    failed["detail"] = json!("3 bytes");
    let listed = json!([record("a", "done"), failed, record("c", "indeterminate"), record("d", "indeterminate")]);
    let report = serde_json::to_value(outcome.report).unwrap();
    assert_eq!(report["effects"], listed);
    assert_eq!(report.get("effects_unlisted"), None);
}

#[test]
fn classes_go_from_harmless_to_not_and_only_the_latter_change_something() {
    let classes =
        [EffectClass::Pure, EffectClass::Reads, EffectClass::Writes, EffectClass::Open, EffectClass::Destroys];
    assert!(classes.is_sorted());
    assert_eq!(classes.map(EffectClass::may_change), [false, false, true, true, true]);
    assert_eq!(classes.map(EffectClass::name), ["pure", "reads", "writes", "open", "destroys"]);
    for class in classes {
        assert_eq!(json!(class), json!(class.name()));
    }
}

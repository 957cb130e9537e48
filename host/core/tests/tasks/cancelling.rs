//! Somebody wants a task to end: whatever it is doing, and wherever.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::json;
use tokio::time::{Instant, sleep};
use toolpost_core::ErrorKind;
use toolpost_core::task::{Cancelled, Standing};

use crate::work::{Ground, answer, call, error, reads, seconds, task_of, tool, writes};

#[tokio::test(start_paused = true)]
async fn what_is_queued_is_cancelled_at_once_and_never_begins() {
    let ground = Ground::default();
    let host = ground.host(reads(seconds(10))).host;
    let task = host.file(call(1)).await.unwrap();
    assert_eq!(task.cancel().await.unwrap(), Some(Cancelled::Now));
    host.run_tasks();
    let told = error(&task).await;
    assert_eq!(told.kind, ErrorKind::Cancelled);
    assert_eq!(told.message, "its caller has cancelled it before it had an effect");
    sleep(seconds(10)).await;
    assert_eq!(ground.sheet(task.id()).await.record.runs, 0);
}

#[tokio::test(start_paused = true)]
async fn what_only_reads_stops_wherever_it_was_cancelled() {
    let ground = Ground::default();
    let host = ground.host(reads(seconds(1_000))).host;
    let elsewhere = ground.host(reads(seconds(1))).host;
    for by in [&host, &elsewhere] {
        let task = host.spawn(call(1)).await.unwrap();
        ground.until(task.id(), Standing::Running).await;
        let begun = Instant::now();
        assert_eq!(by.tasks().cancel(task.id(), "bob").await.unwrap(), Some(Cancelled::Asked));
        let told = error(&task).await;
        assert_eq!(
            (told.kind, told.message.as_str()),
            (ErrorKind::Cancelled, "bob has cancelled it before it had an effect")
        );
        assert!(begun.elapsed() < seconds(2), "{:?}", begun.elapsed());
        let record = ground.sheet(task.id()).await.record;
        assert_eq!(record.standing(false, false), Standing::Cancelled);
        assert_eq!(record.cancel.as_ref().unwrap().by, "bob");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_may_change_something_goes_on_to_its_end_and_is_told_so() {
    let ground = Ground::default();
    let (tool, changed) = writes(seconds(20), json!({}));
    let host = ground.host(tool).host;
    let task = host.spawn(call(1)).await.unwrap();
    sleep(seconds(1)).await;
    assert_eq!(task.cancel().await.unwrap(), Some(Cancelled::Asked));
    assert_eq!(task.cancel().await.unwrap(), Some(Cancelled::Asked));
    assert_eq!(answer(&task).await, 1);
    assert_eq!(changed.load(SeqCst), 1);
    let sheet = ground.sheet(task.id()).await;
    assert_eq!(sheet.standing(), Standing::Done);
    assert!(sheet.record.cancel.is_some());
    assert_eq!(task.cancel().await.unwrap(), Some(Cancelled::Not(Standing::Done)));
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_and_failed_behind_its_effect_is_unknown() {
    let ground = Ground::default();
    let fails = |_, attempt: toolpost_core::Attempt| async move {
        crate::work::change(&attempt, "a").await?;
        sleep(seconds(10)).await;
        Err(toolpost_core::CallError::new(ErrorKind::TimedOut, toolpost_core::Stage::Run, "too slow"))
    };
    let host = ground.host(tool(toolpost_core::EffectClass::Writes, json!({}), fails).0).host;
    let task = host.spawn(call(1)).await.unwrap();
    sleep(seconds(1)).await;
    task.cancel().await.unwrap();
    assert_eq!(error(&task).await.kind, ErrorKind::OutcomeUnknown);
    assert_eq!(ground.standing(task.id()).await, Standing::Unknown);
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_again_behind_its_effect_and_cancelled_there_is_unknown() {
    let ground = Ground::default();
    let settings = json!({"idempotency": {"key": "args", "idempotent": true}});
    let first = ground.host(writes(seconds(20), settings.clone()).0);
    let task = first.host.spawn(call(1)).await.unwrap();
    sleep(seconds(15)).await;
    first.wire.cut();
    // The next host has no place for it.
    let mut limited = settings;
    limited["rate"] = json!({"tool": "1/1h"});
    let second = ground.host(writes(seconds(1), limited).0).host;
    second.call(call(2)).await.result.unwrap();
    second.run_tasks();
    let sheet = ground.until(task.id(), Standing::Queued).await;
    assert_eq!((sheet.record.effects, sheet.record.runs), (1, 2));
    assert_eq!(second.tasks().cancel(task.id(), "bob").await.unwrap(), Some(Cancelled::Now));
    let told = error(&task_of(&second, &task).await).await;
    assert_eq!(told.kind, ErrorKind::OutcomeUnknown);
    assert!(told.message.starts_with("bob has cancelled it after it may have had an effect"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_and_lost_its_host_behind_its_effect_is_unknown() {
    let ground = Ground::default();
    let desk = ground.host(writes(seconds(200), json!({})).0);
    let task = desk.host.spawn(call(1)).await.unwrap();
    sleep(seconds(110)).await;
    assert_eq!(task.cancel().await.unwrap(), Some(Cancelled::Asked));
    // It cannot say that it lives, and nobody else is there.
    desk.wire.has_no_lease.store(true, SeqCst);
    assert_eq!(error(&task).await.kind, ErrorKind::OutcomeUnknown);
    let sheet = ground.sheet(task.id()).await;
    assert_eq!((sheet.standing(), sheet.record.effects, sheet.record.runs), (Standing::Unknown, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_before_it_was_tried_again_behind_its_effect_is_unknown() {
    let ground = Ground::default();
    let fails = |_, attempt: toolpost_core::Attempt| async move {
        crate::work::change(&attempt, "a").await?;
        let kind = ErrorKind::ToolFailed { retryable: true };
        Err(toolpost_core::CallError::new(kind, toolpost_core::Stage::Run, "not now").retry_after(seconds(20)))
    };
    let settings = json!({"idempotency": {"idempotent": true}});
    let host = ground.host(tool(toolpost_core::EffectClass::Writes, settings, fails).0).host;
    let task = host.spawn(call(1)).await.unwrap();
    sleep(seconds(5)).await;
    assert_eq!(task.cancel().await.unwrap(), Some(Cancelled::Asked));
    assert_eq!(error(&task).await.kind, ErrorKind::OutcomeUnknown);
    let record = ground.sheet(task.id()).await.record;
    assert_eq!((record.effects, record.ended().unwrap().report()["effects"].as_array().unwrap().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_place_or_for_its_next_attempt_is_cancelled() {
    let ground = Ground::default();
    let settings = json!({"rate": {"tool": "1/10m"}});
    let host =
        ground.host(tool(toolpost_core::EffectClass::Reads, settings, |run, _| async move { Ok(json!(run)) }).0).host;
    host.spawn(call(1)).await.unwrap();
    sleep(seconds(1)).await;
    let turned_away = host.spawn(call(2)).await.unwrap();
    sleep(seconds(1)).await;
    assert_eq!(ground.standing(turned_away.id()).await, Standing::Queued);
    assert_eq!(turned_away.cancel().await.unwrap(), Some(Cancelled::Now));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_cancelled_without_a_host_and_told_what_it_may_have_done() {
    for (lives, wanted) in [(3, ErrorKind::Cancelled), (7, ErrorKind::OutcomeUnknown)] {
        let ground = Ground::default();
        let desk = ground.host(writes(seconds(10), json!({})).0);
        let task = desk.host.spawn(call(1)).await.unwrap();
        sleep(seconds(lives)).await;
        desk.wire.cut();
        sleep(seconds(40)).await;
        assert_eq!(ground.standing(task.id()).await, Standing::Left);
        let client = ground.host(reads(seconds(1))).host;
        assert_eq!(client.tasks().cancel(task.id(), "bob").await.unwrap(), Some(Cancelled::Now));
        let told = client.tasks().wait(task.id()).await.unwrap().unwrap().result().unwrap().unwrap_err();
        assert_eq!(told.kind, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_task_is_not_begun_again_when_its_host_goes_away() {
    let ground = Ground::default();
    let desk = ground.host(writes(seconds(100), json!({})).0);
    let task = desk.host.spawn(call(1)).await.unwrap();
    sleep(seconds(1)).await;
    task.cancel().await.unwrap();
    desk.wire.cut();
    let second = ground.host(writes(seconds(100), json!({})).0).host;
    second.run_tasks();
    let told = second.tasks().wait(task.id()).await.unwrap().unwrap().result().unwrap().unwrap_err();
    assert_eq!(told.kind, ErrorKind::Cancelled);
    assert_eq!(ground.sheet(task.id()).await.record.runs, 1);
}

#[tokio::test(start_paused = true)]
async fn there_is_nothing_to_cancel_where_there_is_no_task() {
    let ground = Ground::default();
    let host = ground.host(reads(seconds(1))).host;
    assert_eq!(host.tasks().cancel(&crate::conformance::id(1), "bob").await.unwrap(), None);
}

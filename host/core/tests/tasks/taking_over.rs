//! Hosts that end, hang, or cannot write: nothing is lost, nothing is done twice, and what is not known is told.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use serde_json::json;
use tokio::time::{Instant, sleep};
use toolpost_core::guard::replay::{Ledger, Memory as Keys};
use toolpost_core::task::{How, Standing};
use toolpost_core::{Attempt, Call, CallError, EffectClass, ErrorKind, Stage, Tool};

use crate::work::{Desk, Ground, answer, call, change, ended, error, reads, seconds, task_of, tool, writes};

/// Behind the lease of a host that says nothing any more.
const GONE: u64 = 40;

/// A task that runs in a host of the ground; the host is cut off after so long.
async fn begun(ground: &Ground, tool: Tool, call: Call, lives: u64) -> (Desk, toolpost_core::Task) {
    let desk = ground.host(tool);
    let task = desk.host.spawn(call).await.unwrap();
    sleep(seconds(lives)).await;
    assert_eq!(ground.standing(task.id()).await, Standing::Running);
    desk.wire.cut();
    (desk, task)
}

/// The same task, in the hands of another host.
async fn taken(desk: &Desk, task: &toolpost_core::Task) -> toolpost_core::Task {
    desk.host.run_tasks();
    task_of(&desk.host, task).await
}

#[tokio::test(start_paused = true)]
async fn what_had_no_effect_is_run_again_once_its_host_is_gone_and_not_before() {
    let ground = Ground::default();
    let (_first, task) = begun(&ground, reads(seconds(10)), call(1), 5).await;
    let second = ground.host(reads(seconds(10)));
    let task = taken(&second, &task).await;
    let begun = Instant::now();
    sleep(seconds(15)).await;
    let record = ground.sheet(task.id()).await.record;
    assert_eq!((record.runs, record.lost), (1, 0), "its host may live");
    assert_eq!(answer(&task).await, 1);
    assert!((20..GONE + 5).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let record = ground.sheet(task.id()).await.record;
    assert_eq!((record.runs, record.lost), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_had_an_effect_is_unknown_and_its_effects_are_listed() {
    let ground = Ground::default();
    let (tool, changed) = writes(seconds(10), json!({}));
    let (_first, task) = begun(&ground, tool, call(1), 7).await;
    let (tool, again) = writes(seconds(10), json!({}));
    let second = ground.host(tool);
    let task = taken(&second, &task).await;
    let told = error(&task).await;
    assert_eq!(told.kind, ErrorKind::OutcomeUnknown);
    assert!(told.message.starts_with("its host went away after it may have had an effect"), "{told}");
    let sheet = ground.sheet(task.id()).await;
    assert_eq!((sheet.standing(), sheet.record.runs), (Standing::Unknown, 1));
    let words: Vec<String> = sheet.notes.effects.iter().map(|(_, effect)| effect.words()).collect();
    assert_eq!(words, ["files.write a"]);
    assert_eq!((changed.load(SeqCst), again.load(SeqCst)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_back_too_late_changes_nothing_and_does_not_say_that_it_did() {
    let ground = Ground::default();
    // It hangs before its change.
    let (tool, changed) = writes(seconds(200), json!({}));
    let (first, task) = begun(&ground, tool, call(1), 5).await;
    let (tool, again) = writes(seconds(20), json!({}));
    let second = ground.host(tool);
    let task = taken(&second, &task).await;
    sleep(seconds(GONE)).await;
    assert_eq!(ground.sheet(task.id()).await.record.runs, 2);
    first.wire.mend();
    assert_eq!(answer(&task).await, 1);
    sleep(seconds(300)).await;
    assert_eq!((changed.load(SeqCst), again.load(SeqCst)), (0, 1));
    let sheet = ground.sheet(task.id()).await;
    assert_eq!((sheet.standing(), sheet.notes.effects.len()), (Standing::Done, 1));
    assert_eq!(first.host.tasks().in_use(), 0, "it has let go of it");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_slept_does_not_go_on_with_what_it_ran() {
    let ground = Ground::default();
    let (tool, changed) = writes(seconds(60), json!({}));
    let (first, task) = begun(&ground, tool, call(1), 5).await;
    // Nobody else is there: it takes the task up itself, as another host.
    sleep(seconds(100)).await;
    first.wire.mend();
    sleep(seconds(20)).await;
    assert_eq!(changed.load(SeqCst), 0);
    let record = ground.sheet(task.id()).await.record;
    assert_eq!(record.runs, 2);
    assert_eq!(answer(&task).await, 2);
    assert_eq!(changed.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_has_lost_its_tasks_stops_them() {
    let ground = Ground::default();
    let (first, task) = begun(&ground, reads(seconds(1_000)), call(1), 5).await;
    let second = ground.host(reads(seconds(1_000)));
    taken(&second, &task).await;
    sleep(seconds(GONE)).await;
    assert_eq!((first.host.tasks().in_use(), second.host.tasks().in_use()), (1, 1));
    first.wire.mend();
    sleep(seconds(3)).await;
    assert_eq!((first.host.tasks().in_use(), second.host.tasks().in_use()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_lost_its_host_is_run_again_however_long_ago_it_was_filed() {
    let ground = Ground::with(json!({"wait": "1m", "reruns": 2}));
    let (tool, changed) = writes(seconds(400), json!({}));
    let desk = ground.host(tool);
    let task = desk.host.spawn(call(1)).await.unwrap();
    let loses = async || {
        ground.until(task.id(), Standing::Running).await;
        sleep(seconds(100)).await;
        desk.wire.has_no_lease.store(true, SeqCst);
        sleep(seconds(60)).await;
        desk.wire.has_no_lease.store(false, SeqCst);
    };
    loses().await;
    let record = ground.until(task.id(), Standing::Running).await.record;
    assert_eq!((record.runs, record.lost), (2, 1));
    // But not for ever.
    loses().await;
    loses().await;
    assert!(error(&task).await.message.starts_with("its host went away 3 times while it ran"));
    assert_eq!(changed.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn who_knows_late_how_it_ended_tells_it_also_where_it_was_unknown_before() {
    let ground = Ground::default();
    let (tool, changed) = writes(seconds(40), json!({}));
    let (first, task) = begun(&ground, tool, call(1), 25).await;
    let second = ground.host(reads(seconds(1)));
    let other = taken(&second, &task).await;
    assert_eq!(ended(&other).await.how(), How::Unknown);
    // It has ended meanwhile, and still tries to say so.
    first.wire.mend();
    sleep(seconds(2)).await;
    assert_eq!((ground.standing(task.id()).await, changed.load(SeqCst)), (Standing::Done, 1));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_kills_its_host_does_not_do_so_for_ever() {
    let ground = Ground::with(json!({"reruns": 2}));
    let (_first, task) = begun(&ground, reads(seconds(1_000)), call(1), 5).await;
    for _ in 0..2 {
        let next = ground.host(reads(seconds(1_000)));
        next.host.run_tasks();
        sleep(seconds(GONE)).await;
        assert_eq!(ground.standing(task.id()).await, Standing::Running);
        next.wire.cut();
    }
    let last = ground.host(reads(seconds(1)));
    let task = taken(&last, &task).await;
    let told = error(&task).await;
    assert_eq!(told.kind, ErrorKind::Internal);
    assert!(told.message.starts_with("its host went away 3 times while it ran"), "{told}");
    assert_eq!(ground.sheet(task.id()).await.record.runs, 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_key_of_its_own_is_made_again_and_the_ledger_says_what_is_true() {
    for (settings, wanted, changes) in [
        (json!({"idempotency": {"key": "args"}}), Err(ErrorKind::OutcomeUnknown), 1),
        (json!({"idempotency": {"key": "args", "on_crash": "rerun"}}), Ok(json!(1)), 2),
        (json!({"idempotency": {"key": "args", "idempotent": true}}), Ok(json!(1)), 2),
        // And one without a key that may be made twice.
        (json!({"idempotency": {"idempotent": true}}), Ok(json!(1)), 2),
    ] {
        let ground = Ground::default();
        let (tool, changed) = writes(seconds(20), settings.clone());
        let (_first, task) = begun(&ground, tool, call(1), 15).await;
        let (tool, again) = writes(seconds(20), settings.clone());
        let second = ground.host(tool);
        let task = taken(&second, &task).await;
        let came = ended(&task).await.result().unwrap();
        assert_eq!(came.map(|output| output.value).map_err(|error| error.kind), wanted, "{settings}");
        let notes = ground.sheet(task.id()).await.notes;
        assert_eq!(notes.effects.len(), changes, "{settings}: {:?}", notes.effects);
        assert!(changed.load(SeqCst) + again.load(SeqCst) <= changes as u32);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_done_under_its_key_before_its_host_could_say_so_is_answered_from_the_ledger() {
    let ground = Ground::default();
    let settings = json!({"idempotency": {"key": "args"}});
    let (tool, changed) = writes(seconds(10), settings.clone());
    let first = ground.host(tool);
    let task = first.host.spawn(call(1)).await.unwrap();
    sleep(seconds(8)).await;
    first.wire.cut_tasks();
    sleep(seconds(5)).await;
    let (tool, again) = writes(seconds(10), settings);
    let second = ground.host(tool);
    let task = taken(&second, &task).await;
    assert_eq!(answer(&task).await, 1);
    assert_eq!((changed.load(SeqCst), again.load(SeqCst)), (1, 0));
    assert_eq!(ground.sheet(task.id()).await.record.ended().unwrap().report()["idempotency"]["how"], "replayed");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_has_forgotten_what_its_task_did_does_not_have_it_done_twice() {
    for settings in
        [json!({"idempotency": {"key": "args"}}), json!({"idempotency": {"key": "args", "on_crash": "rerun"}})]
    {
        let ground = Ground::default();
        let (tool, _) = writes(seconds(20), settings.clone());
        let (_first, task) = begun(&ground, tool, call(1), 15).await;
        let (tool, again) = writes(seconds(20), settings);
        let second = ground.host(tool);
        let host = second.host.clone().with_ledger(Arc::new(Ledger::new(Arc::new(Keys::default()))));
        host.run_tasks();
        assert_eq!(error(&task_of(&host, &task).await).await.kind, ErrorKind::OutcomeUnknown);
        assert_eq!(again.load(SeqCst), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_tool_is_another_one_by_now_is_no_failure_where_it_may_have_had_its_effect() {
    let ground = Ground::default();
    let settings = json!({"idempotency": {"key": "args"}});
    let (tool, _) = writes(seconds(20), settings);
    let (_first, task) = begun(&ground, tool, call(1), 15).await;
    let other = toolpost_core::Native::new("other", "").run(|_| async { Ok(json!(1)) });
    let second = ground.host(other);
    let task = taken(&second, &task).await;
    assert_eq!(error(&task).await.kind, ErrorKind::OutcomeUnknown);
    // Without an effect, it is what a call would be told.
    let ground = Ground::default();
    let (_first, task) = begun(&ground, reads(seconds(20)), call(1), 5).await;
    let second = ground.host(toolpost_core::Native::new("other", "").run(|_| async { Ok(json!(1)) }));
    let task = taken(&second, &task).await;
    assert_eq!(error(&task).await.kind, ErrorKind::UnknownTool);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_down_is_not_done() {
    let ground = Ground::default();
    let (tool, changed) = writes(seconds(10), json!({"retry": {"max_attempts": 1}}));
    let desk = ground.host(tool);
    let task = desk.host.spawn(call(1)).await.unwrap();
    sleep(seconds(2)).await;
    desk.wire.is_failing.store(true, SeqCst);
    sleep(seconds(10)).await;
    assert_eq!(changed.load(SeqCst), 0);
    desk.wire.is_failing.store(false, SeqCst);
    let told = error(&task).await;
    assert_eq!((told.kind, told.stage), (ErrorKind::Internal, Stage::Guard));
    let refused = {
        desk.wire.is_failing.store(true, SeqCst);
        desk.host.spawn(call(2)).await.unwrap_err()
    };
    assert_eq!(refused.kind, ErrorKind::Internal);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_written_at_once_is_written_later() {
    let ground = Ground::default();
    let (tool, changed) = writes(seconds(10), json!({}));
    let desk = ground.host(tool);
    let task = desk.host.spawn(call(1)).await.unwrap();
    sleep(seconds(7)).await;
    desk.wire.is_failing.store(true, SeqCst);
    sleep(seconds(10)).await;
    assert_eq!(ground.standing(task.id()).await, Standing::Running);
    desk.wire.is_failing.store(false, SeqCst);
    assert_eq!(answer(&task).await, 1);
    assert_eq!((changed.load(SeqCst), ground.sheet(task.id()).await.record.runs), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_ends_by_itself_leaves_what_had_no_effect_to_the_next_one_at_once() {
    let ground = Ground::default();
    let first = ground.host(reads(seconds(100)));
    let read = first.host.spawn(call(1)).await.unwrap();
    sleep(seconds(1)).await;
    assert!(first.host.tasks().stop(seconds(5)).await);
    let second = ground.host(reads(seconds(1)));
    let begun = Instant::now();
    assert_eq!(answer(&taken(&second, &read).await).await, 1);
    assert!(begun.elapsed() < seconds(3), "{:?}", begun.elapsed());
    let record = ground.sheet(read.id()).await.record;
    assert_eq!((record.runs, record.lost), (2, 0));
    // What may have one is ended first.
    let (tool, changed) = writes(seconds(10), json!({}));
    let third = ground.host(tool);
    second.host.tasks().stop(seconds(5)).await;
    let write = third.host.spawn(call(1)).await.unwrap();
    sleep(seconds(7)).await;
    assert!(!third.host.tasks().stop(seconds(1)).await, "it runs still");
    assert!(third.host.tasks().stop(seconds(5)).await);
    assert_eq!((ground.standing(write.id()).await, changed.load(SeqCst)), (Standing::Done, 1));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_dropped_takes_up_no_more() {
    let ground = Ground::with(json!({"parallel": 1}));
    let first = ground.host(reads(seconds(5)));
    let one = first.host.spawn(call(1)).await.unwrap();
    let other = first.host.spawn(call(2)).await.unwrap();
    sleep(seconds(1)).await;
    drop(first);
    assert_eq!(answer(&one).await, 1);
    sleep(seconds(60)).await;
    assert_eq!(ground.standing(other.id()).await, Standing::Queued);
}

#[tokio::test(start_paused = true)]
async fn a_tool_with_many_effects_lists_as_many_as_there_is_room_for() {
    let many = |_, attempt: Attempt| async move {
        for number in 0..1_100 {
            change(&attempt, &number.to_string()).await?;
        }
        Ok::<_, CallError>(json!("done"))
    };
    let ground = Ground::default();
    let desk = ground.host(tool(EffectClass::Writes, json!({}), many).0);
    let task = desk.host.spawn(call(1)).await.unwrap();
    assert_eq!(answer(&task).await, "done");
    let sheet = ground.sheet(task.id()).await;
    assert_eq!((sheet.notes.effects.len(), desk.wire.touches.load(SeqCst)), (1_000, 1_000));
}

//! From filing to forgetting, where nothing goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use toolpost_core::call::Wanted;
use toolpost_core::check::approve::rules::Rule;
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question, Rules};
use toolpost_core::task::{How, Progress, Query, Standing};
use toolpost_core::{
    Call, CallError, CallId, CallOrTask, Caller, Catalog, EffectClass, ErrorKind, Host, Native, Secret, Stage, TaskId,
};

use crate::work::{Ground, answer, call, change, ended, error, reads, seconds, tool, writes};

#[tokio::test(start_paused = true)]
async fn a_call_runs_while_nobody_waits_and_what_came_of_it_is_kept_for_its_time() {
    let ground = Ground::with(json!({"keep": "1h"}));
    let host = ground.host(writes(seconds(10), json!({})).0).host;
    let begun = Instant::now();
    let task = host.spawn(call(1)).await.unwrap();
    assert_eq!(begun.elapsed().as_millis(), 0);
    assert_eq!(ground.standing(task.id()).await, Standing::Queued);
    let sheet = ground.until(task.id(), Standing::Running).await;
    assert_eq!((sheet.record.runs, sheet.record.under.as_deref()), (1, Some("v1")));
    assert_eq!(answer(&task).await, 1);
    assert_eq!(begun.elapsed().as_secs(), 10);
    let sheet = ground.sheet(task.id()).await;
    assert_eq!(sheet.standing(), Standing::Done);
    let words: Vec<String> = sheet.notes.effects.iter().map(|(_, effect)| effect.words()).collect();
    assert_eq!(words, ["files.write a"]);
    let report = sheet.record.ended().unwrap().report();
    assert_eq!(report["effects"][0]["fate"], "done");
    assert_eq!(report["attempts"][0]["number"], 1);
    sleep(seconds(3_590)).await;
    assert_eq!(answer(&task).await, 1);
    sleep(seconds(20)).await;
    assert!(task.look().await.unwrap().is_none() && task.wait().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_kept_as_the_call_would_have_told_it() {
    let fails = |_, _| async {
        let error = CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "it did not work");
        Err(error.with_detail(json!({"code": 7})).retry_after(seconds(3_000)))
    };
    let ground = Ground::default();
    let host = ground.host(tool(EffectClass::Reads, json!({}), fails).0).host;
    let told = host.call(call(1)).await.result.unwrap_err();
    let task = host.spawn(call(1)).await.unwrap();
    let kept = error(&task).await;
    assert_eq!((kept.kind, kept.stage, &kept.message), (told.kind, told.stage, &told.message));
    assert_eq!((&kept.detail, kept.retry_after), (&told.detail, told.retry_after));
    assert_eq!(ground.standing(task.id()).await, Standing::Failed);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_called_is_refused_at_once_and_not_filed() {
    let ground = Ground::default();
    let host = ground
        .host(tool(EffectClass::Writes, json!({"idempotency": {"key": "caller"}}), |_, _| async { Ok(json!(0)) }).0)
        .host;
    let refused = [
        (Call::new("wrok", json!({})), ErrorKind::UnknownTool),
        (Call::new("work", json!({"n": "many"})), ErrorKind::InvalidArguments),
        // A key has to be given.
        (call(1), ErrorKind::InvalidArguments),
    ];
    for (call, kind) in refused {
        assert_eq!(host.spawn(call).await.unwrap_err().kind, kind);
    }
    let all = Query { limit: 10, ..Query::default() };
    assert!(host.tasks().list(&all).await.unwrap().tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_task_cannot_keep_is_refused_and_not_left_out() {
    let ground = Ground::default();
    let host = ground.host(reads(seconds(1))).host;
    let until = Some(Instant::now() + seconds(5));
    let calls: [(&str, Call); 3] = [
        ("wanted", Call { wanted: Wanted { until, unless: None }, ..call(1) }),
        ("wanted", Call { wanted: Wanted { until: None, unless: Some(CancellationToken::new()) }, ..call(1) }),
        ("parent", Call { parent: Some(CallId::fresh()), ..call(1) }),
    ];
    for (what, call) in calls {
        let refused = [
            host.spawn(call.clone()).await.unwrap_err(),
            host.file(call.clone()).await.unwrap_err(),
            host.call_or_task(call, seconds(60)).await.unwrap_err(),
        ];
        for error in refused {
            assert_eq!((error.kind, error.stage), (ErrorKind::InvalidArguments, Stage::Accept));
            assert!(error.message.starts_with(&format!("a task cannot keep the `{what}` of its call")), "{error}");
        }
    }
    let all = Query { limit: 10, ..Query::default() };
    assert!(host.tasks().list(&all).await.unwrap().tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_filed_waits_for_a_host_of_its_kind_that_runs_tasks() {
    let ground = Ground::default();
    let client = ground.host(reads(seconds(1))).host;
    let task = client.file(call(1)).await.unwrap();
    let stranger = ground.host_of("elsewhere", "v1", reads(seconds(1))).host;
    stranger.run_tasks();
    sleep(seconds(100)).await;
    assert_eq!(ground.standing(task.id()).await, Standing::Queued);
    let later = ground.host_of("here", "v2", reads(seconds(1))).host;
    later.run_tasks();
    assert_eq!(answer(&task).await, 1);
    let record = ground.sheet(task.id()).await.record;
    assert_eq!((&*record.request.under, record.under.as_deref()), ("v1", Some("v2")));
}

#[tokio::test(start_paused = true)]
async fn a_host_takes_up_nothing_that_was_filed_after_it_may_not() {
    let ground = Ground::default();
    let before = ground.host(reads(seconds(10))).host;
    let may = Arc::new(AtomicBool::new(true));
    let asked = may.clone();
    before.tasks().take_while(move || asked.load(SeqCst));
    let runs = before.spawn(call(1)).await.unwrap();
    ground.until(runs.id(), Standing::Running).await;
    may.store(false, SeqCst);
    let waits = before.spawn(call(2)).await.unwrap();
    assert_eq!(answer(&runs).await, 1);
    // Nor when it might again: it was replaced.
    may.store(true, SeqCst);
    sleep(seconds(100)).await;
    assert_eq!(ground.standing(waits.id()).await, Standing::Queued);
    let next = ground.host(reads(seconds(1))).host;
    next.run_tasks();
    assert_eq!(answer(&waits).await, 1);
}

#[tokio::test(start_paused = true)]
async fn progress_and_partial_output_are_kept_as_they_come_and_not_without_end() {
    let talks = |_, attempt: toolpost_core::Attempt| async move {
        for done in 0..100 {
            attempt.progress(done, Some(100), Some("at it"));
            attempt.emit("0123456789").await;
            sleep(std::time::Duration::from_millis(20)).await;
        }
        sleep(seconds(10)).await;
        Ok(json!("end"))
    };
    let ground = Ground::with(json!({"partial": 905}));
    let desk = ground.host(tool(EffectClass::Pure, json!({}), talks).0);
    let task = desk.host.spawn(call(1)).await.unwrap();
    sleep(seconds(1)).await;
    let early = ground.sheet(task.id()).await.notes;
    assert!((200..=500).contains(&early.partial.len()), "{}", early.partial.len());
    sleep(seconds(2)).await;
    let late = ground.sheet(task.id()).await.notes;
    assert_eq!((late.partial.len(), late.dropped_bytes), (905, 95));
    let progress = Progress { done: 99, total: Some(100), message: Some("at it".into()) };
    assert_eq!(late.progress, Some(progress));
    // A hundred words are a few writings.
    assert!(desk.wire.says.load(SeqCst) <= 10, "{}", desk.wire.says.load(SeqCst));
    assert_eq!(answer(&task).await, "end");
    assert_eq!(ground.sheet(task.id()).await.notes.partial.len(), 905);
}

#[tokio::test(start_paused = true)]
async fn what_only_reads_is_not_written_down_on_its_way() {
    let ground = Ground::default();
    let desk = ground.host(reads(seconds(1)));
    let task = desk.host.spawn(call(1)).await.unwrap();
    answer(&task).await;
    assert_eq!((desk.wire.touches.load(SeqCst), desk.wire.says.load(SeqCst)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn so_many_run_at_once_as_settings_say_and_the_rest_in_the_order_in_which_they_came() {
    let ground = Ground::with(json!({"parallel": 3}));
    let (now, most, order) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Arc::default());
    let shared = (now.clone(), most.clone(), Arc::<std::sync::Mutex<Vec<u64>>>::clone(&order));
    let act = move |_, attempt: toolpost_core::Attempt| {
        let (now, most, order) = shared.clone();
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            order.lock().unwrap().push(attempt.call.arguments["n"].as_u64().unwrap());
            sleep(seconds(1)).await;
            now.fetch_sub(1, SeqCst);
            Ok(json!(null))
        }
    };
    let host = ground.host(tool(EffectClass::Reads, json!({}), act).0).host;
    let mut tasks = Vec::new();
    for n in 0..30 {
        tasks.push(host.spawn(call(n)).await.unwrap());
        sleep(std::time::Duration::from_millis(1)).await;
    }
    for task in &tasks {
        ended(task).await;
    }
    assert_eq!(most.load(SeqCst), 3);
    let order = order.lock().unwrap().clone();
    for (place, n) in order.iter().enumerate() {
        assert!(n.abs_diff(place as u64) <= 3, "{order:?}");
    }
    assert!(host.tasks().is_idle().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn one_more_than_there_may_be_is_told_to_come_back() {
    let ground = Ground::with(json!({"max_waiting": 2}));
    let host = ground.host(reads(seconds(10))).host;
    let task = host.spawn(call(1)).await.unwrap();
    host.spawn(call(2)).await.unwrap();
    let busy = host.spawn(call(3)).await.unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Busy);
    assert!(busy.retry_after.is_some());
    ended(&task).await;
    host.spawn(call(3)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_turned_away_waits_and_is_tried_again_but_not_for_ever() {
    let ground = Ground::with(json!({"wait": "1m"}));
    let settings = json!({"rate": {"tool": "1/20s"}});
    let host = ground.host(tool(EffectClass::Reads, settings, |run, _| async move { Ok(json!(run)) }).0).host;
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for n in 0..6 {
        tasks.push(host.spawn(call(n)).await.unwrap());
    }
    let mut done = 0;
    for task in &tasks {
        let ended = ended(task).await;
        match ended.result().unwrap() {
            Ok(_) => done += 1,
            Err(error) => assert_eq!(error.kind, ErrorKind::RateLimited),
        }
    }
    assert!((3..=4).contains(&done), "{done}");
    assert!((60..90).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    for task in &tasks {
        let record = ground.sheet(task.id()).await.record;
        assert_eq!(record.lost, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn how_long_a_task_may_be_turned_away_counts_from_the_first_time() {
    let ground = Ground::with(json!({"wait": "1m", "parallel": 1}));
    let act = |_, attempt: toolpost_core::Attempt| async move {
        let n = attempt.call.arguments["n"].clone();
        sleep(seconds(n.as_u64().unwrap())).await;
        Ok(n)
    };
    let host = ground.host(tool(EffectClass::Reads, json!({"rate": {"tool": "1/220s"}}), act).0).host;
    let long = host.spawn(call(200)).await.unwrap();
    let late = host.spawn(call(1)).await.unwrap();
    assert_eq!(answer(&long).await, 200);
    // It is turned away for the first time here, and has waited for longer than a minute.
    sleep(seconds(1)).await;
    let record = ground.sheet(late.id()).await.record;
    assert_eq!((record.standing(false, false), record.runs), (Standing::Queued, 1));
    assert_eq!(answer(&late).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_says_itself_that_it_was_cancelled_has_ended() {
    for class in [EffectClass::Reads, EffectClass::Writes] {
        let ground = Ground::default();
        let gives_up = |_, _| async { Err(CallError::new(ErrorKind::Cancelled, Stage::Run, "the other side gave up")) };
        let (tool, runs) = tool(class, json!({}), gives_up);
        let host = ground.host(tool).host;
        let task = host.spawn(call(1)).await.unwrap();
        sleep(seconds(10)).await;
        assert_eq!((ground.standing(task.id()).await, runs.load(SeqCst)), (Standing::Cancelled, 1));
        assert_eq!(error(&task).await.message, "the other side gave up");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_call_so_long_gets_its_outcome_or_its_task() {
    let ground = Ground::default();
    let host = ground.host(reads(seconds(10))).host;
    let CallOrTask::Task(task) = host.call_or_task(call(1), seconds(5)).await.unwrap() else { panic!("too early") };
    assert_eq!(answer(&task).await, 1);
    let CallOrTask::Ended(outcome) = host.call_or_task(call(2), seconds(60)).await.unwrap() else { panic!("too late") };
    assert_eq!(outcome.result.as_ref().unwrap().value, 2);
    assert_eq!(outcome.report.attempts.len(), 1, "it is the very outcome");
    // Also where another process runs it.
    let (here, there) = (ground.host(reads(seconds(1))).host, ground.host(reads(seconds(1))).host);
    here.tasks().stop(seconds(1)).await;
    there.run_tasks();
    let CallOrTask::Ended(outcome) = here.call_or_task(call(3), seconds(60)).await.unwrap() else { panic!("too late") };
    assert_eq!((outcome.tool.as_str(), outcome.result.unwrap().value), ("work", json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_task_is_its_callers_and_nobody_elses() {
    let ground = Ground::default();
    let host = ground.host(reads(seconds(10))).host;
    let task = host.spawn(call(1)).await.unwrap();
    let found = async |id: &TaskId, name: &str| host.task(id, &Caller::named(name)).await.unwrap().is_some();
    assert!(found(task.id(), "ann").await);
    assert!(!found(task.id(), "bob").await && !found(task.id(), "").await);
    assert!(!found(&TaskId::of_text(&format!("task_{:032x}", 1)).unwrap(), "ann").await);
    let other = host.spawn(call(1)).await.unwrap();
    let digits = |id: &TaskId| u128::from_str_radix(id.digits(), 16).unwrap();
    let (one, other) = (digits(task.id()), digits(other.id()));
    assert!((one ^ other).count_ones() > 20, "nothing of one id is in the next");
    assert_eq!(
        [TaskId::of_text("task_"), TaskId::of_text("call_1"), TaskId::of_text(&format!("task_{:032X}", u128::MAX))],
        [None, None, None]
    );
}

/// An approver who thinks for a while.
struct Slow;

impl Approver for Slow {
    fn ask<'a>(&'a self, _: &'a Question) -> futures_util::future::BoxFuture<'a, Result<Answer, Pass>> {
        Box::pin(async {
            sleep(seconds(5)).await;
            Ok(Answer { choice: Choice::Allow, by: "bob".into() })
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_about_which_somebody_is_asked_says_so() {
    let ground = Ground::default();
    let rules = Rules { ask: vec![Rule::default()], ..Rules::default() };
    let approval = Approval::new(rules).then(Arc::new(Slow));
    let host = ground.host(writes(seconds(10), json!({})).0).host.with_approval(approval);
    let task = host.spawn(call(1)).await.unwrap();
    let sheet = ground.until(task.id(), Standing::Waiting).await;
    assert!(sheet.notes.question.is_some());
    let sheet = ground.until(task.id(), Standing::Running).await;
    assert_eq!(sheet.notes.question, None);
    assert_eq!(answer(&task).await, 1);
}

#[tokio::test(start_paused = true)]
async fn secrets_are_not_shown_and_reach_the_tool() {
    let echo = Native::new("work", "")
        .parameter("n", toolpost_core::catalog::shape::Shape::String)
        .effect(EffectClass::Writes)
        .run(|attempt| async move {
            let said = attempt.call.arguments["n"].as_str().unwrap().to_owned();
            change(&attempt, &said).await?;
            attempt.progress(1, None, Some(&said));
            attempt.emit(&said).await;
            Ok(json!(said.len()))
        });
    let ground = Ground::default();
    let desk = ground.host(echo);
    let secrets = Arc::new(toolpost_core::Secrets::default());
    secrets.learn("token", &Arc::new(Secret::new("hunter2-hunter2".into()).unwrap())).unwrap();
    let host = desk.host.with_secrets(secrets);
    let task = host.spawn(Call::new("work", json!({"n": "a hunter2-hunter2 b"}))).await.unwrap();
    assert_eq!(answer(&task).await, 19);
    let sheet = ground.sheet(task.id()).await;
    assert_eq!(sheet.record.request.shown, r#"{"n":"a *** b"}"#);
    assert!(!format!("{sheet:?}").contains("hunter2"), "{sheet:?}");
    assert_eq!(sheet.notes.partial, "a *** b");
}

#[tokio::test(start_paused = true)]
async fn a_running_tool_makes_no_tasks() {
    let inner = Native::new("inner", "").effect(EffectClass::Pure).run(|_| async { Ok(json!(1)) });
    let mut catalog = Catalog::default();
    let reach = Arc::new(std::sync::OnceLock::<Host>::new());
    let host = reach.clone();
    let outer = Native::new("outer", "").run(move |attempt| {
        let host = host.clone();
        async move {
            let refused = host.get().unwrap().spawn(attempt.child("inner", json!({}))).await.unwrap_err();
            Ok(json!(refused.message))
        }
    });
    catalog.add(inner).unwrap();
    catalog.add(outer).unwrap();
    let host = Host::new(catalog);
    assert!(reach.set(host.clone()).is_ok());
    let outcome = host.call(Call::new("outer", json!({}))).await;
    assert_eq!(outcome.result.unwrap().value, "`inner` is called by a running tool, which has to wait for it");
}

#[tokio::test(start_paused = true)]
async fn what_a_tool_does_by_calling_others_is_on_the_list_of_its_task() {
    let inner = Native::new("inner", "").effect(EffectClass::Writes).run(|attempt| async move {
        change(&attempt, "inside").await?;
        Ok(json!(1))
    });
    let outer = Native::new("work", "").effect(EffectClass::Writes).run(|attempt| async move {
        change(&attempt, "outside").await?;
        attempt.call("inner", json!({})).await.result.map(|output| output.value)
    });
    let mut catalog = Catalog::default();
    catalog.add(inner).unwrap();
    catalog.add(outer).unwrap();
    let host = Host::new(catalog);
    let task = host.spawn(Call::new("work", json!({}))).await.unwrap();
    assert_eq!(answer(&task).await, 1);
    let listed: Vec<String> =
        task.look().await.unwrap().unwrap().notes.effects.into_iter().map(|(_, effect)| effect.target).collect();
    assert_eq!(listed, ["outside", "inside"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_can_be_forgotten_and_what_runs_cannot() {
    let ground = Ground::default();
    let host = ground.host(reads(seconds(10))).host;
    let task = host.spawn(call(1)).await.unwrap();
    ground.until(task.id(), Standing::Running).await;
    assert_eq!(host.tasks().forget(task.id()).await.unwrap(), Some(Standing::Running));
    assert_eq!(ended(&task).await.how(), How::Done);
    assert_eq!(host.tasks().forget(task.id()).await.unwrap(), Some(Standing::Done));
    assert_eq!(host.tasks().forget(task.id()).await.unwrap(), None);
}

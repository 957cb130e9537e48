//! Batches that run, on a paused clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use toolpost_core::batch::{Batch, BatchSettings, Classes, Step};
use toolpost_core::catalog::Origin;
use toolpost_core::catalog::grants::GrantSettings;
use toolpost_core::catalog::shape::Shape;
use toolpost_core::check::approve::rules::Action;
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Decided, Pass, Question};
use toolpost_core::guard::GuardSettings;
use toolpost_core::{
    Attempt, Call, CallError, Catalog, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome, Stage, Tool,
};

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// A disk that writes down who used it when.
#[derive(Default)]
struct Disk {
    files: Mutex<BTreeMap<String, String>>,
    begun: Mutex<Vec<(String, Duration)>>,
}

impl Disk {
    fn begun(&self) -> Vec<(String, u64)> {
        let begun = self.begun.lock().unwrap();
        begun.iter().map(|(what, when)| (what.clone(), u64::try_from(when.as_millis()).unwrap())).collect()
    }
}

fn guard(settings: Value) -> GuardSettings {
    serde_json::from_value(settings).unwrap()
}

/// A tool as a component's would be, with `path` and `text`, that does something for 100 ms.
fn tool(
    name: &str,
    effect: EffectClass,
    settings: Value,
    disk: &Arc<Disk>,
    run: fn(&Disk, &Value) -> Result<Value, CallError>,
) -> Tool {
    let (disk, start, what) = (disk.clone(), Instant::now(), name.to_owned());
    let text = || Shape::Option(Box::new(Shape::String));
    let native = Native::new(name, "").effect(effect).parameter("path", text()).parameter("text", text());
    let mut settings = settings;
    settings["breaker"] = json!({"kind": "none"});
    let mut tool = native.guard(guard(settings)).run(move |attempt: Attempt| {
        let (disk, what) = (disk.clone(), what.clone());
        async move {
            let arguments = attempt.call.arguments.clone();
            let what = format!("{what} {}", arguments["path"].as_str().unwrap_or_default());
            disk.begun.lock().unwrap().push((what.trim().to_owned(), start.elapsed()));
            sleep(ms(100)).await;
            run(&disk, &arguments)
        }
    });
    let access = if effect.may_change() { "write" } else { "read" };
    let grants = json!({"dirs": [{"host": "/srv", "guest": "/", "access": access, "only": "${args.path}"}]});
    let grants: GrantSettings = serde_json::from_value(grants).unwrap();
    tool.grants = tool.grants.with(&grants);
    let digest = String::new();
    tool.origin = Origin::Component { component: "files".into(), digest, function: name.to_owned() };
    tool
}

fn write(disk: &Disk, arguments: &Value) -> Result<Value, CallError> {
    let [path, text] = ["path", "text"].map(|name| arguments[name].as_str().unwrap_or_default().to_owned());
    disk.files.lock().unwrap().insert(path, text);
    Ok(json!(null))
}

fn read(disk: &Disk, arguments: &Value) -> Result<Value, CallError> {
    let files = disk.files.lock().unwrap();
    Ok(json!(files.get(arguments["path"].as_str().unwrap_or_default())))
}

fn fail(_: &Disk, _: &Value) -> Result<Value, CallError> {
    Err(CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, "no"))
}

fn host() -> (Host, Arc<Disk>) {
    host_with(Value::Null)
}

fn host_with(read_cache: Value) -> (Host, Arc<Disk>) {
    use EffectClass::{Destroys, Reads, Writes};
    let disk = Arc::new(Disk::default());
    let reads = if read_cache.is_null() { json!({}) } else { json!({"cache": read_cache}) };
    let tools = [
        tool("read", Reads, reads, &disk, read),
        tool("read_two", Reads, json!({"parallel": 2}), &disk, read),
        tool("write", Writes, json!({}), &disk, write),
        tool("delete", Destroys, json!({}), &disk, write),
        tool("fail", Reads, json!({}), &disk, fail),
        tool("panic", Reads, json!({}), &disk, |_, _| panic!("oh")),
    ];
    let mut catalog = Catalog::default();
    tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
    (Host::new(catalog), disk)
}

fn on(tool: &str, path: &str) -> Call {
    Call::new(tool, json!({"path": path}))
}

fn values(outcomes: &[Outcome]) -> Vec<String> {
    let value = |outcome: &Outcome| match &outcome.result {
        Ok(output) => output.value.to_string(),
        Err(error) => error.kind.name().to_owned(),
    };
    outcomes.iter().map(value).collect()
}

async fn open(host: &Host, settings: BatchSettings, calls: impl IntoIterator<Item = Call>) -> Batch {
    let mut batch = host.open_batch(settings);
    for call in calls {
        batch.add(call).await.unwrap();
    }
    batch
}

#[tokio::test(start_paused = true)]
async fn ten_calls_that_wait_for_the_world_take_as_long_as_one() {
    let (host, _) = host();
    let start = Instant::now();
    let (outcomes, report) = host.batch((0..10).map(|n| on("read", &n.to_string()))).await;
    assert_eq!((outcomes.len(), start.elapsed()), (10, ms(100)));
    assert_eq!((report.ok, report.parallel, report.time, report.busy), (10, 10, ms(100), ms(1_000)));
}

#[tokio::test(start_paused = true)]
async fn a_read_behind_a_write_sees_it_and_others_do_not_wait() {
    for cache in [Value::Null, json!({"ttl": "1h"})] {
        let (host, disk) = host_with(cache);
        let write = |text: &str| Call::new("write", json!({"path": "/a", "text": text}));
        let calls = [write("one"), on("read", "/a"), write("two"), on("read", "/a"), on("read", "/b")];
        // What an earlier call has read of it, which may be kept.
        let _ = host.call(on("read", "/a")).await;
        disk.begun.lock().unwrap().clear();
        let (outcomes, report) = host.batch(calls).await;
        assert_eq!(values(&outcomes), ["null", "\"one\"", "null", "\"two\"", "null"]);
        let order = [("write /a", 100), ("read /b", 100), ("read /a", 200), ("write /a", 300), ("read /a", 400)];
        let mut begun = disk.begun();
        begun.sort_by_key(|(what, when)| (*when, what != "write /a"));
        assert_eq!(begun, order.map(|(what, when)| (what.to_owned(), when)));
        let path: Vec<usize> = report.critical_path.iter().map(|step| step.index).collect();
        assert_eq!((path, report.time), (vec![0, 1, 2, 3], ms(400)));
        assert_eq!(outcomes[3].report.turn, ms(300));
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_has_its_own_outcome_whatever_becomes_of_the_others() {
    let (host, _) = host();
    let calls = [
        on("read", "/a"),
        on("fail", "/a"),
        on("panic", "/a"),
        on("nothing", "/a"),
        Call::new("read", "{\"path\": \"/a"),
        on("write", "/b"),
        on("delete", "/c"),
    ];
    let (outcomes, report) = host.batch(calls).await;
    let expected = ["null", "tool_failed", "internal", "unknown_tool", "invalid_arguments", "null", "declined"];
    assert_eq!(values(&outcomes), expected);
    assert_eq!((report.calls, report.ok), (7, 2));
    let failed = [("declined", 1), ("internal", 1), ("invalid_arguments", 1), ("tool_failed", 1), ("unknown_tool", 1)];
    assert_eq!(report.failed, BTreeMap::from(failed));
    let classes: Vec<_> = report.classes.iter().map(|(name, class)| (*name, class.calls, class.failed)).collect();
    assert_eq!(classes, [("destructive", 1, 1), ("parallel", 3, 2), ("refused", 2, 2), ("sequential", 1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_told_as_they_come_and_calls_may_be_added_meanwhile() {
    let (host, _) = host();
    let mut batch =
        open(&host, BatchSettings::default(), [on("write", "/a"), on("read", "/a"), on("nothing", "")]).await;
    assert_eq!(batch.next().await.unwrap().index, 2);
    assert_eq!(batch.next().await.unwrap().index, 0);
    assert_eq!(batch.add(on("write", "/a")).await.unwrap(), 3);
    assert_eq!(batch.add(on("read", "/b")).await.unwrap(), 4);
    let mut rest = Vec::new();
    while let Some(done) = batch.next().await {
        assert!(done.outcome.result.is_ok());
        rest.push(done.index);
    }
    assert_eq!(rest.last(), Some(&3));
    rest.sort_unstable();
    assert_eq!(rest, [1, 3, 4]);
    assert_eq!(batch.report().time, ms(300));
}

#[tokio::test(start_paused = true)]
async fn a_tool_with_few_places_keeps_no_place_of_the_batch_from_others() {
    let (host, disk) = host();
    let calls = (0..4).map(|n| on("read_two", &n.to_string())).chain([on("read", "x"), on("read", "y")]);
    let settings = BatchSettings { max_parallel: 4, ..BatchSettings::default() };
    let (outcomes, report) = open(&host, settings, calls).await.all().await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!((report.time, report.parallel), (ms(200), 4));
    let first = disk.begun().into_iter().filter(|(_, when)| *when == 0).count();
    assert_eq!(first, 4);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_ends_a_batch_where_that_is_asked_for() {
    let (host, disk) = host();
    let settings = BatchSettings { fail_fast: true, max_parallel: 3, ..BatchSettings::default() };
    let slow = Call::new("write", json!({"path": "/w", "text": "whole"}));
    let calls = [on("fail", "/x"), slow, on("read", "/a"), on("read", "/late")];
    let mut batch = host.open_batch(settings);
    for call in calls {
        batch.add(call).await.unwrap();
        sleep(ms(1)).await;
    }
    let (outcomes, _) = batch.all().await;
    assert_eq!(values(&outcomes), ["tool_failed", "null", "cancelled", "cancelled"]);
    let words = "call 1 of its batch failed, and the first failure ends all";
    assert_eq!(outcomes[3].result.as_ref().unwrap_err().message, words);
    assert_eq!(disk.files.lock().unwrap()["/w"], "whole");
    assert!(!disk.begun().iter().any(|(what, _)| what == "read /late"), "it did not begin");
}

#[tokio::test(start_paused = true)]
async fn a_batch_takes_no_longer_than_it_may() {
    let (host, _) = host();
    let settings = BatchSettings { time_max: Some(ms(150)), ..BatchSettings::default() };
    let calls = [on("write", "/a"), on("write", "/a"), on("write", "/a"), on("read", "/b")];
    let start = Instant::now();
    let (outcomes, _) = open(&host, settings, calls).await.all().await;
    assert_eq!(values(&outcomes), ["null", "timed_out", "timed_out", "null"]);
    assert_eq!(start.elapsed(), ms(150));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_cancelled_still_answers_every_call() {
    let (host, disk) = host();
    let calls = [on("write", "/a"), on("read", "/b"), on("write", "/a")];
    let batch = open(&host, BatchSettings::default(), calls).await;
    let cancel = batch.canceller();
    let (ended, ()) = tokio::join!(batch.all(), async {
        sleep(ms(30)).await;
        cancel.cancel();
    });
    assert_eq!(values(&ended.0), ["null", "cancelled", "cancelled"]);
    assert_eq!((disk.begun().len(), host.in_use()), (2, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_dropped_gives_everything_back() {
    let (host, disk) = host();
    let host = host.with_limits(HostLimits { max_parallel: 1, ..HostLimits::default() });
    let batch = open(&host, BatchSettings::default(), (0..5).map(|n| on("read", &n.to_string()))).await;
    sleep(ms(30)).await;
    drop(batch);
    sleep(ms(1)).await;
    assert_eq!((disk.begun().len(), host.in_use()), (1, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_only_so_many_calls_and_those_beyond_are_answered_too() {
    let (host, _) = host();
    let host = host.with_batches(BatchSettings { max_calls: 2, ..BatchSettings::default() });
    let (outcomes, _) = host.batch((0..3).map(|n| on("read", &n.to_string()))).await;
    assert_eq!(values(&outcomes), ["null", "null", "quota_exceeded"]);
    let words = "a batch has at most 2 calls; make several of it, or raise `batch.max_calls`";
    assert_eq!(outcomes[2].result.as_ref().unwrap_err().to_string(), words);
}

#[tokio::test(start_paused = true)]
async fn calls_that_must_not_run_count_among_those_that_a_batch_may_have() {
    let (host, _) = host();
    let mut batch = host.open_batch(BatchSettings { max_calls: 2, ..BatchSettings::default() });
    let error = || CallError::new(ErrorKind::InvalidArguments, Stage::Accept, "no");
    let taken = [(); 3].map(|()| batch.refuse("read", error()).is_ok());
    assert_eq!(taken, [true, true, false]);
    assert_eq!(batch.add(on("read", "/a")).await.unwrap_err().kind, ErrorKind::QuotaExceeded);
    assert_eq!(batch.all().await.0.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_on_while_nobody_asks_for_what_has_ended() {
    let (host, disk) = host();
    let calls = [on("panic", "/a"), on("write", "/a"), on("nothing", ""), on("read", "/a"), on("read", "/b")];
    let settings = BatchSettings { max_parallel: 1, ..BatchSettings::default() };
    let batch = open(&host, settings, calls).await;
    sleep(ms(5_000)).await;
    let begun = ["panic /a", "write /a", "read /a", "read /b"].into_iter().zip([0, 100, 200, 300]);
    assert_eq!(disk.begun(), begun.map(|(what, when)| (what.to_owned(), when)).collect::<Vec<_>>());
    let (outcomes, report) = batch.all().await;
    assert_eq!(values(&outcomes), ["internal", "null", "unknown_tool", "\"\"", "null"]);
    assert_eq!(report.time, ms(400));
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_ends_a_batch_also_while_nobody_asks_for_what_has_ended() {
    let (host, disk) = host();
    let settings = || BatchSettings { fail_fast: true, max_parallel: 1, ..BatchSettings::default() };
    let batch = open(&host, settings(), [on("fail", "/a"), on("read", "/b")]).await;
    sleep(ms(5_000)).await;
    assert_eq!(disk.begun(), [("fail /a".to_owned(), 0)]);
    assert_eq!(values(&batch.all().await.0), ["tool_failed", "cancelled"]);
    // One that must not run has failed when it is added.
    let mut batch = open(&host, settings(), [on("read", "/a")]).await;
    batch.refuse("read", CallError::new(ErrorKind::InvalidArguments, Stage::Accept, "no")).unwrap();
    assert!(batch.add(on("read", "/b")).await.is_ok());
    assert_eq!(values(&batch.all().await.0), ["cancelled", "invalid_arguments", "cancelled"]);
}

/// Somebody who thinks for a second, and then does this.
struct Slow(Choice, Mutex<Vec<String>>);

impl Approver for Slow {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        self.1.lock().unwrap().push(question.tool.clone());
        async {
            sleep(ms(1_000)).await;
            Ok(Answer { choice: self.0.clone(), by: "ann".into() })
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_destroys_is_asked_about_before_its_turn_and_runs_alone() {
    let (host, disk) = host();
    let ann = Arc::new(Slow(Choice::Allow, Mutex::default()));
    let host = host.with_approval(Approval::default().then(ann.clone()));
    let calls = [on("read", "/a"), on("delete", "/b"), on("delete", "/c"), on("read", "/d")];
    let (outcomes, report) = host.batch(calls).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    // Both at once, and while the first call runs.
    let begun = [("read /a", 0), ("delete /b", 1_000), ("delete /c", 1_100), ("read /d", 1_200)];
    assert_eq!(disk.begun(), begun.map(|(what, when)| (what.to_owned(), when)));
    assert_eq!((report.asked, report.classes["destructive"].waited), (2, ms(100)));
    // What the first of them was judged and all ran is the time of the batch.
    let way: Vec<_> = report.critical_path.iter().map(|step| (step.index, step.judged, step.asked, step.ran)).collect();
    let expected = [(1, ms(1_000), true, ms(100)), (2, ms(1_000), true, ms(100)), (3, ms(0), false, ms(100))];
    assert_eq!((way, report.time), (expected.to_vec(), ms(1_300)));
}

#[tokio::test(start_paused = true)]
async fn a_tool_of_the_class_destructive_is_asked_about_in_a_batch_as_one_that_destroys_is() {
    let (host, disk) = host();
    let ann = Arc::new(Slow(Choice::Allow, Mutex::default()));
    let classes: Classes = serde_json::from_value(json!([{"tools": "write", "class": "destructive"}])).unwrap();
    let rules = json!({"allow": [{"tools": ["write"], "arguments": {"/path": "/free"}}]});
    let approval = Approval::new(serde_json::from_value(rules).unwrap());
    let host = host.with_batches(BatchSettings { classes: classes.clone(), ..BatchSettings::default() });
    let asked = host.clone().with_approval(Approval::default().then(ann.clone()));
    let (outcomes, report) = asked.batch([on("write", "/a"), on("read", "/b")]).await;
    assert_eq!((values(&outcomes), report.asked), (vec!["null".to_owned(), "null".to_owned()], 1));
    assert_eq!(disk.begun(), [("write /a".to_owned(), 1_000), ("read /b".to_owned(), 1_100)]);
    assert_eq!(ann.1.lock().unwrap().as_slice(), ["write"]);
    assert_eq!(outcomes[0].report.decisions[0].what, Decided::Allowed);
    // Without anybody it is refused, and a rule may allow it; alone it is what it was.
    let alone = host.with_approval(approval);
    let (outcomes, _) = alone.batch([on("write", "/a"), on("write", "/free")]).await;
    assert_eq!(values(&outcomes), ["declined", "null"]);
    assert!(alone.call(on("write", "/a")).await.result.is_ok());
    let explained = [on("write", "/a"), on("write", "/free"), on("read", "/a")]
        .map(|call| alone.explain_in_batch(call, &classes).unwrap().action);
    assert_eq!(explained, [Action::Ask, Action::Allow, Action::Allow]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_edited_waits_for_what_it_touches_now() {
    let (host, disk) = host();
    let edit = Choice::Edit { arguments: json!({"path": "/b"}) };
    let host = host.with_approval(Approval::default().then(Arc::new(Slow(edit, Mutex::default()))));
    let mut batch = host.open_batch(BatchSettings::default());
    batch.add(on("delete", "/a")).await.unwrap();
    let (outcomes, _) = batch.all().await;
    assert_eq!(outcomes[0].report.decisions.len(), 1, "{outcomes:?}");
    assert_eq!(disk.begun()[0].0, "delete /b");
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_lets_those_behind_it_go() {
    let (host, disk) = host();
    let (outcomes, report) = host.batch([on("delete", "/a"), on("write", "/b")]).await;
    assert_eq!(values(&outcomes), ["declined", "null"]);
    assert_eq!(disk.begun(), [("write /b".to_owned(), 0)]);
    let none = Duration::ZERO;
    let step = Step { index: 1, tool: "write".into(), judged: none, asked: false, waited: none, ran: ms(100) };
    assert_eq!(report.critical_path.last(), Some(&step));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_in_one_anothers_way_all_run() {
    let (host, _) = host();
    let calls = (0..1_000).map(|n| on(if n % 2 == 0 { "write" } else { "read" }, "/a"));
    let (outcomes, report) = timeout(Duration::from_secs(1_000), host.batch(calls)).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!((report.parallel, report.time), (1, ms(100_000)));
    assert_eq!(report.critical_path.len(), 1_000);
}

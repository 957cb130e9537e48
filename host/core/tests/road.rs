//! The road of a call: what it meets in which order, what its outcome says, and what is told on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::sleep;
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::{
    AcceptedCall, Attempt, Call, CallError, CallId, Caller, Catalog, Check, Effect, EffectClass, ErrorKind, Event,
    Host, Level, Native, Outcome, Sink, Stage, Told, Tool,
};

const CLASSES: [EffectClass; 2] = [EffectClass::Reads, EffectClass::Writes];

fn host(tools: impl IntoIterator<Item = Tool>) -> Host {
    let mut catalog = Catalog::default();
    tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
    Host::new(catalog)
}

/// A tool with the optional parameter `number`, run by that function.
fn tool<F, R>(name: &str, effect: EffectClass, run: F) -> Tool
where
    F: Fn(Attempt) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let number = Shape::Option(Box::new(Shape::Integer(Integer::U8)));
    Native::new(name, "").parameter("number", number).effect(effect).run(run)
}

async fn call(host: &Host, name: &str) -> Outcome {
    host.call(Call::new(name, json!({}))).await
}

fn error(outcome: &Outcome) -> (ErrorKind, Stage, &str) {
    let error = outcome.result.as_ref().unwrap_err();
    (error.kind, error.stage, &error.message)
}

/// Writes down what is told, a line for each event.
#[derive(Default)]
struct Recorder(Mutex<Vec<(u64, String)>>);

impl Sink for Recorder {
    fn tell(&self, told: &Told<'_>) {
        let line = match told.event {
            Event::CallStarted { call } => format!("call of {}", call.tool),
            Event::CallAccepted { call } => format!("accepted {}", call.arguments),
            Event::AttemptStarted { number } => format!("attempt {number}"),
            Event::Progress { done, total, message } => format!("progress {done} of {total:?}: {message:?}"),
            Event::Partial { text } => format!("part {text}"),
            Event::Log { level, message } => format!("log {}: {message}", level.name()),
            Event::Effect { effect } => format!("effect {} on {}", effect.action, effect.target),
            Event::AttemptEnded { report } => {
                format!("attempt {} ended: {:?}", report.number, report.error.as_ref().map(|error| error.kind))
            }
            Event::CallEnded { outcome } => format!("call ended: {:?}", outcome.failed()),
            other => panic!("{other:?}"),
        };
        self.0.lock().unwrap().push((told.seq, format!("{}: {line}", told.call.unwrap())));
    }
}

impl Recorder {
    /// What was told so far, in the order of its numbers; it is forgotten then.
    fn told(&self) -> Vec<String> {
        let told = std::mem::take(&mut *self.0.lock().unwrap());
        assert!(told.is_sorted_by(|one, next| one.0 + 1 == next.0), "{told:?}");
        told.into_iter().map(|(_, line)| line).collect()
    }
}

/// A check that answers by a function.
struct Judge<F>(F);

impl<F: Fn(&AcceptedCall) -> Result<(), CallError> + Send + Sync> Check for Judge<F> {
    fn check<'a>(&'a self, call: &'a AcceptedCall) -> BoxFuture<'a, Result<(), CallError>> {
        async move { (self.0)(call) }.boxed()
    }
}

fn declined(message: &str) -> CallError {
    CallError::new(ErrorKind::Declined, Stage::Check, message)
}

#[tokio::test(start_paused = true)]
async fn a_call_of_an_unknown_tool_says_which_one_was_meant() {
    let host = host([tool("text_count", EffectClass::Pure, |_| async { Ok(json!(1)) })]);
    let outcome = call(&host, "txet_count").await;
    let message = "no tool is named `txet_count`; did you mean `text_count`?";
    assert_eq!(error(&outcome), (ErrorKind::UnknownTool, Stage::Find, message));
    assert_eq!(outcome.tool, "txet_count");
    assert!(outcome.report.attempts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_outcome_says_what_came_of_the_call_and_what_it_took() {
    for class in CLASSES {
        let tool = tool("nap", class, |attempt| async move {
            attempt.meter.fuel_used(77);
            attempt.meter.memory_held(4_096);
            attempt.meter.memory_held(1_024);
            attempt.meter.stdout.write(b"out");
            attempt.meter.stderr.write(b"err");
            attempt.log(Level::Warn, "tired");
            sleep(Duration::from_millis(250)).await;
            Ok(attempt.call.arguments["number"].clone())
        });
        let call = Call::new("nap", r#"{'number': "7"}"#);
        let id = call.id.clone();
        let outcome = host([tool]).call(call).await;
        assert_eq!((outcome.call, outcome.tool.as_str()), (id, "nap"));
        assert_eq!(outcome.result.unwrap().value, json!(7));
        let cast =
            json!({"repairs": ["single_quotes"], "changes": [{"pointer": "/number", "from": "\"7\"", "to": "7"}]});
        let attempt = json!({
            "number": 1, "time_ms": 250.0, "fuel": 77, "memory_bytes_peak": 4_096,
            "stdout": {"text": "out"}, "stderr": {"text": "err"}, "log": {"text": "warn: tired\n"}
        });
        let usage = json!({"calls": 1, "attempts": 1, "fuel": 77, "time_ms": 250.0, "output_bytes": 1});
        let report = json!({
            "time_ms": 250.0, "waited_ms": 0.0, "cast": cast, "usage": usage, "attempts": [attempt], "effects": []
        });
        assert_eq!(serde_json::to_value(outcome.report).unwrap(), report, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_tool_reports_as_its_failure_reaches_the_caller_as_it_is() {
    for class in CLASSES {
        let host = host([tool("fail", class, |_| async {
            let failed = CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "no such city");
            Err(failed.with_detail(json!({"city": "X"})))
        })]);
        let outcome = call(&host, "fail").await;
        assert_eq!(error(&outcome), (ErrorKind::ToolFailed { retryable: true }, Stage::Run, "no such city"));
        assert_eq!(outcome.result.as_ref().unwrap_err().detail, Some(json!({"city": "X"})));
        assert_eq!(outcome.report.attempts[0].error.as_ref().unwrap().message, "no such city");
    }
}

#[tokio::test(start_paused = true)]
async fn everything_about_a_call_is_told_in_the_order_in_which_it_happens() {
    let busy = tool("busy", EffectClass::Writes, |attempt| async move {
        attempt.log(Level::Info, "begin");
        attempt.progress(1, Some(2), Some("half"));
        let target = "a.txt".to_owned();
        attempt
            .pass(Effect { class: EffectClass::Writes, action: "files.write".into(), target, detail: None })
            .await?
            .done();
        attempt.emit("chunk").await;
        attempt.progress(2, None, None);
        Err(declined("enough"))
    });
    let (first, second) = (Arc::new(Recorder::default()), Arc::new(Recorder::default()));
    let host = host([busy]).with_sink(first.clone()).with_sink(second.clone());
    for (id, tool, arguments, lines) in [
        (
            "one",
            "busy",
            json!({}),
            vec![
                "one: call of busy",
                "one: accepted {\"number\":null}",
                "one: attempt 1",
                "one: log info: begin",
                "one: progress 1 of Some(2): Some(\"half\")",
                "one: effect files.write on a.txt",
                "one: part chunk",
                "one: progress 2 of None: None",
                "one: attempt 1 ended: Some(Declined)",
                "one: call ended: Some(Declined)",
            ],
        ),
        ("two", "bsuy", json!({}), vec!["two: call of bsuy", "two: call ended: Some(UnknownTool)"]),
        ("three", "busy", json!([]), vec!["three: call of busy", "three: call ended: Some(InvalidArguments)"]),
    ] {
        host.call(Call { id: CallId::given(id), ..Call::new(tool, arguments) }).await;
        assert_eq!(first.told(), lines);
        assert_eq!(second.told(), lines);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_refuses_ends_the_call_before_the_tool_runs() {
    let ran = Arc::new(Mutex::new(0));
    let count = ran.clone();
    let tool = tool("pay", EffectClass::Writes, move |_| {
        *count.lock().unwrap() += 1;
        async { Ok(json!("paid")) }
    });
    let recorder = Arc::new(Recorder::default());
    let host = host([tool])
        .with_sink(recorder.clone())
        .with_check(Arc::new(Judge(|call: &AcceptedCall| match call.arguments["number"].as_u64() {
            Some(number) if number > 5 => Err(declined("at most 5")),
            _ => Ok(()),
        })))
        .with_check(Arc::new(Judge(|call: &AcceptedCall| match call.arguments["number"].as_u64() {
            None | Some(7) => Err(declined("the first refusal stands")),
            _ => Ok(()),
        })));
    // The checks see the canonical arguments, whatever was sent.
    for (arguments, told) in [
        (json!({"number": "7"}), "at most 5"),
        (json!({"number": 9.0}), "at most 5"),
        (json!({}), "the first refusal stands"),
    ] {
        let outcome = host.call(Call::new("pay", arguments)).await;
        assert_eq!(error(&outcome), (ErrorKind::Declined, Stage::Check, told));
        assert!(outcome.report.attempts.is_empty());
        assert!(recorder.told().iter().all(|line| !line.contains("attempt")));
    }
    assert_eq!((*ran.lock().unwrap(), host.in_use()), (0, (0, 0)));
    assert_eq!(host.call(Call::new("pay", json!({"number": 5}))).await.result.unwrap().value, json!("paid"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_and_no_clock_runs_while_a_check_answers() {
    struct Slow(Mutex<Option<std::sync::Weak<Host>>>);
    impl Check for Slow {
        fn check<'a>(&'a self, _: &'a AcceptedCall) -> BoxFuture<'a, Result<(), CallError>> {
            async move {
                let host = self.0.lock().unwrap().as_ref().and_then(std::sync::Weak::upgrade).unwrap();
                assert_eq!(host.in_use(), (0, 0));
                // A person may think for longer than a call may take.
                sleep(Duration::from_secs(3_600)).await;
                assert_eq!(host.in_use(), (0, 0));
                Ok(())
            }
            .boxed()
        }
    }
    let slow = Arc::new(Slow(Mutex::new(None)));
    let host = Arc::new(host([tool("a", EffectClass::Pure, |_| async { Ok(json!(1)) })]).with_check(slow.clone()));
    *slow.0.lock().unwrap() = Some(Arc::downgrade(&host));
    let outcome = call(&host, "a").await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    assert_eq!((outcome.report.time, outcome.report.waited), (Duration::from_secs(3_600), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_runner_sees_who_calls_from_where_and_under_which_key() {
    let tool = tool("who", EffectClass::Reads, |attempt| async move {
        let call = &attempt.call.call;
        Ok(json!([call.caller, call.idempotency_key, call.parent, call.id, attempt.number, attempt.call.tool.name]))
    });
    let caller = Caller { session: Some("s1".into()), ..Caller::named("ann") };
    let mut call = Call::new("who", json!({})).by(caller);
    call.id = CallId::given("child");
    call.parent = Some(CallId::given("parent"));
    call.idempotency_key = Some("key-1".into());
    let outcome = host([tool]).call(call).await;
    assert_eq!(
        outcome.result.unwrap().value,
        json!([{"id": "ann", "session": "s1"}, "key-1", "parent", "child", 1, "who"])
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_own_call_as_the_hosts_fault_and_harms_no_other() {
    for class in CLASSES {
        let host = host([
            tool("later", class, |_| async {
                sleep(Duration::from_secs(1)).await;
                panic!("the password is hunter2")
            }),
            tool("at_once", class, |attempt| {
                // Not even a future is made.
                assert!(attempt.number > 1, "the password is hunter2");
                async { Ok(json!(1)) }
            }),
            tool("good", class, |_| async {
                sleep(Duration::from_secs(2)).await;
                Ok(json!("good"))
            }),
        ]);
        for name in ["later", "at_once"] {
            let (bad, good) = tokio::join!(call(&host, name), call(&host, "good"));
            let message = "the host is at fault; its log says more";
            assert_eq!(error(&bad), (ErrorKind::Internal, Stage::Run, message), "{name}, {class:?}");
            assert!(!serde_json::to_string(&bad.report).unwrap().contains("hunter2"));
            let source = bad.result.unwrap_err().source.unwrap().to_string();
            assert!(source.contains("hunter2"), "the log is told: {source}");
            assert_eq!(good.result.unwrap().value, json!("good"), "{name}, {class:?}");
            assert_eq!(host.in_use(), (0, 0), "{name}, {class:?}");
            assert!(call(&host, "good").await.result.is_ok());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_passes_the_gate_of_an_attempt_that_panicked() {
    for class in CLASSES {
        let kept: Arc<Mutex<Option<Attempt>>> = Arc::default();
        let keep = kept.clone();
        let tool = tool("at_once", class, move |attempt| {
            let panics = attempt.number == 1;
            *keep.lock().unwrap() = Some(attempt);
            assert!(!panics);
            async { Ok(json!(1)) }
        });
        let recorder = Arc::new(Recorder::default());
        let host = host([tool]).with_sink(recorder.clone());
        assert!(call(&host, "at_once").await.result.is_err());
        recorder.told();
        let attempt = kept.lock().unwrap().take().unwrap();
        let effect = Effect { class: EffectClass::Writes, action: "a.b".into(), target: "c".into(), detail: None };
        assert_eq!(attempt.pass(effect).await.unwrap_err().kind, ErrorKind::Cancelled, "{class:?}");
        attempt.emit("more").await;
        assert_eq!(recorder.told(), Vec::<String>::new(), "{class:?}");
    }
}

//! Going away, in each room of the road: what the call held there is free again, all of it, and its end is told once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question};
use toolpost_core::guard::replay::How;
use toolpost_core::tell::ArtifactError;
use toolpost_core::tell::artifact::Whole;
use toolpost_core::{
    AcceptedCall, Artifacts, Attempt, Call, CallError, CallId, Caller, Catalog, Check, Effect, EffectClass, ErrorKind,
    Event, Host, HostLimits, Native, Outcome, Sink, Stage, Told, Tool,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Where a call is when its caller goes away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Room {
    /// An embedder's check thinks about it.
    Check,
    /// A person is asked.
    Approval,
    /// An equal call runs, whose result it will get.
    Cache,
    /// A twin has its key.
    Ledger,
    /// It has its key, and another call has the place.
    Place,
    /// An attempt failed, and the next one is not yet due.
    Between,
    /// Its tool runs.
    Running,
    /// Its tool runs, and a person is asked about what it is about to do.
    Leave,
    /// Two attempts run beside one another.
    Hedged,
    /// Its tool is done, and the whole of its result is being kept.
    Keeping,
}

use Room::{Approval as Asked, Between, Cache, Check as Checked, Hedged, Keeping, Leave, Ledger, Place, Running};

/// The rooms in which a tool that only reads can be, and one that may change something.
const READING: [Room; 10] = [Checked, Asked, Cache, Ledger, Place, Between, Running, Leave, Hedged, Keeping];
const WRITING: [Room; 7] = [Checked, Asked, Ledger, Place, Between, Running, Leave];

/// What the tool does next.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    Answer,
    Fail,
    /// It works for ten seconds.
    Work,
    /// It does something that a person is asked about.
    Do,
    /// It answers with more than its reader wants.
    AnswerAtLength,
}

/// What is seen of a host from outside.
struct Seen {
    act: Mutex<Act>,
    /// Whoever is asked, or keeps something, waits for leave here.
    leave: Semaphore,
    /// Those who wait for it now.
    held: AtomicUsize,
    /// Attempts whose tool has not ended, nor was dropped.
    alive: AtomicUsize,
    ends: Mutex<Vec<(String, Option<ErrorKind>)>>,
    retries: Mutex<Vec<u32>>,
}

/// One of something, as long as it lives.
struct One<'a>(&'a AtomicUsize);

impl<'a> One<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        One(count)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Seen {
    async fn wait_for_leave(&self) {
        let _held = One::of(&self.held);
        drop(self.leave.acquire().await);
    }

    async fn run(self: Arc<Self>, attempt: Attempt) -> Result<Value, CallError> {
        let _alive = One::of(&self.alive);
        let act = *self.act.lock().unwrap();
        match act {
            Act::Answer => Ok(attempt.call.arguments["n"].clone()),
            Act::Fail => Err(CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "away")),
            Act::Work => {
                sleep(seconds(10)).await;
                Ok(json!("worked"))
            }
            Act::Do => {
                let class = attempt.call.tool.effect;
                let effect = Effect { class, action: "work.do".into(), target: "it".into(), detail: None };
                attempt.pass(effect).await?.done();
                Ok(attempt.call.arguments["n"].clone())
            }
            Act::AnswerAtLength => Ok(json!("x".repeat(100_000))),
        }
    }

    fn ends_of(&self, id: &str) -> Vec<Option<ErrorKind>> {
        self.ends.lock().unwrap().iter().filter(|(other, _)| other == id).map(|(_, end)| *end).collect()
    }
}

impl Sink for Seen {
    fn tell(&self, told: &Told<'_>) {
        match told.event {
            Event::CallEnded { outcome } => {
                self.ends.lock().unwrap().push((outcome.call.to_string(), outcome.failed()));
            }
            Event::Retry { tokens_left, .. } => self.retries.lock().unwrap().push(*tokens_left),
            _ => {}
        }
    }
}

impl Check for Seen {
    fn check<'a>(&'a self, _: &'a AcceptedCall) -> BoxFuture<'a, Result<(), CallError>> {
        self.wait_for_leave().map(Ok).boxed()
    }
}

impl Approver for Seen {
    fn ask<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        self.wait_for_leave().map(|()| Ok(Answer { choice: Choice::Allow, by: "ann".into() })).boxed()
    }
}

impl Artifacts for Seen {
    fn keep(&self, _: Whole) -> BoxFuture<'_, Result<String, ArtifactError>> {
        self.wait_for_leave().map(|()| Ok("work-1.txt".into())).boxed()
    }
}

/// The calls that a session may make.
const CALLS_MAX: u64 = 6;

/// A tool that runs once at a time, with a key made of its arguments, and a breaker that opens for a minute.
fn work(room: Room, class: EffectClass, seen: &Arc<Seen>) -> Tool {
    let hedge = if room == Hedged { "2s" } else { "never" };
    let mut guard = json!({
        // A tool of which only so many run stays in its place while somebody is asked.
        "parallel": at_once(room),
        // What is answered from the ledger never comes to the cache.
        "idempotency": if room == Cache { json!({}) } else { json!({"key": "args"}) },
        "cache": if room == Cache { json!({"ttl": "60s"}) } else { json!(false) },
        "retry": {"backoff": {"fixed": {"delay": "20s"}}, "hedge": {"after": hedge}},
        "breaker": {
            "kind": "standard", "consecutive": if room == Between { 0 } else { 1 }, "open": "60s", "jitter": 0,
            "probes": 2, "probes_at_once": 2, "successes_to_close": 2,
        },
    });
    if room == Leave {
        guard.as_object_mut().unwrap().remove("parallel");
    }
    let seen = seen.clone();
    Native::new("work", "")
        .effect(class)
        .parameter("n", Shape::Integer(Integer::U64))
        .guard(serde_json::from_value(guard).unwrap())
        .run(move |attempt| seen.clone().run(attempt))
}

/// The attempts that a room needs beside one another.
fn at_once(room: Room) -> usize {
    if room == Hedged { 2 } else { 1 }
}

fn host(room: Room, class: EffectClass) -> (Host, Arc<Seen>) {
    let seen = Arc::new(Seen {
        act: Mutex::new(Act::Answer),
        leave: Semaphore::new(0),
        held: AtomicUsize::new(0),
        alive: AtomicUsize::new(0),
        ends: Mutex::default(),
        retries: Mutex::default(),
    });
    let mut catalog = Catalog::default();
    catalog.add(work(room, class, &seen)).unwrap();
    let limits = HostLimits { max_parallel: at_once(room), max_waiting: 8, ..HostLimits::default() };
    let budgets = serde_json::from_value(json!({"session": {"calls": CALLS_MAX}})).unwrap();
    let host = Host::new(catalog).with_limits(limits).with_budgets(budgets).with_sink(seen.clone());
    let host = match room {
        Checked => host.with_check(seen.clone()),
        Asked => {
            let rules = serde_json::from_value(json!({"ask": [{}]})).unwrap();
            host.with_approval(Approval::new(rules).then(seen.clone()))
        }
        Leave => {
            let rules = serde_json::from_value(json!({"ask": [{"does": {}}]})).unwrap();
            host.with_approval(Approval::new(rules).then(seen.clone()))
        }
        Keeping => host.with_artifacts(seen.clone()),
        _ => host,
    };
    (host, seen)
}

fn ann(session: &str) -> Caller {
    Caller { session: Some(session.into()), ..Caller::named("ann") }
}

async fn call(host: &Host, id: &str, session: &str, n: u64) -> Outcome {
    host.call(Call { id: CallId::given(id), ..Call::new("work", json!({"n": n})).by(ann(session)) }).await
}

/// The call is in that room, and holds what a call holds there.
fn check_is_in(room: Room, host: &Host, seen: &Seen) {
    let held = |host: &Host| (host.in_use(), host.ledger().in_use(), seen.alive.load(SeqCst));
    let probes = host.breakers().list().iter().map(|breaker| breaker.running).sum::<u32>() as usize;
    match room {
        Checked => assert_eq!((seen.held.load(SeqCst), held(host)), (1, ((0, 0), (0, 0), 0))),
        Asked => assert_eq!((host.approval().pending().len(), held(host)), (1, ((0, 0), (0, 0), 0))),
        // The one ahead runs; this one has not even asked for a place.
        Cache => assert_eq!(held(host), ((1, 0), (0, 0), 1)),
        Ledger => assert_eq!(held(host), ((1, 0), (1, 1), 1)),
        Place => assert_eq!(held(host), ((1, 1), (2, 0), 1)),
        Between => assert_eq!((seen.retries.lock().unwrap().len(), held(host)), (1, ((0, 0), (1, 0), 0))),
        Running => assert_eq!((probes, held(host)), (1, ((1, 0), (1, 0), 1))),
        // It has given its place back, and keeps its key.
        Leave => assert_eq!((host.approval().pending().len(), held(host)), (1, ((0, 0), (1, 0), 1))),
        Hedged => assert_eq!((probes, held(host)), (2, ((2, 0), (1, 0), 2))),
        Keeping => assert_eq!((seen.held.load(SeqCst), held(host)), (1, ((0, 0), (0, 0), 0))),
    }
}

/// Nothing is held any more: no place, no key, no question, no permit, no thought about it.
fn check_is_empty(what: &str, host: &Host, seen: &Seen) {
    assert_eq!(host.in_use(), (0, 0), "{what}: places");
    assert_eq!(host.ledger().in_use(), (0, 0), "{what}: keys");
    assert_eq!(host.approval().pending().len(), 0, "{what}: questions");
    assert_eq!(seen.held.load(SeqCst), 0, "{what}: checks, approvers and stores at work");
    assert_eq!(seen.alive.load(SeqCst), 0, "{what}: running tools");
    assert!(host.breakers().list().iter().all(|breaker| breaker.running == 0), "{what}: permits");
}

/// Brings a call of that kind into the room, and drops it there after five seconds.
async fn drop_in(room: Room, host: &Host, seen: &Arc<Seen>) {
    if [Running, Hedged].contains(&room) {
        // The tool has failed, and the breaker lets the next calls try it out: the call is such a probe.
        *seen.act.lock().unwrap() = Act::Fail;
        assert!(call(host, "before", "before", 7).await.result.is_err());
        sleep(seconds(60)).await;
    }
    let act = match room {
        Between => Act::Fail,
        Keeping => Act::AnswerAtLength,
        Checked | Asked => Act::Answer,
        Cache | Ledger | Place | Running | Hedged => Act::Work,
        Leave => Act::Do,
    };
    *seen.act.lock().unwrap() = act;
    let ahead = match room {
        Cache | Ledger => Some(1),
        Place => Some(2),
        _ => None,
    };
    let ahead = ahead.map(|n| {
        let host = host.clone();
        tokio::spawn(async move { call(&host, "ahead", "before", n).await })
    });
    sleep(seconds(1)).await;
    let looks = async {
        sleep(seconds(4)).await;
        check_is_in(room, host, seen);
    };
    let (dropped, ()) = tokio::join!(timeout(seconds(5), call(host, "one", "s", 1)), looks);
    assert!(dropped.is_err(), "{room:?}: it was over before it was dropped");
    if ahead.is_some() {
        // The one ahead still runs, and nobody waits behind it any more.
        sleep(Duration::from_millis(1)).await;
        let keys = usize::from(room != Cache);
        assert_eq!((host.in_use(), host.ledger().in_use()), ((1, 0), (keys, 0)), "{room:?}");
        assert_eq!(seen.ends_of("one"), [Some(ErrorKind::Cancelled)], "{room:?}: it is told at once");
    }
    *seen.act.lock().unwrap() = Act::Answer;
    seen.leave.add_permits(1_000);
    if let Some(ahead) = ahead {
        assert!(ahead.await.unwrap().result.is_ok(), "{room:?}: it stands in nobody's way");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_in_each_room_gives_back_every_permit_lease_and_slot_and_tells_cancelled_once() {
    let reading = READING.map(|room| (room, EffectClass::Reads));
    let writing = WRITING.map(|room| (room, EffectClass::Writes));
    for (room, class) in reading.into_iter().chain(writing) {
        let what = format!("{room:?}, {class:?}");
        let (host, seen) = host(room, class);
        drop_in(room, &host, &seen).await;
        let goes_on = [Running, Leave].contains(&room) && class.may_change();
        if goes_on && room == Running {
            // It keeps what it holds to its own end, and only then gives it back.
            assert_eq!((host.in_use(), seen.ends_of("one")), ((1, 0), vec![]), "{what}");
            sleep(seconds(5)).await;
        }
        // What a key is given back with is written in a task.
        sleep(Duration::from_millis(1)).await;
        check_is_empty(&what, &host, &seen);
        let end = if goes_on { None } else { Some(ErrorKind::Cancelled) };
        assert_eq!(seen.ends_of("one"), [end], "{what}");
        let attempts = match room {
            Hedged => 2,
            Between | Running | Leave | Keeping => 1,
            _ => 0,
        };
        let used = host.usage_of_session(&ann("s"));
        assert_eq!((used.attempts, used.calls), (attempts, attempts.min(1)), "{what}");

        // The same call gets its key at once, or the answer that is there already.
        let again = call(&host, "again", "s", 1).await;
        assert_eq!(again.report.waited, Duration::ZERO, "{what}");
        let was_answered = goes_on || [Cache, Ledger, Keeping].contains(&room);
        let how = again.report.idempotency.as_ref().map(|told| told.how);
        let wanted = match room {
            Cache => (true, None),
            _ if was_answered => (false, Some(How::Replayed)),
            _ => (false, Some(How::New)),
        };
        assert_eq!((again.report.cached, how), wanted, "{what}");
        assert!(again.result.is_ok(), "{what}");

        // As many more calls as the budget has room for, and not one less: what was reserved is free again.
        let left = CALLS_MAX - host.usage_of_session(&ann("s")).calls;
        assert_eq!(left, CALLS_MAX - attempts.min(1) - u64::from(!was_answered), "{what}");
        let more = join_all((0..left).map(|n| call(&host, "more", "s", 10 + n))).await;
        assert!(more.iter().all(|outcome| outcome.result.is_ok()), "{what}: {:?}", more.last());
        assert_eq!(call(&host, "too many", "s", 99).await.failed(), Some(ErrorKind::QuotaExceeded), "{what}");
        check_is_empty(&what, &host, &seen);
        assert_eq!(seen.ends_of("one"), [end], "{what}: its end is told once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_not_made_because_its_caller_went_away_costs_nothing() {
    for class in [EffectClass::Reads, EffectClass::Writes] {
        let (host, seen) = host(Between, class);
        *seen.act.lock().unwrap() = Act::Fail;
        for n in 0..3 {
            assert!(timeout(seconds(5), call(&host, "one", "s", n)).await.is_err());
            sleep(Duration::from_millis(1)).await;
        }
        let told = seen.retries.lock().unwrap().clone();
        assert!(told.iter().all(|tokens| *tokens == told[0]), "{class:?}: {told:?}");
    }
}

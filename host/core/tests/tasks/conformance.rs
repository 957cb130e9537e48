//! What every store of tasks must do. The suite of a store is one line: `conformance!(new)`, with a function that makes an
//! empty one, and whatever must live as long.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use toolpost_core::task::store::Part;
use toolpost_core::task::{
    Asked, CancelAsked, Ended, HostId, How, Looking, Notes, Progress, Query, Record, Request, Room, Standing, State,
    TaskId, TaskStore, Touch, Words,
};
use toolpost_core::{Arguments, CallId, Caller, Effect, EffectClass};

pub(crate) type Store = Arc<dyn TaskStore>;

/// So short that a test can wait for its end, on any clock.
const LEASE: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(3_600);
const ROOM: Room = Room { waiting_max: 1_000, kept_max: 1_000 };

pub(crate) fn id(number: u32) -> TaskId {
    TaskId::of_text(&format!("task_{number:032x}")).unwrap()
}

fn host(name: &str) -> HostId {
    HostId::of_text(name)
}

fn asked() -> Asked {
    Asked {
        arguments: json!({"n": u64::MAX, "x": 0.1, "s": "\u{0}\u{1f600}"}).into(),
        idempotency_key: Some("k'".into()),
    }
}

/// What a store may keep in another way: a value as a text is the same to a tool.
fn texts(asked: Option<Asked>) -> Option<(String, Option<String>)> {
    asked.map(|asked| match asked.arguments {
        Arguments::Text(text) => (text, asked.idempotency_key),
        Arguments::Value(value) => (value.to_string(), asked.idempotency_key),
    })
}

fn request(number: u32, now: u64) -> Request {
    Request {
        id: id(number),
        tool: "work".into(),
        caller: Caller { id: "änn\0'".into(), groups: vec!["g".into()], session: Some("s".into()) },
        call: CallId::given("call_1"),
        traceparent: Some("00-1".into()),
        shown: "{\"n\":\"***\"}".into(),
        scope: "here".into(),
        under: "v1".into(),
        created_ms: now + u64::from(number),
    }
}

pub(crate) fn record(number: u32, now: u64) -> Record {
    Record {
        version: u64::from(number) + 1,
        fence: 0,
        request: Arc::new(request(number, now)),
        state: State::Queued { due_ms: now },
        runs: 0,
        lost: 0,
        effects: 0,
        again: true,
        cancel: None,
        refused_ms: None,
        under: None,
        started_ms: None,
        changed_ms: now,
        expires_ms: None,
    }
}

fn running(record: &Record, by: &str, fence: u64) -> Record {
    let state = State::Running { host: host(by) };
    Record {
        version: record.version + 1_000,
        fence,
        state,
        runs: record.runs + 1,
        started_ms: Some(7),
        ..record.clone()
    }
}

fn ended(record: &Record, how: How, expires_ms: u64) -> Record {
    let ended = match how {
        How::Done => Ended::of_texts(how, r#"{"ok":{"output":{"value":"x"}}}"#, r#"{"time_ms":1.5}"#),
        _ => Ended::of_texts(how, r#"{"kind":"trapped","stage":"run","message":"it trapped"}"#, ""),
    };
    let (version, state) = (record.version + 1_000_000, State::Ended(ended));
    Record { version, state, expires_ms: Some(expires_ms), ..record.clone() }
}

async fn file(store: &Store, record: &Record) {
    assert!(store.file(Arc::new(record.clone()), asked(), ROOM).await.unwrap());
}

async fn swap(store: &Store, before: &Record, after: &Record) -> bool {
    store.swap(&before.request.id, before.version, Some(Arc::new(after.clone()))).await.unwrap()
}

async fn get(store: &Store, number: u32) -> Option<Record> {
    store.get(&id(number)).await.unwrap().record.map(|record| Record::clone(&record))
}

/// A task that a host runs by that fence.
async fn begun(store: &Store, number: u32, by: &str, fence: u64) -> Record {
    let filed = record(number, store.now_ms());
    file(store, &filed).await;
    let running = running(&filed, by, fence);
    assert!(swap(store, &filed, &running).await);
    running
}

fn effect(target: &str) -> Effect {
    Effect {
        class: EffectClass::Writes,
        action: "files.write".into(),
        target: target.into(),
        detail: Some("d'".into()),
    }
}

fn touch(of: &Record, number: u32, version: u64) -> Touch {
    let (id, fence) = (of.request.id.clone(), of.fence);
    Touch { id, fence, number, effect: effect(&format!("t{number}")), again: true, version }
}

fn words(of: &Record) -> Words {
    let (id, fence) = (of.request.id.clone(), of.fence);
    Words { id, fence, progress: None, question: None, part: None, dropped_bytes: 0 }
}

fn part(number: u32, text: &str) -> Option<Part> {
    Some(Part { number, text: text.into() })
}

pub(crate) async fn what_was_filed_is_had_back_to_the_last_bit(store: Store) {
    let now = store.now_ms();
    assert!(get(&store, 1).await.is_none());
    assert_eq!(store.asked(&id(1)).await.unwrap(), None);
    assert_eq!(store.notes(&id(1)).await.unwrap(), Notes::default());
    let filed = record(1, now);
    file(&store, &filed).await;
    assert_eq!(get(&store, 1).await.unwrap(), filed);
    assert_eq!(texts(store.asked(&id(1)).await.unwrap()), texts(Some(asked())));
    let text = Asked { arguments: Arguments::Text("{broken".into()), idempotency_key: None };
    assert!(store.file(Arc::new(record(2, now)), text.clone(), ROOM).await.unwrap());
    assert_eq!(store.asked(&id(2)).await.unwrap(), Some(text));
    // And as anything that may follow.
    let cancel = Some(CancelAsked { by: "bob's".into(), at_ms: now });
    let mut before = filed;
    for how in [How::Done, How::Failed, How::Cancelled, How::Unknown] {
        let mut next = running(&before, "h", 1 << 62);
        next.version = before.version + 1;
        (next.cancel, next.under, next.lost, next.again) = (cancel.clone(), Some("v2".into()), 2, false);
        (next.effects, next.refused_ms) = (3, Some(now + 9));
        assert!(swap(&store, &before, &next).await);
        assert_eq!(get(&store, 1).await.unwrap(), next);
        let over = ended(&next, how, now + 1_000_000);
        assert!(swap(&store, &next, &over).await);
        assert_eq!(get(&store, 1).await.unwrap(), over);
        before = over;
    }
    assert!(store.swap(&id(1), before.version, None).await.unwrap());
    assert!(get(&store, 1).await.is_none());
}

pub(crate) async fn of_many_that_swap_at_once_one_wins(store: Store) {
    let filed = record(1, store.now_ms());
    file(&store, &filed).await;
    let tries = (0..16).map(|fence| {
        let (store, before) = (store.clone(), filed.clone());
        let after = Record { version: 100 + fence, ..running(&before, "h", fence + 1) };
        tokio::spawn(async move { swap(&store, &before, &after).await })
    });
    let mut won = Vec::new();
    for (fence, swapped) in tries.collect::<Vec<_>>().into_iter().enumerate() {
        won.extend(swapped.await.unwrap().then_some(fence as u64 + 1));
    }
    assert_eq!(won.len(), 1, "{won:?}");
    assert_eq!(get(&store, 1).await.unwrap().fence, won[0]);
}

pub(crate) async fn a_swap_that_expects_something_else_changes_nothing(store: Store) {
    let filed = record(1, store.now_ms());
    assert!(!swap(&store, &filed, &running(&filed, "h", 1)).await, "there is none");
    file(&store, &filed).await;
    let other = Record { version: 99, ..filed.clone() };
    assert!(!swap(&store, &other, &running(&filed, "h", 1)).await);
    assert!(!store.swap(&id(1), 99, None).await.unwrap());
    assert_eq!(get(&store, 1).await.unwrap(), filed);
}

pub(crate) async fn an_effect_is_listed_for_the_run_that_has_the_task_and_makes_another_record_of_it(store: Store) {
    let first = begun(&store, 1, "h", 10).await;
    // Of two at once, the second may be heard first.
    assert!(store.touch(Touch { again: false, ..touch(&first, 1, 501) }).await.unwrap());
    assert!(store.touch(touch(&first, 0, 502)).await.unwrap());
    // Said twice, because nobody heard.
    assert!(store.touch(touch(&first, 1, 503)).await.unwrap());
    assert!(store.touch(touch(&first, 0, 504)).await.unwrap());
    let seen = get(&store, 1).await.unwrap();
    assert_eq!((seen.effects, seen.again, seen.version), (2, false, 502));
    let listed = store.notes(&id(1)).await.unwrap().effects;
    assert_eq!(listed, [(1, effect("t0")), (1, effect("t1"))]);
    // Whoever has looked before it decides nothing.
    assert!(!swap(&store, &first, &running(&first, "other", 11)).await);
    let second = running(&seen, "other", 11);
    assert!(swap(&store, &seen, &second).await);
    for late in [touch(&first, 2, 504), touch(&first, 1, 505)] {
        assert!(!store.touch(late).await.unwrap(), "the run has lost the task");
    }
    assert!(store.touch(touch(&second, 0, 506)).await.unwrap());
    let listed = store.notes(&id(1)).await.unwrap().effects;
    assert_eq!(listed, [(1, effect("t0")), (1, effect("t1")), (2, effect("t0"))]);
    let second = get(&store, 1).await.unwrap();
    let over = ended(&second, How::Unknown, store.now_ms() + 1_000_000);
    assert!(swap(&store, &second, &over).await);
    assert!(!store.touch(touch(&over, 1, 507)).await.unwrap(), "it is over");
    assert_eq!(store.notes(&id(1)).await.unwrap().effects.len(), 3);
}

pub(crate) async fn what_a_run_says_is_kept_until_the_next_one_begins(store: Store) {
    let first = begun(&store, 1, "h", 10).await;
    let progress = Progress { done: 1, total: Some(u64::MAX >> 1), message: Some("m'".into()) };
    let said = Words { progress: Some(progress.clone()), part: part(0, "a\0"), ..words(&first) };
    assert!(store.say(said.clone()).await.unwrap());
    assert!(store.say(said).await.unwrap());
    assert!(
        store
            .say(Words { question: Some(Some("q".into())), part: part(1, "\u{1f600}"), ..words(&first) })
            .await
            .unwrap()
    );
    let mut wanted = Notes {
        effects: Vec::new(),
        progress: Some(progress),
        question: Some("q".into()),
        partial: "a\0\u{1f600}".into(),
        dropped_bytes: 0,
    };
    assert_eq!(store.notes(&id(1)).await.unwrap(), wanted);
    assert!(store.say(Words { question: Some(None), dropped_bytes: 7, ..words(&first) }).await.unwrap());
    (wanted.question, wanted.dropped_bytes) = (None, 7);
    assert_eq!(store.notes(&id(1)).await.unwrap(), wanted);
    assert_eq!(get(&store, 1).await.unwrap(), first, "the record is the same one");
    let second = running(&first, "other", 11);
    assert!(swap(&store, &first, &second).await);
    assert_eq!(store.notes(&id(1)).await.unwrap(), Notes::default());
    assert!(!store.say(Words { part: part(2, "late"), ..words(&first) }).await.unwrap());
    assert!(store.say(Words { part: part(0, "b"), question: Some(Some("q".into())), ..words(&second) }).await.unwrap());
    let over = ended(&second, How::Done, store.now_ms() + 1_000_000);
    assert!(swap(&store, &second, &over).await);
    let notes = store.notes(&id(1)).await.unwrap();
    assert_eq!((notes.partial.as_str(), notes.question), ("b", None), "nobody waits for an answer any more");
}

pub(crate) async fn what_only_the_tool_may_see_goes_with_the_end(store: Store) {
    let first = begun(&store, 1, "h", 10).await;
    assert_eq!(texts(store.asked(&id(1)).await.unwrap()), texts(Some(asked())));
    assert!(swap(&store, &first, &ended(&first, How::Failed, store.now_ms() + 1_000_000)).await);
    assert_eq!(store.asked(&id(1)).await.unwrap(), None);
}

pub(crate) async fn no_more_are_filed_than_there_is_room_for_and_the_oldest_that_ended_go_first(store: Store) {
    let room = Room { waiting_max: 2, kept_max: 2 };
    let now = store.now_ms();
    let put = async |number: u32| store.file(Arc::new(record(number, now)), asked(), room).await.unwrap();
    assert!(put(1).await && put(2).await);
    assert!(!put(3).await);
    assert!(get(&store, 3).await.is_none());
    for number in 1..=5 {
        let filed = get(&store, number).await.unwrap();
        let how = if number == 2 { How::Unknown } else { How::Done };
        assert!(swap(&store, &filed, &ended(&filed, how, now + 1_000_000 + u64::from(number))).await);
        assert!(put(number + 2).await);
    }
    let left: Vec<bool> = [get(&store, 1).await, get(&store, 3).await, get(&store, 4).await, get(&store, 5).await]
        .iter()
        .map(Option::is_some)
        .collect();
    assert_eq!(left, [false, false, true, true]);
}

pub(crate) async fn a_host_finds_what_is_due_of_its_scope_the_longest_waiting_first(store: Store) {
    let now = store.now_ms();
    store.renew(&host("h"), LONG).await.unwrap();
    for (number, due) in [(1, now - 1), (2, now - 3), (3, now - 2), (4, now + 600_000), (5, now + 500_000)] {
        file(&store, &Record { state: State::Queued { due_ms: due }, ..record(number, now) }).await;
    }
    let elsewhere = Request { scope: "elsewhere".into(), ..request(6, now) };
    file(&store, &Record { request: Arc::new(elsewhere), ..record(6, now) }).await;
    let own = begun(&store, 7, "h", 10).await;
    begun(&store, 8, "h", 11).await;
    let unwanted = Record { version: 77, cancel: Some(CancelAsked { by: "b".into(), at_ms: 1 }), ..own.clone() };
    assert!(swap(&store, &own, &unwanted).await);
    let looking = Looking { host: host("h"), scope: "here".into(), limit: 10 };
    let look = store.look(&looking).await.unwrap();
    assert_eq!(look.ready, [id(2), id(3), id(1)]);
    assert_eq!(look.next_ms, Some(now + 500_000));
    let mut own = look.own;
    own.sort();
    assert_eq!((own, look.unwanted), (vec![id(7), id(8)], vec![id(7)]));
    let look = store.look(&Looking { limit: 2, ..looking.clone() }).await.unwrap();
    assert_eq!(look.ready, [id(2), id(3)]);
    let other = store.look(&Looking { scope: "elsewhere".into(), ..looking }).await.unwrap();
    assert_eq!((other.ready, other.own.len(), other.next_ms), (vec![id(6)], 0, None));
}

pub(crate) async fn a_task_whose_host_is_gone_is_found_by_the_others(store: Store) {
    let looking = |name: &str| Looking { host: host(name), scope: "here".into(), limit: 10 };
    let ready = async |name: &str| store.look(&looking(name)).await.unwrap().ready;
    let is_gone = async |number| store.get(&id(number)).await.unwrap().is_gone;
    begun(&store, 1, "never said that it lives", 10).await;
    assert!(is_gone(1).await);
    for (number, name, lease) in [(2, "short", LEASE), (3, "long", LONG), (4, "leaves", LONG)] {
        store.renew(&host(name), lease).await.unwrap();
        begun(&store, number, name, u64::from(number)).await;
        assert!(!is_gone(number).await);
    }
    assert_eq!(ready("other").await, [id(1)]);
    store.leave(&host("leaves")).await.unwrap();
    sleep(LEASE * 2).await;
    let mut found = ready("other").await;
    found.sort();
    assert_eq!(found, [id(1), id(2), id(4)]);
    assert!(is_gone(2).await && is_gone(4).await && !is_gone(3).await);
    // It is late, and nobody was faster.
    store.renew(&host("short"), LONG).await.unwrap();
    assert!(!is_gone(2).await);
    let listed = store.list(&Query { standing: Some(Standing::Left), limit: 10, ..Query::default() }).await.unwrap();
    let listed: Vec<TaskId> = listed.tasks.iter().map(|filed| filed.record.request.id.clone()).collect();
    assert_eq!(listed, [id(4), id(1)]);
}

pub(crate) async fn tasks_are_listed_by_what_is_asked_for_and_without_what_came_of_them(store: Store) {
    let now = store.now_ms();
    store.renew(&host("h"), LONG).await.unwrap();
    let bob = Request { caller: Caller::named("bob"), ..request(1, now) };
    file(&store, &Record { request: Arc::new(bob), ..record(1, now) }).await;
    let other = Request { tool: "other".into(), ..request(2, now) };
    file(&store, &Record { request: Arc::new(other), ..record(2, now) }).await;
    for number in 3..=9 {
        begun(&store, number, "h", 10).await;
    }
    assert!(
        store.say(Words { question: Some(Some("q".into())), ..words(&get(&store, 4).await.unwrap()) }).await.unwrap()
    );
    let progress = Progress { done: 1, total: None, message: None };
    assert!(
        store.say(Words { progress: Some(progress.clone()), ..words(&get(&store, 3).await.unwrap()) }).await.unwrap()
    );
    for (number, how) in [(5, How::Done), (6, How::Failed), (7, How::Cancelled), (8, How::Unknown), (9, How::Done)] {
        let running = get(&store, number).await.unwrap();
        let expires = if number == 9 { now.saturating_sub(1) } else { now + 1_000_000 };
        assert!(swap(&store, &running, &ended(&running, how, expires)).await);
    }
    let all = Query { limit: 100, ..Query::default() };
    let listed = async |query: Query| {
        let listed = store.list(&query).await.unwrap();
        assert!(listed.now_ms >= now);
        let digit = |id: &TaskId| id.digits().trim_start_matches('0').to_owned();
        listed.tasks.iter().map(|filed| digit(&filed.record.request.id)).collect::<Vec<_>>().concat()
    };
    assert_eq!(listed(all.clone()).await, "87654321", "the last filed first, and none that is expired");
    assert_eq!(listed(Query { limit: 3, ..all.clone() }).await, "876");
    assert_eq!(listed(Query { tool: Some("other".into()), ..all.clone() }).await, "2");
    assert_eq!(listed(Query { caller: Some("bob".into()), ..all.clone() }).await, "1");
    assert_eq!(listed(Query { digits: Some(id(6).digits().into()), ..all.clone() }).await, "6");
    assert_eq!(listed(Query { digits: Some("_".into()), ..all.clone() }).await, "");
    for (standing, wanted) in Standing::ALL.into_iter().zip(["21", "3", "4", "", "5", "6", "7", "8"]) {
        let query = Query { standing: Some(standing), ..all.clone() };
        assert_eq!(listed(query.clone()).await, wanted, "{standing:?}");
        for filed in store.list(&query).await.unwrap().tasks {
            assert_eq!(filed.standing(), standing);
        }
    }
    let listed = store.list(&Query { standing: Some(Standing::Running), ..all }).await.unwrap();
    assert_eq!(listed.tasks[0].progress, Some(progress));
}

/// Runs the suite on the stores that the function makes.
#[macro_export]
macro_rules! conformance {
    ($new:path) => {
        $crate::conformance!(
            $new:
            what_was_filed_is_had_back_to_the_last_bit,
            of_many_that_swap_at_once_one_wins,
            a_swap_that_expects_something_else_changes_nothing,
            an_effect_is_listed_for_the_run_that_has_the_task_and_makes_another_record_of_it,
            what_a_run_says_is_kept_until_the_next_one_begins,
            what_only_the_tool_may_see_goes_with_the_end,
            no_more_are_filed_than_there_is_room_for_and_the_oldest_that_ended_go_first,
            a_host_finds_what_is_due_of_its_scope_the_longest_waiting_first,
            a_task_whose_host_is_gone_is_found_by_the_others,
            tasks_are_listed_by_what_is_asked_for_and_without_what_came_of_them,
        );
    };
    ($new:path: $($test:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $test() {
                let (store, _kept) = $new().await;
                conformance::$test(store).await;
            }
        )*
    };
}

//! What every store of records must do. The suite of a store is one line: `conformance!(new)`, with a function that makes an
//! empty one, and whatever must live as long.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use toolpost_core::guard::replay::settings::OnCrash;
use toolpost_core::guard::replay::{
    Asked, Begin, Book, Claim, Decision, Fenced, Fingerprint, Kept, Known, LedgerStore, Query, Record, RecordKey,
    Release, Standing, State, ToolId,
};
use toolpost_core::{CallId, Content, Output};

pub(crate) type Store = Arc<dyn LedgerStore>;

/// So short that a test can wait for its end, on any clock.
const LEASE: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(3_600);

pub(crate) fn key(name: &str) -> RecordKey {
    RecordKey::of_text(&format!("v1/work/args/{name}")).unwrap()
}

pub(crate) fn asked(name: &str) -> Asked {
    Asked {
        key: key(name),
        claim: Arc::new(Claim {
            fingerprint: Fingerprint([7; 32]),
            tool: Arc::new(ToolId { name: "work".into(), digest: Some("sha256:00".into()) }),
            caller: "ann".into(),
            call: CallId::given("call_1"),
        }),
        on_crash: OnCrash::Unknown,
        known: Known::default(),
    }
}

/// The same, of another claim.
pub(crate) fn of_claim(asked: Asked, change: impl FnOnce(&mut Claim)) -> Asked {
    let mut claim = Claim::clone(&asked.claim);
    change(&mut claim);
    Asked { claim: Arc::new(claim), ..asked }
}

fn other(asked: &Asked) -> Asked {
    of_claim(asked.clone(), |claim| claim.fingerprint = Fingerprint([8; 32]))
}

pub(crate) fn ending(text: &str) -> Kept {
    Kept::ok(Some(&Output { value: json!(text), ..Output::default() }))
}

/// Claims a key that is free, and says by which fence.
pub(crate) async fn claim(book: &Book, asked: &Asked, lease: Duration) -> u64 {
    match book.begin(asked, lease).await.unwrap() {
        Begin::Acquired { fence, .. } => fence,
        begin => panic!("not acquired: {begin:?}"),
    }
}

async fn standing(book: &Book, asked: &Asked) -> Option<Standing> {
    let (record, now) = book.get(&asked.key).await.unwrap();
    record.map(|record| record.standing(now))
}

fn record(version: u64, now: u64, state: State) -> Arc<Record> {
    Arc::new(Record {
        version,
        fence: i64::MAX as u64 - version,
        state,
        claim: Arc::new(Claim {
            fingerprint: Fingerprint(std::array::from_fn(|at| at as u8)),
            tool: Arc::new(ToolId { name: "work".into(), digest: None }),
            caller: "änn \u{1f600}\0'\"".into(),
            call: CallId::given("call_1"),
        }),
        first_effect: None,
        created_ms: now - 2,
        changed_ms: now + version,
        expires_ms: now + 3_600_000,
    })
}

/// The same, with a change.
fn changed(mut record: Arc<Record>, change: impl FnOnce(&mut Record)) -> Arc<Record> {
    change(Arc::make_mut(&mut record));
    record
}

/// Each state that a record can have, with answers that are hard to keep.
fn states(now: u64) -> Vec<State> {
    let value = json!({
        "b": [u64::MAX, i64::MIN, 0.1, 1e-7, -0.0, 1.7976931348623157e308, 5e-324, 123456789.12345679, 0.30000000000000004],
        "a": "\u{0}\u{1f600}\u{202e}",
        "": null,
    });
    let parts = vec![
        Content::Text { text: "x".into() },
        Content::Json { value: value.clone() },
        Content::Link { uri: "u".into(), name: "n".into(), description: None, mime_type: Some("m".into()) },
    ];
    let output = Output { value: value.clone(), content: parts, notes: vec!["n".into()] };
    vec![
        State::Claimed { lease_ms: now + 30_000 },
        State::Effects { lease_ms: now + 30_000 },
        State::Unknown,
        State::Done(Kept::ok(Some(&output))),
        State::Done(Kept::ok(None)),
        State::Done(Kept::failed("no", Some(&value))),
        State::Done(Kept::failed("no", None)),
    ]
}

pub(crate) async fn what_was_put_in_is_had_back_to_the_last_bit(store: Store) {
    let now = store.get(&key("0")).await.unwrap().now_ms;
    for (at, state) in states(now).into_iter().enumerate() {
        let key = key(&at.to_string());
        let mut put = record(at as u64 + 1, now, state);
        assert!(store.get(&key).await.unwrap().record.is_none());
        assert!(store.swap(&key, None, Some(put.clone())).await.unwrap());
        assert_eq!(store.get(&key).await.unwrap().record.unwrap(), put);
        // And once more in the place of another.
        put = changed(put, |put| {
            (put.version, put.fence, put.first_effect) = (77, 1, Some("e".into()));
            Arc::make_mut(&mut Arc::make_mut(&mut put.claim).tool).digest = Some("d".into());
        });
        assert!(store.swap(&key, Some(at as u64 + 1), Some(put.clone())).await.unwrap());
        let had = store.get(&key).await.unwrap().record.unwrap();
        assert_eq!(had, put);
        if let (Some(had), Some(put)) = (had.ending(), put.ending()) {
            assert_eq!(had.ending().unwrap(), put.ending().unwrap());
        }
    }
}

pub(crate) async fn of_many_that_swap_at_once_one_wins(store: Store) {
    let now = store.get(&key("a")).await.unwrap().now_ms;
    let claimed = State::Claimed { lease_ms: now };
    let race = async |expected: Option<u64>, first: u64| {
        let tries = (0..16).map(|at| {
            let (store, put) = (store.clone(), record(first + at, now, claimed.clone()));
            tokio::spawn(async move { store.swap(&key("a"), expected, Some(put)).await.unwrap() })
        });
        let mut won = Vec::new();
        for (at, swapped) in tries.collect::<Vec<_>>().into_iter().enumerate() {
            if swapped.await.unwrap() {
                won.push(first + at as u64);
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(store.get(&key("a")).await.unwrap().record.unwrap().version, won[0]);
        won[0]
    };
    let winner = race(None, 100).await;
    race(Some(winner), 200).await;
}

pub(crate) async fn a_swap_that_expects_something_else_changes_nothing(store: Store) {
    let now = store.get(&key("a")).await.unwrap().now_ms;
    let put = |version| record(version, now, State::Unknown);
    assert!(!store.swap(&key("a"), Some(1), Some(put(2))).await.unwrap());
    assert!(!store.swap(&key("a"), Some(1), None).await.unwrap());
    assert!(store.get(&key("a")).await.unwrap().record.is_none());
    assert!(store.swap(&key("a"), None, Some(put(1))).await.unwrap());
    for expected in [None, Some(2)] {
        assert!(!store.swap(&key("a"), expected, Some(put(3))).await.unwrap());
        assert!(!store.swap(&key("a"), expected, None).await.unwrap());
    }
    assert_eq!(store.get(&key("a")).await.unwrap().record.unwrap(), put(1));
    assert!(store.swap(&key("a"), Some(1), None).await.unwrap());
    assert!(store.get(&key("a")).await.unwrap().record.is_none());
}

pub(crate) async fn records_are_listed_by_what_is_asked_for_and_without_their_answers(store: Store) {
    let now = store.get(&key("a")).await.unwrap().now_ms;
    for (at, state) in states(now).into_iter().enumerate() {
        let put = record(at as u64 + 1, now, state);
        assert!(store.swap(&key(&format!("{at}x")), None, Some(put)).await.unwrap());
    }
    let left = State::Claimed { lease_ms: now - 1 };
    let over = changed(record(8, now, State::Effects { lease_ms: now - 1 }), |record| {
        Arc::make_mut(&mut Arc::make_mut(&mut record.claim).tool).name = "other".into();
    });
    let expired = changed(record(10, now, State::Unknown), |record| record.expires_ms = now - 1);
    for (name, put) in [("7x", over), ("8x", record(9, now, left)), ("9x", expired)] {
        assert!(store.swap(&key(name), None, Some(put)).await.unwrap());
    }
    let all = Query { limit: 100, ..Query::default() };
    let listed = async |query: Query| {
        let listed = store.list(&query).await.unwrap();
        assert!(listed.now_ms >= now);
        listed.records.iter().map(|(key, _)| key.hash()[..1].to_owned()).collect::<Vec<_>>().concat()
    };
    assert_eq!(listed(all.clone()).await, "876543210", "the last changed first, and none that is expired");
    assert_eq!(listed(Query { limit: 3, ..all.clone() }).await, "876");
    assert_eq!(listed(Query { tool: Some("other".into()), ..all.clone() }).await, "7");
    assert_eq!(listed(Query { hash: Some("3".into()), ..all.clone() }).await, "3");
    assert_eq!(listed(Query { hash: Some("x".into()), ..all.clone() }).await, "");
    for (standing, wanted) in [
        (Standing::Running, "10"),
        (Standing::Left, "8"),
        (Standing::Unknown, "72"),
        (Standing::Done, "43"),
        (Standing::Failed, "65"),
    ] {
        assert_eq!(listed(Query { standing: Some(standing), ..all.clone() }).await, wanted, "{standing:?}");
    }
    for (_, record) in store.list(&all).await.unwrap().records {
        assert!(record.ending().is_none_or(|kept| *kept == Kept::fact(kept.is_ok())), "{record:?}");
    }
}

pub(crate) async fn a_claimed_key_is_its_owners_and_what_was_done_is_answered_again(store: Store) {
    let book = Book::new(store);
    let asked = asked("a");
    assert_eq!(book.look(&asked).await.unwrap(), None);
    let fence = claim(&book, &asked, LONG).await;
    for running in [book.begin(&asked, LONG).await.unwrap(), book.look(&asked).await.unwrap().unwrap()] {
        assert!(
            matches!(running, Begin::Running { call, lease_left } if call == asked.claim.call && lease_left <= LONG)
        );
    }
    assert_eq!(book.begin(&other(&asked), LONG).await.unwrap(), Begin::OtherArguments);
    assert_eq!(book.renew(&asked.key, fence, LONG).await.unwrap(), Fenced::Held);
    for _ in 0..2 {
        assert_eq!(book.mark_effects(&asked.key, fence, "files.write a").await.unwrap(), Fenced::Held);
    }
    assert!(matches!(book.begin(&asked, LONG).await.unwrap(), Begin::Running { .. }));
    assert_eq!(book.begin(&other(&asked), LONG).await.unwrap(), Begin::OtherArguments);
    for _ in 0..2 {
        assert_eq!(book.complete(&asked.key, fence, &ending("x"), LONG).await.unwrap(), Fenced::Held);
    }
    assert_eq!(book.complete(&asked.key, fence, &ending("y"), LONG).await.unwrap(), Fenced::Lost);
    assert_eq!(book.renew(&asked.key, fence, LONG).await.unwrap(), Fenced::Lost);
    assert_eq!(book.mark_effects(&asked.key, fence, "b").await.unwrap(), Fenced::Lost);
    for release in [Release::Free, Release::Rerun, Release::Unknown] {
        assert_eq!(book.release(&asked.key, fence, release).await.unwrap(), Fenced::Lost);
    }
    for finished in [book.begin(&asked, LONG).await.unwrap(), book.look(&asked).await.unwrap().unwrap()] {
        assert_eq!(finished, Begin::Finished(ending("x")));
    }
    assert_eq!(book.begin(&other(&asked), LONG).await.unwrap(), Begin::OtherArguments);
}

pub(crate) async fn what_was_done_is_forgotten_when_its_time_is_over(store: Store) {
    let book = Book::new(store);
    let asked = asked("a");
    let fence = claim(&book, &asked, LONG).await;
    assert_eq!(book.complete(&asked.key, fence, &ending("x"), LEASE).await.unwrap(), Fenced::Held);
    sleep(LEASE * 2).await;
    assert_eq!(standing(&book, &asked).await, None);
    assert_eq!(book.complete(&asked.key, fence, &ending("x"), LONG).await.unwrap(), Fenced::Lost);
    let again = claim(&book, &other(&asked), LONG).await;
    assert_ne!(again, fence);
}

pub(crate) async fn what_was_released_is_free_to_run_or_unknown_as_its_owner_says(store: Store) {
    let book = Book::new(store);
    for marked in [false, true] {
        for (release, begins) in [(Release::Free, 'n'), (Release::Rerun, 't'), (Release::Unknown, 'u')] {
            let asked = asked(&format!("{begins}{}", u8::from(marked)));
            let fence = claim(&book, &asked, LONG).await;
            if marked {
                assert_eq!(book.mark_effects(&asked.key, fence, "files.write a").await.unwrap(), Fenced::Held);
            }
            assert_eq!(book.release(&asked.key, fence, release).await.unwrap(), Fenced::Held);
            let begun = book.begin(&asked, LONG).await.unwrap();
            let fits = match (begins, &begun) {
                ('n', Begin::Acquired { taken_over: false, effects: false, .. }) => true,
                ('t', Begin::Acquired { taken_over: true, effects, .. }) => *effects == marked,
                ('u', Begin::Unknown { first_effect, .. }) => first_effect.is_some() == marked,
                _ => false,
            };
            assert!(fits, "{release:?}, marked {marked}: {begun:?}");
        }
    }
}

pub(crate) async fn a_lease_that_ran_out_is_taken_over_and_its_owner_writes_no_more(store: Store) {
    let book = Book::new(store);
    let asked = asked("a");
    let dead = claim(&book, &asked, LEASE).await;
    sleep(LEASE * 2).await;
    assert_eq!(book.begin(&other(&asked), LONG).await.unwrap(), Begin::OtherArguments);
    let second = of_claim(asked.clone(), |claim| claim.call = CallId::given("call_2"));
    let Begin::Acquired { fence, taken_over: true, effects: false, .. } = book.begin(&second, LONG).await.unwrap()
    else {
        panic!("not taken over")
    };
    check_lost(&book, &asked.key, dead).await;
    assert_eq!(book.complete(&asked.key, fence, &ending("x"), LONG).await.unwrap(), Fenced::Held);
}

async fn check_lost(book: &Book, key: &RecordKey, fence: u64) {
    let before = book.get(key).await.unwrap().0;
    assert_eq!(book.renew(key, fence, LONG).await.unwrap(), Fenced::Lost);
    assert_eq!(book.mark_effects(key, fence, "x").await.unwrap(), Fenced::Lost);
    assert_eq!(book.complete(key, fence, &ending("zombie"), LONG).await.unwrap(), Fenced::Lost);
    for release in [Release::Free, Release::Rerun, Release::Unknown] {
        assert_eq!(book.release(key, fence, release).await.unwrap(), Fenced::Lost);
    }
    assert_eq!(book.get(key).await.unwrap().0, before, "and nothing was written");
}

pub(crate) async fn who_comes_back_to_a_key_that_was_freed_and_claimed_again_has_lost_it(store: Store) {
    let book = Book::new(store);
    let asked = asked("a");
    let first = claim(&book, &asked, LEASE).await;
    sleep(LEASE * 2).await;
    let second = claim(&book, &asked, LONG).await;
    assert_eq!(book.release(&asked.key, second, Release::Free).await.unwrap(), Fenced::Held);
    let third = claim(&book, &asked, LONG).await;
    for zombie in [first, second] {
        check_lost(&book, &asked.key, zombie).await;
    }
    assert_eq!(book.complete(&asked.key, third, &ending("x"), LONG).await.unwrap(), Fenced::Held);
}

pub(crate) async fn an_owner_whose_lease_ran_out_goes_on_as_long_as_nobody_took_over(store: Store) {
    let book = Book::new(store);
    let asked = asked("a");
    let fence = claim(&book, &asked, LEASE).await;
    sleep(LEASE * 2).await;
    assert_eq!(standing(&book, &asked).await, Some(Standing::Left));
    assert_eq!(book.renew(&asked.key, fence, LONG).await.unwrap(), Fenced::Held);
    assert_eq!(standing(&book, &asked).await, Some(Standing::Running));
    assert_eq!(book.complete(&asked.key, fence, &ending("x"), LONG).await.unwrap(), Fenced::Held);
}

pub(crate) async fn effects_behind_a_lease_that_ran_out_are_unknown_or_run_again_as_settings_say(store: Store) {
    let book = Book::new(store);
    for (name, on_crash) in [("a", OnCrash::Unknown), ("b", OnCrash::Rerun)] {
        let asked = Asked { on_crash, ..asked(name) };
        let dead = claim(&book, &asked, LEASE).await;
        assert_eq!(book.mark_effects(&asked.key, dead, "files.write a").await.unwrap(), Fenced::Held);
        sleep(LEASE * 2).await;
        assert_eq!(standing(&book, &asked).await, Some(Standing::Unknown));
        assert_eq!(book.begin(&other(&asked), LONG).await.unwrap(), Begin::OtherArguments);
        match (on_crash, book.begin(&asked, LONG).await.unwrap()) {
            (OnCrash::Rerun, Begin::Acquired { taken_over: true, effects: true, .. }) => {
                check_lost(&book, &asked.key, dead).await;
            }
            (OnCrash::Unknown, Begin::Unknown { first_effect, call, .. }) => {
                assert_eq!((first_effect.as_deref(), call), (Some("files.write a"), asked.claim.call.clone()));
                assert!(matches!(book.begin(&asked, LONG).await.unwrap(), Begin::Unknown { .. }), "and stays so");
                assert_eq!(book.renew(&asked.key, dead, LONG).await.unwrap(), Fenced::Lost);
                // The owner comes back, and knows.
                assert_eq!(book.complete(&asked.key, dead, &ending("x"), LONG).await.unwrap(), Fenced::Held);
                assert_eq!(book.begin(&asked, LONG).await.unwrap(), Begin::Finished(ending("x")));
            }
            (_, begin) => panic!("{on_crash:?}: {begin:?}"),
        }
    }
}

pub(crate) async fn an_operator_settles_what_is_unknown_and_nothing_else(store: Store) {
    let book = Book::new(store);
    let done = Decision::Ended(ending("x"));
    let failed = Decision::Ended(Kept::failed("it did not", None));
    assert_eq!(book.resolve(&key("none"), &done, LONG).await.unwrap(), None);
    for (name, decision) in [("a", done.clone()), ("b", failed), ("c", Decision::Rerun)] {
        let asked = asked(name);
        let owner = claim(&book, &asked, LONG).await;
        assert_eq!(book.resolve(&asked.key, &decision, LONG).await.unwrap(), Some(Standing::Running));
        assert_eq!(book.release(&asked.key, owner, Release::Unknown).await.unwrap(), Fenced::Held);
        assert_eq!(book.resolve(&asked.key, &decision, LONG).await.unwrap(), Some(Standing::Unknown));
        check_lost(&book, &asked.key, owner).await;
        match (book.begin(&asked, LONG).await.unwrap(), decision) {
            (Begin::Finished(told), Decision::Ended(ending)) => assert_eq!(told, ending),
            (Begin::Acquired { taken_over: true, .. }, Decision::Rerun) => {}
            (begin, decision) => panic!("{decision:?}: {begin:?}"),
        }
        assert_ne!(book.resolve(&asked.key, &done, LONG).await.unwrap(), Some(Standing::Unknown));
    }
}

pub(crate) async fn an_operator_can_have_anything_forgotten_but_what_runs(store: Store) {
    let book = Book::new(store);
    assert_eq!(book.forget(&key("none")).await.unwrap(), None);
    let asked = asked("a");
    let fence = claim(&book, &asked, LONG).await;
    assert_eq!(book.forget(&asked.key).await.unwrap(), Some(Standing::Running));
    assert_eq!(book.complete(&asked.key, fence, &ending("x"), LONG).await.unwrap(), Fenced::Held);
    assert_eq!(book.forget(&asked.key).await.unwrap(), Some(Standing::Done));
    claim(&book, &other(&asked), LONG).await;
}

pub(crate) async fn of_many_that_claim_one_key_at_once_one_gets_it(store: Store) {
    let book = Book::new(store);
    for round in 0..5 {
        let asked = asked(&format!("r{round}"));
        let claims: Vec<_> = (0..16)
            .map(|_| {
                let (book, asked) = (book.clone(), asked.clone());
                tokio::spawn(async move { book.begin(&asked, LONG).await.unwrap() })
            })
            .collect();
        let mut acquired = 0;
        for claim in claims {
            match claim.await.unwrap() {
                Begin::Acquired { .. } => acquired += 1,
                Begin::Running { .. } => {}
                begin => panic!("{begin:?}"),
            }
        }
        assert_eq!(acquired, 1);
    }
}

/// Runs the suite on the stores that the function makes.
#[macro_export]
macro_rules! conformance {
    ($new:path) => {
        $crate::conformance!(
            $new:
            what_was_put_in_is_had_back_to_the_last_bit,
            of_many_that_swap_at_once_one_wins,
            a_swap_that_expects_something_else_changes_nothing,
            records_are_listed_by_what_is_asked_for_and_without_their_answers,
            a_claimed_key_is_its_owners_and_what_was_done_is_answered_again,
            what_was_done_is_forgotten_when_its_time_is_over,
            what_was_released_is_free_to_run_or_unknown_as_its_owner_says,
            a_lease_that_ran_out_is_taken_over_and_its_owner_writes_no_more,
            who_comes_back_to_a_key_that_was_freed_and_claimed_again_has_lost_it,
            an_owner_whose_lease_ran_out_goes_on_as_long_as_nobody_took_over,
            effects_behind_a_lease_that_ran_out_are_unknown_or_run_again_as_settings_say,
            an_operator_settles_what_is_unknown_and_nothing_else,
            an_operator_can_have_anything_forgotten_but_what_runs,
            of_many_that_claim_one_key_at_once_one_gets_it,
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

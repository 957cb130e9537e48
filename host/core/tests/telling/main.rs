//! Telling: each call is told from its first word to its last, whatever becomes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod ways;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use toolpost_core::guard::breaker::Key;
use toolpost_core::{Call, CallId, Event, HostLimits, Sink, Told};

use self::ways::{all_ways, call, host};

/// What is told, a word for each event, by call.
#[derive(Default)]
struct Words(Mutex<Vec<Word>>);

#[derive(Debug)]
struct Word {
    seq: u64,
    begun: u64,
    is_of_call: bool,
    word: String,
}

impl Sink for Words {
    fn tell(&self, told: &Told<'_>) {
        let word = match told.event {
            Event::CallEnded { outcome } => format!("ended: {}", outcome.name()),
            Event::AttemptEnded { report } => match &report.error {
                Some(error) => format!("attempt_ended: {}", error.kind.name()),
                None => "attempt_ended".into(),
            },
            event => json!(event)["event"].as_str().unwrap().to_owned(),
        };
        let word = Word { seq: told.seq, begun: told.begun, is_of_call: told.call.is_some(), word };
        self.0.lock().unwrap().push(word);
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_is_told_from_its_first_word_to_its_last_however_it_ends() {
    let words = Arc::new(Words::default());
    all_ways(&host(&Arc::default()).with_sink(words.clone())).await;
    let told = words.0.lock().unwrap();
    assert!(told.is_sorted_by(|one, next| one.seq + 1 == next.seq), "{told:?}");
    let mut calls: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for Word { begun, is_of_call, word, .. } in told.iter() {
        assert_eq!(*is_of_call, *begun > 0, "{word}");
        calls.entry(*begun).or_default().push(word);
    }
    assert_eq!(calls.remove(&0).unwrap(), ["breaker", "breaker"], "it opens, and refuses");
    let stories: Vec<String> = calls.values().map(|words| words.join(", ")).collect();
    assert_eq!(
        stories,
        [
            "call_started, call_accepted, attempt_started, progress, effect, attempt_ended, ended: ok",
            "call_started, ended: unknown_tool",
            "call_started, ended: invalid_arguments",
            "call_started, call_accepted, ended: declined",
            "call_started, call_accepted, attempt_started, attempt_ended, ended: ok",
            "call_started, call_accepted, ended: rate_limited",
            "call_started, call_accepted, attempt_started, attempt_ended: tool_failed, retry, attempt_started, \
             attempt_ended: tool_failed, ended: tool_failed",
            "call_started, call_accepted, attempt_started, attempt_ended: trapped, ended: trapped",
            "call_started, call_accepted, ended: circuit_open",
            "call_started, call_accepted, attempt_started, attempt_ended: timed_out, ended: timed_out",
            "call_started, call_accepted, attempt_started, attempt_ended: internal, ended: internal",
            "call_started, call_accepted, attempt_started, ended: cancelled",
        ]
    );
}

#[tokio::test]
async fn two_calls_with_one_id_are_told_apart_by_the_event_with_which_they_began() {
    let words = Arc::new(Words::default());
    let host = host(&Arc::default()).with_sink(words.clone());
    let named = || host.call(Call { id: CallId::given("one"), ..Call::new("works", json!({})) });
    tokio::join!(named(), named());
    let told = words.0.lock().unwrap();
    let of = |begun: u64| told.iter().filter(|told| told.begun == begun).count();
    let begun: Vec<u64> = told.iter().filter(|told| told.word == "call_started").map(|told| told.begun).collect();
    assert_eq!((begun.len(), of(begun[0]), of(begun[1])), (2, 7, 7), "{told:?}");
}

#[tokio::test]
async fn an_operators_order_to_a_breaker_is_told_also_where_the_limits_were_set_before_or_after() {
    for early in [true, false] {
        let words = Arc::new(Words::default());
        let limits = HostLimits::default();
        let host = host(&Arc::default());
        let host = if early {
            host.with_limits(limits).with_sink(words.clone())
        } else {
            host.with_sink(words.clone()).with_limits(limits)
        };
        call(&host, "broken", json!({})).await;
        words.0.lock().unwrap().clear();
        host.breakers().find(&Key::tool("broken")).unwrap().isolate("ops", "why not", None);
        assert_eq!(words.0.lock().unwrap().iter().map(|told| told.word.as_str()).collect::<Vec<_>>(), ["breaker"]);
    }
}

#[tokio::test]
async fn when_a_host_is_replaced_its_breakers_are_heard_by_those_who_listen_then() {
    let (before, then) = (Arc::new(Words::default()), Arc::new(Words::default()));
    let running = host(&Arc::default()).with_sink(before.clone());
    call(&running, "broken", json!({})).await;
    running.replace(&host(&Arc::default()).with_sink(then.clone()));
    before.0.lock().unwrap().clear();
    running.breakers().find(&Key::tool("broken")).unwrap().isolate("ops", "why not", None);
    assert!(before.0.lock().unwrap().is_empty());
    assert_eq!(then.0.lock().unwrap().iter().map(|told| told.word.as_str()).collect::<Vec<_>>(), ["breaker"]);
}

#[tokio::test]
async fn what_waits_to_be_written_is_waited_for() {
    struct Late(Arc<AtomicUsize>);
    impl Sink for Late {
        fn tell(&self, _: &Told<'_>) {}
        fn flush(&self) -> BoxFuture<'_, ()> {
            async {
                tokio::task::yield_now().await;
                self.0.fetch_add(1, Ordering::SeqCst);
            }
            .boxed()
        }
    }
    let flushed = Arc::new(AtomicUsize::new(0));
    let host =
        host(&Arc::default()).with_sink(Arc::new(Late(flushed.clone()))).with_sink(Arc::new(Late(flushed.clone())));
    host.flush().await;
    assert_eq!(flushed.load(Ordering::SeqCst), 2);
}

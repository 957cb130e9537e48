//! Breakers: each row of their table, their contract under concurrency, their settings and their words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod adaptive;
mod contract;
mod model;
mod orders;
mod probes;
mod registry;
mod settings;
mod table;
mod words;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::advance;
use toolpost_core::guard::breaker::{
    Breaker, Key, Listener, News, Outcome, Permit, Refusal, Rejection, Settings, Snapshot, StandardSettings, Status,
    Transition, classify,
};

const FAILURE: Outcome = Outcome::Failure("timed_out");
const ATTEMPT: Duration = Duration::from_secs(30);

/// All that a breaker told.
#[derive(Default)]
struct Heard(Mutex<Vec<News>>);

impl Listener for Heard {
    fn hear(&self, _: &Key, news: &News) {
        self.0.lock().unwrap().push(news.clone());
    }
}

impl Heard {
    fn transitions(&self) -> Vec<Transition> {
        let heard = self.0.lock().unwrap();
        let changed = heard.iter().filter_map(|news| match news {
            News::Changed(transition) => Some(transition.clone()),
            News::Refused { .. } => None,
        });
        changed.collect()
    }

    fn last(&self) -> Transition {
        self.transitions().pop().expect("a transition")
    }
}

/// A breaker, and what can be done to it in a word.
struct Bench {
    breaker: Arc<Breaker>,
    heard: Arc<Heard>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let heard = Arc::new(Heard::default());
        let breaker = Breaker::new(Key::tool("tool"), settings, ATTEMPT, heard.clone(), classify, 7);
        Bench { breaker, heard }
    }

    fn standard(settings: StandardSettings) -> Self {
        Bench::new(Settings::Standard(settings))
    }

    fn acquire(&self) -> Permit {
        self.breaker.acquire().expect("a permit")
    }

    fn refused(&self) -> Rejection {
        self.breaker.acquire().expect_err("a rejection")
    }

    /// Refused for that cause, for so many milliseconds.
    fn check_refused(&self, refusal: Refusal, retry_after_ms: u64) {
        let rejection = self.refused();
        let expected = (refusal, Some(Duration::from_millis(retry_after_ms)));
        assert_eq!((rejection.refusal, rejection.retry_after), expected);
    }

    fn call(&self, outcome: Outcome) {
        self.acquire().finish(outcome);
    }

    fn calls(&self, number: u32, outcome: Outcome) {
        for _ in 0..number {
            self.call(outcome);
        }
    }

    async fn slow_call(&self, took: Duration, outcome: Outcome) {
        let permit = self.acquire();
        advance(took).await;
        permit.finish(outcome);
    }

    /// Opens it, and waits until it may be tried out.
    async fn half_open(&self) {
        self.calls(5, FAILURE);
        advance(Duration::from_secs(30)).await;
    }

    fn show(&self) -> Snapshot {
        self.breaker.snapshot()
    }

    fn check(&self, status: Status) {
        assert_eq!(self.show().status, status);
    }
}

/// The defaults, without chance.
fn plain() -> StandardSettings {
    StandardSettings { jitter: 0.0, ..StandardSettings::default() }
}

fn throttled(seconds: u64) -> Outcome {
    Outcome::Throttled { retry_after: Duration::from_secs(seconds) }
}

async fn pass(milliseconds: u64) {
    advance(Duration::from_millis(milliseconds)).await;
}

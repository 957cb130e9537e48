//! What a subscriber of `tracing` sees: spans with the names that the world expects; and where nobody listens, nothing is put
//! into words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../telling/ways.rs"]
mod ways;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use toolpost_core::{Call, CallId, Sink, Told};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use self::ways::{all_ways, call, host};

/// What `tracing` remembers of each place in the code is the same for all threads, so its subscribers come one by one.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The spans that a subscriber sees: their names, whose they are inside of, and all that they bear.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

#[derive(Clone, Debug)]
struct Span {
    id: u64,
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    is_over: bool,
}

impl Spans {
    fn with(&self, id: &tracing::Id, change: impl FnOnce(&mut Span)) {
        self.0
            .lock()
            .unwrap()
            .iter_mut()
            .filter(|span| span.id == id.into_u64() && !span.is_over)
            .for_each(change_once(change));
    }
}

/// A change that is made once: only one span bears an id at a time.
fn change_once<'a>(change: impl FnOnce(&mut Span) + 'a) -> impl FnMut(&mut Span) + 'a {
    let mut change = Some(change);
    move |span| {
        if let Some(change) = change.take() {
            change(span);
        }
    }
}

struct Fields<'a>(&'a mut Span);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.0.fields.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, new: &tracing::span::Attributes<'_>, id: &tracing::Id, context: Context<'_, S>) {
        let current = context.current_span().id().map(tracing::Id::into_u64).filter(|_| new.is_contextual());
        let parent = new.parent().map(tracing::Id::into_u64).or(current);
        let mut span =
            Span { id: id.into_u64(), name: new.metadata().name(), parent, fields: BTreeMap::new(), is_over: false };
        new.record(&mut Fields(&mut span));
        self.0.lock().unwrap().push(span);
    }

    fn on_record(&self, id: &tracing::Id, more: &tracing::span::Record<'_>, _: Context<'_, S>) {
        self.with(id, |span| more.record(&mut Fields(span)));
    }

    fn on_close(&self, id: tracing::Id, _: Context<'_, S>) {
        self.with(&id, |span| span.is_over = true);
    }
}

fn fields(span: &Span) -> Vec<(&str, &str)> {
    span.fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_sees_a_span_for_each_call_and_each_attempt_by_the_names_of_opentelemetry() {
    let _alone = ALONE.lock().await;
    let spans = Spans::default();
    let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let host = host(&Arc::default());
    let within = tracing::info_span!("a program of its own");
    let given = Call { id: CallId::given("call_1"), ..Call::new("away", json!({"number": "1"})) };
    tracing::Instrument::instrument(host.call(given), within).await;
    call(&host, "nobody_at_all", json!({})).await;

    let spans = spans.0.lock().unwrap().clone();
    let names: Vec<_> = spans.iter().map(|span| span.name).collect();
    assert_eq!(names, ["a program of its own", "execute_tool", "attempt", "attempt", "execute_tool"]);
    assert!(spans.iter().skip(1).all(|span| span.is_over));
    assert_eq!(spans[1].parent, Some(spans[0].id));
    assert_eq!(
        fields(&spans[1]),
        [
            ("error.type", "tool_failed"),
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.call.id", "call_1"),
            ("gen_ai.tool.description", "Does something"),
            ("gen_ai.tool.name", "away"),
            ("otel.name", "execute_tool away"),
            ("toolpost.attempts", "2"),
            ("toolpost.cast_count", "1"),
            ("toolpost.effect", "reads"),
            ("toolpost.effects", "0"),
            ("toolpost.fuel_used", "0"),
            ("toolpost.mem_peak", "0"),
            ("toolpost.outcome", "tool_failed"),
            ("toolpost.waited_ms", "0.0"),
        ]
    );
    for (at, number) in [(2, "1"), (3, "2")] {
        assert_eq!(spans[at].parent, Some(spans[1].id), "an attempt is inside of its call");
        let expected = [
            ("error.type", "tool_failed"),
            ("otel.name", &format!("attempt {number}")),
            ("toolpost.attempt", number),
            ("toolpost.fuel_used", "0"),
            ("toolpost.mem_peak", "0"),
        ];
        assert_eq!(fields(&spans[at]), expected);
    }
    assert_eq!(spans[4].fields["error.type"], "unknown_tool");
    assert_eq!(spans[4].parent, None);
}

/// The number of the first event that it is told.
#[derive(Default)]
struct First(AtomicU64);

impl Sink for First {
    fn tell(&self, told: &Told<'_>) {
        let _ = self.0.compare_exchange(0, told.seq, Ordering::SeqCst, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_listens_nothing_is_put_into_words_and_nothing_is_counted() {
    /// A subscriber that is asked once for each place in the code, and wants none of them.
    struct Deaf;
    impl tracing::Subscriber for Deaf {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            false
        }
        fn new_span(&self, new: &tracing::span::Attributes<'_>) -> tracing::Id {
            panic!("a span is made: {new:?}")
        }
        fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {
            panic!("something is recorded")
        }
        fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            panic!("something is told: {event:?}")
        }
        fn enter(&self, _: &tracing::Id) {
            panic!("a span is entered")
        }
        fn exit(&self, _: &tracing::Id) {}
    }
    let _alone = ALONE.lock().await;
    let _listening = tracing::subscriber::set_default(Deaf);
    let spoken = Arc::new(AtomicUsize::new(0));
    let silent = host(&spoken);
    all_ways(&silent).await;
    assert_eq!(spoken.load(Ordering::SeqCst), 0, "reasons that were put into words");

    let first = Arc::new(First::default());
    let heard = silent.with_sink(first.clone());
    call(&heard, "works", json!({})).await;
    assert_eq!(first.0.load(Ordering::SeqCst), 1, "the first that is told to anybody has the number 1");
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_failure_is_put_into_words_for_a_subscriber_that_wants_it() {
    let _alone = ALONE.lock().await;
    let spoken = Arc::new(AtomicUsize::new(0));
    let text = Arc::new(Mutex::new(Vec::new()));
    let writer = {
        let text = text.clone();
        move || Page(text.clone())
    };
    struct Page(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_max_level(tracing::Level::DEBUG).finish();
    let _listening = tracing::subscriber::set_default(subscriber);
    all_ways(&host(&spoken).with_sink(Arc::new(toolpost_core::tell::Tracing))).await;
    assert!(spoken.load(Ordering::SeqCst) > 0);
    let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
    assert!(text.contains("attempt failed") && text.contains("breaker") && text.contains("tried again"), "{text}");
}

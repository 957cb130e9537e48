//! Hosts of the guest `text`, from nothing on the road to everything.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use toolpost::telemetry::prometheus::Prometheus;
use toolpost::{Builder, Call, Caller, Host, Settings, Sink, Store, Told};

use crate::Result;

/// The bare road: no breaker, one attempt, no key.
const BARE: &str = r#"
[guard]
breaker.kind = "none"
retry.max_attempts = 1
"#;

/// Rules of every kind, rates, budgets, a breaker and retries. Nothing of it refuses a call.
const GUARDED: &str = r#"
[[access]]
tools = ["text_*"]
callers = ["group:staff"]
[budget.caller]
calls = 1_000_000_000
per = "1d"
[budget.session]
calls = 1_000_000_000
[guard]
parallel = 64
cost = { per_call = 0.01 }
breaker.kind = "standard"
[guard.rate]
tool = "1000000/s"
caller = "1000000/s"
tool_and_caller = "1000000/s"
[guard.retry]
max_attempts = 3
backoff = "exponential"
[[approval.deny]]
arguments = { "*" = "*/etc/*" }
[[approval.deny]]
tools = ["payments_*"]
[[approval.deny]]
arguments = { "/text" = { regex = "(?i)drop +table" } }
[[approval.ask]]
tools = ["files_*"]
arguments = { "/path" = "/home/*" }
[[approval.ask]]
arguments = { "/amount" = { range = { min = 100 } } }
[[approval.allow]]
tools = ["text_*"]
callers = ["group:staff"]
"#;

/// A key for each call.
const KEYED: &str = r#"
[components.text.tools.word-count]
guard.idempotency = { key = "args", ttl = "1s" }
"#;

/// The tool counts as one that may change something: it runs in a task of its own, which does not go with its caller.
const CHANGING: &str = "effect = \"writes\"";

/// What is on the road.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Road {
    Bare,
    /// Judged and guarded.
    Guarded,
    /// And told: events and metrics.
    Told,
    /// And known by a key, which is kept in memory.
    Keyed,
    /// And not stopped half way.
    Changing,
}

/// Counts what it is told.
#[derive(Default)]
struct Count(AtomicU64);

impl Sink for Count {
    fn tell(&self, _: &Told<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A host, and the number of its next call.
pub(crate) struct Hosted {
    host: Host,
    caller: Caller,
    next: AtomicU64,
}

impl Hosted {
    pub(crate) async fn on(road: Road) -> Result<Arc<Self>> {
        Self::new(road, |builder| builder.in_memory()).await
    }

    /// All policies, and keys that are kept on the disk.
    pub(crate) async fn kept_in(dir: &Path) -> Result<Arc<Self>> {
        let store = Arc::new(Store::at(dir));
        Self::new(Road::Changing, |builder| builder.store(store)).await
    }

    async fn new(road: Road, keep: impl FnOnce(Builder) -> Builder) -> Result<Arc<Self>> {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-examples/prebuilt/text.wasm");
        // The log of calls is written by a thread of its own, and would be counted as CPU time of the road.
        let [guard, tool, effect] = match road {
            Road::Bare => [BARE, "", ""],
            Road::Guarded | Road::Told => [GUARDED, "", ""],
            Road::Keyed => [GUARDED, KEYED, ""],
            Road::Changing => [GUARDED, KEYED, CHANGING],
        };
        let settings = format!("log.enabled = false\n{guard}\n[components.text]\npath = {guest:?}\n{tool}{effect}");
        let settings = Settings::parse(&settings, Path::new("toolpost.toml"))
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let mut builder = keep(Builder::new().settings(settings));
        if road >= Road::Told {
            let metrics = Prometheus::serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            builder = builder.sink(Arc::new(Count::default())).sink(Arc::new(metrics));
        }
        let caller = Caller { id: "ann".into(), groups: ["staff".into()].into(), session: Some("s".into()) };
        Ok(Arc::new(Hosted { host: builder.build().await?, caller, next: AtomicU64::new(0) }))
    }

    /// One call with a text of 100 bytes that no call before it had.
    pub(crate) async fn call(&self) -> Result<Value> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let text =
            format!("{number:020} of times, it was the worst of times, it was the age of wisdom,\nit was the age of");
        let call = Call { caller: self.caller.clone(), ..Call::new("text_word_count", json!({"text": text})) };
        let outcome = self.host.call(call).await;
        Ok(outcome.result?.value)
    }
}

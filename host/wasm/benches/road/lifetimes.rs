//! What is a kept instance worth? The same call to one that is made for it, to that of its session, and to whichever is there: by
//! the runner alone, which is what lifetimes are about, and by the whole road of a call, of which the rest stays as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::runtime::Runtime;
use toolpost_core::catalog::Keep;
use toolpost_core::{Attempt, Call, CallError, Caller, Output, Runner, Tool};
use toolpost_wasm::EngineOptions;
use wasmtime::{Result, ensure};

use crate::hosted::Hosted;
use crate::measure::{Calls, Candidate, Effort, compare};
use crate::table::Table;

/// What a call to a warm instance may take of one to a fresh instance.
const WARM_MAX: f64 = 0.1;

/// How often the runner runs in one call, where it is measured alone.
const AGAIN: u32 = 100;

/// One lifetime, and the host of `text` with it.
struct Side {
    keep: &'static str,
    host: Arc<Hosted>,
    next: AtomicU64,
}

/// Runs a tool that often.
struct Again(Arc<dyn Runner>);

impl Runner for Again {
    fn run<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Output, CallError>> {
        Box::pin(async move {
            for _ in 1..AGAIN {
                self.0.run(attempt).await?;
            }
            self.0.run(attempt).await
        })
    }
}

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let one = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    let rounds = if quick { 20 } else { 100 };
    let alone = |tool: Tool| Tool { runner: Arc::new(Again(tool.runner.clone())), ..tool };
    for (title, times, change) in [("the runner", AGAIN, alone as fn(Tool) -> Tool), ("the whole road", 1, |tool| tool)]
    {
        let sides = ["fresh", "session", "warm"].map(|keep| Side::new(keep, change));
        let sides = sides.into_iter().collect::<Result<Vec<_>>>()?;
        let calls = if times > 1 { Calls::Exactly(8 * times) } else { Calls::For(Duration::from_millis(20)) };
        for (threads, runtime, tasks) in [("1 thread", &one, 1), ("2 threads", &two, 2)] {
            let candidates = sides.iter().map(|side| side.on(runtime, tasks, times)).collect();
            let rows = compare(candidates, Effort { rounds, calls })?;
            table.group(&format!("lifetimes: text `word-count` of 100 bytes, {title}, {threads}"), &rows)?;
            if let [_, _, warm] = rows.as_slice() {
                table.target(format!("warm/fresh, wall, {title}, {threads}"), WARM_MAX, warm.wall_ratio, "");
            }
        }
    }
    Ok(())
}

impl Side {
    fn new(keep: &'static str, change: fn(Tool) -> Tool) -> Result<Arc<Self>> {
        let kept: Keep = serde_json::from_value(json!(keep))?;
        let host = Hosted::changed(kept, &EngineOptions::default(), "text", change)?;
        Ok(Arc::new(Side { keep, host, next: AtomicU64::new(0) }))
    }

    /// So many calls of one task, which has a session of its own where there are sessions.
    async fn calls(&self, task: u64, calls: u32) -> Result<()> {
        let session = (self.keep == "session").then(|| format!("s{task}"));
        for _ in 0..calls {
            // 100 bytes, and never the same: a session that goes round in circles is stopped.
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let text = format!(
                "It was the best of times, it was the worst of times, it was the age of wisdom,\nit was {number:014}"
            );
            let caller = Caller { session: session.clone(), ..Caller::default() };
            let output =
                self.host.host.call(Call::new("text_word_count", json!({"text": text})).by(caller)).await.result?;
            let counts = output.value;
            ensure!(counts.get("words") == Some(&json!(21)), "the answer is {counts}");
        }
        Ok(())
    }

    fn on<'a>(self: &'a Arc<Self>, runtime: &'a Runtime, tasks: u32, times: u32) -> Candidate<'a> {
        Candidate::new(format!("{} instance", self.keep), move |calls| {
            let calls = calls / times;
            if tasks == 1 {
                return runtime.block_on(self.calls(0, calls));
            }
            let at_work = (0..tasks).map(|task| {
                let side = self.clone();
                runtime.spawn(async move { side.calls(task.into(), calls / tasks).await })
            });
            let at_work: Vec<_> = at_work.collect();
            runtime.block_on(async {
                for task in at_work {
                    task.await??;
                }
                Ok(())
            })
        })
    }
}

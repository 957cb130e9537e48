//! The same calls on three roads: (a) wasmtime itself, (b) the host with JSON values, (c) the host with JSON text.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use toolpost_wasm::EngineOptions;
use wasmtime::component::{ComponentType, Lift};
use wasmtime::{Result, ensure};

use crate::hosted::{Hosted, guest};
use crate::measure::{Calls, Candidate, Effort, compare};
use crate::raw::Raw;
use crate::table::Table;

/// `counts` of `guest-examples/text/wit/world.wit`.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(record)]
struct Counts {
    words: u32,
    lines: u32,
    characters: u32,
}

/// Makes so many calls, one after the other.
type Work = Arc<dyn Fn(u32) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// The three roads of one call.
type Roads = [(&'static str, Work); 3];

/// A text of 100 bytes.
const TEXT: &str =
    "It was the best of times, it was the worst of times, it was the age of wisdom,\nit was the age of foo";

const RAW: &str = "(a) wasmtime, typed";
const VALUE: &str = "(b) host, JSON value in and out";
const WRITTEN: &str = "(c) host, JSON text in and out";

struct Sides {
    text: Arc<Raw>,
    kitchen: Arc<Raw>,
    host: Arc<Hosted>,
}

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let options = EngineOptions::default();
    let sides = Sides {
        text: Arc::new(Raw::new(&options, &guest("text")?)?),
        kitchen: Arc::new(Raw::new(&options, &guest("kitchen")?)?),
        host: Hosted::new(&options, &["text", "kitchen"])?,
    };
    let one = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    one.block_on(sides.agree())?;

    let effort = |rounds: usize, milliseconds| Effort {
        rounds: if quick { rounds / 5 } else { rounds },
        calls: Calls::For(Duration::from_millis(milliseconds)),
    };
    let count = sides.word_count()?;
    let rows = compare(count.iter().map(|road| on_one(&one, road)).collect(), effort(100, 20))?;
    table.group("road: text `word-count` of 100 bytes, 1 thread", &rows)?;
    if let [_, value, written] = rows.as_slice() {
        table.target("(b)/(a), CPU, 1 thread", 1.15, value.cpu_ratio, "");
        table.target("(c)/(a), CPU, 1 thread", 1.35, written.cpu_ratio, "");
    }
    let rows = compare(count.iter().map(|road| on_two(&two, road)).collect(), effort(100, 20))?;
    table.group("road: text `word-count` of 100 bytes, 2 threads", &rows)?;
    if let [_, value, written] = rows.as_slice() {
        table.target("(b)/(a), wall, 2 threads", 1.15, value.wall_ratio, "");
        table.target("(c)/(a), wall, 2 threads", 1.35, written.wall_ratio, "");
    }
    for (title, bytes) in [("10 KiB", 10 << 10), ("1 MiB", 1 << 20)] {
        let echo = sides.echo(&TEXT.repeat(bytes / TEXT.len() + 1)[..bytes])?;
        let rows = compare(echo.iter().map(|road| on_one(&one, road)).collect(), effort(50, 20))?;
        table.group(&format!("for information: text `echo` of {title}, 1 thread"), &rows)?;
    }
    let echo = sides.echo_bytes(1 << 20)?;
    let rows = compare(echo.iter().map(|road| on_one(&one, road)).collect(), effort(50, 20))?;
    table.group("for information: kitchen `echo-bytes` of 1 MiB (base64 in JSON), 1 thread", &rows)
}

impl Sides {
    /// Both sides do the same work.
    async fn agree(&self) -> Result<()> {
        let (raw,) = self.text.call::<_, (Counts,)>(self.text.function("word-count")?, (TEXT,)).await?;
        let raw = json!({"words": raw.words, "lines": raw.lines, "characters": raw.characters});
        let hosted = self.host.call("text_word_count", json!({"text": TEXT})).await?;
        ensure!(TEXT.len() == 100 && raw == hosted, "{raw} is not {hosted}");
        Ok(())
    }

    fn word_count(&self) -> Result<Roads> {
        let (raw, function) = (self.text.clone(), self.text.function("word-count")?);
        let raw = work(move || {
            let raw = raw.clone();
            async move {
                black_box(raw.call::<_, (Counts,)>(function, (TEXT,)).await?);
                Ok(())
            }
        });
        let [value, written] = self.hosted("text_word_count", json!({"text": TEXT}))?;
        Ok([(RAW, raw), (VALUE, value), (WRITTEN, written)])
    }

    fn echo(&self, text: &str) -> Result<Roads> {
        let (raw, function) = (self.text.clone(), self.text.function("echo")?);
        let shared: Arc<str> = text.into();
        let raw = work(move || {
            let (raw, text) = (raw.clone(), shared.clone());
            async move {
                black_box(raw.call::<_, (String,)>(function, (&*text,)).await?);
                Ok(())
            }
        });
        let [value, written] = self.hosted("text_echo", json!({"text": text}))?;
        Ok([(RAW, raw), (VALUE, value), (WRITTEN, written)])
    }

    fn echo_bytes(&self, length: usize) -> Result<Roads> {
        let (raw, function) = (self.kitchen.clone(), self.kitchen.function("echo-bytes")?);
        let bytes: Arc<[u8]> = (0..=u8::MAX).cycle().take(length).collect();
        let arguments = json!({"value": BASE64.encode(&bytes)});
        let raw = work(move || {
            let (raw, bytes) = (raw.clone(), bytes.clone());
            async move {
                black_box(raw.call::<_, (Vec<u8>,)>(function, (&*bytes,)).await?);
                Ok(())
            }
        });
        let [value, written] = self.hosted("kitchen_echo_bytes", arguments)?;
        Ok([(RAW, raw), (VALUE, value), (WRITTEN, written)])
    }

    /// The two roads through the host. What a caller hands over is made anew for each call, and that is counted.
    fn hosted(&self, tool: &'static str, arguments: Value) -> Result<[Work; 2]> {
        let text: Arc<str> = serde_json::to_string(&arguments)?.into();
        let (host, arguments) = (self.host.clone(), Arc::new(arguments));
        let value = work(move || {
            let (host, arguments) = (host.clone(), arguments.clone());
            async move {
                black_box(host.call(tool, Value::clone(&arguments)).await?);
                Ok(())
            }
        });
        let host = self.host.clone();
        let written = work(move || {
            let (host, text) = (host.clone(), text.clone());
            async move {
                let value = host.call(tool, &*text).await?;
                black_box(serde_json::to_string(&value)?);
                Ok(())
            }
        });
        Ok([value, written])
    }
}

fn work<F>(call: impl Fn() -> F + Send + Sync + 'static) -> Work
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let call = Arc::new(call);
    Arc::new(move |calls| {
        let call = call.clone();
        Box::pin(async move {
            for _ in 0..calls {
                call().await?;
            }
            Ok(())
        })
    })
}

fn on_one<'a>(runtime: &'a Runtime, (name, work): &'a (&str, Work)) -> Candidate<'a> {
    Candidate::new(*name, move |calls| runtime.block_on(work(calls)))
}

/// Two tasks, each with half of the calls.
fn on_two<'a>(runtime: &'a Runtime, (name, work): &'a (&str, Work)) -> Candidate<'a> {
    Candidate::new(*name, move |calls| {
        let tasks = [runtime.spawn(work(calls / 2)), runtime.spawn(work(calls / 2))];
        runtime.block_on(async {
            for task in tasks {
                task.await??;
            }
            Ok(())
        })
    })
}

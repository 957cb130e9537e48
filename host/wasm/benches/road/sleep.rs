//! A thousand calls at once that only wait: how long do all of them take, and what does a waiting call hold?

use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Runtime;
use toolpost_wasm::EngineOptions;
use wasmtime::{Result, bail, ensure, format_err};

use crate::hosted::{Hosted, guest};
use crate::measure::{Calls, Candidate, Effort, compare};
use crate::raw::Raw;
use crate::table::Table;

/// Calls at once.
const CALLS: u32 = 1_000;

/// How long they wait where time is measured, in milliseconds.
const NAP_MS: u64 = 100;

/// How long they wait where memory is measured: long enough that the first still sleeps when the last begins to.
const LONG_NAP_MS: u64 = 2_000;

const SIDES: [(&str, &str); 2] = [("raw", "wasmtime, typed"), ("host", "host, JSON value in and out")];

/// One side of the comparison.
#[derive(Clone)]
enum Side {
    Raw(Arc<Raw>),
    Host(Arc<Hosted>),
}

impl Side {
    fn new(side: &str) -> Result<Self> {
        let options = EngineOptions { max_parallel: CALLS as usize, ..EngineOptions::default() };
        Ok(match side {
            "raw" => Side::Raw(Arc::new(Raw::new(&options, &guest("nap")?)?)),
            "host" => Side::Host(Hosted::new(&options, &["nap"])?),
            _ => bail!("there is no side `{side}`"),
        })
    }

    /// One nap.
    fn nap(&self, ms: u64) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> {
        match self.clone() {
            Side::Raw(raw) => Box::pin(async move {
                let (slept,) = raw.call::<_, (u64,)>(raw.function("nap")?, (ms,)).await?;
                ensure!(slept == ms, "it slept for {slept} ms");
                Ok(())
            }),
            Side::Host(host) => Box::pin(async move {
                let slept = host.call("nap_nap", json!({"ms": ms})).await?;
                ensure!(slept == json!(ms), "it slept for {slept} ms");
                Ok(())
            }),
        }
    }

    fn live_instances(&self) -> u64 {
        match self {
            Side::Raw(raw) => raw.live_instances(),
            Side::Host(host) => host.engine.live_instances().unwrap_or_default(),
        }
    }
}

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let runtime = runtime()?;
    let sides: Vec<Side> = SIDES.iter().map(|(side, _)| Side::new(side)).collect::<Result<_>>()?;
    let candidates = SIDES.iter().zip(&sides).map(|((_, name), side)| {
        let runtime = &runtime;
        Candidate::new(*name, move |calls| {
            let naps: Vec<_> = (0..calls).map(|_| runtime.spawn(side.nap(NAP_MS))).collect();
            runtime.block_on(async {
                for nap in naps {
                    nap.await??;
                }
                Ok(())
            })
        })
    });
    let effort = Effort { rounds: if quick { 3 } else { 15 }, calls: Calls::Exactly(CALLS) };
    let mut rows = compare(candidates.collect(), effort)?;
    for ((side, _), row) in SIDES.iter().zip(&mut rows) {
        let all = row.wall * f64::from(CALLS) / 1e3;
        row.note = format!("all in {all:.0} ms; {}", memory(side)?);
    }
    table.group(&format!("sleep: {CALLS} calls of nap({NAP_MS} ms) at once, 2 threads"), &rows)
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?)
}

/// What a waiting call holds, measured in a process of its own: no memory of other calls lies about there.
fn memory(side: &str) -> Result<String> {
    let output = Command::new(std::env::current_exe()?).args(["--asleep", side]).output()?;
    ensure!(output.status.success(), "the child failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The child of [`memory`].
pub(crate) fn child(side: &str) -> Result<()> {
    use std::io::Write as _;

    let runtime = runtime()?;
    let side = Side::new(side)?;
    runtime.block_on(side.nap(0))?;
    let before = resident_kib()?;
    let naps: Vec<_> = (0..CALLS).map(|_| runtime.spawn(side.nap(LONG_NAP_MS))).collect();
    let (asleep, during) = runtime.block_on(async {
        for _ in 0..LONG_NAP_MS / 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if side.live_instances() >= u64::from(CALLS) {
                break;
            }
        }
        // The last one may not have lain down yet.
        tokio::time::sleep(Duration::from_millis(100)).await;
        (side.live_instances(), resident_kib())
    });
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let each = during?.saturating_sub(before) as f64 / asleep.max(1) as f64;
    for nap in naps {
        runtime.block_on(nap)??;
    }
    writeln!(std::io::stdout(), "{each:.1} KiB resident each, while {asleep} sleep")?;
    Ok(())
}

/// `VmRSS` of this process.
fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or_else(|| format_err!("there is no VmRSS"))?.parse()?)
}

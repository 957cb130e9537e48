//! Files, through the host and through `wasmtime-wasi`: one long one, and many short ones.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use toolpost_wasm::EngineOptions;
use wasmtime::component::{ComponentNamedList, Lift, Lower};
use wasmtime::{Result, ensure, format_err};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use crate::hosted::{Hosted, guest};
use crate::measure::{Calls, Candidate, Effort, Measured, compare};
use crate::raw::Raw;
use crate::table::Table;

/// How much longer it may take through the host: 60 % of the throughput.
const RATIO_MAX: f64 = 1.0 / 0.6;

/// The long file, in bytes, and what the guest writes or reads in one go.
const LONG: u64 = 100_000_000;
const PART: u32 = 64 << 10;

/// The short files: how many, and how long each is.
const COUNT: u32 = 1_000;
const SHORT: u32 = 1_000;

/// One call.
type Work = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// What is done in one call, on both sides.
struct Job {
    title: &'static str,
    raw: Work,
    hosted: Work,
    /// What is counted, and how much of it there is.
    unit: &'static str,
    amount: f64,
}

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let dir = folder()?;
    let effort = Effort { rounds: if quick { 5 } else { 25 }, calls: Calls::Exactly(1) };
    for job in jobs(dir.path())? {
        let candidates =
            vec![on(&runtime, "wasmtime-wasi", &job.raw), on(&runtime, "host, `wasi:filesystem`", &job.hosted)];
        let mut rows = compare(candidates, effort)?;
        let note = |row: &mut Measured| row.note = format!("{:.0} {}/s", job.amount / row.wall * 1e6, job.unit);
        rows.iter_mut().for_each(note);
        table.group(&format!("files: {}, 2 threads", job.title), &rows)?;
        if let [_, row] = rows.as_slice() {
            table.target(job.title, RATIO_MAX, row.wall_ratio, "");
        }
    }
    Ok(())
}

/// A folder in memory, where there is one: the moods of a disk are larger than what is measured.
fn folder() -> Result<TempDir> {
    Ok(TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())?)
}

fn on<'a>(runtime: &'a Runtime, name: &str, work: &Work) -> Candidate<'a> {
    let work = work.clone();
    Candidate::new(name, move |calls| {
        runtime.block_on(async {
            for _ in 0..calls {
                runtime.spawn(work()).await??;
            }
            Ok(())
        })
    })
}

fn jobs(dir: &Path) -> Result<[Job; 4]> {
    let sides = Sides::new(dir)?;
    let megabytes = LONG as f64 / 1e6;
    let write = json!({"path": "/data/long", "bytes": LONG, "part": PART});
    let read = json!({"path": "/data/long", "part": PART});
    let write_many = json!({"folder": "/data", "count": COUNT, "bytes": SHORT});
    let read_many = json!({"folder": "/data", "count": COUNT});
    Ok([
        Job {
            title: "100 MB written",
            raw: sides.raw("write-through", ("/data/long", LONG, PART), done)?,
            hosted: sides.hosted("disk_write_through", write, Value::Null),
            unit: "MB",
            amount: megabytes,
        },
        Job {
            title: "100 MB read",
            raw: sides.raw("read-through", ("/data/long", PART), |read| bytes(read, LONG))?,
            hosted: sides.hosted("disk_read_through", read, json!(LONG)),
            unit: "MB",
            amount: megabytes,
        },
        Job {
            title: "1,000 files of 1 KB written",
            raw: sides.raw("write-many", ("/data", COUNT, SHORT), done)?,
            hosted: sides.hosted("disk_write_many", write_many, Value::Null),
            unit: "files",
            amount: COUNT.into(),
        },
        Job {
            title: "1,000 files of 1 KB read",
            raw: sides.raw("read-many", ("/data", COUNT), |read| bytes(read, u64::from(COUNT * SHORT)))?,
            hosted: sides.hosted("disk_read_many", read_many, json!(COUNT * SHORT)),
            unit: "files",
            amount: COUNT.into(),
        },
    ])
}

fn done(done: Result<(), String>) -> Result<()> {
    done.map_err(|why| format_err!("{why}"))
}

fn bytes(read: Result<u64, String>, wanted: u64) -> Result<()> {
    let read = read.map_err(|why| format_err!("{why}"))?;
    ensure!(read == wanted, "{read} bytes were read");
    Ok(())
}

/// The guest `disk`, with the same folder on both sides.
struct Sides {
    raw: Arc<Raw>,
    host: Arc<Hosted>,
    dir: Arc<Path>,
}

impl Sides {
    fn new(dir: &Path) -> Result<Self> {
        let options = EngineOptions::default();
        let room = json!({"host": dir, "guest": "/data", "access": "write", "max_bytes": "1 GiB", "max_file": "1 GiB"});
        let grants = json!({"dirs": [room]});
        let host = Hosted::granted(&options, &["disk"], grants)?;
        Ok(Sides { raw: Arc::new(Raw::new(&options, &guest("disk")?)?), host, dir: dir.into() })
    }

    fn raw<P, T>(
        &self,
        function: &str,
        parameters: P,
        judge: impl Fn(Result<T, String>) -> Result<()> + Copy + Send + Sync + 'static,
    ) -> Result<Work>
    where
        P: ComponentNamedList + Lower + Copy + Send + Sync + 'static,
        (Result<T, String>,): ComponentNamedList + Lift + Send + Sync + 'static,
        T: 'static,
    {
        let (raw, dir, function) = (self.raw.clone(), self.dir.clone(), self.raw.function(function)?);
        Ok(Arc::new(move || {
            let (raw, dir) = (raw.clone(), dir.clone());
            Box::pin(async move {
                let (done,) = raw.call_with(with(&dir)?, function, parameters).await?;
                judge(done)
            })
        }))
    }

    fn hosted(&self, tool: &'static str, arguments: Value, wanted: Value) -> Work {
        let host = self.host.clone();
        Arc::new(move || {
            let (host, arguments, wanted) = (host.clone(), arguments.clone(), wanted.clone());
            Box::pin(async move {
                let value = host.call(tool, arguments).await?;
                ensure!(value == wanted, "{value} is not {wanted}");
                Ok(())
            })
        })
    }
}

/// WASI with that folder.
fn with(dir: &Path) -> Result<WasiCtx> {
    Ok(WasiCtxBuilder::new().preopened_dir(dir, "/data", FsPerms::ReadWrite)?.build())
}

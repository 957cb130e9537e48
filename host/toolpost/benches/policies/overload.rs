//! What becomes of calls when ten times as many come as can run, and who gets what when one caller floods the host?
//!
//! Calls come at their times, whatever became of those before them. They are real ones, of a guest that naps.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, sleep_until};
use toolpost::{Builder, Call, Caller, ErrorKind, Host, Settings};

use crate::table::Table;
use crate::{Error, Result};

/// How long a call naps.
const NAP: Duration = Duration::from_millis(50);

/// The places of the host with one caller, and of the one with two: there the quiet one shall ask for more than its part.
const PLACES: u32 = 64;
const PLACES_OF_TWO: u32 = 8;

/// By how much more comes than can run, and by how much one of two callers asks for more than the other.
const OVERLOAD: u32 = 10;
const LOUDER: u32 = 100;

/// How much longer calls may take, how much the shares of two callers may differ, and how much memory may grow once the load is on.
const RATIO_MAX: f64 = 3.0;
const SHARES_MAX: f64 = 1.2;
const GROWTH_MIB_MAX: f64 = 32.0;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let seconds = if quick { 2 } else { 60 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let span = Duration::from_secs(seconds);
    let mut lines = Vec::new();

    let host = runtime.block_on(host(PLACES))?;
    let capacity = f64::from(PLACES) / NAP.as_secs_f64();
    offer(&runtime, &host, &[("ann", capacity)], Duration::from_secs(1))?;
    let [normal] = offer(&runtime, &host, &[("ann", capacity)], span)?;
    let [over] = offer(&runtime, &host, &[("ann", capacity * f64::from(OVERLOAD))], span)?;
    lines.push(normal.words("(a) as many calls as can run"));
    lines.push(over.words(&format!("(b) {OVERLOAD} times as many")));
    let ratio = over.time_at(0.99) / normal.time_at(0.99);
    lines.push(format!("(b)/(a): p50 x {:.2}, p99 x {ratio:.2}", over.time_at(0.5) / normal.time_at(0.5)));
    drop(host);

    let host = runtime.block_on(self::host(PLACES_OF_TWO))?;
    let part = f64::from(PLACES_OF_TWO) / NAP.as_secs_f64() / 2.0;
    let quiet = part * 1.25;
    let [loud, quiet] = offer(&runtime, &host, &[("ann", quiet * f64::from(LOUDER)), ("bob", quiet)], span)?;
    lines.push(loud.words(&format!("(c) a caller who asks for {LOUDER} times as much")));
    lines.push(quiet.words("(d) as this one"));

    table.lines(
        &format!(
            "overload: nap({} ms) for {seconds} s, {PLACES} places, then {PLACES_OF_TWO}; 2 threads",
            NAP.as_millis()
        ),
        &lines,
    )?;
    table.target("overload: p99 of (b)/(a)", RATIO_MAX, ratio, " times");
    table.target(
        "overload: refused without `retry_after`",
        0.0,
        f64::from(over.untold + loud.untold + quiet.untold),
        "",
    );
    table.target(
        "overload: other failures",
        0.0,
        f64::from(normal.failed + over.failed + loud.failed + quiet.failed),
        "",
    );
    table.target("overload: memory of (b) grows", GROWTH_MIB_MAX, over.grown_mib, " MiB");
    let (most, least) = (loud.times.len().max(quiet.times.len()), loud.times.len().min(quiet.times.len()));
    #[expect(clippy::cast_precision_loss, reason = "numbers of calls")]
    table.target("overload: the larger share of (c) and (d)", SHARES_MAX, most as f64 / least.max(1) as f64, " times");
    Ok(())
}

async fn host(places: u32) -> Result<Host> {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-examples/prebuilt/nap.wasm");
    let settings =
        format!("log.enabled = false\n[host]\nmax_parallel = {places}\n[components.nap]\npath = {guest:?}\n");
    let settings = Settings::parse(&settings, Path::new("toolpost.toml"))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    Ok(Builder::new().settings(settings).in_memory().build().await?)
}

/// What became of a load.
#[derive(Default)]
struct Became {
    /// How long those took that were served, in milliseconds; sorted once all is over.
    times: Vec<f64>,
    offered: u32,
    refused: u32,
    /// Refused, and not told when to come back.
    untold: u32,
    /// Ended in any other way.
    failed: u32,
    /// When those that were refused should come back, all together.
    come_back: Duration,
    /// By how much the memory of the process grew from the first quarter of the load to its end.
    grown_mib: f64,
}

impl Became {
    fn time_at(&self, part: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of a length"
        )]
        let at = (self.times.len() as f64 * part) as usize;
        self.times.get(at.min(self.times.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }

    fn words(&self, name: &str) -> String {
        let Became { times, offered, refused, come_back, grown_mib, .. } = self;
        let percent = 100.0 * f64::from(*refused) / f64::from(*offered).max(1.0);
        let back = come_back.as_secs_f64() / f64::from(*refused).max(1.0);
        format!(
            "{name}: {offered} offered, {} served in p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms; {percent:.1} % refused, to come back \
             after {back:.1} s on average; {grown_mib:+.1} MiB",
            times.len(),
            self.time_at(0.5),
            self.time_at(0.99),
            self.time_at(1.0)
        )
    }
}

/// Makes as many calls of each caller in a second, for so long, and waits for the end of all of them.
fn offer<const N: usize>(
    runtime: &Runtime,
    host: &Host,
    loads: &[(&'static str, f64); N],
    span: Duration,
) -> Result<[Became; N]> {
    let begins = Instant::now();
    let callers = loads.map(|(who, per_second)| {
        let became = Arc::new(Mutex::new(Became::default()));
        (runtime.spawn(call_at_times(host.clone(), who, per_second, begins, span, became.clone())), became)
    });
    let (mut grown, mut all) = (0.0, Vec::new());
    runtime.block_on(async {
        sleep_until(begins + span / 4).await;
        let before = resident_mib()?;
        sleep_until(begins + span).await;
        grown = resident_mib()? - before;
        for (caller, became) in callers {
            caller.await?;
            all.push(became);
        }
        // Those that wait still.
        while host.in_use() != (0, 0) {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_millis(10)).await;
        Ok::<_, Error>(())
    })?;
    let all = all.iter().map(|became| {
        let mut became = std::mem::take(&mut *lock(became));
        became.grown_mib = grown;
        became.times.sort_by(f64::total_cmp);
        became
    });
    let all: Vec<Became> = all.collect();
    all.try_into().map_err(|_| "as many loads as callers".into())
}

async fn call_at_times(
    host: Host,
    who: &'static str,
    per_second: f64,
    begins: Instant,
    span: Duration,
    became: Arc<Mutex<Became>>,
) {
    let mut made = 0.0;
    while begins.elapsed() < span {
        while made < begins.elapsed().as_secs_f64() * per_second {
            made += 1.0;
            let (host, became) = (host.clone(), became.clone());
            tokio::spawn(async move {
                let comes = Instant::now();
                lock(&became).offered += 1;
                let ms = u64::try_from(NAP.as_millis()).unwrap_or_default();
                let outcome = host.call(Call::new("nap_nap", json!({"ms": ms})).by(Caller::named(who))).await;
                let took = comes.elapsed().as_secs_f64() * 1e3;
                let mut became = lock(&became);
                match outcome.result {
                    Ok(_) => became.times.push(took),
                    Err(error) if error.kind == ErrorKind::Busy => {
                        became.refused += 1;
                        became.untold += u32::from(error.retry_after.is_none());
                        became.come_back += error.retry_after.unwrap_or_default();
                    }
                    Err(_) => became.failed += 1,
                }
            });
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// `VmRSS` of this process.
fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).ok_or("there is no VmRSS")?;
    Ok(number.parse::<f64>()? / 1024.0)
}

fn lock(became: &Mutex<Became>) -> MutexGuard<'_, Became> {
    became.lock().unwrap_or_else(PoisonError::into_inner)
}

//! How long do calls take when many callers call at once?

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::hosts::{Hosted, Road};
use crate::measure::{Calls, Candidate, Effort, compare};
use crate::table::Table;
use crate::{Error, Result};

const CALLERS: u32 = 1_000;

/// The calls of each caller, in a batch.
const CALLS_EACH: u32 = 10;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let roads = [("(a) the bare road", Road::Bare), ("(b) every policy, a ledger in memory", Road::Changing)];
    let (mut candidates, mut taken) = (Vec::new(), Vec::new());
    for (name, road) in roads {
        let times = Times::default();
        candidates.push(at_once(name, &runtime, runtime.block_on(Hosted::on(road))?, CALLERS, times.clone()));
        taken.push(times);
    }
    let effort = Effort { rounds: if quick { 4 } else { 20 }, calls: Calls::Exactly(CALLERS * CALLS_EACH) };
    let mut rows = compare(candidates, effort)?;
    rows.iter_mut().zip(&taken).for_each(|(row, taken)| row.note = taken.words());
    table.group(&format!("callers: {CALLERS} at once, each with a call under way or waiting; 2 threads"), &rows)
}

/// How long calls took.
#[derive(Clone, Default)]
pub(crate) struct Times(Arc<Mutex<Vec<Duration>>>);

impl Times {
    pub(crate) fn add(&self, times: &[Duration]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(times);
    }

    pub(crate) fn words(&self) -> String {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.sort_unstable();
        let at = |part: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
            let place = (times.len() as f64 * part) as usize;
            times.get(place.min(times.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        format!("p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms", at(0.5), at(0.99), at(1.0))
    }
}

/// So many callers, each of which makes its share of the calls, one after the other.
pub(crate) fn at_once<'a>(
    name: &str,
    runtime: &'a Runtime,
    hosted: Arc<Hosted>,
    callers: u32,
    times: Times,
) -> Candidate<'a> {
    Candidate::new(name, move |calls| {
        let caller = |_| {
            let (hosted, times) = (hosted.clone(), times.clone());
            runtime.spawn(async move {
                let mut taken = Vec::new();
                for _ in 0..calls.div_ceil(callers) {
                    let begun = Instant::now();
                    hosted.call().await?;
                    taken.push(begun.elapsed());
                }
                times.add(&taken);
                Ok::<_, Error>(())
            })
        };
        let callers: Vec<_> = (0..callers.min(calls)).map(caller).collect();
        runtime.block_on(async {
            for caller in callers {
                caller.await??;
            }
            Ok(())
        })
    })
}

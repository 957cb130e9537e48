//! How long does it take? Batches of the rows that are compared, one after the other, again and again.

use std::time::Duration;

use crate::Result;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs that many calls.
pub(crate) type Batch<'a> = Box<dyn FnMut(u32) -> Result<()> + 'a>;

/// A row in the making.
pub(crate) struct Candidate<'a> {
    pub(crate) name: String,
    pub(crate) batch: Batch<'a>,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(name: impl Into<String>, batch: impl FnMut(u32) -> Result<()> + 'a) -> Self {
        Candidate { name: name.into(), batch: Box::new(batch) }
    }
}

/// How often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) calls: Calls,
}

/// The calls in a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Calls {
    Exactly(u32),
    /// As many as the first row does in about that time.
    For(Duration),
}

/// A row. Times are of one call, in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    /// Wall time: the median of the batches, and the least.
    pub(crate) wall: f64,
    pub(crate) wall_least: f64,
    /// CPU time: the median of the batches.
    pub(crate) cpu: f64,
    /// Both as parts of the first row's.
    pub(crate) wall_ratio: f64,
    pub(crate) cpu_ratio: f64,
    pub(crate) note: String,
}

/// Measures rows beside each other; the first is what the others are compared with.
pub(crate) fn compare(mut candidates: Vec<Candidate<'_>>, effort: Effort) -> Result<Vec<Measured>> {
    let calls = match effort.calls {
        Calls::Exactly(calls) => calls,
        Calls::For(time) => {
            for candidate in &mut candidates {
                (candidate.batch)(2)?;
            }
            match candidates.first_mut() {
                Some(first) => calibrate(&mut first.batch, time)?,
                None => 1,
            }
        }
    };
    let mut batches: Vec<Vec<Times>> = vec![Vec::new(); candidates.len()];
    for _ in 0..effort.rounds {
        for (candidate, batches) in candidates.iter_mut().zip(&mut batches) {
            batches.push(time(|| (candidate.batch)(calls))?.per(calls));
        }
    }
    let first = batches.first().cloned().unwrap_or_default();
    let row = |(candidate, batches): (Candidate<'_>, Vec<Times>)| Measured {
        name: candidate.name,
        wall: median(batches.iter().map(|times| times.wall)),
        wall_least: batches.iter().map(|times| times.wall).fold(f64::INFINITY, f64::min),
        cpu: median(batches.iter().map(|times| times.cpu)),
        wall_ratio: median(batches.iter().zip(&first).map(|(times, first)| times.wall / first.wall)),
        cpu_ratio: median(batches.iter().zip(&first).map(|(times, first)| times.cpu / first.cpu)),
        note: String::new(),
    };
    Ok(candidates.into_iter().zip(batches).map(row).collect())
}

/// As many calls as take that long; an even number, for two threads.
fn calibrate(batch: &mut Batch<'_>, wanted: Duration) -> Result<u32> {
    let mut calls = 2;
    loop {
        let took = time(|| batch(calls))?.wall;
        let wanted = wanted.as_secs_f64() * 1e6;
        if took >= wanted / 2.0 || calls >= 1 << 20 {
            let fitting = f64::from(calls) * wanted / took;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
            return Ok((fitting as u32).clamp(2, 1 << 20) / 2 * 2);
        }
        calls *= 2;
    }
}

/// Wall and CPU time, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Times {
    wall: f64,
    cpu: f64,
}

impl Times {
    fn per(self, calls: u32) -> Self {
        Times { wall: self.wall / f64::from(calls), cpu: self.cpu / f64::from(calls) }
    }
}

fn time(work: impl FnOnce() -> Result<()>) -> Result<Times> {
    let wall = read(ClockId::Monotonic);
    let cpu = read(ClockId::ProcessCPUTime);
    work()?;
    Ok(Times { cpu: read(ClockId::ProcessCPUTime) - cpu, wall: read(ClockId::Monotonic) - wall })
}

fn read(clock: ClockId) -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    tv_sec as f64 * 1e6 + tv_nsec as f64 / 1e3
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

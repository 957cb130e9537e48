//! One attempt. [`Runner`] is the seam behind which a call meets the tool; everything in front of it is policy.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::call::PermittedCall;
use crate::effect::{Effect, Gate, Passage};
use crate::tell::{CallError, Captured, Event, Level, Output, Teller};

/// Runs one attempt of a permitted call.
///
/// # Cancel safety
/// The host ends an attempt by closing its gate and dropping the future. A runner must stop at once then, and do nothing
/// behind it.
pub trait Runner: Send + Sync {
    /// Runs the tool once, from a fresh start.
    fn run<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Output, CallError>>;
}

/// What a tool is given to run with.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The call.
    pub call: Arc<PermittedCall>,
    /// The number of the attempt; the first is 1.
    pub number: u32,
    /// When it began.
    pub started: Instant,
    /// When it is ended.
    pub deadline: Instant,
    /// What it uses.
    pub meter: Arc<Meter>,
    gate: Gate,
    teller: Teller,
}

impl Attempt {
    pub(crate) fn new(
        call: Arc<PermittedCall>,
        number: u32,
        started: Instant,
        deadline: Instant,
        teller: Teller,
    ) -> Self {
        let limits = call.tool.limits;
        let meter = Arc::new(Meter::new(limits.stdio_bytes_max, limits.log_bytes_max));
        Attempt { call, number, started, deadline, meter, gate: Gate::new(number), teller }
    }

    /// Asks for leave to have an effect on the world. Every driver does, before it acts.
    ///
    /// # Errors
    /// As for [`Gate::pass`].
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready leaves no trace.
    pub async fn pass(&self, effect: Effect) -> Result<Passage, CallError> {
        let told = effect.clone();
        let passage = self.gate.pass(effect).await?;
        self.teller.tell(&Event::Effect { effect: &told });
        Ok(passage)
    }

    /// Says how far the work is. Nothing is said any more once the attempt is over.
    pub fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>) {
        if self.gate.check().is_ok() {
            self.teller.tell(&Event::Progress { done, total, message });
        }
    }

    /// Hands out a part of the result.
    pub fn emit(&self, text: &str) {
        if self.gate.check().is_ok() {
            self.teller.tell(&Event::Partial { text });
        }
    }

    /// Writes a line to the log of the call.
    pub fn log(&self, level: Level, message: &str) {
        if self.gate.check().is_ok() {
            self.meter.log.write(format!("{}: {message}\n", level.name()).as_bytes());
            self.teller.tell(&Event::Log { level, message });
        }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }
}

/// What an attempt uses, counted while it runs, so that the count survives however the attempt ends.
#[derive(Debug)]
pub struct Meter {
    fuel: AtomicU64,
    memory_bytes_peak: AtomicU64,
    /// The standard output of the attempt.
    pub stdout: Arc<Capture>,
    /// The standard error of the attempt.
    pub stderr: Arc<Capture>,
    /// The log of the attempt.
    pub log: Arc<Capture>,
}

impl Meter {
    fn new(stdio_bytes_max: u64, log_bytes_max: u64) -> Self {
        let capture = |bytes_max| Arc::new(Capture::new(bytes_max));
        Meter {
            fuel: AtomicU64::new(0),
            memory_bytes_peak: AtomicU64::new(0),
            stdout: capture(stdio_bytes_max),
            stderr: capture(stdio_bytes_max),
            log: capture(log_bytes_max),
        }
    }

    /// Notes the fuel that was used so far.
    pub fn fuel_used(&self, fuel: u64) {
        self.fuel.store(fuel, Ordering::Relaxed);
    }

    /// Notes the memory that is held now.
    pub fn memory_held(&self, bytes: u64) {
        self.memory_bytes_peak.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The fuel that was used.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.fuel.load(Ordering::Relaxed)
    }

    /// The most memory that was held, in bytes.
    #[must_use]
    pub fn memory_bytes_peak(&self) -> u64 {
        self.memory_bytes_peak.load(Ordering::Relaxed)
    }
}

/// The beginning of what a tool writes; the rest is counted.
#[derive(Debug)]
pub struct Capture {
    bytes_max: usize,
    kept: Mutex<Vec<u8>>,
    dropped: AtomicU64,
}

impl Capture {
    /// Keeps that many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Capture { bytes_max, kept: Mutex::new(Vec::new()), dropped: AtomicU64::new(0) }
    }

    /// Takes in what is written.
    pub fn write(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (keep, drop) = bytes.split_at(bytes.len().min(self.bytes_max.saturating_sub(kept.len())));
        kept.extend_from_slice(keep);
        self.dropped.fetch_add(drop.len() as u64, Ordering::Relaxed);
    }

    /// What was written so far, as text.
    #[must_use]
    pub fn captured(&self) -> Captured {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = self.dropped.load(Ordering::Relaxed);
        // A character that the limit cut in two is no fault of the tool's.
        let is_cut = |rest: &[u8]| std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
        let last = kept.utf8_chunks().last().map(|chunk| chunk.invalid()).unwrap_or_default();
        let whole = kept.len() - if dropped > 0 && is_cut(last) { last.len() } else { 0 };
        let text = kept.get(..whole).unwrap_or_default();
        Captured {
            text: String::from_utf8_lossy(text).into_owned(),
            dropped_bytes: dropped + (kept.len() - whole) as u64,
        }
    }
}

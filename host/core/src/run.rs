//! One attempt. [`Runner`] is the seam behind which a call meets the tool; everything in front of it is policy.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::call::{CallerKey, PermittedCall};
use crate::effect::{Effect, Gate, Passage};
use crate::guard::replay::Hold;
use crate::inside::Ties;
use crate::limits::Limits;
use crate::tell::{CallError, Captured, Event, Level, Output, Teller};

/// Messages of progress in one attempt, and the length of one in bytes.
const PROGRESS_MAX: u64 = 10_000;
const PROGRESS_BYTES_MAX: usize = 1 << 10;

/// What the smallest part of a result counts, in bytes.
const PART_BYTES_LEAST: usize = 64;

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
    caller_key: CallerKey,
    gate: Gate,
    teller: Teller,
    ties: Ties,
    hold: Option<Arc<Hold>>,
    /// Keys that have gone along with what it does.
    forwarded: Arc<AtomicU64>,
}

impl Attempt {
    pub(crate) fn new(
        call: Arc<PermittedCall>,
        caller_key: CallerKey,
        number: u32,
        started: Instant,
        deadline: Instant,
        teller: Teller,
        ties: Ties,
    ) -> Self {
        let limits = call.tool.limits;
        let meter = Arc::new(Meter::new(&limits));
        let mut gate = Gate::new(number);
        if let Some(inside) = &call.call.inside {
            gate.before_those_of(inside.gate());
        }
        let (hold, forwarded) = (None, Arc::default());
        Attempt { call, number, started, deadline, meter, caller_key, gate, teller, ties, hold, forwarded }
    }

    /// The attempt of a call that holds its idempotency key.
    pub(crate) fn under(mut self, hold: Option<&Arc<Hold>>) -> Self {
        if let Some(hold) = hold {
            self.gate.before(hold.clone());
            self.hold = Some(hold.clone());
        }
        self
    }

    /// The caller as the tool may see it: 32 hexadecimal digits. They are the same for one caller in one host, and tell
    /// nothing about the caller to anyone who has not the host's key.
    #[must_use]
    pub fn opaque_caller(&self) -> String {
        self.caller_key.opaque(&self.call.call.caller)
    }

    /// The key that goes along with the attempt's next request that may change something, so that a server which knows such
    /// keys does it once, however often the call is run. Each asking is for another request; every attempt of the call, also
    /// in a host that takes it over, gets the same keys in the same order. None where the call has no idempotency key.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<String> {
        let hold = self.hold.as_ref()?;
        Some(hold.forwarded(self.forwarded.fetch_add(1, Ordering::Relaxed) + 1))
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

    /// Says how far the work is. Nothing is said any more once the attempt is over, or has said very much already.
    pub fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>) {
        if self.gate.check().is_ok() && self.meter.progress_left.take(1) {
            let message = message.map(|message| cut(message, PROGRESS_BYTES_MAX));
            self.teller.tell(&Event::Progress { done, total, message });
        }
    }

    /// Reports a cost of the attempt, such as what another service asks for it: it is added to what was reported before and to
    /// what settings say. Nothing is added that is no amount, nor once the attempt is over.
    pub fn report_cost(&self, cost: f64) {
        if self.gate.check().is_ok() && cost.is_finite() && cost > 0.0 {
            *self.meter.cost.lock().unwrap_or_else(PoisonError::into_inner) += cost;
        }
    }

    /// Hands out a part of the result. All parts together are no longer than the result may be.
    pub fn emit(&self, text: &str) {
        if self.gate.check().is_ok() && self.meter.emit_left.take(text.len().max(PART_BYTES_LEAST)) {
            self.teller.tell(&Event::Partial { text });
        }
    }

    /// Writes a line to the log of the call. Listeners are told as much of the log as is kept.
    pub fn log(&self, level: Level, message: &str) {
        if self.gate.check().is_ok() {
            // A message of several lines must not look like several messages.
            let line = format!("{}: {}\n", level.name(), message.replace('\n', "\n  "));
            self.meter.log.write(line.as_bytes());
            if self.meter.log_left.take(line.len()) {
                self.teller.tell(&Event::Log { level, message });
            }
        }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn ties(&self) -> &Ties {
        &self.ties
    }

    /// Waits until another call has this one's idempotency key; for ever, where that cannot be.
    pub(crate) async fn lost(&self) -> CallError {
        match &self.hold {
            Some(hold) => hold.lost().await,
            None => std::future::pending().await,
        }
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

/// How much may still be said to listeners: what queues it must not fill the host's memory.
#[derive(Debug)]
struct Left(AtomicU64);

impl Left {
    fn take(&self, amount: usize) -> bool {
        let take = |left: u64| left.checked_sub(amount as u64);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// What an attempt uses, counted while it runs, so that the count survives however the attempt ends.
#[derive(Debug)]
pub struct Meter {
    fuel: AtomicU64,
    memory_bytes_peak: AtomicU64,
    /// What the tool has reported that it costs.
    cost: Mutex<f64>,
    progress_left: Left,
    emit_left: Left,
    log_left: Left,
    /// The standard output of the attempt.
    pub stdout: Arc<Capture>,
    /// The standard error of the attempt.
    pub stderr: Arc<Capture>,
    /// The log of the attempt.
    pub log: Arc<Capture>,
}

impl Meter {
    fn new(limits: &Limits) -> Self {
        let capture = |bytes_max| Arc::new(Capture::new(bytes_max));
        Meter {
            fuel: AtomicU64::new(0),
            cost: Mutex::new(0.0),
            progress_left: Left(AtomicU64::new(PROGRESS_MAX)),
            emit_left: Left(AtomicU64::new(limits.result_bytes_max)),
            log_left: Left(AtomicU64::new(limits.log_bytes_max)),
            memory_bytes_peak: AtomicU64::new(0),
            stdout: capture(limits.stdio_bytes_max),
            stderr: capture(limits.stdio_bytes_max),
            log: capture(limits.log_bytes_max),
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

    pub(crate) fn cost(&self) -> f64 {
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The length of the end of what a tool writes, which is kept beside the beginning, in bytes.
const TAIL_BYTES_MAX: usize = 1 << 10;

/// The beginning of what a tool writes; the rest is counted. A small end is kept beside it, because a program's last words
/// say why it died.
#[derive(Debug)]
pub struct Capture {
    bytes_max: usize,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    kept: Vec<u8>,
    dropped: u64,
    /// The end of what was dropped.
    tail: VecDeque<u8>,
}

impl Capture {
    /// Keeps that many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Capture { bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX), written: Mutex::default() }
    }

    /// Takes in what is written.
    pub fn write(&self, bytes: &[u8]) {
        let mut written = self.lock();
        let (keep, drop) = bytes.split_at(bytes.len().min(self.bytes_max.saturating_sub(written.kept.len())));
        written.kept.extend_from_slice(keep);
        written.dropped += drop.len() as u64;
        let last = drop.get(drop.len().saturating_sub(TAIL_BYTES_MAX)..).unwrap_or_default();
        let excess = (written.tail.len() + last.len()).saturating_sub(TAIL_BYTES_MAX);
        written.tail.drain(..excess);
        written.tail.extend(last);
    }

    /// What was written so far, as text.
    #[must_use]
    pub fn captured(&self) -> Captured {
        let Written { kept, dropped, .. } = &*self.lock();
        // A character that the limit cut in two is no fault of the tool's.
        let is_cut = |rest: &[u8]| std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
        let last = kept.utf8_chunks().last().map(|chunk| chunk.invalid()).unwrap_or_default();
        let whole = kept.len() - if *dropped > 0 && is_cut(last) { last.len() } else { 0 };
        let text = kept.get(..whole).unwrap_or_default();
        Captured {
            text: String::from_utf8_lossy(text).into_owned(),
            dropped_bytes: dropped + (kept.len() - whole) as u64,
        }
    }

    /// The last that was written so far, as text of at most 1 KiB, which begins with a whole character.
    #[must_use]
    pub fn tail(&self) -> String {
        let Written { kept, dropped, tail } = &*self.lock();
        let from = kept.len().saturating_sub(TAIL_BYTES_MAX - tail.len());
        let mut bytes: Vec<u8> = kept.get(from..).unwrap_or_default().iter().chain(tail).copied().collect();
        if kept.len() as u64 + dropped > bytes.len() as u64 {
            // The rest of a character that was cut in two: at most three bytes.
            let is_rest = |byte: &&u8| **byte & 0xc0 == 0x80;
            let rest = bytes.iter().take(3).take_while(is_rest).count();
            bytes.drain(..rest);
        }
        // What is no text gets longer as text.
        let text = String::from_utf8_lossy(&bytes);
        text.get(text.ceil_char_boundary(text.len().saturating_sub(TAIL_BYTES_MAX))..).unwrap_or_default().to_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

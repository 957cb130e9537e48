//! What does an attempt use? It is counted here while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::capture::Capture;
use crate::limits::Limits;
use crate::secret::{Secrets, Stream};
use crate::tell::InstanceReport;

/// Messages of progress in one attempt.
const PROGRESS_MAX: u64 = 10_000;

/// How much may still be said to listeners: what queues it must not fill the host's memory.
#[derive(Debug)]
pub(super) struct Left(AtomicU64);

impl Left {
    pub(super) fn take(&self, amount: usize) -> bool {
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
    pub(super) progress_left: Left,
    pub(super) emit_left: Left,
    pub(super) log_left: Left,
    emitted: Mutex<Stream>,
    instance: Mutex<Option<InstanceReport>>,
    /// The standard output of the attempt.
    pub stdout: Arc<Capture>,
    /// The standard error of the attempt.
    pub stderr: Arc<Capture>,
    /// The log of the attempt.
    pub log: Arc<Capture>,
}

impl Meter {
    pub(super) fn new(limits: &Limits, secrets: &Arc<Secrets>) -> Self {
        let capture = |bytes_max| Arc::new(Capture::masked(bytes_max, secrets.clone()));
        Meter {
            fuel: AtomicU64::new(0),
            cost: Mutex::new(0.0),
            progress_left: Left(AtomicU64::new(PROGRESS_MAX)),
            emit_left: Left(AtomicU64::new(limits.result_bytes_max)),
            log_left: Left(AtomicU64::new(limits.log_bytes_max)),
            memory_bytes_peak: AtomicU64::new(0),
            emitted: Mutex::new(Stream::new(secrets.clone())),
            instance: Mutex::default(),
            stdout: capture(limits.stdio_bytes_max),
            stderr: capture(limits.stdio_bytes_max),
            log: capture(limits.log_bytes_max),
        }
    }

    pub(super) fn with_emitted<T>(&self, act: impl FnOnce(&mut Stream) -> T) -> T {
        act(&mut self.emitted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes the fuel that was used so far.
    pub fn fuel_used(&self, fuel: u64) {
        self.fuel.store(fuel, Ordering::Relaxed);
    }

    /// Notes the memory that is held now.
    pub fn memory_held(&self, bytes: u64) {
        self.memory_bytes_peak.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Notes the instance in which it runs, where such ones are kept.
    pub fn runs_in(&self, instance: InstanceReport) {
        *self.instance.lock().unwrap_or_else(PoisonError::into_inner) = Some(instance);
    }

    pub(crate) fn instance(&self) -> Option<InstanceReport> {
        *self.instance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to what the tool has reported that it costs.
    pub(super) fn costs(&self, more: f64) {
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner) += more;
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

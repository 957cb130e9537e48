//! Memory: what an instance holds, summed over all memories and tables, and where it ends.

use std::sync::Arc;

use toolpost_core::run::Meter;
use wasmtime::{ResourceLimiter, Result};

use crate::engine::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX};

/// What a table's element takes in the host, in bytes.
const TABLE_ELEMENT_BYTES: usize = 8;

/// The guest wants more memory than its limit.
#[derive(Debug)]
pub(crate) struct MemoryExceeded {
    pub(crate) wanted: u64,
}

impl std::fmt::Display for MemoryExceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes of memory are wanted", self.wanted)
    }
}

impl std::error::Error for MemoryExceeded {}

/// Counts the memory of an instance, for the attempt that it serves.
#[derive(Default)]
pub(crate) struct Limiter {
    bytes_max: u64,
    held: u64,
    meter: Option<Arc<Meter>>,
}

impl Limiter {
    /// What it holds counts for this attempt from here on.
    pub(crate) fn serve(&mut self, bytes_max: u64, meter: Arc<Meter>) {
        meter.memory_held(self.held);
        (self.bytes_max, self.meter) = (bytes_max, Some(meter));
    }

    pub(crate) fn rest(&mut self) {
        self.meter = None;
    }

    /// The memory that is held, in bytes.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    fn grow(&mut self, current: usize, desired: usize, unit: usize, maximum: Option<usize>) -> Result<bool> {
        // What the module itself rules out is an ordinary `-1` for the guest.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let more = (desired.saturating_sub(current) as u64).saturating_mul(unit as u64);
        let wanted = self.held.saturating_add(more);
        if wanted > self.bytes_max {
            return Err(MemoryExceeded { wanted }.into());
        }
        self.held = wanted;
        if let Some(meter) = &self.meter {
            meter.memory_held(wanted);
        }
        Ok(true)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.grow(current, desired, 1, maximum)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.grow(current, desired, TABLE_ELEMENT_BYTES, maximum)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}

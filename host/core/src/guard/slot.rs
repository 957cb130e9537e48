//! Is there room for one more? A bounded number of calls runs at once, a bounded number waits, the rest is refused.
//!
//! Places are given in the order of asking.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::HostLimits;
use crate::tell::{CallError, ErrorKind, Stage};

/// The places of a host.
#[derive(Debug)]
pub struct Slots {
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    limits: HostLimits,
}

/// A place; dropping it frees the place.
#[derive(Debug)]
pub struct Slot {
    _place: OwnedSemaphorePermit,
}

/// One waiting call; dropping it takes the call out of the count.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Slots {
    /// As many places as the limits say.
    #[must_use]
    pub fn new(limits: HostLimits) -> Self {
        let places = limits.max_parallel.clamp(1, Semaphore::MAX_PERMITS);
        Slots { places: Arc::new(Semaphore::new(places)), waiting: Arc::default(), limits }
    }

    /// Waits for a place, no longer than that.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when as many calls wait as may wait, [`ErrorKind::TimedOut`] when no place came free.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue.
    pub async fn take(&self, limit: Duration) -> Result<Slot, CallError> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(Slot { _place: place });
        }
        let ahead = self.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(self.waiting.clone());
        if ahead >= self.limits.max_waiting {
            return Err(self.busy());
        }
        let place = tokio::time::timeout(limit, self.places.clone().acquire_owned()).await;
        let place = place.map_err(|_| no_place(limit))?.map_err(|_| self.busy())?;
        drop(waiting);
        Ok(Slot { _place: place })
    }

    /// Calls that run, and calls that wait.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        let places = self.limits.max_parallel.clamp(1, Semaphore::MAX_PERMITS);
        (places - self.places.available_permits(), self.waiting.load(Ordering::Acquire))
    }

    fn busy(&self) -> CallError {
        let HostLimits { max_parallel, max_waiting } = self.limits;
        CallError::new(
            ErrorKind::Busy,
            Stage::Guard,
            format!("{max_parallel} calls run and {max_waiting} wait already; call again later, or raise `host.max_parallel` or `host.max_waiting`"),
        )
        .retry_after(Duration::from_secs(1))
    }
}

fn no_place(limit: Duration) -> CallError {
    let limit = humantime::format_duration(limit);
    CallError::new(ErrorKind::TimedOut, Stage::Guard, format!("no place came free within {limit}"))
        .with_help("call again later, or raise `limits.call_time`")
}

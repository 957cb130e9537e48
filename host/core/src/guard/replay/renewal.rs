//! Who keeps the leases? One task for all calls of a ledger: most of them end long before their first renewal, and cost no more
//! than a place in a line.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::ticket::Hold;

/// The calls of a ledger that hold keys, in the order in which they have to be renewed for the first time.
#[derive(Debug)]
pub(super) struct Renewals {
    lease: Duration,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    due: BTreeMap<(Instant, u64), Arc<Hold>>,
    last: u64,
    /// Whether a task is there that looks after them.
    is_kept: bool,
}

/// A call in the line. When it is dropped, the call's key is renewed no more.
pub(super) struct Renewed {
    renewals: Arc<Renewals>,
    place: (Instant, u64),
    hold: Arc<Hold>,
}

impl Drop for Renewed {
    fn drop(&mut self) {
        if self.renewals.line().due.remove(&self.place).is_none() {
            self.hold.ended();
        }
    }
}

/// The task. Where its runtime ends before it does, the next call begins another one.
struct Keeper {
    renewals: Arc<Renewals>,
    is_done: bool,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.is_done {
            self.renewals.line().is_kept = false;
        }
    }
}

impl Renewals {
    pub(super) fn new(lease: Duration) -> Arc<Self> {
        Arc::new(Renewals { lease, line: Mutex::default() })
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// How long a key is held between two renewals.
    fn pace(&self) -> Duration {
        self.lease / 3
    }

    /// Keeps the lease of a call from now on.
    pub(super) fn keep(self: &Arc<Self>, hold: Arc<Hold>) -> Renewed {
        let mut line = self.line();
        line.last += 1;
        let place = (Instant::now() + self.pace(), line.last);
        line.due.insert(place, hold.clone());
        if !std::mem::replace(&mut line.is_kept, true) {
            tokio::spawn(Keeper { renewals: self.clone(), is_done: false }.run());
        }
        Renewed { renewals: self.clone(), place, hold }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    async fn run(mut self) {
        let mut was_empty = false;
        loop {
            let now = Instant::now();
            let next = {
                let mut line = self.renewals.line();
                while let Some(due) = line.due.first_entry().filter(|due| due.key().0 <= now) {
                    tokio::spawn(due.remove().renew(self.renewals.lease));
                }
                match line.due.first_key_value() {
                    Some(((next, _), _)) => *next,
                    // It is told in the same breath, so that whoever comes now begins another one.
                    None if was_empty => {
                        (line.is_kept, self.is_done) = (false, true);
                        return;
                    }
                    None => now + self.renewals.pace(),
                }
            };
            was_empty = self.renewals.line().due.is_empty();
            sleep_until(next).await;
        }
    }
}

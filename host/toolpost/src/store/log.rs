//! What was called, and what came of it? A row for each call in the store's log, with the story of the call.
//!
//! No call waits for the log, and none fails because of it. What happens in a call is gathered in memory; when the call is
//! over it goes through a bounded queue to a task that writes many calls at once. Where calls come faster than the disk
//! takes them, or the store cannot be opened, calls are missing in the log, and it says how many. A call that may change
//! something is also written when it begins, and one that goes on for long every second: what a crash leaves behind is seen.

mod read;
mod record;
mod writer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use toolpost_core::guard::breaker::News;
use toolpost_core::{Event, Sink, Told};

use self::record::Record;
use self::writer::{Change, Entry, Row, Writer};
use crate::settings::LogSettings;
use crate::store::Store;

pub use self::read::{Filter, Found, LastKnown, Logged, Story};
pub(super) use self::read::{perhaps, since_1970};
pub(super) use self::writer::now_ms;

/// Calls, and news of breakers, that wait to be written.
const QUEUE_MAX: usize = 1_024;

/// Calls under way of which a story is gathered.
const OPEN_MAX: usize = 10_000;

/// A call that goes on is written no more often than that.
const WRITTEN_EVERY: Duration = Duration::from_secs(1);

/// The longest wait for a flush.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(5);

/// Writes down every call of a host. Dropping it lets what waits be written, for as long as the runtime lives.
pub struct Log {
    settings: LogSettings,
    open: Mutex<HashMap<u64, Record>>,
    queue: mpsc::Sender<Entry>,
    lost: Arc<AtomicU64>,
}

impl Log {
    /// A log in that store, which is opened when there is something to write. It must be called inside of a runtime.
    #[must_use]
    pub fn start(store: Arc<Store>, settings: LogSettings) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        tokio::spawn(Writer::new(store, lost.clone(), &settings).run(entries));
        Log { settings, open: Mutex::default(), queue, lost }
    }

    /// Calls that are over and could not be written; those that were said to be missing already do not count.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn begin(&self, record: Record) {
        let mut open = self.open();
        if open.len() < OPEN_MAX {
            open.insert(record.seq, record);
        } else {
            drop(open);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds to the story of a call, and writes it down as it is by now if it is time to.
    fn change(&self, begun: u64, now: Instant, change: impl FnOnce(&mut Record)) {
        let mut open = self.open();
        let Some(record) = open.get_mut(&begun) else { return };
        change(record);
        let row = record.is_due(now, WRITTEN_EVERY).then(|| record.row());
        drop(open);
        if let Some(row) = row {
            // It is written again at the end: nothing is lost where there is no room for it now.
            let _ = self.queue.try_send(Entry::Row(Box::new(row)));
        }
    }

    fn end(&self, row: Row) {
        if self.queue.try_send(Entry::Row(Box::new(row))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Record>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Log {
    fn tell(&self, told: &Told<'_>) {
        let (now, settings) = (Instant::now(), &self.settings);
        match told.event {
            Event::CallStarted { call } => self.begin(Record::new(told.begun, call, settings, now)),
            Event::CallAccepted { call } => {
                let arguments = record::arguments(&call.arguments, settings);
                let cast = record::cast(&call.cast, settings);
                self.change(told.begun, now, |record| record.accepted(call, arguments, cast, now));
            }
            Event::CallEnded { outcome } => {
                let record = self.open().remove(&told.begun);
                if let Some(record) = record {
                    self.end(record.ended(outcome, settings, now));
                }
            }
            // New settings leave an operator's order as it is: what was said of that is still true.
            Event::Breaker { key, news: News::Changed(change) } if change.from != change.to => {
                let _ = self.queue.try_send(Entry::Breaker(Box::new(Change::new(key, change))));
            }
            Event::Breaker { .. } => {}
            event => {
                let text = record::text(event, settings);
                self.change(told.begun, now, |record| record.told(event, text, now));
            }
        }
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (done, written) = oneshot::channel();
            let wait = async {
                if self.queue.send(Entry::Flush(done)).await.is_ok() {
                    let _ = written.await;
                }
            };
            let _ = tokio::time::timeout(FLUSH_TIME_MAX, wait).await;
        })
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

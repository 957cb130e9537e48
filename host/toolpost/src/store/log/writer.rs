//! The task that writes the log: many rows in one transaction, and what is too old goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sqlx::sqlite::SqliteTransaction;
use tokio::sync::{mpsc, oneshot};
use toolpost_core::guard::breaker::{Cause, Key, Transition};

use crate::settings::LogSettings;
use crate::store::{Database, Store, StoreError};

/// Rows of one transaction.
const BATCH_MAX: usize = 256;

/// Breakers that are remembered: those that changed last.
const BREAKERS_MAX: i64 = 10_000;

/// Rows between two looks at what is too old.
const TIDY_EVERY: usize = 1_000;

/// What waits to be written.
#[derive(Debug)]
pub(super) enum Entry {
    Row(Box<Row>),
    Breaker(Box<Change>),
    /// All that came before it is written when it is answered.
    Flush(oneshot::Sender<()>),
}

/// A call, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) id: String,
    pub(super) tool: String,
    pub(super) caller: String,
    pub(super) session: Option<String>,
    pub(super) parent: Option<String>,
    pub(super) started_ms: i64,
    pub(super) arguments: Option<String>,
    pub(super) outcome: Option<&'static str>,
    pub(super) message: Option<String>,
    pub(super) result: Option<String>,
    pub(super) time_us: i64,
    pub(super) attempts: i64,
    pub(super) fuel: i64,
    pub(super) effects: i64,
    pub(super) events: String,
}

/// A breaker changed.
#[derive(Debug)]
pub(super) struct Change {
    key: String,
    at_ms: i64,
    status: &'static str,
    was: &'static str,
    cause: String,
    until_ms: Option<i64>,
}

impl Change {
    pub(super) fn new(key: &Key, change: &Transition) -> Self {
        let at_ms = now_ms();
        let until =
            |span: std::time::Duration| at_ms.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
        let cause = match &change.cause {
            Cause::Consecutive => "too many failures in a row".into(),
            Cause::FailureRate => "too large a part failed".into(),
            Cause::SlowRate => "too large a part was slow".into(),
            Cause::Waited => "its time is over".into(),
            Cause::ProbesSucceeded => "the calls that tried it out succeeded".into(),
            Cause::ProbeFailed => "a call that tried it out failed".into(),
            Cause::ProbeLost => "a call that tried it out never came back".into(),
            Cause::IsolationOver => "the time of the isolation is over".into(),
            Cause::Settings => "the settings are new".into(),
            Cause::Operator(order) if order.why.is_empty() => format!("{} wants it so", order.by),
            Cause::Operator(order) => format!("{}: {}", order.by, order.why),
        };
        Change {
            key: key.to_string(),
            at_ms,
            status: change.to.name(),
            was: change.from.name(),
            cause,
            until_ms: change.open_for.map(until),
        }
    }
}

/// Writes what comes, until nobody is left who sends.
pub(super) struct Writer {
    store: Arc<Store>,
    /// This process, among those that write the same log.
    host: String,
    lost: Arc<AtomicU64>,
    keep_ms: i64,
    calls_max: i64,
    bytes_max: i64,
    since_tidy: usize,
    is_failing: bool,
}

impl Writer {
    pub(super) fn new(store: Arc<Store>, lost: Arc<AtomicU64>, settings: &LogSettings) -> Self {
        Writer {
            store,
            host: format!("{}-{:08x}", std::process::id(), fastrand::u32(..)),
            lost,
            keep_ms: i64::try_from(settings.keep.0.as_millis()).unwrap_or(i64::MAX),
            calls_max: i64::try_from(settings.max_calls).unwrap_or(i64::MAX),
            bytes_max: i64::try_from(settings.max_size.0).unwrap_or(i64::MAX),
            since_tidy: TIDY_EVERY,
            is_failing: false,
        }
    }

    pub(super) async fn run(mut self, mut entries: mpsc::Receiver<Entry>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while entries.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            match self.write(&batch, lost).await {
                Ok(()) => self.is_failing = false,
                Err(error) => {
                    let ended = |entry: &&Entry| matches!(entry, Entry::Row(row) if row.outcome.is_some());
                    self.lost.fetch_add(lost + batch.iter().filter(ended).count() as u64, Ordering::Relaxed);
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::warn!(%error, "calls are missing in the log");
                    }
                }
            }
            for entry in batch.drain(..) {
                if let Entry::Flush(done) = entry {
                    let _ = done.send(());
                }
            }
        }
    }

    async fn write(&mut self, batch: &[Entry], lost: u64) -> Result<(), StoreError> {
        if lost == 0 && batch.iter().all(|entry| matches!(entry, Entry::Flush(_))) {
            return Ok(());
        }
        let store = self.store.clone();
        let database = store.log().await?;
        let mut write = database.write().await?;
        for entry in batch {
            match entry {
                Entry::Row(row) => self.call(&mut write, row).await?,
                Entry::Breaker(change) => self.breaker(&mut write, change).await?,
                Entry::Flush(_) => {}
            }
        }
        if lost > 0 {
            let calls = i64::try_from(lost).unwrap_or(i64::MAX);
            let query = sqlx::query("INSERT INTO lost (host, at_ms, calls) VALUES (?, ?, ?)");
            query.bind(&self.host).bind(now_ms()).bind(calls).execute(&mut *write).await?;
            tracing::warn!(calls, "calls are missing in the log: they came faster than they could be written");
        }
        write.commit().await?;
        self.since_tidy += batch.len();
        if self.since_tidy >= TIDY_EVERY {
            self.since_tidy = 0;
            self.tidy(database).await?;
        }
        Ok(())
    }

    async fn call(&self, write: &mut SqliteTransaction<'static>, row: &Row) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO calls (host, seq, id, tool, caller, session, parent, started_ms, arguments, outcome, message, \
             result, time_us, attempts, fuel, effects, events, written) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(written), 0) + 1 FROM calls)) \
             ON CONFLICT (host, seq) DO UPDATE SET arguments = excluded.arguments, outcome = excluded.outcome, \
             message = excluded.message, result = excluded.result, time_us = excluded.time_us, \
             attempts = excluded.attempts, fuel = excluded.fuel, effects = excluded.effects, \
             events = excluded.events, written = excluded.written",
        );
        let query = query.bind(&self.host).bind(row.seq).bind(&row.id).bind(&row.tool).bind(&row.caller);
        let query = query.bind(&row.session).bind(&row.parent).bind(row.started_ms).bind(&row.arguments);
        let query = query.bind(row.outcome).bind(&row.message).bind(&row.result).bind(row.time_us);
        let query = query.bind(row.attempts).bind(row.fuel).bind(row.effects).bind(&row.events);
        query.execute(&mut **write).await?;
        Ok(())
    }

    async fn breaker(&self, write: &mut SqliteTransaction<'static>, change: &Change) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO breakers (key, host, at_ms, status, was, cause, until_ms) VALUES (?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (key) DO UPDATE SET host = excluded.host, at_ms = excluded.at_ms, status = excluded.status, \
             was = excluded.was, cause = excluded.cause, until_ms = excluded.until_ms",
        );
        let query = query.bind(&change.key).bind(&self.host).bind(change.at_ms).bind(change.status);
        query.bind(change.was).bind(&change.cause).bind(change.until_ms).execute(&mut **write).await?;
        Ok(())
    }

    /// Forgets what is too old, and the oldest where there is too much.
    async fn tidy(&self, database: &Database) -> Result<(), StoreError> {
        let mut write = database.write().await?;
        let oldest_ms = now_ms().saturating_sub(self.keep_ms);
        for old in [
            "DELETE FROM calls WHERE started_ms < ?",
            "DELETE FROM lost WHERE at_ms < ?",
            "DELETE FROM breakers WHERE at_ms < ?",
        ] {
            sqlx::query(old).bind(oldest_ms).execute(&mut *write).await?;
        }
        // Some watch servers whose names guests have made up.
        let others = "DELETE FROM breakers WHERE key NOT IN (SELECT key FROM breakers ORDER BY at_ms DESC LIMIT ?)";
        sqlx::query(others).bind(BREAKERS_MAX).execute(&mut *write).await?;
        let many = sqlx::query("DELETE FROM calls WHERE number <= (SELECT max(number) FROM calls) - ?");
        many.bind(self.calls_max).execute(&mut *write).await?;
        let large = sqlx::query(
            "DELETE FROM calls WHERE (SELECT (pages.page_count - free.freelist_count) * size.page_size \
             FROM pragma_page_count pages, pragma_freelist_count free, pragma_page_size size) > ? \
             AND number <= (SELECT min(number) + (max(number) - min(number)) / 10 FROM calls)",
        );
        large.bind(self.bytes_max).execute(&mut *write).await?;
        write.commit().await?;
        Ok(())
    }
}

/// Milliseconds since 1970.
pub(in crate::store) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

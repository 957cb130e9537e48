//! What is kept on disk: one folder of this machine, with embedded SQLite databases and no server to start.
//!
//! Several processes may use one folder at once: whatever decides something is one transaction that begins by taking the
//! write lock. The databases are opened when they are first used.

// For the user alone
pub(crate) mod private;

// Results that are too long for their reader, and the key of the host
pub mod artifacts;
mod key;

// Many changes, one transaction
mod batch;

// What was done under which key
pub mod ledger;

// What is done while nobody waits
pub mod tasks;

// What was called, and what came of it
pub mod log;

// What an operator wants of breakers
pub mod orders;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous, SqliteTransaction,
};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

/// How long a process waits for another one's write.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// How long is waited before a database that was locked is opened again.
const OPEN_EVERY: Duration = Duration::from_millis(20);

/// Connections that read at once, of one process to one database.
const READERS_MAX: u32 = 4;

/// The code of a database that is locked.
const SQLITE_BUSY: u32 = 5;

/// The files of the databases.
const STATE: &str = "state.db";
const KV: &str = "kv.db";
const LOG: &str = "log.db";
const TASKS: &str = "tasks.db";

/// The folder of a host, with all that it keeps.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    state: OnceCell<Database>,
    kv: OnceCell<Database>,
    log: OnceCell<Database>,
    tasks: OnceCell<Database>,
}

/// One database: a connection that writes, and some that read.
#[derive(Debug)]
pub struct Database {
    writer: SqlitePool,
    readers: SqlitePool,
}

/// Why something cannot be kept, or had back.
#[derive(Debug)]
pub struct StoreError(Box<dyn std::error::Error + Send + Sync>);

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the store: {}", self.0)
    }
}

impl std::error::Error for StoreError {}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        StoreError(error.into())
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        StoreError(error.into())
    }
}

impl StoreError {
    /// Whether another process, or another connection of this one, has it.
    fn is_busy(&self) -> bool {
        let error = self.0.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
        let code = error.and_then(|error| error.code()?.parse::<u32>().ok());
        // What is behind the last byte says more.
        code.is_some_and(|code| code & 0xff == SQLITE_BUSY)
    }
}

impl Store {
    /// The store in that folder. Nothing is read or made yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        let [state, kv, log, tasks] = std::array::from_fn(|_| OnceCell::new());
        Store { dir: dir.into(), state, kv, log, tasks }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether anything that decides was ever kept here. Nothing is opened or made.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.dir.join(STATE).exists()
    }

    /// Whether a log was ever kept here. Nothing is opened or made.
    #[must_use]
    pub fn has_log(&self) -> bool {
        self.dir.join(LOG).exists()
    }

    /// Whether a task was ever filed here. Nothing is opened or made.
    #[must_use]
    pub fn has_tasks(&self) -> bool {
        self.dir.join(TASKS).exists()
    }

    /// What decides whether something happens: each commit is on the disk before it counts (`synchronous = FULL`).
    ///
    /// # Errors
    /// The folder cannot be made, holds something else, or others can write there.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the database closed, or open for the next one who asks.
    pub async fn state(&self) -> Result<&Database, StoreError> {
        let open = || Database::open(&self.dir, STATE, SqliteSynchronous::Full, include_str!("store/state.sql"));
        self.state.get_or_try_init(open).await
    }

    /// Keys and values of tools, with commits as safe as those of [`Store::state`].
    ///
    /// # Errors
    /// As for [`Store::state`].
    ///
    /// # Cancel safety
    /// As for [`Store::state`].
    pub async fn kv(&self) -> Result<&Database, StoreError> {
        let open = || Database::open(&self.dir, KV, SqliteSynchronous::Full, include_str!("kv/sqlite.sql"));
        self.kv.get_or_try_init(open).await
    }

    /// Calls that nobody waits for, with commits as safe as those of [`Store::state`].
    ///
    /// # Errors
    /// As for [`Store::state`].
    ///
    /// # Cancel safety
    /// As for [`Store::state`].
    pub async fn tasks(&self) -> Result<&Database, StoreError> {
        let open = || Database::open(&self.dir, TASKS, SqliteSynchronous::Full, include_str!("store/tasks.sql"));
        self.tasks.get_or_try_init(open).await
    }

    /// What is only told: after a power cut the last entries may be missing (`synchronous = NORMAL`).
    ///
    /// # Errors
    /// As for [`Store::state`].
    ///
    /// # Cancel safety
    /// As for [`Store::state`].
    pub async fn log(&self) -> Result<&Database, StoreError> {
        let open = || Database::open(&self.dir, LOG, SqliteSynchronous::Normal, include_str!("store/log.sql"));
        self.log.get_or_try_init(open).await
    }
}

impl Database {
    /// Opens it. Of several that make a new one at once, some find it locked, and SQLite lets them wait only later.
    async fn open(dir: &Path, name: &str, safety: SqliteSynchronous, schema: &'static str) -> Result<Self, StoreError> {
        let begun = Instant::now();
        loop {
            match Database::open_now(dir, name, safety, schema).await {
                Err(error) if error.is_busy() && begun.elapsed() < BUSY_TIME_MAX => sleep(OPEN_EVERY).await,
                opened => return opened,
            }
        }
    }

    async fn open_now(
        dir: &Path,
        name: &str,
        safety: SqliteSynchronous,
        schema: &'static str,
    ) -> Result<Self, StoreError> {
        private::make_dir(dir)?;
        // The journals beside it get the same mode.
        private::make_file(&dir.join(name))?;
        let options = SqliteConnectOptions::new()
            .filename(dir.join(name))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(safety)
            .busy_timeout(BUSY_TIME_MAX)
            .foreign_keys(true);
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections);
        let writer = pool(1).connect_with(options.clone()).await?;
        sqlx::raw_sql(schema).execute(&writer).await?;
        let readers = pool(READERS_MAX).connect_lazy_with(options.read_only(true));
        Ok(Database { writer, readers })
    }

    /// Begins to write: nobody else writes until the transaction is committed, or dropped and so undone.
    ///
    /// # Errors
    /// Another process has the database for too long.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn write(&self) -> Result<SqliteTransaction<'static>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Writes what was committed to its place, and empties the journal: what was overwritten stands in neither any more.
    ///
    /// # Errors
    /// The disk.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it done, or as it was.
    pub async fn settle(&self) -> Result<(), StoreError> {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.writer).await?;
        Ok(())
    }

    /// Where to read.
    #[must_use]
    pub fn read(&self) -> &SqlitePool {
        &self.readers
    }
}

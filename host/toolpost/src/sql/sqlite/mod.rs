//! SQLite: a file of this machine.
//!
//! | what | is kept by |
//! |---|---|
//! | a read grant | the authorizer, and `PRAGMA query_only` |
//! | tables | the authorizer |
//! | attaching, pragmas, extensions, transactions of the tool's own | the authorizer, limits and switches of the connection |
//! | time | the progress handler |

mod handle;
mod judge;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryStreamExt as _};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteRow};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, ConnectOptions as _, Either, Executor as _, Row as _, Sqlite,
    TypeInfo as _, ValueRef as _,
};
use tokio::time::{Instant, timeout_at};
use toolpost_core::Attempt;
use toolpost_core::catalog::grants::SqlAccess;
use toolpost_wasm::sql::{Answer, Backend, Bound, Denial, Dialect, Failure, Mode, Rules, Session, Uncommitted, Value};

use self::judge::{Bounds, Judge};
use super::pool::{Lease, Pool};

/// How long a statement waits for another one's lock.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// The longest text, blob or row that a statement may make where less is answered, in bytes.
const LENGTH_LEAST: u64 = 8 << 20;

/// Rows that wait for the one who reads them.
const ROWS_AHEAD: usize = 16;

/// A file.
pub(super) struct File {
    options: SqliteConnectOptions,
    pool: Pool<Sqlite>,
}

impl File {
    /// One that is there.
    pub(super) fn new(path: &Path, connections_max: u32) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIME_MAX)
            .statement_cache_capacity(0)
            .row_buffer_size(ROWS_AHEAD)
            .disable_statement_logging();
        File { options, pool: Pool::new(connections_max) }
    }

    async fn open(&self, rules: Rules) -> Result<Box<dyn Session>, Failure> {
        let until = Instant::now() + rules.statement_time_max;
        let mut lease = self.pool.take(0, until, self.options.connect()).await?;
        let connection = lease.connection()?;
        let judge = handle::judge(connection).await.map_err(|error| failed(&error, None))?;
        let mut session = Transaction { lease: Some(lease), judge, rules };
        let begun = timeout_at(until, session.begin()).await;
        begun.unwrap_or(Err(Failure::TooSlow))?;
        Ok(Box::new(session))
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}

impl Backend for File {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn keeps_tables(&self) -> bool {
        true
    }

    fn begin<'a>(&'a self, _: &'a Attempt, rules: Rules) -> BoxFuture<'a, Result<Box<dyn Session>, Failure>> {
        self.open(rules).boxed()
    }
}

struct Transaction {
    /// Nothing once it is over.
    lease: Option<Lease<Sqlite>>,
    judge: Arc<Judge>,
    rules: Rules,
}

impl Transaction {
    fn lease(&mut self) -> Result<&mut Lease<Sqlite>, Failure> {
        self.lease.as_mut().ok_or_else(|| Failure::Lost("the transaction is over".into()))
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        let length = self.rules.bytes_max.max(LENGTH_LEAST);
        let connection = self.lease()?.connection()?;
        handle::limit_length(connection, length).await.map_err(|error| failed(&error, None))?;
        // A transaction that writes takes the lock at once: one that found out later that it must wait could only give up.
        match self.rules.access {
            SqlAccess::Read => self.host("PRAGMA query_only = ON; BEGIN").await,
            SqlAccess::Write => self.host("PRAGMA query_only = OFF; BEGIN IMMEDIATE").await,
        }
    }

    /// Runs statements of ours.
    async fn host(&mut self, statements: &'static str) -> Result<(), Failure> {
        let connection = self.lease()?.connection()?;
        connection.execute(sqlx::raw_sql(statements)).await.map(drop).map_err(|error| failed(&error, None))
    }

    async fn run_now(
        &mut self,
        mode: Mode,
        statement: &str,
        parameters: Vec<Value>,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        let until = self.rules.clock.deadline().min(Instant::now() + self.rules.statement_time_max);
        let may_change = mode == Mode::Execute && self.rules.access == SqlAccess::Write;
        self.judge.guest(Bounds { may_change, tables: self.rules.tables.clone() }, until);
        let connection = self.lease()?.connection()?;
        let ended = timeout_at(until, fetch(connection, statement, parameters, answer)).await;
        if self.judge.is_of_schema() {
            answer.affected = 0;
        }
        let denial = self.judge.host();
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Fetching::Bound(failure))) => Err(failure),
            Ok(Err(Fetching::Failed(error))) => Err(failed(&error, denial)),
            Err(_) => Err(Failure::TooSlow),
        }
    }
}

impl Session for Transaction {
    fn run<'a>(
        &'a mut self,
        mode: Mode,
        statement: &'a str,
        parameters: Vec<Value>,
        answer: &'a mut Answer,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        self.run_now(mode, statement, parameters, answer).boxed()
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), Uncommitted>> {
        async move {
            match self.host("COMMIT").await {
                Ok(()) => {
                    if let Some(lease) = self.lease.take() {
                        lease.give_back();
                    }
                    Ok(())
                }
                // It is still open, and undone when it is dropped.
                Err(failure @ (Failure::Constraint(_) | Failure::Conflict(_) | Failure::Denied(_))) => {
                    Err(Uncommitted::Undone(failure))
                }
                Err(failure) => Err(Uncommitted::Unknown(failure)),
            }
        }
        .boxed()
    }

    fn roll_back(mut self: Box<Self>) -> BoxFuture<'static, bool> {
        async move {
            // Where it fails, the connection is closed, which undoes it too.
            if self.host("ROLLBACK").await.is_ok()
                && let Some(lease) = self.lease.take()
            {
                lease.give_back();
            }
            true
        }
        .boxed()
    }

    fn is_undone_by_drop(&self) -> bool {
        true
    }

    fn keeps_queries(&self) -> bool {
        true
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // What still runs ends now, and with it the connection.
        if self.lease.is_some() {
            self.judge.stop();
        }
    }
}

enum Fetching {
    Bound(Failure),
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Fetching {
    fn from(error: sqlx::Error) -> Self {
        Fetching::Failed(error)
    }
}

async fn fetch(
    connection: &mut sqlx::SqliteConnection,
    statement: &str,
    parameters: Vec<Value>,
    answer: &mut Answer,
) -> Result<(), Fetching> {
    let arguments = arguments(parameters).map_err(|error| Fetching::Failed(sqlx::Error::Encode(error)))?;
    let query = sqlx::query_with(AssertSqlSafe(statement), arguments).persistent(false);
    let mut stream = connection.fetch_many(query);
    while let Some(step) = stream.try_next().await? {
        match step {
            Either::Left(done) => answer.affected += done.rows_affected(),
            Either::Right(row) => {
                if answer.columns.is_empty() {
                    answer.columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
                }
                answer.push(values(&row)?).map_err(Fetching::Bound)?;
            }
        }
    }
    Ok(())
}

fn arguments(parameters: Vec<Value>) -> Result<SqliteArguments, sqlx::error::BoxDynError> {
    let mut arguments = SqliteArguments::default();
    for value in parameters {
        match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Boolean(value) => arguments.add(value),
            Value::Integer(value) => arguments.add(value),
            Value::Float(value) => arguments.add(value),
            Value::Blob(bytes) => arguments.add(bytes),
            Value::Decimal(text)
            | Value::Text(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Timestamp(text)
            | Value::Uuid(text)
            | Value::Json(text) => arguments.add(text),
        }?;
    }
    Ok(arguments)
}

fn values(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
    let value = |at: usize| {
        let value = row.try_get_raw(at)?;
        if value.is_null() {
            return Ok(Value::Null);
        }
        // What a column was declared as says little about what is in it.
        match value.type_info().name() {
            "INTEGER" => row.try_get_unchecked(at).map(Value::Integer),
            "REAL" => row.try_get_unchecked(at).map(Value::Float),
            "BLOB" => row.try_get_unchecked(at).map(Value::Blob),
            _ => row.try_get_unchecked(at).map(Value::Text),
        }
    };
    (0..row.len()).map(value).collect()
}

/// An error of SQLite in our words; `denial` is what the judge refused meanwhile.
fn failed(error: &sqlx::Error, denial: Option<Denial>) -> Failure {
    let Some(error) = error.as_database_error() else {
        return match error {
            sqlx::Error::Encode(_) | sqlx::Error::ColumnDecode { .. } => {
                Failure::Invalid("a value is not what its type says, or is no UTF-8 text".into())
            }
            other => Failure::Unreachable(other.to_string()),
        };
    };
    if let Some(denial) = denial {
        return Failure::Denied(denial);
    }
    let code = error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
    let words = error.message().to_owned();
    match code & 0xff {
        libsqlite3_sys::SQLITE_CONSTRAINT => Failure::Constraint(words),
        libsqlite3_sys::SQLITE_BUSY | libsqlite3_sys::SQLITE_LOCKED => Failure::Conflict(words),
        libsqlite3_sys::SQLITE_INTERRUPT => Failure::TooSlow,
        libsqlite3_sys::SQLITE_READONLY => Failure::Denied(Denial::Change),
        libsqlite3_sys::SQLITE_TOOBIG => Failure::Exceeded(Bound::Bytes),
        libsqlite3_sys::SQLITE_ERROR
        | libsqlite3_sys::SQLITE_MISMATCH
        | libsqlite3_sys::SQLITE_RANGE
        | libsqlite3_sys::SQLITE_AUTH => Failure::Invalid(words),
        // Its words may have a path in them.
        code => Failure::Unreachable(format!("SQLite failed with code {code}: {words}")),
    }
}

//! PostgreSQL.
//!
//! | what | is kept by |
//! |---|---|
//! | a read grant, and queries under any grant | a transaction, or a part of one, that is `READ ONLY` |
//! | one statement | the protocol, which prepares only one |
//! | what a function may do | the role: one that reaches out of the database is refused |
//! | what must not outlive the call | `DISCARD ALL`, before the connection is used again |
//! | time | `statement_timeout` |

mod value;

use std::str::FromStr as _;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryStreamExt as _};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Either, Executor as _, Postgres, Row as _};
use tokio::time::{Instant, timeout_at};
use toolpost_core::catalog::grants::SqlAccess;
use toolpost_core::{Attempt, Secret};
use toolpost_wasm::sql::{Answer, Backend, Denial, Dialect, Failure, Mode, Rules, Session, Uncommitted, Value};

use super::pool::{Lease, Pool};
use super::server::Address;

/// How long the server may take to say that something took too long.
const GRACE: Duration = Duration::from_secs(2);

/// Whether the functions of the server reach further than a database, for this role.
const REACHES: &str = "SELECT current_setting('is_superuser') = 'on' \
    OR pg_has_role('pg_read_server_files', 'USAGE') OR pg_has_role('pg_write_server_files', 'USAGE') \
    OR pg_has_role('pg_execute_server_program', 'USAGE')";

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    address: Address,
    pool: Pool<Postgres>,
}

impl Server {
    pub(super) fn new(secret: &str, connections_max: u32) -> Self {
        Server { address: Address::new(secret), pool: Pool::new(connections_max) }
    }

    async fn open(&self, attempt: &Attempt, rules: Rules) -> Result<Box<dyn Session>, Failure> {
        let until = rules.clock.deadline().min(Instant::now() + rules.statement_time_max);
        let (address, origin) = self.address.read(attempt).await?;
        loop {
            let lease = self.pool.take(origin, until, connect(&address)).await?;
            let is_used = lease.is_used;
            let mut session = Transaction { lease: Some(lease), rules: rules.clone() };
            match timeout_at(until, session.begin(is_used)).await {
                Ok(Ok(())) => return Ok(Box::new(session)),
                // The server has closed it since it was used last. Nothing was sent by it that counts.
                Ok(Err(Failure::Lost(_))) if is_used => {}
                Ok(Err(failure)) => return Err(failure),
                Err(_) => return Err(Failure::Lost("no transaction began in time".into())),
            }
        }
    }
}

async fn connect(address: &Secret) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::from_str(address.reveal());
    // The words of this error have the address in them.
    let options = options.map_err(|_| sqlx::Error::Configuration("the address is no URL of PostgreSQL".into()))?;
    options.application_name("toolpost").statement_cache_capacity(0).disable_statement_logging().connect().await
}

impl Backend for Server {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn keeps_tables(&self) -> bool {
        false
    }

    fn begin<'a>(&'a self, attempt: &'a Attempt, rules: Rules) -> BoxFuture<'a, Result<Box<dyn Session>, Failure>> {
        self.open(attempt, rules).boxed()
    }
}

struct Transaction {
    /// Nothing once it is over.
    lease: Option<Lease<Postgres>>,
    rules: Rules,
}

impl Transaction {
    fn connection(&mut self) -> Result<&mut PgConnection, Failure> {
        match &mut self.lease {
            Some(lease) => lease.connection(),
            None => Err(Failure::Lost("the transaction is over".into())),
        }
    }

    async fn begin(&mut self, is_used: bool) -> Result<(), Failure> {
        if !is_used {
            let row = self.connection()?.fetch_one(sqlx::raw_sql(REACHES)).await.map_err(|error| failed(&error))?;
            let reaches = row.try_get_raw(0).ok().and_then(|value| value.as_str().map(str::to_owned).ok());
            if reaches.as_deref() != Some("f") {
                return Err(Failure::Unfit("its role may reach files and programs of the server".into()));
            }
        }
        let mode = match self.rules.access {
            SqlAccess::Read => "READ ONLY",
            SqlAccess::Write => "READ WRITE",
        };
        let time = self.rules.statement_time_max.as_millis().max(1);
        self.host(format!("BEGIN {mode}; SET LOCAL statement_timeout = {time}")).await
    }

    /// Runs statements of ours.
    async fn host(&mut self, statements: String) -> Result<(), Failure> {
        let done = self.connection()?.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await;
        done.map(drop).map_err(|error| failed(&error))
    }

    async fn run_now(
        &mut self,
        mode: Mode,
        statement: &str,
        parameters: Vec<Value>,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        let is_part = !self.rules.is_single;
        if is_part {
            // What fails, or was only to read, is undone by itself.
            let only = mode == Mode::Query && self.rules.access == SqlAccess::Write;
            let only = if only { "; SET LOCAL transaction_read_only = on" } else { "" };
            self.host(format!("SAVEPOINT toolpost{only}")).await?;
        }
        let ran = fetch(self.connection()?, statement, parameters, answer).await;
        if is_part && !matches!(ran, Err(Failure::Lost(_) | Failure::Exceeded(_) | Failure::TooSlow)) {
            let end = if ran.is_err() || mode == Mode::Query {
                "ROLLBACK TO SAVEPOINT toolpost; RELEASE SAVEPOINT toolpost"
            } else {
                "RELEASE SAVEPOINT toolpost"
            };
            self.host(end.to_owned()).await?;
        }
        ran
    }

    /// The connection is used again when nothing is left on it: no lock, no setting, no temporary table.
    fn clean(mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back_when(|mut connection| async move {
                connection.execute(sqlx::raw_sql("DISCARD ALL")).await.ok().map(|_| connection)
            });
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
        let until = self.rules.clock.deadline().min(Instant::now() + self.rules.statement_time_max + GRACE);
        let run = timeout_at(until, self.run_now(mode, statement, parameters, answer));
        run.map(|ran| ran.unwrap_or_else(|_| Err(Failure::Lost("no answer came in time".into())))).boxed()
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), Uncommitted>> {
        async move {
            let until = self.rules.clock.deadline().min(Instant::now() + self.rules.statement_time_max + GRACE);
            match timeout_at(until, self.host("COMMIT".into())).await {
                Ok(Ok(())) => {
                    self.clean();
                    Ok(())
                }
                Ok(Err(failure @ (Failure::Lost(_) | Failure::Unreachable(_)))) => Err(Uncommitted::Unknown(failure)),
                // The server says why it did not.
                Ok(Err(failure)) => Err(Uncommitted::Undone(failure)),
                Err(_) => Err(Uncommitted::Unknown(Failure::Lost("no answer came in time".into()))),
            }
        }
        .boxed()
    }

    fn roll_back(mut self: Box<Self>) -> BoxFuture<'static, bool> {
        async move {
            let until = Instant::now() + GRACE;
            // Where it fails, the connection is closed, which undoes it too.
            if let Ok(Ok(())) = timeout_at(until, self.host("ROLLBACK".into())).await {
                self.clean();
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

async fn fetch(
    connection: &mut PgConnection,
    statement: &str,
    parameters: Vec<Value>,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let arguments = value::arguments(parameters)?;
    let query = sqlx::query_with(AssertSqlSafe(statement), arguments).persistent(false);
    let mut stream = connection.fetch_many(query);
    while let Some(step) = stream.try_next().await.map_err(|error| failed(&error))? {
        match step {
            Either::Left(done) => answer.affected += done.rows_affected(),
            Either::Right(row) => {
                if answer.columns.is_empty() {
                    answer.columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
                }
                answer.push(value::values(&row)?)?;
            }
        }
    }
    Ok(())
}

/// An error of the server, or on the way to it, in our words.
fn failed(error: &sqlx::Error) -> Failure {
    let Some(error) = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) else {
        return match error {
            sqlx::Error::Encode(error) => Failure::Invalid(error.to_string()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::TypeNotFound { .. } => {
                Failure::Invalid("a value has a type that is not known here; cast it, for example to `text`".into())
            }
            other => Failure::Lost(other.to_string()),
        };
    };
    let words = error.message().to_owned();
    match error.code() {
        "25006" => Failure::Denied(Denial::Change),
        "42501" => Failure::Denied(Denial::Role(words)),
        "57014" => Failure::TooSlow,
        "40001" | "40P01" | "55P03" => Failure::Conflict(words),
        "25P03" | "57P01" | "57P02" | "57P03" | "57P05" => Failure::Lost(words),
        code if code.starts_with("23") => Failure::Constraint(words),
        code if code.starts_with("08") => Failure::Lost(words),
        code if code.starts_with("28") || code.starts_with("53") || code.starts_with("58") => {
            Failure::Unreachable(words)
        }
        _ => Failure::Invalid(words),
    }
}

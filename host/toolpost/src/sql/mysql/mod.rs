//! MySQL and MariaDB.
//!
//! | what | is kept by |
//! |---|---|
//! | a read grant | a transaction that is `READ ONLY` |
//! | one statement | the protocol, which prepares only one |
//! | files of the server | the role: one that may reach them is refused |
//! | what must not outlive the call | a connection serves one transaction, and is closed: the protocol's way to clean one is not to be had |
//! | time | `max_statement_time`, or `max_execution_time` |
//!
//! Less than elsewhere is certain here. In a transaction that may change something, a query may too, by a function; it passes the
//! gate as such. Tables of some engines are not undone: where there is one, what is cut off may have happened.

mod value;

use std::str::FromStr as _;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryStreamExt as _};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Either, Executor as _, MySql, Row as _};
use tokio::time::{Instant, timeout_at};
use toolpost_core::catalog::grants::SqlAccess;
use toolpost_core::{Attempt, Secret};
use toolpost_wasm::sql::{Answer, Backend, Denial, Dialect, Failure, Mode, Rules, Session, Uncommitted, Value};

use super::pool::{Lease, Pool};
use super::server::Address;

/// How long the server may take to say that something took too long.
const GRACE: Duration = Duration::from_secs(2);

/// Rights, over the whole server, that reach further than databases.
const REACHING: [&str; 3] = ["ALL PRIVILEGES", "FILE", "SUPER"];

/// The tables that are not undone with a transaction.
const LOOSE: &str = "SELECT COUNT(*) FROM information_schema.tables WHERE table_type = 'BASE TABLE' \
    AND engine NOT IN ('InnoDB', 'ndbcluster', 'ROCKSDB') \
    AND table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')";

/// The warning that something could not be undone.
const NOT_UNDONE: i64 = 1196;

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    address: Address,
    pool: Pool<MySql>,
}

impl Server {
    pub(super) fn new(secret: &str, connections_max: u32) -> Self {
        Server { address: Address::new(secret), pool: Pool::new(connections_max) }
    }

    async fn open(&self, attempt: &Attempt, rules: Rules) -> Result<Box<dyn Session>, Failure> {
        let until = rules.clock.deadline().min(Instant::now() + rules.statement_time_max);
        let (address, origin) = self.address.read(attempt).await?;
        let lease = self.pool.take(origin, until, connect(&address)).await?;
        let mut session = Transaction { lease, rules, undoes: false, is_over: false };
        match timeout_at(until, session.begin()).await {
            Ok(begun) => begun.map(|()| Box::new(session) as Box<dyn Session>),
            Err(_) => Err(Failure::Lost("no transaction began in time".into())),
        }
    }
}

async fn connect(address: &Secret) -> Result<MySqlConnection, sqlx::Error> {
    let options = MySqlConnectOptions::from_str(address.reveal());
    // The words of this error have the address in them.
    let options = options.map_err(|_| sqlx::Error::Configuration("the address is no URL of MySQL".into()))?;
    options.statement_cache_capacity(0).disable_statement_logging().connect().await
}

impl Backend for Server {
    fn dialect(&self) -> Dialect {
        Dialect::Mysql
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
    lease: Lease<MySql>,
    rules: Rules,
    /// Whether every table that the role can reach is of an engine that undoes.
    undoes: bool,
    /// Whether the server has undone all of it, and would begin another one.
    is_over: bool,
}

impl Transaction {
    async fn begin(&mut self) -> Result<(), Failure> {
        let rights = self.rows("SHOW GRANTS").await?;
        if rights.iter().any(|row| value::text(row, 0).is_none_or(|grant| reaches(&grant))) {
            return Err(Failure::Unfit("its role may reach files of the server, or all of it".into()));
        }
        let loose = self.rows(LOOSE).await?;
        self.undoes = loose.first().and_then(|row| value::number(row, 0)) == Some(0);
        let version = self.rows("SELECT VERSION()").await?;
        let is_maria = version.first().and_then(|row| value::text(row, 0)).is_some_and(|name| name.contains("MariaDB"));
        let time = self.rules.statement_time_max;
        let limit = if is_maria {
            format!("max_statement_time = {}", time.as_secs_f64().max(0.001))
        } else {
            format!("max_execution_time = {}", time.as_millis().max(1))
        };
        let mode = match self.rules.access {
            SqlAccess::Read => "READ ONLY",
            SqlAccess::Write => "READ WRITE",
        };
        // How texts are written, so that a statement is read as the host has read it.
        self.host(format!(
            "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT', autocommit = 0, \
             innodb_lock_wait_timeout = {}, {limit}; START TRANSACTION {mode}",
            time.as_secs().max(1)
        ))
        .await
    }

    /// Runs statements of ours.
    async fn host(&mut self, statements: String) -> Result<(), Failure> {
        let done = self.lease.connection()?.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await;
        done.map(drop).map_err(|error| failed(&error))
    }

    async fn rows(&mut self, statement: &'static str) -> Result<Vec<MySqlRow>, Failure> {
        let rows = self.lease.connection()?.fetch_all(sqlx::raw_sql(statement)).await;
        rows.map_err(|error| failed(&error))
    }

    /// Whether everything was undone.
    async fn undo(&mut self) -> Result<bool, Failure> {
        self.host("ROLLBACK".into()).await?;
        let warnings = self.rows("SHOW WARNINGS").await?;
        Ok(!warnings.iter().any(|row| value::number(row, 1) == Some(NOT_UNDONE)))
    }
}

/// Whether a line of `SHOW GRANTS` has a right over the whole server that reaches further than databases.
fn reaches(grant: &str) -> bool {
    let Some((rights, _)) = grant.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON *.*")) else {
        return false;
    };
    rights.split(',').any(|right| REACHING.contains(&right.trim()))
}

impl Session for Transaction {
    fn run<'a>(
        &'a mut self,
        _: Mode,
        statement: &'a str,
        parameters: Vec<Value>,
        answer: &'a mut Answer,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            if self.is_over {
                return Err(undone());
            }
            let until = self.rules.clock.deadline().min(Instant::now() + self.rules.statement_time_max + GRACE);
            let ran = timeout_at(until, fetch(self.lease.connection()?, statement, parameters, answer)).await;
            match ran {
                Ok(Err(Fetching::Deadlock(failure))) => {
                    self.is_over = true;
                    Err(failure)
                }
                Ok(Err(Fetching::Failed(failure))) => Err(failure),
                Ok(Ok(())) => Ok(()),
                Err(_) => Err(Failure::Lost("no answer came in time".into())),
            }
        }
        .boxed()
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), Uncommitted>> {
        async move {
            if self.is_over {
                return Err(Uncommitted::Undone(undone()));
            }
            let until = self.rules.clock.deadline().min(Instant::now() + self.rules.statement_time_max + GRACE);
            match timeout_at(until, self.host("COMMIT".into())).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(failure @ (Failure::Lost(_) | Failure::Unreachable(_)))) => Err(Uncommitted::Unknown(failure)),
                // The server says why it did not.
                Ok(Err(failure)) => Err(Uncommitted::Undone(failure)),
                Err(_) => Err(Uncommitted::Unknown(Failure::Lost("no answer came in time".into()))),
            }
        }
        .boxed()
    }

    fn roll_back(mut self: Box<Self>) -> BoxFuture<'static, bool> {
        async move { matches!(timeout_at(Instant::now() + GRACE, self.undo()).await, Ok(Ok(true))) }.boxed()
    }

    fn is_undone_by_drop(&self) -> bool {
        self.undoes || self.rules.access == SqlAccess::Read
    }

    fn keeps_queries(&self) -> bool {
        self.rules.access == SqlAccess::Read
    }
}

fn undone() -> Failure {
    Failure::Conflict("the database has undone the transaction".into())
}

enum Fetching {
    /// All of the transaction was undone.
    Deadlock(Failure),
    Failed(Failure),
}

impl From<Failure> for Fetching {
    fn from(failure: Failure) -> Self {
        Fetching::Failed(failure)
    }
}

impl From<sqlx::Error> for Fetching {
    fn from(error: sqlx::Error) -> Self {
        let number = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
        match number.map(MySqlDatabaseError::number) {
            Some(1213) => Fetching::Deadlock(failed(&error)),
            _ => Fetching::Failed(failed(&error)),
        }
    }
}

async fn fetch(
    connection: &mut MySqlConnection,
    statement: &str,
    parameters: Vec<Value>,
    answer: &mut Answer,
) -> Result<(), Fetching> {
    let arguments = value::arguments(parameters)?;
    let query = sqlx::query_with(AssertSqlSafe(statement), arguments).persistent(false);
    let mut stream = connection.fetch_many(query);
    while let Some(step) = stream.try_next().await? {
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
    let Some(error) = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>()) else {
        return match error {
            sqlx::Error::Encode(error) => Failure::Invalid(error.to_string()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Failure::Invalid("a value has a type that is not known here; cast it, for example to `char`".into())
            }
            other => Failure::Lost(other.to_string()),
        };
    };
    let words = error.message().to_owned();
    match error.number() {
        1792 => Failure::Denied(Denial::Change),
        1044 | 1142 | 1143 | 1227 | 1370 => Failure::Denied(Denial::Role(words)),
        1022 | 1048 | 1062 | 1169 | 1216 | 1217 | 1364 | 1451 | 1452 | 3819 | 4025 => Failure::Constraint(words),
        1205 | 1213 => Failure::Conflict(words),
        1317 | 1969 | 3024 => Failure::TooSlow,
        1053 | 1927 | 2006 | 2013 => Failure::Lost(words),
        1040 | 1045 | 1129 | 1203 | 1226 => Failure::Unreachable(words),
        _ => Failure::Invalid(words),
    }
}

#[cfg(test)]
mod tests {
    use super::reaches;

    #[test]
    fn a_role_that_reaches_further_than_databases_is_known_by_its_rights() {
        for grant in [
            "GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION",
            "GRANT SELECT, FILE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*0'",
            "GRANT SUPER ON *.* TO `a`@`%`",
        ] {
            assert!(reaches(grant), "{grant}");
        }
        for grant in [
            "GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*0'",
            "GRANT SELECT, INSERT ON *.* TO `a`@`%`",
            "GRANT ALL PRIVILEGES ON `shop`.* TO `a`@`%`",
            "GRANT `FILE`@`%` TO `a`@`%`",
        ] {
            assert!(!reaches(grant), "{grant}");
        }
    }
}

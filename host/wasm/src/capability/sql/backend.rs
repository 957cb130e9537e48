//! What a kind of database must be able to do: begin a transaction, run statements in it, and end it.
//!
//! Every statement of a tool runs in a transaction that the host began: one that only reads is one for the database too, and one
//! that changes something does not count before the commit. So what is cut off did not happen, until the commit was sent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use toolpost_core::Attempt;
use toolpost_core::Clock;
use toolpost_core::catalog::cast::nearest;
use toolpost_core::catalog::grants::{SqlAccess, SqlGrant};

/// The SQL that a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

/// What stands in a column, or is given for a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a floating point.
    Float(f64),
    /// An exact number, in decimal digits.
    Decimal(String),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// A day: `2026-11-22`.
    Date(String),
    /// A time of day: `08:30:00.25`.
    Time(String),
    /// A moment, as in RFC 3339; without `Z` where its time zone is not known.
    Timestamp(String),
    /// A UUID.
    Uuid(String),
    /// A JSON document.
    Json(String),
}

/// What a transaction is bound to.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether it may change something.
    pub access: SqlAccess,
    /// Whether it is for one statement: behind one that failed, it need not go on.
    pub is_single: bool,
    /// The only tables that it may touch; all, where nothing is said.
    pub tables: Option<Arc<[String]>>,
    /// How long a value, or a row, may be.
    pub bytes_max: u64,
    /// How long one statement may take.
    pub statement_time_max: Duration,
    /// The clock of the attempt: when it is over, everything is given up that has not come to its end.
    pub clock: Clock,
}

/// How a statement is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The database keeps it from changing anything, also in a transaction that may.
    Query,
    /// It changes what it says.
    Execute,
}

/// Why something did not come about. None of the words here may be told to the tool, but those in `Invalid`, `Constraint` and
/// `Conflict`, which are the database's own.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The database kept it from what the rules do not allow.
    Denied(Denial),
    /// It cannot be done as it is written.
    Invalid(String),
    /// It would break a rule of the database.
    Constraint(String),
    /// Somebody else was in the way.
    Conflict(String),
    /// The answer has more rows or bytes than it may have.
    Exceeded(Bound),
    /// It took too long, and the database, which is well, was told to leave it.
    TooSlow,
    /// All connections were in use for too long.
    Busy,
    /// It is not fit for tools: what it would open to them no grant could keep closed.
    Unfit(String),
    /// The database is not there, or does not let the host in; in words for the log.
    Unreachable(String),
    /// The connection was lost, or is silent; in words for the log.
    Lost(String),
}

/// What the database kept a statement from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Changing something.
    Change,
    /// A table, by its name.
    Table(String),
    /// What its own role there may not do, in the words of the database.
    Role(String),
    /// What no grant allows, in words.
    Never(String),
}

/// The bound that an answer passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Its rows.
    Rows,
    /// Its bytes.
    Bytes,
}

/// Why a commit did not come about.
#[derive(Clone, Debug, PartialEq)]
pub enum Uncommitted {
    /// Everything was undone.
    Undone(Failure),
    /// Nobody knows.
    Unknown(Failure),
}

/// An answer, as far as it has come. It takes no more than it may have.
#[derive(Debug)]
pub struct Answer {
    /// The names of its columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
    /// The rows that were changed.
    pub affected: u64,
    rows_max: usize,
    bytes_left: u64,
}

impl Answer {
    /// One without rows, which takes as many.
    #[must_use]
    pub fn new(rows_max: u32, bytes_max: u64) -> Self {
        let (columns, rows) = (Vec::new(), Vec::new());
        Answer { columns, rows, affected: 0, rows_max: rows_max as usize, bytes_left: bytes_max }
    }

    /// Takes a row.
    ///
    /// # Errors
    /// It is one too many, or too long.
    pub fn push(&mut self, row: Vec<Value>) -> Result<(), Failure> {
        if self.rows.len() >= self.rows_max {
            return Err(Failure::Exceeded(Bound::Rows));
        }
        let bytes: u64 = row.iter().map(Value::bytes).sum();
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(Failure::Exceeded(Bound::Bytes))?;
        self.rows.push(row);
        Ok(())
    }
}

impl Value {
    /// What it counts, in bytes: about what it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let own = match self {
            Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => 0,
            Value::Blob(bytes) => bytes.len(),
            Value::Decimal(text)
            | Value::Text(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Timestamp(text)
            | Value::Uuid(text)
            | Value::Json(text) => text.len(),
        };
        own as u64 + 16
    }
}

/// A database, for all attempts.
pub trait Backend: Send + Sync + fmt::Debug {
    /// What it speaks.
    fn dialect(&self) -> Dialect;

    /// Whether it is a server, which may be down while the host is well.
    fn is_remote(&self) -> bool;

    /// Whether it keeps a transaction to the tables of its rules.
    fn keeps_tables(&self) -> bool;

    /// Begins a transaction.
    ///
    /// # Errors
    /// None could be begun.
    ///
    /// # Cancel safety
    /// Dropping the future leaves no transaction open.
    fn begin<'a>(&'a self, attempt: &'a Attempt, rules: Rules) -> BoxFuture<'a, Result<Box<dyn Session>, Failure>>;
}

/// A transaction. Dropping it closes its connection, and so undoes it: nobody else ever gets what was left in the middle of
/// something.
pub trait Session: Send {
    /// Runs one statement. Behind one that failed by itself, the transaction goes on without it; behind [`Failure::TooSlow`],
    /// [`Failure::Exceeded`] and [`Failure::Lost`] it is only to be dropped.
    ///
    /// # Errors
    /// Nothing of the statement has happened.
    ///
    /// # Cancel safety
    /// None: when the future is dropped, the session must be too.
    fn run<'a>(
        &'a mut self,
        mode: Mode,
        statement: &'a str,
        parameters: Vec<Value>,
        answer: &'a mut Answer,
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// Makes it final.
    ///
    /// # Errors
    /// It is not, or nobody knows.
    ///
    /// # Cancel safety
    /// None: what came of it is not known when the future is dropped.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), Uncommitted>>;

    /// Undoes it, and gives the connection back. Says whether everything was undone for certain.
    ///
    /// # Cancel safety
    /// Dropping the future drops the session.
    fn roll_back(self: Box<Self>) -> BoxFuture<'static, bool>;

    /// Whether dropping it undoes everything for certain.
    fn is_undone_by_drop(&self) -> bool;

    /// Whether the database keeps a query in it from changing anything.
    fn keeps_queries(&self) -> bool;
}

/// The databases of a host, by name.
#[derive(Clone, Debug, Default)]
pub struct Databases(BTreeMap<String, Arc<dyn Backend>>);

impl Databases {
    /// These.
    #[must_use]
    pub fn new(databases: BTreeMap<String, Arc<dyn Backend>>) -> Self {
        Databases(databases)
    }

    /// The one of a grant.
    ///
    /// # Errors
    /// There is none, or it cannot do what the grant asks for; for the operator.
    pub fn granted(&self, grant: &SqlGrant) -> Result<Arc<dyn Backend>, String> {
        let name = &grant.database;
        let Some(backend) = self.0.get(name) else {
            let help = match nearest(name, self.0.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("say in `[sql.{name}]` which it is"),
            };
            return Err(format!("no database is named `{name}`; {help}"));
        };
        if (grant.tables.is_some() || grant.only.is_some()) && !backend.keeps_tables() {
            let key = if grant.only.is_some() { "only" } else { "tables" };
            return Err(format!(
                "`{key}` cannot be kept to in the database `{name}`, which is a server: give the tables to a role of it, \
                 and name that role in the address"
            ));
        }
        Ok(backend.clone())
    }
}

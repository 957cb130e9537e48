//! What may a statement touch? SQLite asks about each table, function and pragma while it makes a program of a statement, by
//! whatever way they come into it, and again should the schema have changed.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libsqlite3_sys as ffi;
use tokio::time::Instant;
use toolpost_wasm::sql::Denial;

/// Pragmas that tell about one table, and change nothing.
const TELLING: [&str; 4] = ["foreign_key_list", "index_list", "table_info", "table_xinfo"];

/// Functions that reach out of the database.
const REACHING: [&str; 5] = ["edit", "fts3_tokenizer", "load_extension", "readfile", "writefile"];

/// The judge of one connection.
#[derive(Debug, Default)]
pub(super) struct Judge {
    now: Mutex<Now>,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Now {
    /// What the statement of a tool may do; nothing while the host itself works.
    bounds: Option<Bounds>,
    /// The first thing that was refused.
    denial: Option<Denial>,
    /// Whether the statement is about tables, and not about rows.
    is_of_schema: bool,
    until: Option<Instant>,
}

/// What a statement may do.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) may_change: bool,
    pub(super) tables: Option<Arc<[String]>>,
}

/// Something that SQLite asks about: a code, and what it is about.
pub(super) struct Question<'a> {
    pub(super) code: c_int,
    pub(super) first: &'a str,
    pub(super) second: &'a str,
}

impl Judge {
    /// The statements of a tool come.
    pub(super) fn guest(&self, bounds: Bounds, until: Instant) {
        *self.lock() = Now { bounds: Some(bounds), until: Some(until), ..Now::default() };
    }

    /// Those of the host come again. Says what was refused.
    pub(super) fn host(&self) -> Option<Denial> {
        std::mem::take(&mut *self.lock()).denial
    }

    /// Whether the statement is about tables, and not about rows: then SQLite says of it how many rows the one before changed.
    pub(super) fn is_of_schema(&self) -> bool {
        self.lock().is_of_schema
    }

    /// Ends what runs, for good.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether what runs may go on.
    pub(super) fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed) && self.lock().until.is_none_or(|until| Instant::now() < until)
    }

    /// Whether SQLite may go on with that.
    pub(super) fn allows(&self, question: &Question<'_>) -> bool {
        let mut now = self.lock();
        let Some(bounds) = &now.bounds else { return true };
        let is_of_rows = matches!(question.code, ffi::SQLITE_INSERT | ffi::SQLITE_UPDATE | ffi::SQLITE_DELETE);
        let is_of_schema = is_change(question.code) && !is_of_rows;
        let denied = bounds.denies(question);
        now.is_of_schema |= is_of_schema;
        match denied {
            None => true,
            Some(denial) => {
                now.denial.get_or_insert(denial);
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bounds {
    fn denies(&self, question: &Question<'_>) -> Option<Denial> {
        let Question { code, first, second } = *question;
        match code {
            ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE => None,
            // A pragma as a table: it asks for the pragma when it is run.
            ffi::SQLITE_READ if first.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("pragma_")) => {
                let tells = first.get(7..).is_some_and(tells);
                (!tells).then(|| Denial::Never(format!("the pragma `{first}`")))
            }
            ffi::SQLITE_READ => self.table(first),
            ffi::SQLITE_FUNCTION if REACHING.iter().any(|name| second.eq_ignore_ascii_case(name)) => {
                Some(Denial::Never(format!("the function `{second}`, which reaches out of the database")))
            }
            ffi::SQLITE_FUNCTION => None,
            ffi::SQLITE_PRAGMA if tells(first) && !second.is_empty() => self.table(second),
            ffi::SQLITE_PRAGMA => Some(Denial::Never(format!("the pragma `{first}`"))),
            _ if !is_change(code) => {
                Some(Denial::Never("what reaches out of the database, or outlives the call".into()))
            }
            _ if !self.may_change => Some(Denial::Change),
            ffi::SQLITE_INSERT
            | ffi::SQLITE_UPDATE
            | ffi::SQLITE_DELETE
            | ffi::SQLITE_DROP_TABLE
            | ffi::SQLITE_CREATE_TABLE => self.table(first),
            // The table stands behind what is made, or the database behind the name.
            ffi::SQLITE_CREATE_INDEX
            | ffi::SQLITE_DROP_INDEX
            | ffi::SQLITE_CREATE_TRIGGER
            | ffi::SQLITE_DROP_TRIGGER
            | ffi::SQLITE_ALTER_TABLE => self.table(second),
            _ => self.table(first),
        }
    }

    /// Whether a table is kept from the statement.
    fn table(&self, name: &str) -> Option<Denial> {
        let tables = self.tables.as_ref()?;
        let is_listed = tables.iter().any(|table| table.eq_ignore_ascii_case(name));
        (!is_listed).then(|| Denial::Table(name.to_owned()))
    }
}

/// Whether a pragma tells about one table, and changes nothing.
fn tells(pragma: &str) -> bool {
    TELLING.iter().any(|name| pragma.eq_ignore_ascii_case(name))
}

/// Whether it changes rows, or the tables of the database itself.
fn is_change(code: c_int) -> bool {
    matches!(
        code,
        ffi::SQLITE_INSERT
            | ffi::SQLITE_UPDATE
            | ffi::SQLITE_DELETE
            | ffi::SQLITE_CREATE_TABLE
            | ffi::SQLITE_CREATE_INDEX
            | ffi::SQLITE_CREATE_TRIGGER
            | ffi::SQLITE_CREATE_VIEW
            | ffi::SQLITE_DROP_TABLE
            | ffi::SQLITE_DROP_INDEX
            | ffi::SQLITE_DROP_TRIGGER
            | ffi::SQLITE_DROP_VIEW
            | ffi::SQLITE_ALTER_TABLE
            | ffi::SQLITE_REINDEX
    )
}

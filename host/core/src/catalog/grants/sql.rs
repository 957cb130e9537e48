//! Databases that a tool is given, and what it may do there.
//!
//! A tool knows a database by the name that the host's settings give it. Where it is, and how one gets in, stands there.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::only::Only;
use super::{plain_bytes, plain_span, shown_only};
use crate::catalog::settings::{Bytes, Span, bytes_between, bytes_within, number_within};
use crate::effect::EffectClass;

/// The bounds of what a grant of a database may allow.
const ROWS_MOST: u64 = 1_000_000;
const BYTES_MOST: u64 = 1 << 30;
const STATEMENTS_MOST: u64 = 1_000_000;

/// A database of the host.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlGrant {
    /// The database, by its name in `[sql]`; must be given.
    pub database: String,
    /// What the tool may do there. Default "read".
    #[serde(default)]
    pub access: SqlAccess,
    /// The only tables that the tool may use, also by way of a view or a trigger. Default: all. Only for SQLite; a server has
    /// roles for it.
    #[serde(default, deserialize_with = "some_tables", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>", length(min = 1))]
    pub tables: Option<Vec<String>>,
    /// Rows of one answer, up to 1000000. Default 10000.
    #[serde(default = "rows", deserialize_with = "rows_up_to")]
    #[schemars(range(min = 0, max = ROWS_MOST))]
    pub max_rows: u32,
    /// Size of one answer, up to "1 GiB". Default "8 MiB".
    #[serde(default = "bytes", deserialize_with = "bytes_up_to", serialize_with = "plain_bytes")]
    #[schemars(schema_with = "bytes_between::<0, BYTES_MOST>")]
    pub max_bytes: Bytes,
    /// Statements of one attempt, 1 to 1000000. Default 1000.
    #[serde(default = "statements", deserialize_with = "statements_up_to")]
    #[schemars(range(min = 1, max = STATEMENTS_MOST))]
    pub max_statements: u32,
    /// How long one statement may take, and the wait for a connection. Default "10s".
    #[serde(default = "timeout", serialize_with = "plain_span")]
    #[schemars(with = "Span")]
    pub timeout: Span,
    /// The argument that names what a call may reach of it, for example "${args.table}". It is a table, or several. Only for SQLite. Default: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
}

/// What a tool may do in a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SqlAccess {
    /// Read. The database itself keeps it from changing anything.
    #[default]
    Read,
    /// Change rows and tables.
    Write,
}

impl SqlAccess {
    /// How far a tool reaches with it.
    #[must_use]
    pub fn effect(self) -> EffectClass {
        match self {
            SqlAccess::Read => EffectClass::Reads,
            SqlAccess::Write => EffectClass::Writes,
        }
    }

    /// The name, as in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SqlAccess::Read => "read",
            SqlAccess::Write => "write",
        }
    }
}

impl fmt::Display for SqlGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.access.name(), self.database)?;
        shown_only(self.only.as_ref(), f)?;
        match &self.tables {
            None => Ok(()),
            Some(tables) => write!(f, " (only {})", tables.join(", ")),
        }
    }
}

/// Reads a list in which no database stands twice.
pub(super) fn of_different_databases<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<SqlGrant>>, D::Error> {
    let grants = Option::<Vec<SqlGrant>>::deserialize(deserializer)?;
    let mut taken = BTreeSet::new();
    for grant in grants.iter().flatten() {
        if !taken.insert(&grant.database) {
            let name = &grant.database;
            return Err(D::Error::custom(format!("the database `{name}` is granted twice; make one grant of both")));
        }
    }
    Ok(grants)
}

fn some_tables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let tables = Option::<Vec<String>>::deserialize(deserializer)?;
    if tables.as_ref().is_some_and(Vec::is_empty) {
        return Err(D::Error::custom("a grant of no table grants nothing; take it out, or name one"));
    }
    Ok(tables)
}

fn rows() -> u32 {
    10_000
}

fn bytes() -> Bytes {
    Bytes(ByteSize::mib(8).as_u64())
}

fn statements() -> u32 {
    1_000
}

fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

fn rows_up_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let given = number_within::<_, _, 0, ROWS_MOST>(deserializer)?;
    Ok(given.unwrap_or_else(rows))
}

fn bytes_up_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let given = bytes_within::<_, 0, BYTES_MOST>(deserializer)?;
    Ok(given.unwrap_or_else(bytes))
}

fn statements_up_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let given = number_within::<_, _, 1, STATEMENTS_MOST>(deserializer)?;
    Ok(given.unwrap_or_else(statements))
}

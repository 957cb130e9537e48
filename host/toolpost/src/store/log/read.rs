//! Reading the log: calls one to a line, one call with its story, and what was last heard of breakers.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::record;
use crate::store::{Store, StoreError};

/// Calls that are named where an id does not say which one is meant.
const MEANT_MAX: i64 = 5;

/// Which calls are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The tool's name; `*` stands for any characters, `?` for one.
    pub tool: Option<String>,
    /// Only those that failed.
    pub failed: bool,
    /// The most of them; the latest are taken.
    pub limit: u32,
}

/// A call that was written down.
#[derive(Clone, Debug, Serialize)]
pub struct Logged {
    /// Its id.
    pub call: String,
    /// The tool that was asked for.
    pub tool: String,
    /// Who called; empty for nobody in particular.
    pub caller: String,
    /// The session that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The call inside of which it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// When it began.
    #[serde(serialize_with = "moment")]
    pub started: SystemTime,
    /// What the tool was called with, as JSON: masked, and cut where it is long.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "json")]
    pub arguments: Option<String>,
    /// `ok`, or the kind of failure; nothing where no end was written, because it runs or because its host is gone.
    pub outcome: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the tool answered, as JSON: masked, and cut where it is long.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "json")]
    pub result: Option<String>,
    /// Time from the call to its outcome.
    #[serde(rename = "time_ms", serialize_with = "milliseconds")]
    pub time: Duration,
    /// Its attempts.
    pub attempts: u64,
    /// The fuel of all attempts.
    pub fuel: u64,
    /// What it did to the world, counted.
    pub effects: u64,
    /// Where it stands in the order of writing.
    #[serde(skip)]
    pub written: i64,
}

/// A call with all that happened in it.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// The call.
    #[serde(flatten)]
    pub call: Logged,
    /// What happened, in order: objects with `at_ms` and `event`, and what more there is to say of it.
    pub events: Vec<Value>,
}

/// What an id stands for.
#[derive(Clone, Debug)]
pub enum Found {
    /// That call.
    One(Box<Story>),
    /// One of several calls, of which some are named.
    Several(Vec<String>),
    /// No call.
    None,
}

/// What was last heard of a breaker.
#[derive(Clone, Debug, Serialize)]
pub struct LastKnown {
    /// What it watches: `tool NAME`, or `egress TOOL HOST:PORT` for a server as one tool knows it. [`Key::parse`] reads it.
    ///
    /// [`Key::parse`]: toolpost_core::guard::breaker::Key::parse
    pub breaker: String,
    /// What it is doing.
    pub status: String,
    /// What it was doing before.
    pub was: String,
    /// Why it changed.
    pub cause: String,
    /// When it changed.
    #[serde(serialize_with = "moment")]
    pub since: SystemTime,
    /// When it tries again, where it does so by itself.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "perhaps")]
    pub until: Option<SystemTime>,
    /// The process whose breaker it is: its number, and one by chance.
    pub host: String,
}

impl Filter {
    /// The tool's name for the database, to which brackets are special too.
    fn glob(&self) -> Option<String> {
        self.tool.as_ref().map(|tool| tool.replace('[', "[[]"))
    }
}

impl Store {
    /// The latest calls, in the order in which they began.
    ///
    /// # Errors
    /// The log cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn calls(&self, filter: &Filter) -> Result<Vec<Logged>, StoreError> {
        let query = sqlx::query(
            "SELECT * FROM calls WHERE (?1 IS NULL OR tool GLOB ?1) AND (?2 = 0 OR outcome <> 'ok') \
             ORDER BY number DESC LIMIT ?3",
        );
        let query = query.bind(filter.glob()).bind(filter.failed).bind(filter.limit);
        let rows = query.fetch_all(self.log().await?.read()).await?;
        let calls: Result<Vec<Logged>, _> = rows.iter().rev().map(logged).collect();
        Ok(calls?)
    }

    /// The calls that ended after others were written, in the order in which they ended.
    ///
    /// # Errors
    /// As for [`Store::calls`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn calls_since(&self, written: i64, filter: &Filter) -> Result<Vec<Logged>, StoreError> {
        let query = sqlx::query(
            "SELECT * FROM calls WHERE written > ?4 AND outcome IS NOT NULL AND (?1 IS NULL OR tool GLOB ?1) \
             AND (?2 = 0 OR outcome <> 'ok') ORDER BY written LIMIT ?3",
        );
        let query = query.bind(filter.glob()).bind(filter.failed).bind(filter.limit).bind(written);
        let rows = query.fetch_all(self.log().await?.read()).await?;
        let calls: Result<Vec<Logged>, _> = rows.iter().map(logged).collect();
        Ok(calls?)
    }

    /// The last place in the order of writing.
    ///
    /// # Errors
    /// As for [`Store::calls`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn last_written(&self) -> Result<i64, StoreError> {
        let query = sqlx::query("SELECT coalesce(max(written), 0) FROM calls");
        Ok(query.fetch_one(self.log().await?.read()).await?.try_get(0)?)
    }

    /// Calls that are missing in the log, because they came faster than they could be written.
    ///
    /// # Errors
    /// As for [`Store::calls`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn calls_lost(&self) -> Result<u64, StoreError> {
        let query = sqlx::query("SELECT coalesce(sum(calls), 0) FROM lost");
        let lost: i64 = query.fetch_one(self.log().await?.read()).await?.try_get(0)?;
        Ok(count(lost))
    }

    /// The call whose id is that, or begins so; of several with the same id, the latest.
    ///
    /// # Errors
    /// As for [`Store::calls`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn call(&self, id: &str) -> Result<Found, StoreError> {
        let log = self.log().await?.read();
        // The ids that the host gives begin alike; nobody has to write that.
        for begin in [id.to_owned(), format!("call_{id}")] {
            let end = format!("{begin}\u{10ffff}");
            let query =
                sqlx::query("SELECT DISTINCT id FROM calls WHERE id >= ? AND id < ? ORDER BY id <> ?, id LIMIT ?");
            let rows = query.bind(&begin).bind(&end).bind(&begin).bind(MEANT_MAX).fetch_all(log).await?;
            let ids: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
            match ids?.as_slice() {
                [] => {}
                [first, others @ ..] if others.is_empty() || *first == begin => {
                    let query = sqlx::query("SELECT * FROM calls WHERE id = ? ORDER BY number DESC LIMIT 1");
                    return story(&query.bind(first).fetch_one(log).await?).map(|story| Found::One(Box::new(story)));
                }
                several => return Ok(Found::Several(several.to_vec())),
            }
        }
        Ok(Found::None)
    }

    /// What was last heard of each breaker that ever changed.
    ///
    /// # Errors
    /// As for [`Store::calls`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn breakers(&self) -> Result<Vec<LastKnown>, StoreError> {
        let rows = sqlx::query("SELECT * FROM breakers ORDER BY key").fetch_all(self.log().await?.read()).await?;
        let known = |row: &SqliteRow| -> Result<LastKnown, sqlx::Error> {
            Ok(LastKnown {
                breaker: row.try_get("key")?,
                status: row.try_get("status")?,
                was: row.try_get("was")?,
                cause: row.try_get("cause")?,
                since: since_1970(row.try_get("at_ms")?),
                until: row.try_get::<Option<i64>, _>("until_ms")?.map(since_1970),
                host: row.try_get("host")?,
            })
        };
        let breakers: Result<Vec<LastKnown>, _> = rows.iter().map(known).collect();
        Ok(breakers?)
    }
}

fn story(row: &SqliteRow) -> Result<Story, StoreError> {
    let events: String = row.try_get("events")?;
    Ok(Story { call: logged(row)?, events: serde_json::from_str(&events).unwrap_or_default() })
}

fn logged(row: &SqliteRow) -> Result<Logged, sqlx::Error> {
    Ok(Logged {
        call: row.try_get("id")?,
        tool: row.try_get("tool")?,
        caller: row.try_get("caller")?,
        session: row.try_get("session")?,
        parent: row.try_get("parent")?,
        started: since_1970(row.try_get("started_ms")?),
        arguments: row.try_get("arguments")?,
        outcome: row.try_get("outcome")?,
        message: row.try_get("message")?,
        result: row.try_get("result")?,
        time: Duration::from_micros(count(row.try_get("time_us")?)),
        attempts: count(row.try_get("attempts")?),
        fuel: count(row.try_get("fuel")?),
        effects: count(row.try_get("effects")?),
        written: row.try_get("written")?,
    })
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(in crate::store) fn since_1970(milliseconds: i64) -> SystemTime {
    // What no clock can show is the beginning of time.
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(count(milliseconds))).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn milliseconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(record::milliseconds(*span))
}

/// RFC 3339.
fn moment<S: Serializer>(moment: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*moment))
}

#[expect(clippy::ref_option, reason = "serde asks for a reference")]
pub(in crate::store) fn perhaps<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => moment(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// JSON text as what it says.
#[expect(clippy::ref_option, reason = "serde asks for a reference")]
fn json<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()).serialize(serializer)
}

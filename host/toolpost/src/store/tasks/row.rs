//! A task as a row.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use toolpost_core::task::{CancelAsked, Ended, Filed, HostId, How, Progress, Record, Request, State, TaskId};
use toolpost_core::{CallId, Caller};

use crate::store::StoreError;

pub(super) const QUEUED: i64 = 0;
pub(super) const RUNNING: i64 = 1;
pub(super) const DONE: i64 = 2;
pub(super) const FAILED: i64 = 3;
pub(super) const CANCELLED: i64 = 4;
pub(super) const UNKNOWN: i64 = 5;

type Statement<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// What changes of a record, as columns.
pub(super) const CHANGING: &str = "version = ?2, fence = ?3, state = ?4, due_ms = ?5, host = ?6, runs = ?7, lost = ?8, \
     effects = ?9, again = ?10, cancel_by = ?11, cancel_ms = ?12, under = ?13, started_ms = ?14, changed_ms = ?15, \
     expires_ms = ?16, result = ?17, report = ?18, refused_ms = ?19";

/// A statement with the id and the columns of [`CHANGING`].
pub(super) fn bound<'q>(statement: Statement<'q>, record: &'q Record) -> Statement<'q> {
    let (state, due_ms, host) = match &record.state {
        State::Queued { due_ms } => (QUEUED, Some(signed(*due_ms)), None),
        State::Running { host } => (RUNNING, None, Some(host.as_str())),
        State::Ended(ended) => (of_how(ended.how()), None, None),
    };
    let texts = record.ended().map(Ended::texts);
    let cancel = record.cancel.as_ref();
    statement
        .bind(record.request.id.as_str())
        .bind(signed(record.version))
        .bind(signed(record.fence))
        .bind(state)
        .bind(due_ms)
        .bind(host)
        .bind(record.runs)
        .bind(record.lost)
        .bind(record.effects)
        .bind(record.again)
        .bind(cancel.map(|cancel| cancel.by.as_str()))
        .bind(cancel.map(|cancel| signed(cancel.at_ms)))
        .bind(record.under.as_deref())
        .bind(record.started_ms.map(signed))
        .bind(signed(record.changed_ms))
        .bind(record.expires_ms.map(signed))
        .bind(texts.map(|(result, _)| result))
        .bind(texts.map(|(_, report)| report))
        .bind(record.refused_ms.map(signed))
}

/// The record of a row; without its texts, it is only the fact that it has ended.
pub(super) fn record(row: &SqliteRow, has_texts: bool) -> Result<Record, StoreError> {
    let number = |name: &str| Ok::<_, StoreError>(unsigned(row.try_get(name)?));
    let perhaps = |name: &str| Ok::<_, StoreError>(row.try_get::<Option<i64>, _>(name)?.map(unsigned));
    let state = match row.try_get::<i64, _>("state")? {
        QUEUED => State::Queued { due_ms: perhaps("due_ms")?.unwrap_or_default() },
        RUNNING => {
            State::Running { host: HostId::of_text(row.try_get::<Option<&str>, _>("host")?.unwrap_or_default()) }
        }
        over => {
            let text = |name: &str| match has_texts {
                true => row.try_get::<Option<&str>, _>(name).map(Option::unwrap_or_default),
                false => Ok(""),
            };
            State::Ended(Ended::of_texts(how(over)?, text("result")?, text("report")?))
        }
    };
    let cancel = match row.try_get::<Option<String>, _>("cancel_by")? {
        Some(by) => Some(CancelAsked { by, at_ms: perhaps("cancel_ms")?.unwrap_or_default() }),
        None => None,
    };
    Ok(Record {
        version: number("version")?,
        fence: number("fence")?,
        request: Arc::new(request(row)?),
        state,
        runs: row.try_get("runs")?,
        lost: row.try_get("lost")?,
        effects: row.try_get("effects")?,
        again: row.try_get("again")?,
        cancel,
        refused_ms: perhaps("refused_ms")?,
        under: row.try_get::<Option<&str>, _>("under")?.map(Arc::from),
        started_ms: perhaps("started_ms")?,
        changed_ms: number("changed_ms")?,
        expires_ms: perhaps("expires_ms")?,
    })
}

/// A task in a list.
pub(super) fn filed(row: &SqliteRow) -> Result<Filed, StoreError> {
    Ok(Filed {
        record: Arc::new(record(row, false)?),
        is_gone: row.try_get::<Option<bool>, _>("is_gone")?.unwrap_or_default(),
        progress: progress(row)?,
        question: row.try_get("question")?,
    })
}

fn request(row: &SqliteRow) -> Result<Request, StoreError> {
    let rest: Caller = json(row.try_get("caller_rest")?)?;
    Ok(Request {
        id: id(row)?,
        tool: row.try_get("tool")?,
        caller: Caller { id: row.try_get("caller")?, ..rest },
        call: CallId::given(row.try_get::<&str, _>("call")?),
        traceparent: row.try_get("traceparent")?,
        shown: row.try_get("shown")?,
        scope: row.try_get::<&str, _>("scope")?.into(),
        under: row.try_get::<&str, _>("filed_under")?.into(),
        created_ms: unsigned(row.try_get("created_ms")?),
    })
}

pub(super) fn id(row: &SqliteRow) -> Result<TaskId, StoreError> {
    TaskId::of_text(row.try_get("id")?).ok_or_else(|| broken("an id that is none"))
}

pub(super) fn progress(row: &SqliteRow) -> Result<Option<Progress>, StoreError> {
    row.try_get::<Option<&str>, _>("progress")?.map(json).transpose()
}

pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| broken(&error.to_string()))
}

fn of_how(how: How) -> i64 {
    match how {
        How::Done => DONE,
        How::Failed => FAILED,
        How::Cancelled => CANCELLED,
        How::Unknown => UNKNOWN,
    }
}

fn how(state: i64) -> Result<How, StoreError> {
    match state {
        DONE => Ok(How::Done),
        FAILED => Ok(How::Failed),
        CANCELLED => Ok(How::Cancelled),
        UNKNOWN => Ok(How::Unknown),
        other => Err(broken(&format!("the state {other}, which only a later version knows"))),
    }
}

fn broken(what: &str) -> StoreError {
    StoreError(format!("a task has {what}").into())
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

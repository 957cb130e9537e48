//! What is written of tasks, each in one statement or a few: many of them are one transaction.

use std::sync::Arc;

use sqlx::sqlite::SqliteTransaction;
use toolpost_core::Caller;
use toolpost_core::task::store::EFFECTS_MAX;
use toolpost_core::task::{HostId, Record, Room, TaskId, Touch, Words};

use super::row::{self, CHANGING, RUNNING, signed};
use crate::store::batch::{Change, Made};
use crate::store::log::now_ms;
use crate::store::{Database, Store, StoreError};

/// What is over and goes with each task that is filed, at most, so that the table cannot grow for ever.
const EXPIRED_MAX: u32 = 16;

/// A change of a task, or of the hosts that run them.
#[derive(Debug)]
pub(super) enum Step {
    File { record: Arc<Record>, sealed: Vec<u8>, room: Room, bytes_max: i64 },
    Swap { id: TaskId, expected: u64, new: Option<Arc<Record>> },
    Touch(Touch),
    Say(Words),
    Renew { host: HostId, lease_ms: u64 },
    Leave { host: HostId },
}

/// And with each time that a host says that it lives.
const EXPIRED_AT_ONCE_MAX: u32 = 256;

type Write = SqliteTransaction<'static>;

impl Change for Step {
    fn database(store: &Store) -> impl Future<Output = Result<&Database, StoreError>> + Send {
        store.tasks()
    }

    async fn make(&self, write: &mut Write) -> Made {
        match self {
            Step::File { record, sealed, room, bytes_max } => file(write, record, sealed, *room, *bytes_max).await,
            Step::Swap { id, expected, new: Some(new) } => swap(write, id, *expected, new).await,
            Step::Swap { id, expected, new: None } => {
                let delete = sqlx::query("DELETE FROM tasks WHERE id = ? AND version = ?");
                let delete = delete.bind(id.as_str()).bind(signed(*expected)).execute(&mut **write).await?;
                let is_deleted = delete.rows_affected() == 1;
                if is_deleted {
                    forget(write, id.as_str()).await?;
                }
                Ok(is_deleted)
            }
            Step::Touch(step) => touch(write, step).await,
            Step::Say(words) => say(write, words).await,
            Step::Renew { host, lease_ms } => {
                let renew = sqlx::query("INSERT OR REPLACE INTO task_hosts (host, lease_ms) VALUES (?, ?)");
                renew.bind(host.as_str()).bind(signed(*lease_ms)).execute(&mut **write).await?;
                expire(write).await?;
                Ok(true)
            }
            Step::Leave { host } => {
                sqlx::query("DELETE FROM task_hosts WHERE host = ?").bind(host.as_str()).execute(&mut **write).await?;
                Ok(true)
            }
        }
    }
}

async fn file(write: &mut Write, record: &Record, sealed: &[u8], room: Room, bytes_max: i64) -> Made {
    make_room(write, room.kept_max).await?;
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks WHERE state < 2").fetch_one(&mut **write).await?;
    let taken: i64 = sqlx::query_scalar(
        "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )
    .fetch_one(&mut **write)
    .await?;
    if waiting >= signed(room.waiting_max) || taken >= bytes_max {
        return Ok(false);
    }
    let request = &record.request;
    let rest = Caller { id: String::new(), ..request.caller.clone() };
    let rest = serde_json::to_string(&rest).map_err(|error| StoreError(error.into()))?;
    let insert = sqlx::query(
        "INSERT INTO tasks (id, version, fence, state, due_ms, host, runs, lost, effects, again, cancel_by, cancel_ms, \
         under, started_ms, changed_ms, expires_ms, result, report, refused_ms, scope, filed_under, tool, caller, \
         caller_rest, call, traceparent, shown, created_ms, asked) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
         ?23, ?24, ?25, ?26, ?27, ?28, ?29)",
    );
    let insert = row::bound(insert, record).bind(&*request.scope).bind(&*request.under).bind(&request.tool);
    let insert = insert.bind(&request.caller.id).bind(rest).bind(request.call.as_str()).bind(&request.traceparent);
    let insert = insert.bind(&request.shown).bind(signed(request.created_ms)).bind(sealed);
    insert.execute(&mut **write).await?;
    Ok(true)
}

/// What is too old goes; and the oldest that has ended where there are too many.
async fn make_room(write: &mut Write, kept_max: u64) -> Result<(), StoreError> {
    let old: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM tasks WHERE state > 1 AND (expires_ms <= ?1 \
         OR (SELECT count(*) FROM tasks WHERE state > 1) > ?2) ORDER BY expires_ms LIMIT ?3",
    )
    .bind(now_ms())
    .bind(signed(kept_max))
    .bind(EXPIRED_MAX)
    .fetch_all(&mut **write)
    .await?;
    let kept: i64 = match old.is_empty() {
        true => return Ok(()),
        false => sqlx::query_scalar("SELECT count(*) FROM tasks WHERE state > 1").fetch_one(&mut **write).await?,
    };
    let many = usize::try_from(kept - signed(kept_max)).unwrap_or_default();
    for (number, id) in old.iter().enumerate() {
        let gone = sqlx::query("DELETE FROM tasks WHERE id = ? AND (expires_ms <= ? OR ?)");
        let gone = gone.bind(id).bind(now_ms()).bind(number < many).execute(&mut **write).await?;
        if gone.rows_affected() == 1 {
            forget(write, id).await?;
        }
    }
    Ok(())
}

/// What is too old goes, also where nothing more is filed.
async fn expire(write: &mut Write) -> Result<(), StoreError> {
    let old = "DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE state > 1 AND expires_ms <= ? \
               ORDER BY expires_ms LIMIT ?) RETURNING id";
    let old = sqlx::query_scalar::<_, String>(old).bind(now_ms()).bind(EXPIRED_AT_ONCE_MAX);
    for id in old.fetch_all(&mut **write).await? {
        forget(write, &id).await?;
    }
    Ok(())
}

/// What was kept beside a task.
async fn forget(write: &mut Write, id: &str) -> Result<(), StoreError> {
    for table in ["DELETE FROM task_effects WHERE id = ?", "DELETE FROM task_parts WHERE id = ?"] {
        sqlx::query(table).bind(id).execute(&mut **write).await?;
    }
    Ok(())
}

async fn swap(write: &mut Write, id: &TaskId, expected: u64, new: &Record) -> Made {
    let is_over = new.ended().is_some();
    // The columns on the right are those of before.
    let text = format!(
        "UPDATE tasks SET {CHANGING}, progress = CASE WHEN fence = ?3 THEN progress END, \
         question = CASE WHEN fence = ?3 AND NOT ?20 THEN question END, \
         dropped_bytes = CASE WHEN fence = ?3 THEN dropped_bytes ELSE 0 END, \
         asked = CASE WHEN NOT ?20 THEN asked END WHERE id = ?1 AND version = ?21"
    );
    let update = row::bound(sqlx::query(sqlx::AssertSqlSafe(text)), new).bind(is_over).bind(signed(expected));
    let is_made = update.execute(&mut **write).await?.rows_affected() == 1;
    if is_made && !is_over {
        let parts = sqlx::query("DELETE FROM task_parts WHERE id = ? AND fence <> ?");
        parts.bind(id.as_str()).bind(signed(new.fence)).execute(&mut **write).await?;
    }
    Ok(is_made)
}

async fn touch(write: &mut Write, touch: &Touch) -> Made {
    let Touch { id, fence, number, effect, again, version } = touch;
    let of_run = sqlx::query_as::<_, (i64, i64)>(
        "SELECT runs, EXISTS (SELECT 1 FROM task_effects known WHERE known.id = tasks.id AND run = runs AND number = ?) \
         FROM tasks WHERE id = ? AND fence = ? AND state = ?",
    );
    let of_run = of_run.bind(number).bind(id.as_str()).bind(signed(*fence)).bind(RUNNING);
    let Some((run, is_known)) = of_run.fetch_optional(&mut **write).await? else { return Ok(false) };
    if is_known != 0 {
        return Ok(true);
    }
    let count = sqlx::query("UPDATE tasks SET version = ?, effects = effects + 1, again = again AND ? WHERE id = ?");
    count.bind(signed(*version)).bind(again).bind(id.as_str()).execute(&mut **write).await?;
    let effect = serde_json::to_string(effect).map_err(|error| StoreError(error.into()))?;
    let list = sqlx::query(
        "INSERT INTO task_effects (id, run, number, effect) SELECT ?1, ?2, ?3, ?4 \
         WHERE (SELECT count(*) FROM task_effects WHERE id = ?1) < ?5",
    );
    let list = list.bind(id.as_str()).bind(run).bind(number).bind(effect);
    list.bind(i64::try_from(EFFECTS_MAX).unwrap_or(i64::MAX)).execute(&mut **write).await?;
    Ok(true)
}

async fn say(write: &mut Write, words: &Words) -> Made {
    let Words { id, fence, progress, question, part, dropped_bytes } = words;
    let progress = progress.as_ref().map(serde_json::to_string).transpose();
    let update = sqlx::query(
        "UPDATE tasks SET progress = coalesce(?1, progress), question = CASE WHEN ?2 THEN ?3 ELSE question END, \
         dropped_bytes = max(dropped_bytes, ?4) WHERE id = ?5 AND fence = ?6 AND state = ?7",
    );
    let update = update.bind(progress.map_err(|error| StoreError(error.into()))?);
    let update = update.bind(question.is_some()).bind(question.clone().flatten()).bind(signed(*dropped_bytes));
    let update = update.bind(id.as_str()).bind(signed(*fence)).bind(RUNNING);
    if update.execute(&mut **write).await?.rows_affected() == 0 {
        return Ok(false);
    }
    if let Some(part) = part {
        let keep = sqlx::query("INSERT OR IGNORE INTO task_parts (id, fence, number, text) VALUES (?, ?, ?, ?)");
        let keep = keep.bind(id.as_str()).bind(signed(*fence)).bind(part.number).bind(&part.text);
        keep.execute(&mut **write).await?;
    }
    Ok(true)
}

//! Tasks on the disk: a row for each, in a database of their own, so that what many of them say does not hold up the keys.
//!
//! All hosts on one folder see the same rows and the same clock, the machine's. What is written at the same time goes to the disk
//! together. What only a tool may see is sealed, and gone with the end.

mod alive;
mod place;
mod row;
mod seal;
mod step;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use toolpost_core::task::store::{EFFECTS_MAX, LISTED_MAX};
use toolpost_core::task::{
    Asked, HostId, Listed, Look, Looking, Notes, Query, Record, Room, Seen, Standing, State, TaskFailure, TaskId,
    TaskStore, Touch, Words,
};

use self::alive::Alive;
pub use self::place::HostPlace;
use self::row::unsigned;
use self::seal::Seal;
use self::step::Step;
use super::batch::Batch;
use super::log::now_ms;
use super::{Store, StoreError};

/// What the database may take before no more tasks are filed, in bytes.
const TASKS_BYTES_MAX: i64 = 4 << 30;

/// The tasks in a store.
#[derive(Clone, Debug)]
pub struct TaskTable {
    store: Arc<Store>,
    steps: Arc<Batch<Step>>,
    seal: Arc<Seal>,
    alive: Arc<Alive>,
    bytes_max: i64,
}

impl TaskTable {
    /// The tasks in that store. Nothing is opened yet.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        TaskTable {
            steps: Arc::new(Batch::new(store.clone())),
            seal: Arc::new(Seal::new(store.clone())),
            alive: Arc::new(Alive::new(store.clone())),
            store,
            bytes_max: TASKS_BYTES_MAX,
        }
    }

    /// Sets how much the database may take before no more tasks are filed, in bytes.
    #[must_use]
    pub fn holding(self, bytes_max: i64) -> Self {
        TaskTable { bytes_max, ..self }
    }

    async fn make(&self, step: Step) -> Result<bool, StoreError> {
        self.steps.clone().make(step).await
    }

    /// Hosts of which somebody says that they run tasks, and that are gone.
    async fn gone(&self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT tasks.host, lease_ms FROM tasks LEFT JOIN task_hosts ON task_hosts.host = tasks.host \
             WHERE state = 1",
        );
        let rows = rows.fetch_all(self.store.tasks().await?.read()).await?;
        let mut gone = Vec::new();
        for row in rows {
            let (host, lease_ms): (String, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
            if self.is_gone(&HostId::of_text(&host), lease_ms) {
                gone.push(host);
            }
        }
        Ok(gone)
    }

    fn is_gone(&self, host: &HostId, lease_ms: Option<i64>) -> bool {
        // One that has never said that it lives, or has said that it is gone, has no lease.
        lease_ms.is_none_or(|until| until <= now_ms()) || self.alive.is_gone(host)
    }

    async fn seen(&self, id: &TaskId) -> Result<Seen, StoreError> {
        let row = sqlx::query(
            "SELECT tasks.*, lease_ms FROM tasks LEFT JOIN task_hosts ON task_hosts.host = tasks.host WHERE id = ?",
        );
        let row = row.bind(id.as_str()).fetch_optional(self.store.tasks().await?.read()).await?;
        let record = row.as_ref().map(|row| row::record(row, true)).transpose()?;
        let is_gone = match (&row, record.as_ref().map(|record| &record.state)) {
            (Some(row), Some(State::Running { host })) => self.is_gone(host, row.try_get("lease_ms")?),
            _ => false,
        };
        // Read behind the row: what looks over is over.
        let now_ms = unsigned(now_ms());
        let record = record.filter(|record| record.expires_ms.is_none_or(|expires| expires > now_ms));
        Ok(Seen { record: record.map(Arc::new), is_gone, now_ms })
    }

    async fn noted(&self, id: &TaskId) -> Result<Notes, StoreError> {
        // One connection sees one state of all tables only within a transaction.
        let mut reader = self.store.tasks().await?.read().begin().await?;
        let of_task = sqlx::query("SELECT fence, progress, question, dropped_bytes FROM tasks WHERE id = ?");
        let Some(task) = of_task.bind(id.as_str()).fetch_optional(&mut *reader).await? else {
            return Ok(Notes::default());
        };
        let effects = sqlx::query("SELECT run, effect FROM task_effects WHERE id = ? ORDER BY run, number LIMIT ?");
        let effects = effects.bind(id.as_str()).bind(i64::try_from(EFFECTS_MAX).unwrap_or(i64::MAX));
        let effects = effects.fetch_all(&mut *reader).await?;
        let parts = sqlx::query_scalar("SELECT text FROM task_parts WHERE id = ? AND fence = ? ORDER BY number");
        let parts: Vec<String> =
            parts.bind(id.as_str()).bind(task.try_get::<i64, _>("fence")?).fetch_all(&mut *reader).await?;
        let effect = |row: &sqlx::sqlite::SqliteRow| Ok((row.try_get("run")?, row::json(row.try_get("effect")?)?));
        Ok(Notes {
            effects: effects.iter().map(effect).collect::<Result<_, StoreError>>()?,
            progress: row::progress(&task)?,
            question: task.try_get("question")?,
            partial: parts.concat(),
            dropped_bytes: unsigned(task.try_get("dropped_bytes")?),
        })
    }

    async fn listed(&self, query: &Query) -> Result<Listed, StoreError> {
        let gone = serde_json::to_string(&self.gone().await?).map_err(|error| StoreError(error.into()))?;
        let now = now_ms();
        let is_plain = |digits: &String| digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let mut listed = Listed { tasks: Vec::new(), now_ms: unsigned(now) };
        // What could stand for other characters is no id.
        if query.digits.as_ref().is_some_and(|digits| !is_plain(digits)) {
            return Ok(listed);
        }
        let rows = sqlx::query(
            "SELECT *, host IN (SELECT value FROM json_each(?6)) AS is_gone FROM tasks \
             WHERE (expires_ms IS NULL OR expires_ms > ?1) AND (?2 IS NULL OR caller = ?2) AND (?3 IS NULL OR tool = ?3) \
             AND (?4 IS NULL OR id LIKE 'task\\_' || ?4 || '%' ESCAPE '\\') \
             AND (?5 IS NULL OR ?5 = CASE state WHEN 0 THEN 'queued' WHEN 2 THEN 'done' WHEN 3 THEN 'failed' \
             WHEN 4 THEN 'cancelled' WHEN 5 THEN 'unknown' ELSE CASE WHEN host IN (SELECT value FROM json_each(?6)) \
             THEN 'left' WHEN question IS NOT NULL THEN 'waiting' ELSE 'running' END END) \
             ORDER BY number DESC LIMIT ?7",
        );
        let limit = i64::try_from(query.limit.min(LISTED_MAX)).unwrap_or(i64::MAX);
        let rows = rows.bind(now).bind(&query.caller).bind(&query.tool).bind(&query.digits);
        let rows = rows.bind(query.standing.map(Standing::name)).bind(gone).bind(limit);
        for row in rows.fetch_all(self.store.tasks().await?.read()).await? {
            match row::filed(&row) {
                Ok(filed) => listed.tasks.push(filed),
                // The others can be listed all the same.
                Err(error) => tracing::warn!(%error, id = row.try_get("id").unwrap_or("?"), "a task cannot be read"),
            }
        }
        Ok(listed)
    }

    async fn looked(&self, looking: &Looking) -> Result<Look, StoreError> {
        let Looking { host, scope, limit } = looking;
        let mut gone = self.gone().await?;
        gone.retain(|gone| gone != host.as_str());
        let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
        let reader = self.store.tasks().await?.read();
        // A row with an id that is none takes no place of those that can be taken up.
        let any = format!("task_{}", "[0-9a-f]".repeat(32));
        // They have waited for longest. Mostly there are none, and those that are queued stand in order.
        let mut ready = match gone.is_empty() {
            true => Vec::new(),
            false => {
                let left = sqlx::query(
                    "SELECT id FROM tasks WHERE state = 1 AND scope = ? AND host IN (SELECT value FROM json_each(?)) \
                     AND id GLOB ? ORDER BY changed_ms, number LIMIT ?",
                );
                let gone = serde_json::to_string(&gone).map_err(|error| StoreError(error.into()))?;
                left.bind(&**scope).bind(gone).bind(&any).bind(limit).fetch_all(reader).await?
            }
        };
        let queued = sqlx::query(
            "SELECT id FROM tasks WHERE state = 0 AND scope = ? AND due_ms <= ? AND id GLOB ? \
             ORDER BY due_ms, number LIMIT ?",
        );
        let room = limit.saturating_sub(i64::try_from(ready.len()).unwrap_or(i64::MAX));
        ready.extend(queued.bind(&**scope).bind(now_ms()).bind(&any).bind(room).fetch_all(reader).await?);
        let own =
            sqlx::query("SELECT id, cancel_by FROM tasks WHERE scope = ? AND state = 1 AND host = ? AND id GLOB ?");
        let own = own.bind(&**scope).bind(host.as_str()).bind(&any).fetch_all(reader).await?;
        let next = sqlx::query_scalar::<_, Option<i64>>(
            "SELECT min(due_ms) FROM tasks WHERE scope = ? AND state = 0 AND due_ms > ? AND id GLOB ?",
        );
        let next = next.bind(&**scope).bind(now_ms()).bind(&any).fetch_one(reader).await?;
        let mut look = Look { next_ms: next.map(unsigned), ..Look::default() };
        for row in &ready {
            look.ready.push(row::id(row)?);
        }
        for row in &own {
            look.own.push(row::id(row)?);
            if row.try_get::<Option<&str>, _>("cancel_by")?.is_some() {
                look.unwanted.push(row::id(row)?);
            }
        }
        Ok(look)
    }

    async fn live(&self, host: &HostId, lease: Duration) -> Result<(), StoreError> {
        self.alive.enter(host)?;
        let lease_ms = unsigned(now_ms()).saturating_add(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
        self.make(Step::Renew { host: host.clone(), lease_ms }).await?;
        // Those that are gone and run nothing are forgotten.
        let idle = sqlx::query("SELECT * FROM task_hosts WHERE host NOT IN (SELECT host FROM tasks WHERE state = 1)");
        for row in idle.fetch_all(self.store.tasks().await?.read()).await? {
            let other = HostId::of_text(row.try_get("host")?);
            if other != *host && self.is_gone(&other, row.try_get("lease_ms")?) {
                self.end(&other).await?;
            }
        }
        Ok(())
    }

    async fn end(&self, host: &HostId) -> Result<(), StoreError> {
        self.make(Step::Leave { host: host.clone() }).await?;
        self.alive.leave(host);
        Ok(())
    }
}

/// What is asked of the database, as the road of calls asks it.
fn asked<'a, T>(
    step: impl Future<Output = Result<T, StoreError>> + Send + 'a,
) -> BoxFuture<'a, Result<T, TaskFailure>> {
    async move { step.await.map_err(TaskFailure::new) }.boxed()
}

impl TaskStore for TaskTable {
    fn now_ms(&self) -> u64 {
        unsigned(now_ms())
    }

    fn file(&self, record: Arc<Record>, what: Asked, room: Room) -> BoxFuture<'_, Result<bool, TaskFailure>> {
        asked(async move {
            let sealed = self.seal.close(&record.request.id, &what)?;
            self.make(Step::File { record, sealed, room, bytes_max: self.bytes_max }).await
        })
    }

    fn asked<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Option<Asked>, TaskFailure>> {
        asked(async move {
            let sealed = sqlx::query_scalar::<_, Option<Vec<u8>>>("SELECT asked FROM tasks WHERE id = ?");
            let sealed = sealed.bind(id.as_str()).fetch_optional(self.store.tasks().await?.read()).await?;
            sealed.flatten().map(|sealed| self.seal.open(id, &sealed)).transpose()
        })
    }

    fn get<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Seen, TaskFailure>> {
        asked(self.seen(id))
    }

    fn swap<'a>(
        &'a self,
        id: &'a TaskId,
        expected: u64,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, TaskFailure>> {
        asked(self.make(Step::Swap { id: id.clone(), expected, new: record }))
    }

    fn touch(&self, touch: Touch) -> BoxFuture<'_, Result<bool, TaskFailure>> {
        asked(self.make(Step::Touch(touch)))
    }

    fn say(&self, words: Words) -> BoxFuture<'_, Result<bool, TaskFailure>> {
        asked(self.make(Step::Say(words)))
    }

    fn notes<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Notes, TaskFailure>> {
        asked(self.noted(id))
    }

    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Listed, TaskFailure>> {
        asked(self.listed(query))
    }

    fn look<'a>(&'a self, looking: &'a Looking) -> BoxFuture<'a, Result<Look, TaskFailure>> {
        asked(self.looked(looking))
    }

    fn renew<'a>(&'a self, host: &'a HostId, lease: Duration) -> BoxFuture<'a, Result<(), TaskFailure>> {
        asked(self.live(host, lease))
    }

    fn leave<'a>(&'a self, host: &'a HostId) -> BoxFuture<'a, Result<(), TaskFailure>> {
        asked(self.end(host))
    }
}

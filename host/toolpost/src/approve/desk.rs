//! Where questions lie that another process may answer: in the store, as long as somebody waits.
//!
//! Whoever waits renews its sign of life; without it, a question is nobody's, and an answer to it changes nothing. An answer
//! is written once, for the hash that was shown, in one transaction. What was written in it (arguments may be secret) stays
//! only until the one who waits has it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tokio::time::{Instant, sleep};
use toolpost_core::check::approve::{Answer, Approver, Pass, Question};

use crate::mask::MASKED;
use crate::store::{Store, StoreError};

/// How long is waited between two looks, at first and at last.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LAST: Duration = Duration::from_millis(500);

/// How often a sign of life is given, and how long it counts.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
const ALIVE_FOR_MS: i64 = 20_000;

/// What was written in answers, left out: in that to one question, and in all that nobody will fetch any more.
const FORGET: &str = "UPDATE questions SET answer = json_replace(answer, '$.arguments', ?1, '$.value', ?1) \
     WHERE (id = ?2 OR expires_at < ?3) AND coalesce(answer ->> '$.arguments', answer ->> '$.value', ?1) <> ?1";

/// How long questions that are over can still be looked at.
const KEPT_FOR_MS: i64 = 7 * 86_400_000;

/// The most questions that are listed.
const LISTED_MAX: i64 = 1_000;

/// The questions in a store.
#[derive(Clone, Debug)]
pub struct Desk {
    store: Arc<Store>,
}

/// A question as it lies there.
#[derive(Clone, Debug, PartialEq)]
pub struct Filed {
    /// The question.
    pub question: Question,
    /// How it stands with it.
    pub state: State,
}

/// How it stands with a question.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Somebody waits for an answer.
    Pending,
    /// It was answered here.
    Answered(Answer),
    /// It was answered elsewhere, or nobody waits any more.
    Closed,
    /// Nobody answered in time.
    Expired,
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// It counts.
    Taken,
    /// The question was not pending: nothing was changed.
    NotPending(State),
    /// What was shown is not what waits now: nothing was changed.
    Changed,
}

impl Desk {
    /// The questions in that store.
    #[must_use]
    pub fn of(store: &Arc<Store>) -> Self {
        Desk { store: store.clone() }
    }

    /// The questions that wait, the oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn pending(&self) -> Result<Vec<Filed>, StoreError> {
        let query =
            sqlx::query("SELECT * FROM questions WHERE answer IS NULL AND closed = 0 ORDER BY asked_at LIMIT ?");
        let rows = query.bind(LISTED_MAX).fetch_all(self.store.state().await?.read()).await?;
        let mut filed: Vec<Filed> = rows.iter().map(filed).collect::<Result<_, _>>()?;
        filed.retain(|filed| filed.state == State::Pending);
        Ok(filed)
    }

    /// The questions whose id begins so, or ends so: usually one.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn find(&self, id: &str) -> Result<Vec<Filed>, StoreError> {
        let query =
            "SELECT * FROM questions WHERE substr(id, 1, length(?1)) = ?1 OR substr(id, 5, length(?1)) = ?1 LIMIT ?2";
        let rows = sqlx::query(query).bind(id).bind(LISTED_MAX).fetch_all(self.store.state().await?.read()).await?;
        rows.iter().map(filed).collect()
    }

    /// Answers a question that was shown as it is here.
    ///
    /// # Errors
    /// The store cannot be written.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the question answered, or as it was.
    pub async fn answer(&self, question: &Question, answer: &Answer) -> Result<Answered, StoreError> {
        let mut write = self.store.state().await?.write().await?;
        let row =
            sqlx::query("SELECT * FROM questions WHERE id = ?").bind(&question.id).fetch_optional(&mut *write).await?;
        let Some(row) = row else { return Ok(Answered::NotPending(State::Closed)) };
        let filed = filed(&row)?;
        if filed.state != State::Pending {
            return Ok(Answered::NotPending(filed.state));
        }
        if filed.question.hash != question.hash {
            return Ok(Answered::Changed);
        }
        let text = serde_json::to_string(answer).map_err(sqlx::Error::decode)?;
        sqlx::query("UPDATE questions SET answer = ? WHERE id = ?")
            .bind(text)
            .bind(&question.id)
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(Answered::Taken)
    }

    async fn file(&self, question: &Question) -> Result<(), StoreError> {
        let text = serde_json::to_string(question).map_err(sqlx::Error::decode)?;
        let now = now_ms();
        let mut write = self.store.state().await?.write().await?;
        sqlx::query("DELETE FROM questions WHERE expires_at < ?").bind(now - KEPT_FOR_MS).execute(&mut *write).await?;
        let insert = "INSERT INTO questions (id, question, asked_at, expires_at, alive_until) VALUES (?, ?, ?, ?, ?)";
        sqlx::query(insert)
            .bind(&question.id)
            .bind(text)
            .bind(milliseconds(question.asked_at_ms))
            .bind(milliseconds(question.expires_at_ms))
            .bind(now + ALIVE_FOR_MS)
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        forget(&self.store, None).await
    }

    /// Waits for an answer, with a sign of life.
    async fn wait(&self, question: &Question) -> Result<Answer, StoreError> {
        let (mut look, mut alive) = (LOOK_FIRST, Instant::now());
        loop {
            sleep(look).await;
            look = (look * 3 / 2).min(LOOK_LAST);
            let state = self.store.state().await?;
            let row = sqlx::query("SELECT answer FROM questions WHERE id = ?").bind(&question.id);
            let answer: Option<String> = row.fetch_one(state.read()).await?.try_get("answer")?;
            if let Some(answer) = answer {
                // It is tried again when nobody waits any more.
                if let Err(error) = forget(&self.store, Some(&question.id)).await {
                    tracing::warn!(%error, "what was written in an answer is still in the store");
                }
                return Ok(serde_json::from_str(&answer).map_err(sqlx::Error::decode)?);
            }
            if alive.elapsed() >= ALIVE_EVERY {
                alive = Instant::now();
                let mut write = state.write().await?;
                let renew = sqlx::query("UPDATE questions SET alive_until = ? WHERE id = ?");
                renew.bind(now_ms() + ALIVE_FOR_MS).bind(&question.id).execute(&mut *write).await?;
                write.commit().await?;
            }
        }
    }
}

/// Says, when it is dropped, that nobody waits any more.
struct Waiting {
    store: Arc<Store>,
    id: String,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let (store, id) = (self.store.clone(), std::mem::take(&mut self.id));
        let close = async move {
            let mut write = store.state().await?.write().await?;
            let close = sqlx::query("UPDATE questions SET closed = 1 WHERE id = ? AND answer IS NULL");
            close.bind(&id).execute(&mut *write).await?;
            write.commit().await?;
            // It may have been answered when nobody looked any more.
            forget(&store, Some(&id)).await
        };
        // Without it the question is taken for pending until its sign of life is too old.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async {
                if let Err(error) = close.await {
                    tracing::warn!(%error, "a question is still listed as pending");
                }
            });
        }
    }
}

/// Leaves out what was written in the answer to that question, and in those that nobody has fetched; from the disk too.
async fn forget(store: &Store, id: Option<&str>) -> Result<(), StoreError> {
    let state = store.state().await?;
    let mut write = state.write().await?;
    // What is overwritten would otherwise stay in the pages of the database.
    sqlx::query("PRAGMA secure_delete = ON").execute(&mut *write).await?;
    let forget = sqlx::query(FORGET).bind(MASKED).bind(id).bind(now_ms() - ALIVE_FOR_MS);
    let forgotten = forget.execute(&mut *write).await?.rows_affected();
    write.commit().await?;
    if forgotten > 0 { state.settle().await } else { Ok(()) }
}

impl Approver for Desk {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        async move {
            let pass = |error: StoreError| Pass::new("the store", error.to_string());
            self.file(question).await.map_err(pass)?;
            let _waiting = Waiting { store: self.store.clone(), id: question.id.clone() };
            self.wait(question).await.map_err(pass)
        }
        .boxed()
    }
}

fn filed(row: &SqliteRow) -> Result<Filed, StoreError> {
    let text: String = row.try_get("question")?;
    let question: Question = serde_json::from_str(&text).map_err(sqlx::Error::decode)?;
    let (answer, closed): (Option<String>, bool) = (row.try_get("answer")?, row.try_get("closed")?);
    let (expires_at, alive_until): (i64, i64) = (row.try_get("expires_at")?, row.try_get("alive_until")?);
    let now = now_ms();
    let state = match answer {
        Some(answer) => State::Answered(serde_json::from_str(&answer).map_err(sqlx::Error::decode)?),
        None if expires_at <= now => State::Expired,
        None if closed || alive_until <= now => State::Closed,
        None => State::Pending,
    };
    Ok(Filed { question, state })
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn milliseconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

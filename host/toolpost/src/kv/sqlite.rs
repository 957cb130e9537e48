//! Keys and values of tools, in an embedded database. What was set is on the disk before its tool hears of it.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use toolpost_wasm::kv::{Backend, Change, Changed, Entry, Fault, Range, Scope, Step};

use crate::store::{Store, StoreError};

/// Keeps keys and values in a host's store.
pub struct KvTable {
    store: Arc<Store>,
}

/// How many keys there are, and how many bytes with their values.
type Room = (u64, u64);

/// What of a batch could not be done at all: it is undone as a whole.
type Tried<T> = Result<T, StoreError>;

impl KvTable {
    /// Those in this store.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        KvTable { store }
    }

    async fn found(&self, scope: &Scope, keys: &[String]) -> Tried<Vec<Option<Entry>>> {
        let mut reader = self.store.kv().await?.read().acquire().await?;
        let mut all = Vec::with_capacity(keys.len());
        for key in keys {
            let found = entry(&mut reader, &scope.space, key).await?;
            all.push(found.filter(|entry| !entry.is_over(scope.now_ms)));
        }
        Ok(all)
    }

    async fn listed(&self, scope: &Scope, range: Range) -> Tried<Vec<String>> {
        const FROM: &str = "SELECT key FROM kv WHERE space = ?1 AND key >= ?2 AND key > ?3 \
                            AND (expires_ms IS NULL OR expires_ms > ?4) ORDER BY key LIMIT ?5";
        let Range { prefix, after, limit } = range;
        let rows = sqlx::query(FROM)
            .bind(&*scope.space)
            .bind(&prefix)
            .bind(after.unwrap_or_default())
            .bind(signed(scope.now_ms))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(self.store.kv().await?.read())
            .await?;
        let keys = rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()?;
        // Those with the prefix stand together, and come first.
        Ok(keys.into_iter().take_while(|key| key.starts_with(&prefix)).collect())
    }

    /// Makes changes in one transaction.
    async fn changed(&self, scope: &Scope, changes: &[(String, Change)]) -> Result<Vec<Result<Changed, Fault>>, Fault> {
        let away = |error: StoreError| Fault::Away(error.to_string());
        let mut write = self.store.kv().await.map_err(away)?.write().await.map_err(away)?;
        let mut all = Vec::with_capacity(changes.len());
        for (key, change) in changes {
            all.push(one(&mut write, scope, key, change).await.map_err(away)?);
        }
        write.commit().await.map_err(|error| Fault::Cut(StoreError::from(error).to_string()))?;
        Ok(all)
    }
}

/// Makes one change.
async fn one(write: &mut SqliteConnection, scope: &Scope, key: &str, change: &Change) -> Tried<Result<Changed, Fault>> {
    let before = entry(write, &scope.space, key).await?;
    let found = before.as_ref().filter(|entry| !entry.is_over(scope.now_ms));
    let step = match change.step(found) {
        Ok(step) => step,
        Err(fault) => return Ok(Err(fault)),
    };
    let (entry, changed) = match step {
        Step::Leave(changed) => return Ok(Ok(changed)),
        Step::Remove => (None, Changed::Gone),
        Step::Put(entry, changed) => (Some(entry), changed),
    };
    let room = match grown(write, scope, key, before.as_ref(), entry.as_ref()).await? {
        Ok(room) => room,
        Err(fault) => return Ok(Err(fault)),
    };
    match entry {
        Some(entry) => put(write, &scope.space, key, &entry).await?,
        None => {
            let gone = sqlx::query("DELETE FROM kv WHERE space = ? AND key = ?").bind(&*scope.space).bind(key);
            gone.execute(&mut *write).await?;
        }
    }
    keep_room(write, &scope.space, room).await?;
    Ok(Ok(changed))
}

/// The room that the space takes then, if there is so much.
async fn grown(
    write: &mut SqliteConnection,
    scope: &Scope,
    key: &str,
    before: Option<&Entry>,
    then: Option<&Entry>,
) -> Tried<Result<Room, Fault>> {
    let plus = |(keys, bytes): Room, before: Option<&Entry>| {
        let size = |entry: Option<&Entry>| entry.map_or((0, 0), |entry| (1, entry.bytes(key)));
        let ((keys_less, bytes_less), (keys_more, bytes_more)) = (size(before), size(then));
        ((keys + keys_more).saturating_sub(keys_less), (bytes + bytes_more).saturating_sub(bytes_less))
    };
    let room = room(write, &scope.space).await?;
    let grown = plus(room, before);
    if scope.fits(room, grown).is_ok() {
        return Ok(Ok(grown));
    }
    // What is over takes up room until it is needed.
    let room = sweep(write, scope).await?;
    let grown = plus(room, before.filter(|entry| !entry.is_over(scope.now_ms)));
    Ok(scope.fits(room, grown).map(|()| grown))
}

async fn entry(reader: &mut SqliteConnection, space: &str, key: &str) -> Tried<Option<Entry>> {
    let found = sqlx::query("SELECT value, version, expires_ms FROM kv WHERE space = ? AND key = ?");
    let found = found.bind(space).bind(key).fetch_optional(reader).await?;
    let entry = |row: SqliteRow| {
        let (version, expires_ms): (i64, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
        Ok(Entry { value: row.try_get(0)?, version: unsigned(version), expires_ms: expires_ms.map(unsigned) })
    };
    Ok(found.map(entry).transpose().map_err(|error: sqlx::Error| error)?)
}

async fn put(write: &mut SqliteConnection, space: &str, key: &str, entry: &Entry) -> Tried<()> {
    const PUT: &str = "INSERT INTO kv (space, key, value, version, expires_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE \
                       SET value = excluded.value, version = excluded.version, expires_ms = excluded.expires_ms";
    let put = sqlx::query(PUT).bind(space).bind(key).bind(&entry.value);
    put.bind(signed(entry.version)).bind(entry.expires_ms.map(signed)).execute(write).await?;
    Ok(())
}

async fn room(write: &mut SqliteConnection, space: &str) -> Tried<Room> {
    let room = sqlx::query("SELECT keys, bytes FROM kv_room WHERE space = ?").bind(space);
    match room.fetch_optional(write).await? {
        Some(row) => Ok((unsigned(row.try_get(0)?), unsigned(row.try_get(1)?))),
        None => Ok((0, 0)),
    }
}

async fn keep_room(write: &mut SqliteConnection, space: &str, (keys, bytes): Room) -> Tried<()> {
    const KEEP: &str = "INSERT INTO kv_room (space, keys, bytes) VALUES (?, ?, ?) ON CONFLICT DO UPDATE \
                        SET keys = excluded.keys, bytes = excluded.bytes";
    sqlx::query(KEEP).bind(space).bind(signed(keys)).bind(signed(bytes)).execute(write).await?;
    Ok(())
}

/// Takes out what is over, and counts what is left.
async fn sweep(write: &mut SqliteConnection, scope: &Scope) -> Tried<Room> {
    const OVER: &str = "DELETE FROM kv WHERE space = ? AND expires_ms <= ?";
    const LEFT: &str = "SELECT count(*), coalesce(sum(octet_length(key) + length(value)), 0) FROM kv WHERE space = ?";
    let gone = sqlx::query(OVER).bind(&*scope.space).bind(signed(scope.now_ms)).execute(&mut *write).await?;
    if gone.rows_affected() > 0 {
        let left = sqlx::query(LEFT).bind(&*scope.space).fetch_one(&mut *write).await?;
        let left = (unsigned(left.try_get(0)?), unsigned(left.try_get(1)?));
        keep_room(write, &scope.space, left).await?;
    }
    room(write, &scope.space).await
}

/// SQLite has no numbers without a sign; none of ours is so large that it would matter.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

impl Backend for KvTable {
    fn get<'a>(&'a self, scope: &'a Scope, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Entry>>, Fault>> {
        async move { self.found(scope, keys).await.map_err(|error| Fault::Away(error.to_string())) }.boxed()
    }

    fn change<'a>(
        &'a self,
        scope: &'a Scope,
        changes: Vec<(String, Change)>,
    ) -> BoxFuture<'a, Vec<Result<Changed, Fault>>> {
        async move {
            let all = self.changed(scope, &changes).await;
            all.unwrap_or_else(|fault| vec![Err(fault); changes.len()])
        }
        .boxed()
    }

    fn list<'a>(&'a self, scope: &'a Scope, range: Range) -> BoxFuture<'a, Result<Vec<String>, Fault>> {
        async move { self.listed(scope, range).await.map_err(|error| Fault::Away(error.to_string())) }.boxed()
    }
}

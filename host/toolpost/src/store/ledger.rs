//! The records of idempotency keys on the disk: one row for each key, and a swap that is one transaction.
//!
//! All hosts on one folder see the same rows and the same clock, the machine's. A swap that was made is on the disk; swaps of
//! this process that come at the same time go there together.

mod swap;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use toolpost_core::CallId;
use toolpost_core::guard::replay::store::LISTED_MAX;
use toolpost_core::guard::replay::{
    Claim, Fingerprint, Kept, LedgerFailure, LedgerStore, Listed, Query, Record, RecordKey, Seen, Standing, State,
    ToolId,
};

use self::swap::Swap;
use super::batch::Batch;
use super::{Store, StoreError};

/// What the database may take, in bytes.
const STATE_BYTES_MAX: i64 = 4 << 30;

const CLAIMED: i64 = 0;
const EFFECTS: i64 = 1;
const DONE: i64 = 2;
const UNKNOWN: i64 = 3;
const FAILED: i64 = 4;

/// The records of idempotency keys in a store.
#[derive(Clone, Debug)]
pub struct LedgerTable {
    store: Arc<Store>,
    swaps: Arc<Batch<Swap>>,
    bytes_max: i64,
}

impl LedgerTable {
    /// The records in that store. Nothing is opened yet.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        LedgerTable { swaps: Arc::new(Batch::new(store.clone())), store, bytes_max: STATE_BYTES_MAX }
    }

    /// Sets how much the database may take before new keys are refused, in bytes. To forget others would be to run them again.
    #[must_use]
    pub fn holding(self, bytes_max: i64) -> Self {
        LedgerTable { bytes_max, ..self }
    }

    async fn get(&self, key: &RecordKey) -> Result<Seen, StoreError> {
        let row = sqlx::query("SELECT * FROM ledger WHERE key = ?").bind(key.as_str());
        let row = row.fetch_optional(self.store.state().await?.read()).await?;
        let record = row.map(|row| record(&row, row.try_get("ending")?)).transpose()?.map(Arc::new);
        // Read behind the row: a lease that looks over is over.
        Ok(Seen { record, now_ms: now_ms() })
    }

    async fn list(&self, query: &Query) -> Result<Listed, StoreError> {
        let now_ms = now_ms();
        // What could stand for other characters is no hash.
        if query.hash.as_ref().is_some_and(|hash| !hash.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return Ok(Listed { records: Vec::new(), now_ms });
        }
        let rows = sqlx::query(
            "SELECT key, version, fence, fingerprint, state, lease_ms, tool, caller, call, digest, first_effect, created_ms, \
             changed_ms, expires_ms FROM ledger WHERE expires_ms > ?1 AND (?2 IS NULL OR tool = ?2) \
             AND (?3 IS NULL OR key LIKE 'v1/%/%/' || ?3 || '%') \
             AND (?4 IS NULL OR ?4 = CASE WHEN state IN (0, 1) AND lease_ms > ?1 THEN 'running' WHEN state = 0 THEN 'left' \
             WHEN state IN (1, 3) THEN 'unknown' WHEN state = 2 THEN 'done' ELSE 'failed' END) \
             ORDER BY changed_ms DESC, key DESC LIMIT ?5",
        );
        let limit = i64::try_from(query.limit.min(LISTED_MAX)).unwrap_or(i64::MAX);
        let rows = rows.bind(signed(now_ms)).bind(&query.tool).bind(&query.hash);
        let rows = rows.bind(query.standing.map(Standing::name)).bind(limit);
        let rows = rows.fetch_all(self.store.state().await?.read()).await?;
        let records = rows.iter().map(|row| Ok((key(row)?, record(row, None)?))).collect::<Result<_, StoreError>>()?;
        Ok(Listed { records, now_ms })
    }
}

impl LedgerStore for LedgerTable {
    fn get<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, Result<Seen, LedgerFailure>> {
        async move { self.get(key).await.map_err(LedgerFailure::new) }.boxed()
    }

    fn swap<'a>(
        &'a self,
        key: &'a RecordKey,
        expected: Option<u64>,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, LedgerFailure>> {
        let swap = Swap { key: key.clone(), expected, new: record, bytes_max: self.bytes_max };
        async move { self.swaps.clone().make(swap).await.map_err(LedgerFailure::new) }.boxed()
    }

    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Listed, LedgerFailure>> {
        async move { self.list(query).await.map_err(LedgerFailure::new) }.boxed()
    }
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// A statement with the columns of a record, in the order of the table.
fn bound<'q>(statement: Statement<'q>, key: &'q RecordKey, record: &'q Record) -> Statement<'q> {
    let (state, lease_ms) = match &record.state {
        State::Claimed { lease_ms } => (CLAIMED, Some(signed(*lease_ms))),
        State::Effects { lease_ms } => (EFFECTS, Some(signed(*lease_ms))),
        State::Done(kept) if kept.is_ok() => (DONE, None),
        State::Done(_) => (FAILED, None),
        State::Unknown => (UNKNOWN, None),
    };
    let claim = &record.claim;
    statement
        .bind(key.as_str())
        .bind(signed(record.version))
        .bind(signed(record.fence))
        .bind(&claim.fingerprint.0[..])
        .bind(state)
        .bind(lease_ms)
        .bind(record.ending().map(Kept::text))
        .bind(&claim.tool.name)
        .bind(&claim.caller)
        .bind(claim.call.as_str())
        .bind(claim.tool.digest.as_deref())
        .bind(record.first_effect.as_deref())
        .bind(signed(record.created_ms))
        .bind(signed(record.changed_ms))
        .bind(signed(record.expires_ms))
}

fn key(row: &SqliteRow) -> Result<RecordKey, StoreError> {
    RecordKey::of_text(row.try_get("key")?).ok_or_else(|| broken("a key that is none"))
}

/// The record of a row. Without what its call answered, it is only the fact that it did.
fn record(row: &SqliteRow, ending: Option<&str>) -> Result<Record, StoreError> {
    let number = |name: &str| Ok::<_, StoreError>(unsigned(row.try_get(name)?));
    let lease_ms = || row.try_get::<Option<i64>, _>("lease_ms").map(|lease| unsigned(lease.unwrap_or_default()));
    let fingerprint: &[u8] = row.try_get("fingerprint")?;
    let done = |is_ok| State::Done(ending.map_or(Kept::fact(is_ok), |text| Kept::of_text(is_ok, text)));
    let state = match row.try_get::<i64, _>("state")? {
        CLAIMED => State::Claimed { lease_ms: lease_ms()? },
        EFFECTS => State::Effects { lease_ms: lease_ms()? },
        DONE => done(true),
        UNKNOWN => State::Unknown,
        FAILED => done(false),
        other => return Err(broken(&format!("the state {other}, which only a later version knows"))),
    };
    let claim = Claim {
        fingerprint: Fingerprint(fingerprint.try_into().map_err(|_| broken("a fingerprint that is none"))?),
        tool: Arc::new(ToolId { name: row.try_get("tool")?, digest: row.try_get("digest")? }),
        caller: row.try_get("caller")?,
        call: CallId::given(row.try_get::<&str, _>("call")?),
    };
    Ok(Record {
        version: number("version")?,
        fence: number("fence")?,
        state,
        claim: Arc::new(claim),
        first_effect: row.try_get::<Option<&str>, _>("first_effect")?.map(Arc::from),
        created_ms: number("created_ms")?,
        changed_ms: number("changed_ms")?,
        expires_ms: number("expires_ms")?,
    })
}

fn broken(what: &str) -> StoreError {
    StoreError(format!("a record of the ledger has {what}").into())
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

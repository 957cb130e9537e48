//! One row that becomes another.

use std::sync::Arc;

use sqlx::sqlite::SqliteTransaction;
use toolpost_core::guard::replay::{Record, RecordKey};

use super::{bound, now_ms, signed};
use crate::store::batch::{Change, Made};
use crate::store::{Database, Store, StoreError};

/// Expired rows that go with each new one, so that the table cannot grow for ever.
const EXPIRED_ROWS_MAX: u32 = 8;

/// A row that is to be another one, if it is still the one that was seen.
#[derive(Debug)]
pub(super) struct Swap {
    pub(super) key: RecordKey,
    pub(super) expected: Option<u64>,
    pub(super) new: Option<Arc<Record>>,
    /// What the database may take before new keys are refused, in bytes.
    pub(super) bytes_max: i64,
}

impl Change for Swap {
    fn database(store: &Store) -> impl Future<Output = Result<&Database, StoreError>> + Send {
        store.state()
    }

    async fn make(&self, write: &mut SqliteTransaction<'static>) -> Made {
        let Swap { key, expected, new, bytes_max } = self;
        Ok(match (*expected, new) {
            (None, None) => {
                let row = sqlx::query("SELECT 1 FROM ledger WHERE key = ?").bind(key.as_str());
                row.fetch_optional(&mut **write).await?.is_none()
            }
            (Some(version), None) => {
                let delete = sqlx::query("DELETE FROM ledger WHERE key = ? AND version = ?");
                let delete = delete.bind(key.as_str()).bind(signed(version));
                delete.execute(&mut **write).await?.rows_affected() == 1
            }
            (Some(version), Some(record)) => {
                let update = sqlx::query(
                    "UPDATE ledger SET version = ?2, fence = ?3, fingerprint = ?4, state = ?5, lease_ms = ?6, ending = ?7, \
                     tool = ?8, caller = ?9, call = ?10, digest = ?11, first_effect = ?12, created_ms = ?13, \
                     changed_ms = ?14, expires_ms = ?15 WHERE key = ?1 AND version = ?16",
                );
                let update = bound(update, key, record).bind(signed(version));
                update.execute(&mut **write).await?.rows_affected() == 1
            }
            (None, Some(record)) => {
                let expired = sqlx::query(
                    "DELETE FROM ledger WHERE key IN (SELECT key FROM ledger WHERE expires_ms <= ? AND key <> ? LIMIT ?)",
                );
                let expired = expired.bind(signed(now_ms())).bind(key.as_str()).bind(EXPIRED_ROWS_MAX);
                expired.execute(&mut **write).await?;
                let taken = sqlx::query_scalar::<_, i64>(
                    "SELECT (page_count - freelist_count) * page_size \
                     FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
                );
                if taken.fetch_one(&mut **write).await? >= *bytes_max {
                    let help = "shorten `guard.idempotency.ttl`, or let `toolpost ledger forget` make room";
                    return Err(StoreError(
                        format!("it holds {bytes_max} bytes already, and takes no new key; {help}").into(),
                    ));
                }
                let insert = sqlx::query(
                    "INSERT INTO ledger (key, version, fence, fingerprint, state, lease_ms, ending, tool, caller, call, \
                     digest, first_effect, created_ms, changed_ms, expires_ms) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT (key) DO NOTHING",
                );
                bound(insert, key, record).execute(&mut **write).await?.rows_affected() == 1
            }
        })
    }
}

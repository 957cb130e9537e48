//! The records behind the table: each step is a look at a record, a decision, and a swap that only works if nobody else was
//! faster. Who was not first looks again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ending::Kept;
use super::key::RecordKey;
use super::record::{self, Begin, Change, Claim, Claimant, Decision, Fenced, Record, Release, Standing, ToolId};
use super::settings::OnCrash;
use super::store::{LedgerFailure, LedgerStore, Listed, Query, Seen};
use crate::call::{AcceptedCall, Call};
use crate::catalog::Origin;
use crate::catalog::json::canonical::canonical;
use crate::tell::CallError;

/// How often a step is tried when others change the record at the same time.
const TRIES_MAX: usize = 100;

/// The records of a store.
#[derive(Clone)]
pub struct Book(Arc<dyn LedgerStore>);

/// What a call asks of the ledger.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its key.
    pub key: RecordKey,
    /// The call.
    pub claim: Arc<Claim>,
    /// What is done about a twin that may have had its effect, and whose host went away.
    pub on_crash: OnCrash,
    /// What the call knows of the record.
    pub known: Known,
}

/// The record as one call last saw or wrote it. A step that begins with it needs no look; where somebody else has written
/// since, its swap fails, and it looks.
#[derive(Debug, Default)]
pub struct Known(Mutex<Option<(Seen, Instant)>>);

/// How old a look may be by which a lease is taken: on a machine that slept meanwhile it would be over as it begins.
const LOOK_AGE_MAX: Duration = Duration::from_secs(1);

impl Known {
    /// What is known, at the store's time of now, and this moment. It is known no more until something is put in again.
    fn take(&self, age_max: Duration) -> Option<(Seen, Instant)> {
        let (seen, at) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let now = Instant::now();
        let age = now.saturating_duration_since(at);
        let now_ms = seen.now_ms.saturating_add(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        (age <= age_max).then_some((Seen { now_ms, ..seen }, now))
    }

    fn put(&self, seen: Seen, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((seen, at));
    }
}

impl Clone for Known {
    fn clone(&self) -> Self {
        Known::default()
    }
}

/// Which record a step is for, and what its maker knows of it.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    key: &'a RecordKey,
    known: Option<&'a Known>,
}

impl<'a> From<&'a RecordKey> for Of<'a> {
    fn from(key: &'a RecordKey) -> Self {
        Of { key, known: None }
    }
}

impl<'a> From<&'a Asked> for Of<'a> {
    fn from(asked: &'a Asked) -> Self {
        Of { key: &asked.key, known: Some(&asked.known) }
    }
}

impl Asked {
    /// What a call asks; nothing where each call of its tool stands for itself.
    ///
    /// # Errors
    /// The call has not what makes its key.
    pub(crate) fn of(call: &AcceptedCall) -> Result<Option<Self>, CallError> {
        if RecordKey::is_none_for(call) {
            return Ok(None);
        }
        let arguments = canonical(call.arguments_for_keys());
        let Some((key, fingerprint)) = RecordKey::of_call(call, &arguments)? else { return Ok(None) };
        let tool = call.tool.guards.tool_id.get_or_init(|| {
            let digest = match &call.tool.origin {
                Origin::Component { digest, .. } => Some(digest.clone()),
                Origin::Native => None,
            };
            Arc::new(ToolId { name: call.tool.name.clone(), digest })
        });
        let Call { id, caller, .. } = &call.call;
        let claim = Claim { fingerprint, tool: tool.clone(), caller: caller.id.clone(), call: id.clone() };
        let on_crash = call.tool.guards.idempotency.after_crash();
        Ok(Some(Asked { key, claim: Arc::new(claim), on_crash, known: Known::default() }))
    }

    fn claimant(&self, lease: Duration) -> Claimant<'_> {
        Claimant { claim: &self.claim, rerun: self.on_crash == OnCrash::Rerun, lease, fence: fresh() }
    }
}

/// A number that was not there before, and fits where only signed ones do.
fn fresh() -> u64 {
    fastrand::u64(1..=i64::MAX as u64)
}

/// # Errors
/// Every step fails where its store does. What it wanted may have been written then.
///
/// # Cancel safety
/// Dropping the future of a step leaves the step made, or not made.
impl Book {
    /// The records of that store.
    #[must_use]
    pub fn new(store: Arc<dyn LedgerStore>) -> Self {
        Book(store)
    }

    /// What would come of asking for a key, where that is more than a claim. Nothing is written.
    pub async fn look(&self, asked: &Asked) -> Result<Option<Begin>, LedgerFailure> {
        let seen = self.0.get(&asked.key).await?;
        let record = valid(seen.record.as_deref(), seen.now_ms);
        let begin = asked.claimant(Duration::ZERO).begin(record, seen.now_ms).0;
        asked.known.put(seen, Instant::now());
        Ok(if let Begin::Acquired { .. } = begin { None } else { Some(begin) })
    }

    /// Asks for a key.
    pub async fn begin(&self, asked: &Asked, lease: Duration) -> Result<Begin, LedgerFailure> {
        let claimant = asked.claimant(lease);
        self.step(asked.into(), LOOK_AGE_MAX, |record, now| claimant.begin(record, now)).await
    }

    /// The owner of a key goes on.
    pub async fn renew(&self, key: &RecordKey, fence: u64, lease: Duration) -> Result<Fenced, LedgerFailure> {
        self.step(key.into(), LOOK_AGE_MAX, |record, now| record::renew(owned(record, fence), lease, now)).await
    }

    /// The owner of a key is about to have its first effect.
    pub async fn mark_effects(&self, of: impl Into<Of<'_>>, fence: u64, effect: &str) -> Result<Fenced, LedgerFailure> {
        self.step(of.into(), Duration::MAX, |record, now| record::mark_effects(owned(record, fence), effect, now)).await
    }

    /// The owner of a key knows how its call ended, and for how long that is to be known.
    pub async fn complete(
        &self,
        of: impl Into<Of<'_>>,
        fence: u64,
        kept: &Kept,
        ttl: Duration,
    ) -> Result<Fenced, LedgerFailure> {
        self.step(of.into(), Duration::MAX, |record, now| record::complete(owned(record, fence), kept, ttl, now)).await
    }

    /// The owner of a key gives it back without an ending.
    pub async fn release(&self, of: impl Into<Of<'_>>, fence: u64, release: Release) -> Result<Fenced, LedgerFailure> {
        self.step(of.into(), Duration::MAX, |record, now| record::release(owned(record, fence), release, now)).await
    }

    /// An operator says what is true of a call whose outcome is not known. It is not done, and not said, where the answer is
    /// another standing than [`Standing::Unknown`].
    pub async fn resolve(
        &self,
        key: &RecordKey,
        decision: &Decision,
        ttl: Duration,
    ) -> Result<Option<Standing>, LedgerFailure> {
        let fence = fresh();
        self.step(key.into(), LOOK_AGE_MAX, |record, now| record::resolve(record, decision, ttl, fence, now)).await
    }

    /// An operator wants a key to be free. It is, unless the answer is [`Standing::Running`].
    pub async fn forget(&self, key: &RecordKey) -> Result<Option<Standing>, LedgerFailure> {
        self.step(key.into(), LOOK_AGE_MAX, record::forget).await
    }

    /// What is known of a key, and the store's time.
    pub async fn get(&self, key: &RecordKey) -> Result<(Option<Record>, u64), LedgerFailure> {
        let seen = self.0.get(key).await?;
        Ok((valid(seen.record.as_deref(), seen.now_ms).cloned(), seen.now_ms))
    }

    /// Records, the last changed first, without what their calls answered.
    pub async fn list(&self, query: &Query) -> Result<Listed, LedgerFailure> {
        self.0.list(query).await
    }

    async fn step<T>(
        &self,
        of: Of<'_>,
        age_max: Duration,
        decide: impl Fn(Option<&Record>, u64) -> (T, Change),
    ) -> Result<T, LedgerFailure> {
        let Of { key, known } = of;
        let mut remembered = known.and_then(|known| known.take(age_max));
        for _ in 0..TRIES_MAX {
            let is_remembered = remembered.is_some();
            let (seen, at) = match remembered.take() {
                Some(remembered) => remembered,
                None => (self.0.get(key).await?, Instant::now()),
            };
            let (answer, change) = decide(valid(seen.record.as_deref(), seen.now_ms), seen.now_ms);
            let new = match change {
                // Only a swap proves that what is remembered is still so.
                Change::Nothing if is_remembered => continue,
                Change::Nothing => return Ok(answer),
                Change::Write(record) => Some(Arc::new(Record { version: fresh(), ..record })),
                Change::Delete => None,
            };
            if self.0.swap(key, seen.record.map(|record| record.version), new.clone()).await? {
                if let Some(known) = known {
                    known.put(Seen { record: new, now_ms: seen.now_ms }, at);
                }
                return Ok(answer);
            }
        }
        Err(LedgerFailure::new(format!("`{key}` was changed by others {TRIES_MAX} times in a row")))
    }
}

/// A record that is still to be known.
fn valid(record: Option<&Record>, now_ms: u64) -> Option<&Record> {
    record.filter(|record| record.expires_ms > now_ms)
}

/// A record, if it is still its writer's.
fn owned(record: Option<&Record>, fence: u64) -> Option<&Record> {
    record.filter(|record| record.fence == fence)
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Book(..)")
    }
}

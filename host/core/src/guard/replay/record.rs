//! What is known of a key, and what may follow it: one table, as pure functions of a record and the store's time.
//!
//! | state | begins | its owner renews, marks, completes, releases | anybody else does |
//! |---|---|---|---|
//! | absent, expired | **acquired** | lost | lost |
//! | claimed, lease valid | running | as asked | lost |
//! | claimed, lease over | **acquired**, taken over | as asked | lost |
//! | effects, lease valid | running | as asked | lost |
//! | effects, lease over | **unknown**; where settings say `rerun`, **acquired**, taken over | as asked | lost |
//! | done, failed | **finished**: the same answer | completing the same again is fine; else lost | lost |
//! | unknown | **unknown** | it may still complete or release; else lost | lost |
//!
//! What may have been changed under a key stays on record, also where a later claim changes nothing: the key is not free then.
//!
//! Whoever begins with other arguments is told so in every state but the first. The owner is who names the record's fence.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::ending::Kept;
use super::key::Fingerprint;
use crate::call::CallId;

/// How long it is remembered that an outcome is not known.
pub const UNKNOWN_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// How long a claim is remembered behind its lease, when nothing had happened.
pub const CLAIM_KEPT: Duration = Duration::from_secs(86_400);

/// What is known of a key. Times are milliseconds since 1970, by the store's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Changes with every write, and is never the same again.
    pub version: u64,
    /// The claim that may write to it: a number that no other claim has.
    pub fence: u64,
    /// How far it is.
    pub state: State,
    /// Whose the key is, or was.
    pub claim: Arc<Claim>,
    /// The first effect that may have changed something.
    pub first_effect: Option<Arc<str>>,
    /// When the key was first claimed.
    pub created_ms: u64,
    /// When it was last written to.
    pub changed_ms: u64,
    /// When it is forgotten.
    pub expires_ms: u64,
}

/// A call that asks for a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Its arguments.
    pub fingerprint: Fingerprint,
    /// Its tool.
    pub tool: Arc<ToolId>,
    /// Who calls.
    pub caller: String,
    /// The call.
    pub call: CallId,
}

/// A tool, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolId {
    /// Its name.
    pub name: String,
    /// The hash of its component, where there is one.
    pub digest: Option<String>,
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It runs, and has changed nothing.
    Claimed {
        /// When the claim runs out.
        lease_ms: u64,
    },
    /// It runs, and may have changed something.
    Effects {
        /// When the claim runs out.
        lease_ms: u64,
    },
    /// It has ended.
    Done(Kept),
    /// It may have changed something; more is not known.
    Unknown,
}

/// A record's state as one word, at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its call runs.
    Running,
    /// Nobody runs it, and the next call may: its host went away before anything happened, or it may be done twice.
    Left,
    /// Whether it had its effect is not known.
    Unknown,
    /// It succeeded.
    Done,
    /// The tool failed for good.
    Failed,
}

impl Standing {
    /// The standing as one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Standing::Running => "running",
            Standing::Left => "left",
            Standing::Unknown => "unknown",
            Standing::Done => "done",
            Standing::Failed => "failed",
        }
    }

    /// Every standing there is.
    pub const ALL: [Standing; 5] =
        [Standing::Running, Standing::Left, Standing::Unknown, Standing::Done, Standing::Failed];
}

/// What comes of asking for a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// It is the asker's.
    Acquired {
        /// The fence to write with.
        fence: u64,
        /// When the key was first claimed: the same for all that take over.
        created_ms: u64,
        /// Whether another one had begun.
        taken_over: bool,
        /// Whether that one may have changed something.
        effects: bool,
    },
    /// A twin runs.
    Running {
        /// Its call.
        call: CallId,
        /// The time that its lease has left.
        lease_left: Duration,
    },
    /// It was done before.
    Finished(Kept),
    /// It was used with other arguments.
    OtherArguments,
    /// Whether it had its effect is not known.
    Unknown {
        /// The call that may have had it.
        call: CallId,
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
        /// The effect.
        first_effect: Option<Arc<str>>,
    },
}

/// Whether a write was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "who has lost the key must not say that it is done"]
pub enum Fenced {
    /// It was.
    Held,
    /// It was not: the key is not the writer's any more.
    Lost,
}

/// How an owner gives its key back without an ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Nothing happened: the key is free.
    Free,
    /// Something may have happened, and the next call may do it again.
    Rerun,
    /// Something may have happened.
    Unknown,
}

/// What an operator says of a call whose outcome is not known.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The next call runs it again.
    Rerun,
    /// This came of it.
    Ended(Kept),
}

/// What is to be written.
pub(super) enum Change {
    Nothing,
    Write(Record),
    Delete,
}

/// Who asks for a key, and what for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Claimant<'a> {
    pub(super) claim: &'a Arc<Claim>,
    pub(super) rerun: bool,
    pub(super) lease: Duration,
    pub(super) fence: u64,
}

impl Claimant<'_> {
    /// What comes of asking, and what is to be written for it.
    pub(super) fn begin(&self, record: Option<&Record>, now: u64) -> (Begin, Change) {
        let Some(record) = record else {
            return self.take(now, false, State::Claimed { lease_ms: later(now, self.lease) }, None, now);
        };
        if record.claim.fingerprint != self.claim.fingerprint {
            return (Begin::OtherArguments, Change::Nothing);
        }
        let lease = State::Claimed { lease_ms: later(now, self.lease) };
        match &record.state {
            State::Done(kept) => (Begin::Finished(kept.clone()), Change::Nothing),
            State::Unknown => (record.unknown(), Change::Nothing),
            State::Claimed { lease_ms } | State::Effects { lease_ms } if *lease_ms > now => {
                let lease_left = Duration::from_millis(lease_ms - now);
                (Begin::Running { call: record.claim.call.clone(), lease_left }, Change::Nothing)
            }
            State::Claimed { .. } => self.take(record.created_ms, true, lease, record.first_effect.clone(), now),
            State::Effects { .. } if self.rerun => {
                let lease = State::Effects { lease_ms: later(now, self.lease) };
                self.take(record.created_ms, true, lease, record.first_effect.clone(), now)
            }
            State::Effects { .. } => {
                let unknown = record.to(State::Unknown, UNKNOWN_KEPT, now);
                (unknown.unknown(), Change::Write(unknown))
            }
        }
    }

    fn take(
        &self,
        created_ms: u64,
        taken_over: bool,
        state: State,
        first_effect: Option<Arc<str>>,
        now: u64,
    ) -> (Begin, Change) {
        let effects = first_effect.is_some();
        let kept = self.lease + if effects { UNKNOWN_KEPT } else { CLAIM_KEPT };
        let record = Record {
            version: 0,
            fence: self.fence,
            state,
            claim: self.claim.clone(),
            first_effect,
            created_ms,
            changed_ms: now,
            expires_ms: later(now, kept),
        };
        (Begin::Acquired { fence: self.fence, created_ms, taken_over, effects }, Change::Write(record))
    }
}

impl Record {
    /// The state as one word.
    #[must_use]
    pub fn standing(&self, now_ms: u64) -> Standing {
        match &self.state {
            State::Claimed { lease_ms } | State::Effects { lease_ms } if *lease_ms > now_ms => Standing::Running,
            State::Claimed { .. } => Standing::Left,
            State::Effects { .. } | State::Unknown => Standing::Unknown,
            State::Done(kept) if kept.is_ok() => Standing::Done,
            State::Done(_) => Standing::Failed,
        }
    }

    /// How its call ended, if it is known.
    #[must_use]
    pub fn ending(&self) -> Option<&Kept> {
        match &self.state {
            State::Done(kept) => Some(kept),
            State::Claimed { .. } | State::Effects { .. } | State::Unknown => None,
        }
    }

    /// The same, without what its call answered.
    #[must_use]
    pub fn without_answer(&self) -> Record {
        let state = match &self.state {
            State::Done(kept) => State::Done(Kept::fact(kept.is_ok())),
            state => state.clone(),
        };
        Record { state, ..self.clone() }
    }

    fn to(&self, state: State, kept: Duration, now: u64) -> Record {
        Record { state, changed_ms: now, expires_ms: later(now, kept), ..self.clone() }
    }

    fn unknown(&self) -> Begin {
        let Record { claim, changed_ms, first_effect, .. } = self;
        Begin::Unknown { call: claim.call.clone(), since_ms: *changed_ms, first_effect: first_effect.clone() }
    }
}

/// The owner goes on.
pub(super) fn renew(owned: Option<&Record>, lease: Duration, now: u64) -> (Fenced, Change) {
    let lease_ms = later(now, lease);
    write(owned.and_then(|record| match record.state {
        State::Claimed { .. } => Some(record.to(State::Claimed { lease_ms }, lease + CLAIM_KEPT, now)),
        State::Effects { .. } => Some(record.to(State::Effects { lease_ms }, lease + UNKNOWN_KEPT, now)),
        State::Done(_) | State::Unknown => None,
    }))
}

/// The owner is about to change something.
pub(super) fn mark_effects(owned: Option<&Record>, effect: &str, now: u64) -> (Fenced, Change) {
    write(owned.and_then(|record| match record.state {
        State::Claimed { lease_ms } | State::Effects { lease_ms } => {
            let first_effect = Some(record.first_effect.clone().unwrap_or_else(|| effect.into()));
            let marked = record.to(State::Effects { lease_ms }, UNKNOWN_KEPT, now);
            Some(Record { first_effect, ..marked })
        }
        State::Done(_) | State::Unknown => None,
    }))
}

/// The owner knows how it ended.
pub(super) fn complete(owned: Option<&Record>, kept: &Kept, ttl: Duration, now: u64) -> (Fenced, Change) {
    match owned {
        Some(Record { state: State::Done(known), .. }) if known == kept => (Fenced::Held, Change::Nothing),
        Some(Record { state: State::Done(_), .. }) => (Fenced::Lost, Change::Nothing),
        owned => write(owned.map(|record| record.to(State::Done(kept.clone()), ttl, now))),
    }
}

/// The owner gives the key back.
pub(super) fn release(owned: Option<&Record>, release: Release, now: u64) -> (Fenced, Change) {
    match owned {
        None | Some(Record { state: State::Done(_), .. }) => (Fenced::Lost, Change::Nothing),
        Some(record) => match release {
            Release::Free => (Fenced::Held, Change::Delete),
            Release::Rerun => write(Some(record.to(State::Claimed { lease_ms: now }, UNKNOWN_KEPT, now))),
            Release::Unknown => write(Some(record.to(State::Unknown, UNKNOWN_KEPT, now))),
        },
    }
}

/// An operator knows more. The fence is a new one: whoever held the key has lost it.
pub(super) fn resolve(
    record: Option<&Record>,
    decision: &Decision,
    ttl: Duration,
    fence: u64,
    now: u64,
) -> (Option<Standing>, Change) {
    let Some(record) = record else { return (None, Change::Nothing) };
    let standing = record.standing(now);
    if standing != Standing::Unknown {
        return (Some(standing), Change::Nothing);
    }
    let settled = match decision {
        Decision::Rerun => record.to(State::Claimed { lease_ms: now }, UNKNOWN_KEPT, now),
        Decision::Ended(kept) => record.to(State::Done(kept.clone()), ttl, now),
    };
    (Some(standing), Change::Write(Record { fence, ..settled }))
}

/// An operator wants it to be forgotten. What runs is not.
pub(super) fn forget(record: Option<&Record>, now: u64) -> (Option<Standing>, Change) {
    match record.map(|record| record.standing(now)) {
        None => (None, Change::Nothing),
        Some(Standing::Running) => (Some(Standing::Running), Change::Nothing),
        Some(standing) => (Some(standing), Change::Delete),
    }
}

fn write(record: Option<Record>) -> (Fenced, Change) {
    record.map_or((Fenced::Lost, Change::Nothing), |record| (Fenced::Held, Change::Write(record)))
}

fn later(now_ms: u64, span: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)).min(i64::MAX as u64)
}

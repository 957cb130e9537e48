//! May this failure be tried again? One table: how the attempt failed, and what it did to the world before.
//!
//! | | did nothing | only read | idempotent effect | other effect |
//! |---|---|---|---|---|
//! | transient, throttled, timed out, circuit open (where opted in) | yes | yes | yes | **no**: the outcome is unknown |
//! | not started | yes | no | no | **no**: the outcome is unknown |
//! | everything else | no | no | no | no |
//!
//! The host sees every effect at the gate, so it need not trust a tool's word that it did nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{EffectClass, EffectRecord, Fate};
use crate::tell::{CallError, ErrorKind, Stage};

/// How far an attempt went into the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fence {
    /// It did nothing that anybody could notice.
    Nothing,
    /// It read.
    ReadOnly,
    /// It changed something, or may have.
    Effect {
        /// Whether doing it twice is doing it once: the tool is declared so, or the call's key goes along with the effect.
        idempotent: bool,
    },
}

impl Fence {
    /// What the records of an attempt show. Effects that were not listed count as changes; what a call of another tool did, that
    /// call has.
    #[must_use]
    pub fn of(records: &[EffectRecord], unlisted: u64, idempotent: bool) -> Self {
        let reach = |record: &EffectRecord| match (record.fate, record.effect.class) {
            (Fate::Failed | Fate::Refused, _) | (_, EffectClass::Pure) => Fence::Nothing,
            _ if record.effect.is_call() => Fence::Nothing,
            (Fate::Done | Fate::Indeterminate, EffectClass::Reads) => Fence::ReadOnly,
            (Fate::Done | Fate::Indeterminate, EffectClass::Writes | EffectClass::Open | EffectClass::Destroys) => {
                Fence::Effect { idempotent }
            }
        };
        match unlisted {
            0 => records.iter().map(reach).max().unwrap_or(Fence::Nothing),
            _ => Fence::Effect { idempotent },
        }
    }
}

impl From<EffectClass> for Fence {
    /// What so far an effect leaves behind.
    fn from(class: EffectClass) -> Self {
        match class {
            EffectClass::Pure => Fence::Nothing,
            EffectClass::Reads => Fence::ReadOnly,
            EffectClass::Writes | EffectClass::Open | EffectClass::Destroys => Fence::Effect { idempotent: false },
        }
    }
}

/// The failures that may be tried again; the others have none of these classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The tool says that trying again may help.
    Transient,
    /// The tool says so, and when.
    Throttled,
    /// The attempt's time was over.
    TimedOut,
    /// The attempt found no instance to run in.
    NotStarted,
    /// A breaker did not let the attempt through, or a request of it. Only tried again where settings say so.
    CircuitOpen,
}

impl ErrorClass {
    /// The class of a failure, if it may be tried again at all.
    #[must_use]
    pub fn of(error: &CallError) -> Option<Self> {
        match error.kind {
            ErrorKind::ToolFailed { retryable: true } if error.retry_after.is_some() => Some(ErrorClass::Throttled),
            ErrorKind::ToolFailed { retryable: true } => Some(ErrorClass::Transient),
            // Elsewhere it is the whole call that waited for too long, or found the host full.
            ErrorKind::TimedOut if error.stage == Stage::Run => Some(ErrorClass::TimedOut),
            ErrorKind::Busy if error.stage == Stage::Run => Some(ErrorClass::NotStarted),
            ErrorKind::CircuitOpen => Some(ErrorClass::CircuitOpen),
            ErrorKind::TimedOut | ErrorKind::Busy | ErrorKind::ToolFailed { retryable: false } => None,
            ErrorKind::UnknownTool | ErrorKind::InvalidArguments | ErrorKind::Unauthorized => None,
            ErrorKind::Declined | ErrorKind::ApprovalTimedOut | ErrorKind::RepeatedCall => None,
            ErrorKind::RateLimited | ErrorKind::KeyInUse | ErrorKind::KeyReused | ErrorKind::OutcomeUnknown => None,
            ErrorKind::CapabilityDenied | ErrorKind::QuotaExceeded | ErrorKind::OutOfFuel => None,
            ErrorKind::OutOfMemory | ErrorKind::OutputTooLarge | ErrorKind::Trapped => None,
            ErrorKind::Cancelled | ErrorKind::Internal => None,
        }
    }
}

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be tried again, as far as everything else allows.
    Again,
    /// It may not.
    Never,
    /// It may not, because its effect may have happened already.
    MayHaveHappened,
}

/// The table.
#[must_use]
pub fn may_try_again(class: Option<ErrorClass>, fence: Fence) -> Verdict {
    use ErrorClass::{CircuitOpen, NotStarted, Throttled, TimedOut, Transient};
    match (class, fence) {
        (None, _) => Verdict::Never,
        (Some(_), Fence::Effect { idempotent: false }) => Verdict::MayHaveHappened,
        (Some(_), Fence::Nothing) => Verdict::Again,
        // The breaker of one server stops an attempt that has perhaps been to another one.
        (Some(Transient | Throttled | TimedOut | CircuitOpen), Fence::ReadOnly | Fence::Effect { .. }) => {
            Verdict::Again
        }
        // What never started cannot have read: somebody is mistaken, and nothing follows from a mistake.
        (Some(NotStarted), Fence::ReadOnly | Fence::Effect { .. }) => Verdict::Never,
    }
}

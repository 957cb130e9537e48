//! Why did a call not succeed? One error for everything, and the one table that says what follows from it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What kind of failure it is. The list is closed; what follows from each kind stands in [`ErrorKind::rule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// No tool has that name.
    UnknownTool,
    /// The arguments are not what the tool takes.
    InvalidArguments,
    /// The caller may not use the tool. Only a check of the program around the host says so: its own rules hide the tool.
    Unauthorized,
    /// A person, or a rule, said no.
    Declined,
    /// Nobody answered the question in time.
    ApprovalTimedOut,
    /// The same call was made again and again.
    RepeatedCall,
    /// Too many calls in too short a time.
    RateLimited,
    /// No place is free.
    Busy,
    /// The tool, or a server that it sends to, failed so often that it is left alone for a while.
    CircuitOpen,
    /// A call with the same idempotency key is running.
    KeyInUse,
    /// The idempotency key was used with other arguments.
    KeyReused,
    /// Whether an earlier call with this key had its effect is not known.
    OutcomeUnknown,
    /// The tool wanted to do what it has not been granted.
    CapabilityDenied,
    /// The tool wanted to do more than it has been granted, or a budget is used up.
    QuotaExceeded,
    /// The tool used up its operations.
    OutOfFuel,
    /// The tool used up its memory.
    OutOfMemory,
    /// The tool's result is larger than allowed.
    OutputTooLarge,
    /// The tool ended in a trap: a panic, an overflow of the stack, an access out of bounds.
    Trapped,
    /// The time was over.
    TimedOut,
    /// The tool itself reports a failure.
    ToolFailed {
        /// Whether trying again may help, as the tool says.
        retryable: bool,
    },
    /// The caller went away.
    Cancelled,
    /// The host is at fault.
    Internal,
}

/// Where on its road a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Finding the tool.
    Find,
    /// Reading and casting the arguments.
    Accept,
    /// Judging whether it may run.
    Check,
    /// Keeping it safe while it runs.
    Guard,
    /// Running.
    Run,
    /// Handing out the result.
    Tell,
}

/// Who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The one who calls.
    Caller,
    /// The operator's rules, which did what they are there for.
    Policy,
    /// The tool.
    Tool,
    /// The host.
    Host,
}

/// What follows from a kind of error. Whether it may be tried again depends on where the call ended and on what it did too:
/// [`ErrorClass`](crate::guard::retry::ErrorClass) has that table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Who has to change something.
    pub fault: Fault,
    /// Whether the failure counts against the tool.
    pub feeds_breaker: bool,
}

impl ErrorKind {
    /// What follows from this kind of error.
    #[must_use]
    pub const fn rule(self) -> Rule {
        const fn rule(fault: Fault, feeds_breaker: bool) -> Rule {
            Rule { fault, feeds_breaker }
        }
        match self {
            ErrorKind::UnknownTool | ErrorKind::InvalidArguments => rule(Fault::Caller, false),
            ErrorKind::Unauthorized | ErrorKind::Declined | ErrorKind::ApprovalTimedOut | ErrorKind::RepeatedCall => {
                rule(Fault::Policy, false)
            }
            ErrorKind::RateLimited | ErrorKind::Busy | ErrorKind::CircuitOpen => rule(Fault::Policy, false),
            // It goes by itself, like a place that is taken.
            ErrorKind::KeyInUse => rule(Fault::Policy, false),
            ErrorKind::KeyReused | ErrorKind::OutcomeUnknown => rule(Fault::Caller, false),
            ErrorKind::CapabilityDenied | ErrorKind::QuotaExceeded => rule(Fault::Policy, false),
            // The same input comes to the same end.
            ErrorKind::OutOfFuel | ErrorKind::OutOfMemory | ErrorKind::OutputTooLarge | ErrorKind::Trapped => {
                rule(Fault::Tool, true)
            }
            ErrorKind::TimedOut => rule(Fault::Tool, true),
            ErrorKind::ToolFailed { retryable } => rule(Fault::Tool, retryable),
            ErrorKind::Cancelled => rule(Fault::Caller, false),
            ErrorKind::Internal => rule(Fault::Host, false),
        }
    }

    /// The kind as one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::UnknownTool => "unknown_tool",
            ErrorKind::InvalidArguments => "invalid_arguments",
            ErrorKind::Unauthorized => "unauthorized",
            ErrorKind::Declined => "declined",
            ErrorKind::ApprovalTimedOut => "approval_timed_out",
            ErrorKind::RepeatedCall => "repeated_call",
            ErrorKind::RateLimited => "rate_limited",
            ErrorKind::Busy => "busy",
            ErrorKind::CircuitOpen => "circuit_open",
            ErrorKind::KeyInUse => "key_in_use",
            ErrorKind::KeyReused => "key_reused",
            ErrorKind::OutcomeUnknown => "outcome_unknown",
            ErrorKind::CapabilityDenied => "capability_denied",
            ErrorKind::QuotaExceeded => "quota_exceeded",
            ErrorKind::OutOfFuel => "out_of_fuel",
            ErrorKind::OutOfMemory => "out_of_memory",
            ErrorKind::OutputTooLarge => "output_too_large",
            ErrorKind::Trapped => "trapped",
            ErrorKind::TimedOut => "timed_out",
            ErrorKind::ToolFailed { .. } => "tool_failed",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Internal => "internal",
        }
    }

    /// Every kind there is, in the order of a call's road.
    pub const ALL: [ErrorKind; 23] = [
        ErrorKind::UnknownTool,
        ErrorKind::InvalidArguments,
        ErrorKind::Unauthorized,
        ErrorKind::Declined,
        ErrorKind::ApprovalTimedOut,
        ErrorKind::RepeatedCall,
        ErrorKind::RateLimited,
        ErrorKind::Busy,
        ErrorKind::CircuitOpen,
        ErrorKind::KeyInUse,
        ErrorKind::KeyReused,
        ErrorKind::OutcomeUnknown,
        ErrorKind::CapabilityDenied,
        ErrorKind::QuotaExceeded,
        ErrorKind::OutOfFuel,
        ErrorKind::OutOfMemory,
        ErrorKind::OutputTooLarge,
        ErrorKind::Trapped,
        ErrorKind::TimedOut,
        ErrorKind::ToolFailed { retryable: false },
        ErrorKind::ToolFailed { retryable: true },
        ErrorKind::Cancelled,
        ErrorKind::Internal,
    ];
}

/// Why a call did not succeed.
///
/// The message is written for the agent that called: it says what would help, and holds no secret and no path of the
/// host. What only the operator may see is the `source`.
#[derive(Clone, Debug)]
pub struct CallError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// Where the call ended.
    pub stage: Stage,
    /// What happened and what would help.
    pub message: String,
    /// The same for a program: the faults of the arguments, the error value of the tool.
    pub detail: Option<Value>,
    /// When trying again may help.
    pub retry_after: Option<Duration>,
    /// What is behind it, for the log.
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl CallError {
    /// An error of that kind.
    pub fn new(kind: ErrorKind, stage: Stage, message: impl Into<String>) -> Self {
        CallError { kind, stage, message: message.into(), detail: None, retry_after: None, source: None }
    }

    /// Adds what would help to the message.
    #[must_use]
    pub fn with_help(mut self, help: impl fmt::Display) -> Self {
        self.message = format!("{}; {help}", self.message);
        self
    }

    /// Adds the value for a program.
    #[must_use]
    pub fn with_detail(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Says when trying again may help.
    #[must_use]
    pub fn retry_after(mut self, span: Duration) -> Self {
        self.retry_after = Some(span);
        self
    }

    /// Adds what is behind it, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl Serialize for CallError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            kind: &'static str,
            stage: Stage,
            message: &'a str,
            fault: Fault,
            #[serde(skip_serializing_if = "Option::is_none")]
            retryable: Option<bool>,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_ms: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'a Value>,
        }
        Shown {
            kind: self.kind.name(),
            stage: self.stage,
            message: &self.message,
            fault: self.kind.rule().fault,
            retryable: match self.kind {
                ErrorKind::ToolFailed { retryable } => Some(retryable),
                _ => None,
            },
            retry_after_ms: self.retry_after.map(milliseconds_up),
            detail: self.detail.as_ref(),
        }
        .serialize(serializer)
    }
}

/// Whole milliseconds, rounded up: a client that waits as long as it was told must not come too early.
fn milliseconds_up(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// An error for what cannot be: a broken promise of the host's own code. It ends the call, and nothing else.
#[macro_export]
macro_rules! bug {
    ($stage:expr, $($message:tt)*) => {
        $crate::CallError::new(
            $crate::ErrorKind::Internal,
            $stage,
            "the host is at fault; its log says more",
        )
        .because(format!($($message)*))
    };
}

//! How a command ends: the exit codes, which are a promise to scripts.

use serde_json::json;
use toolpost::ErrorKind;

use crate::print;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    /// The tool failed; of a command that compares, there is a difference.
    Tool = 1,
    /// The command line, the arguments, the settings or a component are wrong.
    Usage = 2,
    /// A policy of the host refused.
    Policy = 3,
    /// A limit or the time was reached.
    Limit = 4,
    /// The host is at fault.
    Internal = 5,
}

/// Why a command cannot go on.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) exit: Exit,
    pub(crate) lines: Vec<String>,
}

impl Stop {
    pub(crate) fn usage(line: impl std::fmt::Display) -> Self {
        Stop { exit: Exit::Usage, lines: vec![line.to_string()] }
    }

    pub(crate) fn internal(line: impl std::fmt::Display) -> Self {
        Stop { exit: Exit::Internal, lines: vec![line.to_string()] }
    }

    pub(crate) fn faults(faults: impl IntoIterator<Item = impl std::fmt::Display>) -> Self {
        Stop { exit: Exit::Usage, lines: faults.into_iter().map(|fault| fault.to_string()).collect() }
    }
}

impl Exit {
    /// What was compared is not the same.
    pub(crate) const DIFFERS: Exit = Exit::Tool;

    /// Says why, and ends: on standard output where JSON is asked for, else on standard error.
    pub(crate) fn told(stop: &Stop, as_json: bool) -> Self {
        if as_json && print::json(&json!({"ok": false, "faults": stop.lines})).is_ok() {
            return stop.exit;
        }
        for line in &stop.lines {
            print::error(line);
        }
        stop.exit
    }

    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::UnknownTool | ErrorKind::InvalidArguments => Exit::Usage,
            ErrorKind::Unauthorized
            | ErrorKind::Declined
            | ErrorKind::ApprovalTimedOut
            | ErrorKind::RepeatedCall
            | ErrorKind::RateLimited
            | ErrorKind::Busy
            | ErrorKind::CircuitOpen
            | ErrorKind::KeyInUse
            | ErrorKind::KeyReused
            | ErrorKind::CapabilityDenied
            | ErrorKind::QuotaExceeded => Exit::Policy,
            ErrorKind::OutOfFuel | ErrorKind::OutOfMemory | ErrorKind::OutputTooLarge | ErrorKind::TimedOut => {
                Exit::Limit
            }
            ErrorKind::Trapped | ErrorKind::ToolFailed { .. } | ErrorKind::OutcomeUnknown | ErrorKind::Cancelled => {
                Exit::Tool
            }
            ErrorKind::Internal => Exit::Internal,
        }
    }
}

impl From<toolpost::store::StoreError> for Stop {
    fn from(error: toolpost::store::StoreError) -> Self {
        Stop { exit: Exit::Internal, lines: vec![error.to_string()] }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}

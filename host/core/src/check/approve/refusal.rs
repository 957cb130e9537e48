//! Why a call may not run, or not do what it is about to do, in words that say what would help.

use std::time::Duration;

use super::about::About;
use super::question::Why;
use super::rules::Placed;
use crate::call::AcceptedCall;
use crate::tell::{CallError, ErrorKind, Stage};

pub(super) fn denied(about: About<'_>, placed: &Placed<'_>) -> CallError {
    let because = placed.rule.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let with = if about.effect.is_some() { "" } else { " with these arguments" };
    let words = format!("{} is denied{with} by the rule `{}`{because}", about.words(), placed.title());
    CallError::new(ErrorKind::Declined, about.stage(), words)
}

pub(super) fn declined(about: About<'_>, reason: Option<&str>) -> CallError {
    let because = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    CallError::new(ErrorKind::Declined, about.stage(), format!("{} was declined{because}", about.words()))
        .with_help("do not try the same again")
}

pub(super) fn expired(about: About<'_>, timeout: Duration) -> CallError {
    let timeout = humantime::format_duration(timeout);
    let words = format!("nobody answered within {timeout} whether {} may {}", about.words(), verb(about));
    CallError::new(ErrorKind::ApprovalTimedOut, about.stage(), words)
        .with_help(format!("call again later; {}", allowing(about)))
}

pub(super) fn unasked(about: About<'_>, why: &Why) -> CallError {
    if why.doubt {
        let error = CallError::new(ErrorKind::RepeatedCall, Stage::Check, why.words.clone());
        return error.with_help("try something else, or say that you are stuck");
    }
    let what = about.words();
    let words = format!("{what} may {} only when somebody agrees, and nobody can be asked", verb(about));
    CallError::new(ErrorKind::Declined, about.stage(), words).with_help(allowing(about))
}

fn verb(about: About<'_>) -> &'static str {
    if about.effect.is_some() { "happen" } else { "run" }
}

/// What those who were asked said, for the operator alone.
pub(super) fn because(error: CallError, behind: Option<String>) -> CallError {
    match behind {
        Some(behind) => error.because(behind),
        None => error,
    }
}

/// The lines of settings that would allow it. An effect is asked about by a rule, and what asks goes before what allows.
fn allowing(about: About<'_>) -> String {
    match about.effect {
        Some(_) => "without the `[[approval.ask]]` rule in the settings it would be allowed".into(),
        None => {
            let tool = &about.call.tool.name;
            format!("`[[approval.allow]]` with `tools = [\"{tool}\"]` in the settings would allow it")
        }
    }
}

pub(crate) fn refused(call: &AcceptedCall, why: &str) -> CallError {
    CallError::new(ErrorKind::Declined, Stage::Check, format!("`{}` was not allowed: {why}", call.tool.name))
}

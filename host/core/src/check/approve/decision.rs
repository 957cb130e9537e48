//! What was decided about a call? Who, when, what and why, bound to the arguments: for the report and for listeners.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::about::About;
use super::question::{arguments_hash, now_ms};
use super::rules::{Action, Placed};

/// A decision about a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// What was decided.
    pub what: Decided,
    /// Who decided: the rules, or the one who answered.
    pub by: String,
    /// Why, where a reason was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The rule that decided, or asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What the tool was about to do, where that was judged and not the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// The question that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Whether it is only what a rule in the shadow would have decided.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// The hash of the arguments that were judged, in hexadecimal.
    pub arguments_hash: String,
    /// When, in milliseconds since 1970.
    #[serde(rename = "at", serialize_with = "on_the_wall")]
    pub at_ms: u64,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// It may run.
    Allowed,
    /// It may run, and again until the session ends.
    AllowedForSession,
    /// It may run, now and always.
    AllowedAlways,
    /// It is asked about; only told of a rule in the shadow.
    Asked,
    /// It may run with other arguments.
    Edited,
    /// It does not run; its result was given by somebody.
    Answered,
    /// It may not run.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// Nobody could be asked.
    Unasked,
}

impl Decided {
    /// The decision as words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Decided::Allowed => "allowed",
            Decided::AllowedForSession => "allowed for the session",
            Decided::AllowedAlways => "always allowed",
            Decided::Asked => "asked about",
            Decided::Edited => "allowed with other arguments",
            Decided::Answered => "answered instead",
            Decided::Denied => "denied",
            Decided::Expired => "not answered in time",
            Decided::Unasked => "denied, because nobody could be asked",
        }
    }
}

impl Decision {
    pub(super) fn about(about: About<'_>, what: Decided, by: impl Into<String>) -> Self {
        Decision {
            what,
            by: by.into(),
            why: None,
            rule: None,
            effect: about.effect.map(|intent| intent.effect.words()),
            question: None,
            shadow: false,
            arguments_hash: arguments_hash(about.call),
            at_ms: now_ms(),
        }
    }

    /// The decision of a rule.
    pub(super) fn of_rule(about: About<'_>, placed: &Placed<'_>) -> Self {
        let what = match placed.action {
            Action::Deny => Decided::Denied,
            Action::Ask => Decided::Asked,
            Action::Allow => Decided::Allowed,
        };
        Decision {
            why: placed.rule.reason.clone(),
            rule: Some(placed.title()),
            shadow: placed.rule.shadow,
            ..Decision::about(about, what, "rules")
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn on_the_wall<S: Serializer>(at_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(*at_ms);
    serializer.collect_str(&humantime::format_rfc3339_millis(time))
}

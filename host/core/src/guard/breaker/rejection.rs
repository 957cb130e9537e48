//! Why may a call not run now, and when may it be tried again?

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Key;
use crate::tell::{CallError, ErrorKind, Stage};

/// Why a breaker refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It failed too often.
    Open,
    /// Other calls are trying it out.
    HalfOpen,
    /// It asked to be left alone.
    Held,
    /// The operator switched it off.
    Isolated,
    /// It fails so often that only a part of the calls goes through.
    Throttled,
    /// As many calls run as it can take.
    Full,
    /// A custom breaker said so.
    Custom,
}

impl Refusal {
    /// The cause as one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Open => "open",
            Refusal::HalfOpen => "half_open",
            Refusal::Held => "held",
            Refusal::Isolated => "isolated",
            Refusal::Throttled => "throttled",
            Refusal::Full => "full",
            Refusal::Custom => "custom",
        }
    }
}

/// A call may not run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub refusal: Refusal,
    /// When trying again may help: never later than the moment at which a call would be let through, as things stand.
    /// Nothing where only the operator knows.
    pub retry_after: Option<Duration>,
    /// The last failure, in one word.
    pub last_failure: Option<&'static str>,
    /// What the operator says about it.
    pub why: Option<Arc<str>>,
}

impl Rejection {
    pub(super) fn new(refusal: Refusal, retry_after: Option<Duration>) -> Self {
        Rejection { refusal, retry_after, last_failure: None, why: None }
    }

    /// The error for the one who called.
    #[must_use]
    pub fn into_error(self, key: &Key) -> CallError {
        let detail = json!({
            "cause": self.refusal.name(),
            "last_failure": self.last_failure,
            "retry_after_s": self.retry_after.map(|span| span.as_secs_f64()),
        });
        let message = format!("{}; {}", Happened(&self, key), self.help());
        let error = CallError::new(ErrorKind::CircuitOpen, Stage::Guard, message).with_detail(detail);
        match self.retry_after {
            Some(span) => error.retry_after(span),
            None => error,
        }
    }

    fn help(&self) -> String {
        match self.retry_after {
            // Rounded up: whoever comes back a moment too early is refused again.
            Some(span) => {
                let seconds = Duration::from_secs(span.as_secs() + u64::from(span.subsec_nanos() > 0));
                format!("call again in {}, or go on without it", humantime::format_duration(seconds))
            }
            None => "go on without it".into(),
        }
    }
}

/// What happened, as one clause.
struct Happened<'a>(&'a Rejection, &'a Key);

impl fmt::Display for Happened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Happened(Rejection { refusal, last_failure, why, .. }, key) = self;
        let name = key.scope.name();
        match refusal {
            Refusal::Open => write!(f, "`{name}` failed too often and is left alone")?,
            Refusal::HalfOpen => {
                write!(f, "`{name}` failed too often, and another call is finding out whether it is well")?
            }
            Refusal::Held => return write!(f, "`{name}` has asked not to be called for a while"),
            Refusal::Isolated => write!(f, "`{name}` is switched off by the operator")?,
            Refusal::Throttled => write!(f, "`{name}` fails so often that only a part of the calls goes through")?,
            Refusal::Full => return write!(f, "as many calls of `{name}` run as it can take"),
            Refusal::Custom => write!(f, "`{name}` is not to be called now")?,
        }
        match (refusal, why, last_failure) {
            (Refusal::Isolated, Some(why), _) if !why.is_empty() => write!(f, ": {why}"),
            (Refusal::Isolated, ..) | (_, _, None) => Ok(()),
            (_, _, Some(last)) => write!(f, " (the last failure: `{last}`)"),
        }
    }
}

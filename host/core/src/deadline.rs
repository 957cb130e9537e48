//! When is it over, and what would have given it more time?

use std::time::Duration;

use tokio::time::Instant;

use crate::call::Call;
use crate::clock::Clock;
use crate::inside::Inside;
use crate::tell::{CallError, ErrorKind, Stage};

/// When a call is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    whose: Whose,
}

#[derive(Clone, Copy, Debug)]
enum Whose {
    /// The call's own limit.
    Own(Duration),
    /// That of the attempt inside of which it was made.
    Around,
    /// That which its caller has given it.
    Caller,
}

impl Deadline {
    /// That of a call which began then and has so much time; never later than that of the attempt around it, and than its
    /// caller wants.
    pub(crate) fn new(began: Instant, limit: Duration, around: Option<&Clock>, until: Option<Instant>) -> Self {
        let own = Deadline { at: after(began, limit), whose: Whose::Own(limit) };
        let last = Deadline::last(around, until);
        let around = around.map(|clock| Deadline { at: clock.deadline(), whose: Whose::Around });
        around.into_iter().chain(last).fold(own, Deadline::earlier)
    }

    /// When a call is over in any case, also where somebody was asked meanwhile.
    fn last(around: Option<&Clock>, until: Option<Instant>) -> Option<Self> {
        let around = around.and_then(Clock::until).map(|at| Deadline { at, whose: Whose::Around });
        around.into_iter().chain(until.map(Deadline::of_caller)).reduce(Deadline::earlier)
    }

    fn earlier(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }

    /// That which a caller has given its call.
    pub(crate) fn of_caller(at: Instant) -> Self {
        Deadline { at, whose: Whose::Caller }
    }

    /// That of the same call after its clock has stood still for so long.
    #[must_use]
    pub(crate) fn later_by(self, stood: Duration, call: &Call) -> Self {
        let later = Deadline { at: self.at + stood, ..self };
        let around = call.inside.as_ref().map(Inside::clock);
        Deadline::last(around, call.wanted.until).into_iter().fold(later, Deadline::earlier)
    }

    /// The error when it has passed, from what had not happened by then.
    pub(crate) fn passed(self, stage: Stage, what: &str, help: &str) -> CallError {
        let (when, setting) = match self.whose {
            Whose::Own(limit) => (format!("within {}", humantime::format_duration(limit)), "`limits.call_time`"),
            Whose::Around => ("before the call around it was over".into(), "the time of the call around it"),
            Whose::Caller => ("in the time that its caller gave it".into(), "that time"),
        };
        CallError::new(ErrorKind::TimedOut, stage, format!("{what} {when}"))
            .with_help(format!("{help}, or raise {setting}"))
    }
}

/// So much later. A span that no clock can show is never over.
pub(crate) fn after(start: Instant, span: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);
    start.checked_add(span).unwrap_or(start + NEVER)
}

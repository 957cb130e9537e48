//! When is it over, and what would have given it more time?

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::tell::{CallError, ErrorKind, Stage};

/// When a call is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    whose: Whose,
    /// When it is over in any case, also where somebody was asked meanwhile; and whose word that is.
    last: Option<(Instant, Whose)>,
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
        let earlier = |one: (Instant, Whose), other: (Instant, Whose)| if other.0 < one.0 { other } else { one };
        let lasts = [around.and_then(Clock::until).map(|at| (at, Whose::Around)), until.map(|at| (at, Whose::Caller))];
        let last = lasts.into_iter().flatten().reduce(earlier);
        let own = (after(began, limit), Whose::Own(limit));
        let around = around.map(|clock| (clock.deadline(), Whose::Around));
        let (at, whose) = around.into_iter().chain(last).fold(own, earlier);
        Deadline { at, whose, last }
    }

    /// That which a caller has given its call.
    pub(crate) fn of_caller(at: Instant) -> Self {
        Deadline { at, whose: Whose::Caller, last: Some((at, Whose::Caller)) }
    }

    /// When it is over in any case.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.last.map(|(at, _)| at)
    }

    /// The same, after a clock has stood still for so long.
    #[must_use]
    pub(crate) fn later_by(self, stood: Duration) -> Self {
        let at = self.at + stood;
        match self.last {
            Some((last, whose)) if last <= at => Deadline { at: last, whose, ..self },
            _ => Deadline { at, ..self },
        }
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

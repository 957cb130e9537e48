//! What is one told who gets no room? Why, when to come back, and what an operator could raise.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::pace::come_back;
use super::{ComponentRoom, Need, ToolRoom};
use crate::deadline::Deadline;
use crate::tell::{CallError, ErrorKind, Stage};

/// Why a call is not to wait.
#[derive(Debug)]
pub(super) enum Why {
    /// As many wait as may wait in the host.
    Full { running: usize, waiting: usize },
    /// As many wait as may wait for the tool.
    ToolFull { tool: Arc<str>, running: usize, waiting: usize },
    /// It would be its turn in so much time, and it has so much.
    TooLate { turn: Duration, left: Duration },
    /// So many of this caller's calls wait, and more come than can run.
    Flood { waiting: usize },
}

impl Why {
    pub(super) fn into_error(self, need: &Need, retry_after: Duration) -> CallError {
        let parallel = parallel(need);
        let words = match self {
            Why::Full { running, waiting } => format!(
                "{running} calls run and {waiting} wait already; call again later, or raise `host.max_parallel` or \
                 `host.max_waiting`"
            ),
            Why::ToolFull { tool, running, waiting } => {
                let or_parallel = if limited(need).is_some() { "`guard.parallel` or " } else { "" };
                format!(
                    "{running} calls of `{tool}` run and {waiting} wait already; call again later, or raise \
                     {or_parallel}`guard.waiting`"
                )
            }
            Why::TooLate { turn, left } => {
                let or_wait = if limited(need).is_some() { "" } else { " or `host.max_wait`" };
                let (turn, left) = (Seconds(turn), Seconds(left));
                format!(
                    "it would be its turn in about {turn}, and it waits for {left} at most; call again later, or raise \
                     {parallel}{or_wait}"
                )
            }
            Why::Flood { waiting } => format!(
                "more calls come than can run, and {waiting} of this caller wait already; call again later, or raise \
                 {parallel}"
            ),
        };
        busy(words, retry_after)
    }
}

/// It made way for another one.
pub(super) fn made_way(need: &Need, retry_after: Duration) -> CallError {
    let or_tool = match &need.tool {
        Some(ToolRoom { waiting: Some(_), .. }) => "`guard.waiting` or ",
        _ => "",
    };
    let words = "more calls come than may wait, and this one made way for another; call again later, with fewer at once, or \
                 raise";
    busy(format!("{words} {or_tool}`host.max_waiting`"), retry_after)
}

/// It is inside of a call that holds a leave, and there is none for it.
pub(super) fn does_not_wait(need: &Need) -> CallError {
    let whose = match need {
        Need { component: Some(ComponentRoom { name, .. }), .. } if limited(need).is_none() => {
            format!("share in the component `{name}`")
        }
        _ => place(need),
    };
    let words = "is free, and a call inside of one that holds such a place does not wait; call again later";
    busy(format!("no {whose} {words}"), come_back(None))
}

/// It has waited as long as its call may take.
pub(super) fn no_room(need: &Need, deadline: Deadline, retry_after: Duration) -> CallError {
    let raise = if limited(need).is_some() { ", raise `guard.parallel`" } else { "" };
    let what = format!("no {} came free", place(need));
    deadline.passed(Stage::Guard, &what, &format!("call again later{raise}")).retry_after(retry_after)
}

/// It has waited as long as anybody does for a place.
pub(super) fn waited_enough(need: &Need, max_wait: Duration, retry_after: Duration) -> CallError {
    let (place, parallel, limit) = (place(need), parallel(need), humantime::format_duration(max_wait));
    let words =
        format!("no {place} came free within {limit}; call again later, or raise {parallel} or `host.max_wait`");
    busy(words, retry_after)
}

fn busy(words: String, retry_after: Duration) -> CallError {
    CallError::new(ErrorKind::Busy, Stage::Guard, words).retry_after(retry_after)
}

/// The tool, where only so many of its calls may run.
fn limited(need: &Need) -> Option<&str> {
    need.tool.as_ref().filter(|tool| tool.parallel.is_some()).map(|tool| &*tool.name)
}

/// The place that is waited for.
fn place(need: &Need) -> String {
    limited(need).map_or_else(|| "place".into(), |tool| format!("place of `{tool}`"))
}

/// What would give more such places.
fn parallel(need: &Need) -> &'static str {
    limited(need).map_or("`host.max_parallel`", |_| "`guard.parallel`")
}

/// A span as people say it.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = Duration::from_secs(self.0.as_secs_f64().round().max(1.0) as u64);
        write!(f, "{}", humantime::format_duration(whole))
    }
}

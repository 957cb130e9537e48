//! What did breakers do? Their news leave in the order in which they happened, and nobody who listens holds up a call.
//!
//! News are queued inside the critical section that makes them, and told outside of it: by the first that comes, for as
//! long as there are any. So there is one teller at a time, and the order of telling is the order of the queue.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::rejection::Refusal;
use super::standard::Order;
use super::{Counts, Key};

/// So many news wait for a slow listener; the oldest go first. A gap in `seq` shows it.
const NEWS_MAX: usize = 1_024;

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It lets calls through, and watches them.
    Closed,
    /// It refuses calls.
    Open,
    /// It lets a few calls through, to find out whether all is well.
    HalfOpen,
    /// The operator has it refuse calls.
    Isolated,
    /// The operator has it let all calls through.
    Disabled,
}

impl Status {
    /// The status as one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Closed => "closed",
            Status::Open => "open",
            Status::HalfOpen => "half_open",
            Status::Isolated => "isolated",
            Status::Disabled => "disabled",
        }
    }
}

/// Why a breaker changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// So many failures in a row.
    Consecutive,
    /// Too large a part failed.
    FailureRate,
    /// Too large a part was slow.
    SlowRate,
    /// It was open for as long as it should be.
    Waited,
    /// The calls that tried it out succeeded.
    ProbesSucceeded,
    /// A call that tried it out failed, or was slow.
    ProbeFailed,
    /// A call that tried it out never came back.
    ProbeLost,
    /// The time of an isolation is over.
    IsolationOver,
    /// The settings are new.
    Settings,
    /// The operator wants it so.
    Operator(Order),
}

/// A breaker changed from one status to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// Its number: one more than that of the breaker's transition before it.
    pub seq: u64,
    /// What it was.
    pub from: Status,
    /// What it is.
    pub to: Status,
    /// Why.
    pub cause: Cause,
    /// What was in the window, or the calls that tried it out.
    pub counts: Counts,
    /// How often in succession it opened again.
    pub reopened: u32,
    /// For how long it is open.
    pub open_for: Option<Duration>,
}

/// What a breaker tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// It changed.
    Changed(Transition),
    /// It refused calls. Told once a second at most.
    Refused {
        /// Why it refused the last of them.
        refusal: Refusal,
        /// When trying again may help.
        retry_after: Option<Duration>,
        /// How many it refused since this was told before.
        calls: u64,
    },
}

/// Something that listens to breakers. It is called by one at a time for each breaker, while a call waits: it must not
/// block.
pub trait Listener: Send + Sync {
    /// Takes the news in.
    fn hear(&self, key: &Key, news: &News);
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _: &Key, _: &News) {}
}

/// News that wait to be told.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    news: VecDeque<News>,
    is_told: bool,
}

impl Outbox {
    pub(super) fn push(&mut self, news: News) {
        if self.news.len() >= NEWS_MAX {
            self.news.pop_front();
        }
        self.news.push_back(news);
    }

    /// Whether the one who asks has to tell what there is. It calls [`Outbox::next`] until there is nothing.
    pub(super) fn begin(&mut self) -> bool {
        let begins = !self.is_told && !self.news.is_empty();
        self.is_told |= begins;
        begins
    }

    /// The next that is to be told. After nothing, somebody else may begin.
    pub(super) fn next(&mut self) -> Option<News> {
        let next = self.news.pop_front();
        self.is_told = next.is_some();
        next
    }

    /// For a teller that does not come to its end.
    pub(super) fn give_up(&mut self) {
        self.is_told = false;
    }
}

//! May one more wait, and who makes way for it?
//!
//! Where as many wait as may, the last of the caller with the most makes way for a call of one with less, by weight; so
//! nobody is kept out by another one's calls, and whoever has most is told to come back. A call inside of others goes before
//! all of that: work that was begun is not given up for work that was not. A call that would clearly wait longer than it may
//! does not wait at all.
//!
//! A long line is good for many calls that come at once, and of no use in a flood: there all would wait for long, and be served
//! late. So when one has to be refused where many wait, a caller's calls are let in for as long as the flood goes on only if
//! they go in their first round, and with each that is refused, another one is told to come back that was set aside: soon none
//! is late. They take one round of waiting and their own time.

use std::time::Duration;

use tokio::time::Instant;

use super::fair::Who;
use super::lane::Lane;
use super::line::{Going, Line};
use super::pace::come_back;
use super::queue::{CallNumber, Crowd, Queue};
use super::refusal::Why;
use super::{Need, Told, ToolRoom};
use crate::call::Caller;
use crate::deadline::Deadline;

/// A line is short that goes in so many rounds, and not worth to be kept shorter.
const SHORT_ROUNDS: usize = 2;

/// By how much it has to be too long until one's turn, because that is not known exactly.
const CLEARLY: u32 = 2;

/// A call is not to wait.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: Why,
    pub(super) retry_after: Duration,
    /// Another one that is told to come back, too.
    sheds: Option<CallNumber>,
    is_flood: bool,
}

/// A call that asks whether it may wait, and how its caller stands.
struct Asking<'a> {
    need: &'a Need,
    /// Whether it is inside of another one.
    is_deep: bool,
    who: Option<&'a Who>,
    weight: u64,
    /// Where it would wait, if anybody does.
    lane: Option<&'a Lane>,
    /// The caller's calls that wait there, if any do.
    queue: Option<&'a Queue>,
    /// Whether it would go in its first round.
    goes_soon: bool,
}

impl Asking<'_> {
    /// How much of a line the caller would have, with so many calls there already. What is inside of others weighs nothing.
    fn load(&self, calls: usize) -> u64 {
        if self.is_deep { 0 } else { Crowd::load(calls + 1, self.weight) }
    }

    /// How many of the caller's calls wait there.
    fn waiting(&self) -> usize {
        self.queue.map_or(0, Queue::len)
    }

    /// The last of the caller's calls that are set aside there.
    fn aside(&self) -> Option<CallNumber> {
        self.queue.and_then(Queue::last_aside)
    }

    /// One that is set aside makes way for a new one of its own caller.
    fn own(&self) -> Option<CallNumber> {
        self.aside().filter(|_| self.goes_soon && !self.is_deep)
    }

    /// How long it takes until it is its turn, as far as that is known.
    fn time_until_turn(&self) -> Option<Duration> {
        time_until_turn(self.lane, self.queue, self.weight)
    }
}

impl Line {
    /// Whether a call may wait, and who has to make way for it.
    pub(super) fn may_wait(
        &self,
        need: &Need,
        depth: usize,
        caller: &Caller,
        deadline: Deadline,
    ) -> Result<Option<CallNumber>, Refusal> {
        let (who, weight) = (self.callers.find(&caller.id), self.weight(&caller.id, caller));
        let lane = self.lanes.find(need);
        let queue = lane.zip(who).and_then(|(lane, who)| lane.queue(who));
        let goes_soon = lane.is_none_or(|lane| lane.goes_soon(self.room.places(), queue, weight));
        let asking = Asking { need, is_deep: depth > 0, who, weight, lane, queue, goes_soon };
        if asking.is_deep {
            return self.who_makes_way(&asking);
        }
        if !goes_soon && self.lanes.is_flooded(need) {
            return Err(refusal(Why::Flood { waiting: asking.waiting() }, true, &asking));
        }
        let makes_way = self.who_makes_way(&asking)?;
        self.is_in_time(&asking, deadline)?;
        Ok(makes_way)
    }

    /// Whether there is room in the line, or who makes it.
    fn who_makes_way(&self, asking: &Asking<'_>) -> Result<Option<CallNumber>, Refusal> {
        let Asking { need, who, lane, .. } = *asking;
        let is_flood = lane.is_some_and(|lane| lane.is_longer_than(SHORT_ROUNDS, self.room.places()));
        if let Some(ToolRoom { name, waiting: Some(waiting), .. }) = &need.tool
            && self.room.waiting(name) >= *waiting
        {
            let heavier = lane.and_then(|lane| lane.heavier_than(asking.load(asking.waiting())));
            let (running, waiting) = (self.room.running(name), *waiting);
            let full = || refusal(Why::ToolFull { tool: name.clone(), running, waiting }, is_flood, asking);
            return heavier.or(asking.own()).ok_or_else(full).map(Some);
        }
        if self.waiting.len() < self.limits.max_waiting {
            return Ok(None);
        }
        let of_all = who.map_or(0, |who| self.callers.count(who));
        let heavier = self.callers.heavier_than(asking.load(of_all)).and_then(|(who, call)| {
            // The latest one says in which lane the caller came last.
            self.lanes.get(self.waiting.get(&call)?.lane)?.queue(who)?.last()
        });
        let (running, waiting) = (self.room.taken(), self.limits.max_waiting);
        let full = || refusal(Why::Full { running, waiting }, is_flood, asking);
        heavier.or(asking.own()).ok_or_else(full).map(Some)
    }

    /// Whether its turn comes in time, as far as that is known.
    fn is_in_time(&self, asking: &Asking<'_>, deadline: Deadline) -> Result<(), Refusal> {
        let Some(turn) = asking.time_until_turn() else { return Ok(()) };
        let left = deadline.at.saturating_duration_since(Instant::now());
        let left = if asking.need.is_more_than_a_place() { left } else { left.min(self.limits.max_wait) };
        if turn <= left.saturating_mul(CLEARLY) {
            return Ok(());
        }
        Err(refusal(Why::TooLate { turn, left }, false, asking))
    }

    /// A call is refused; perhaps another one is told so, too.
    pub(super) fn refuses(&mut self, need: &Need, refusal: &Refusal) -> Going {
        if refusal.is_flood {
            self.lanes.flooded(need, Instant::now());
        }
        refusal.sheds.map(|call| self.make_way(call)).unwrap_or_default()
    }

    /// One makes way for another call.
    pub(super) fn make_way(&mut self, call: CallNumber) -> Going {
        let retry_after = self.retry_after(call);
        let lane = self.waiting.get(&call).and_then(|waiter| self.lanes.get(waiter.lane));
        let long = lane.filter(|lane| lane.is_longer_than(SHORT_ROUNDS, self.room.places()));
        if let Some(need) = long.map(|lane| lane.need.clone()) {
            self.lanes.flooded(&need, Instant::now());
        }
        let gone = self.part(call, false);
        gone.map(|waiter| (waiter.goes, Told::MakesWay(retry_after))).into_iter().collect()
    }

    /// When one that waits in vain should come back.
    pub(super) fn retry_after(&self, call: CallNumber) -> Duration {
        let turn = self.waiting.get(&call).and_then(|waiter| {
            let (who, lane) = (waiter.who.as_ref()?, self.lanes.get(waiter.lane)?);
            time_until_turn(Some(lane), lane.queue(who), self.callers.weight(who)?)
        });
        come_back(turn)
    }
}

fn refusal(why: Why, is_flood: bool, asking: &Asking<'_>) -> Refusal {
    let retry_after = come_back(asking.time_until_turn());
    Refusal { why, retry_after, is_flood, sheds: asking.aside().filter(|_| is_flood) }
}

/// How long it takes until it is the turn of a caller's next call, as far as that is known.
fn time_until_turn(lane: Option<&Lane>, queue: Option<&Queue>, weight: u64) -> Option<Duration> {
    let lane = lane?;
    lane.pace.time_of(lane.turns_of(queue, weight))
}

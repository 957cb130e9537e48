//! Who waits for the same? What one lane of [`Lanes`](super::lanes::Lanes) is made of.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::fair::{Turn, Who};
use super::pace::Pace;
use super::queue::{CallNumber, Crowd, Queue};
use super::{ComponentRoom, Need, ToolRoom};

/// A call inside of others: first the deepest, among them the first to ask.
pub(super) type Deep = (Reverse<usize>, CallNumber);

/// The order of those that wait for the same: the deepest first, then by their turns, then by when they came.
pub(super) type Rank = (Reverse<usize>, Turn, CallNumber);

pub(super) type LaneId = u64;

/// The lane of all that need a place and nothing else.
pub(super) const PLAIN: LaneId = 0;

/// A lane that is longer than so many rounds, and so many calls, is a flood.
pub(super) const ROUNDS: usize = 8;
pub(super) const CALLS: usize = 32;

/// What is waited for. The tool comes first, so that the lanes of one are found.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Kind {
    pub(super) tool: Option<Arc<str>>,
    pub(super) component: Option<Arc<str>>,
    pub(super) alone: bool,
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) kind: Kind,
    /// As the latest call needs it: settings may have changed.
    pub(super) need: Need,
    pub(super) deep: BTreeSet<Deep>,
    pub(super) flows: HashMap<Who, Flow>,
    /// Those who wait for room in the tool, in their order.
    pub(super) apart: BTreeSet<(Turn, CallNumber, Who)>,
    pub(super) offered: Option<Offer>,
    /// Of all who wait.
    pub(super) weight: u64,
    /// All that wait, calls inside of others left out.
    pub(super) count: usize,
    pub(super) crowd: Crowd,
    pub(super) pace: Pace,
}

/// One caller in a lane.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) queue: Queue,
    pub(super) weight: u64,
    /// Its turn among those apart, if it is one of them.
    pub(super) apart: Option<Turn>,
}

/// Whom a lane offers a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Deep(Deep),
    Caller(CallNumber, Who),
}

impl Kind {
    pub(super) fn of(need: &Need) -> Self {
        let Need { tool, component } = need;
        Kind {
            tool: tool.as_ref().map(|ToolRoom { name, .. }| name.clone()),
            component: component.as_ref().map(|ComponentRoom { name, .. }| name.clone()),
            alone: component.as_ref().is_some_and(|component| component.alone),
        }
    }

    /// What has one time.
    pub(super) fn timed(&self) -> Self {
        match &self.component {
            Some(component) => Kind { component: Some(component.clone()), ..Kind::default() },
            None => self.clone(),
        }
    }
}

impl Lane {
    /// How many calls run beside one another, where there are so many places.
    fn width(&self, places: usize) -> usize {
        let parallel = self.need.tool.as_ref().and_then(|tool| tool.parallel);
        parallel.map_or(places, |parallel| parallel.min(places)).max(1)
    }

    /// How many of a caller's calls run beside one another.
    pub(super) fn round(&self, places: usize, weight: u64) -> usize {
        let width = self.width(places);
        let part = (width as u64).saturating_mul(weight).div_ceil(self.weight.max(weight).max(1));
        usize::try_from(part).unwrap_or(usize::MAX).max(1)
    }

    /// How many calls of all go until the next one of a caller has gone that comes now.
    pub(super) fn turns_of(&self, queue: Option<&Queue>, weight: u64) -> f64 {
        let of_all = self.weight + if queue.is_some() { 0 } else { weight };
        let ahead = queue.map_or(0, Queue::ahead);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let turns = (ahead + 1) as f64 * of_all as f64 / weight.max(1) as f64;
        turns
    }

    /// Whether more wait than go in so many rounds, and more than a few.
    pub(super) fn is_longer_than(&self, rounds: usize, places: usize) -> bool {
        self.count > self.width(places).saturating_mul(rounds).max(CALLS)
    }

    /// Whether a call of the caller would go in its first round.
    pub(super) fn goes_soon(&self, places: usize, queue: Option<&Queue>, weight: u64) -> bool {
        queue.is_none_or(|queue| queue.fresh() < self.round(places, weight))
    }

    /// The calls of a caller that wait here, if any do.
    pub(super) fn queue(&self, who: &Who) -> Option<&Queue> {
        self.flows.get(who).map(|flow| &flow.queue)
    }

    /// The last call of the caller who has most of the lane, by weight, if that is more than this.
    pub(super) fn heavier_than(&self, load: u64) -> Option<CallNumber> {
        self.queue(self.crowd.heavier_than(load)?)?.last()
    }

    /// The first of those that wait for room in the tool, and its rank among those of other lanes.
    pub(super) fn front(&self) -> Option<(Rank, Offer)> {
        if let Some(deep @ (depth, call)) = self.deep.first() {
            return Some(((*depth, 0, *call), Offer::Deep(*deep)));
        }
        let (turn, call, who) = self.apart.first()?;
        Some(((Reverse(0), *turn, *call), Offer::Caller(*call, who.clone())))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty() && self.deep.is_empty()
    }
}

//! Who waits, and who goes next?
//!
//! Whenever something has changed, all go that can; so nobody waits who could run, and whoever comes and finds room passes
//! nobody who waits for the same. No step of it looks at all who wait: it takes the logarithm of their number.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::callers::Callers;
use super::fair::Who;
use super::lane::{Deep, LaneId, PLAIN};
use super::lanes::Lanes;
use super::queue::CallNumber;
use super::room::Room;
use super::share::Shares;
use super::{Around, Need, Slot, Told};
use crate::call::Caller;
use crate::limits::HostLimits;

#[derive(Debug)]
pub(super) struct Line {
    pub(super) limits: HostLimits,
    pub(super) shares: Shares,
    pub(super) room: Room,
    latest: CallNumber,
    pub(super) waiting: HashMap<CallNumber, Waiter>,
    pub(super) callers: Callers,
    pub(super) lanes: Lanes,
    /// The calls inside of others that need a place and nothing else.
    deep: BTreeSet<Deep>,
    /// The same, by whose place they could run in.
    kin: HashMap<Kin, BTreeSet<Deep>>,
}

/// A place, and how many run in it when it can be lent to these.
pub(super) type Kin = (usize, usize);

#[derive(Debug)]
pub(super) struct Waiter {
    /// Whose call it is; nobody's where only the place of a running call is taken again.
    pub(super) who: Option<Who>,
    depth: usize,
    pub(super) lane: LaneId,
    around: Option<Around>,
    pub(super) goes: oneshot::Sender<Told>,
}

/// Those who are told something. That is done when the line is not locked any more, because a slot that nobody takes goes back.
pub(super) type Going = Vec<(oneshot::Sender<Told>, Told)>;

impl Line {
    pub(super) fn new(limits: HostLimits) -> Self {
        Line {
            limits,
            shares: Shares::default(),
            room: Room::new(limits.max_parallel),
            latest: 0,
            waiting: HashMap::new(),
            callers: Callers::default(),
            lanes: Lanes::new(),
            deep: BTreeSet::new(),
            kin: HashMap::new(),
        }
    }

    /// Whether a call can go at once, without passing one that waits for the same.
    pub(super) fn lets_in(&self, need: &Need, around: Option<&Around>) -> bool {
        // If nothing but a place is needed and one is free, nobody waits for it.
        self.room.fits(need, around) && !self.lanes.is_behind(need, depth(around))
    }

    /// A call waits from now on.
    pub(super) fn join(
        &mut self,
        need: &Need,
        around: Option<&Around>,
        caller: &Caller,
    ) -> (CallNumber, oneshot::Receiver<Told>) {
        let known = self.callers.find(&caller.id).cloned();
        match depth(around) {
            0 => {
                let who = known.unwrap_or_else(|| caller.id.as_str().into());
                let weight = self.weight(&who, caller);
                let (call, lane, slot) = self.enlist(need, Some(who.clone()), 0, None);
                self.callers.comes(&who, weight, call);
                let Line { lanes, callers, room, .. } = self;
                lanes.join((lane, &who, call), weight, room.places(), callers, room);
                (call, slot)
            }
            depth => self.join_deep(need, known, depth, around.cloned()),
        }
    }

    /// What a caller weighs: as it did when the first of its calls that wait has come.
    pub(super) fn weight(&self, who: &str, caller: &Caller) -> u64 {
        self.callers.weight(who).unwrap_or_else(|| self.shares.weight(caller))
    }

    /// A call that runs already waits from now on, before all others.
    pub(super) fn join_again(&mut self, need: &Need) -> (CallNumber, oneshot::Receiver<Told>) {
        self.join_deep(need, None, usize::MAX, None)
    }

    fn join_deep(
        &mut self,
        need: &Need,
        who: Option<Who>,
        depth: usize,
        around: Option<Around>,
    ) -> (CallNumber, oneshot::Receiver<Told>) {
        let kin = around.as_ref().map(kin);
        let (call, lane, slot) = self.enlist(need, who, depth, around);
        let deep = (Reverse(depth), call);
        if lane == PLAIN {
            self.deep.insert(deep);
            if let Some(kin) = kin {
                self.kin.entry(kin).or_default().insert(deep);
            }
        } else {
            self.lanes.join_deep(lane, deep, &mut self.callers, &self.room);
        }
        (call, slot)
    }

    fn enlist(
        &mut self,
        need: &Need,
        who: Option<Who>,
        depth: usize,
        around: Option<Around>,
    ) -> (CallNumber, LaneId, oneshot::Receiver<Told>) {
        self.latest += 1;
        let (goes, slot) = oneshot::channel();
        let lane = self.lanes.open(need);
        self.room.waits(need);
        self.waiting.insert(self.latest, Waiter { who, depth, lane, around, goes });
        (self.latest, lane, slot)
    }

    /// A call waits no more, if it did: it goes, or it goes away.
    pub(super) fn part(&mut self, call: CallNumber, goes: bool) -> Option<Waiter> {
        let waiter = self.waiting.remove(&call)?;
        let Line { room, callers, lanes, deep, kin: of_kin, .. } = self;
        if let Some(lane) = lanes.get(waiter.lane) {
            room.waits_no_more(&lane.need);
        }
        let Waiter { who, depth, lane, around, .. } = &waiter;
        let own = (Reverse(*depth), call);
        match who {
            Some(who) if *depth == 0 => {
                lanes.part((*lane, who, call), goes, callers, room);
                callers.goes(who, call);
            }
            _ if *lane == PLAIN => {
                deep.remove(&own);
                let kin = around.as_ref().map(kin);
                if let Some((kin, calls)) = kin.and_then(|kin| Some((kin, of_kin.get_mut(&kin)?))) {
                    calls.remove(&own);
                    if calls.is_empty() {
                        of_kin.remove(&kin);
                    }
                }
            }
            _ => lanes.part_deep(*lane, own, callers, room),
        }
        Some(waiter)
    }

    /// Takes back what a slot holds. Says to whom its place can be lent from now on.
    pub(super) fn take_back(&mut self, need: &Need, place: Option<Arc<()>>) -> Option<Kin> {
        let lent = place.as_ref().map(|place| (Arc::as_ptr(place).addr(), Arc::strong_count(place) - 1));
        let Line { room, callers, lanes, .. } = self;
        room.leave(need, place);
        lanes.changed(need, callers, room);
        lent
    }

    /// Gives what is needed, where it fits.
    pub(super) fn enter(&mut self, line: &Arc<Mutex<Line>>, need: &Need, around: Option<&Around>) -> Slot {
        let Line { room, callers, lanes, .. } = self;
        let slot = room.enter(line, need, around);
        lanes.changed(need, callers, room);
        slot
    }

    /// Lets in all who can go now: also one that can run in a place which can be lent from now on.
    pub(super) fn whose_turn(&mut self, line: &Arc<Mutex<Line>>, lent: Option<Kin>) -> Going {
        let (mut going, mut now) = (Vec::new(), None);
        while let Some(call) = self.next(lent) {
            let now = *now.get_or_insert_with(Instant::now);
            let Some(gone) = self.goes(line, call, now) else { break };
            going.push(gone);
        }
        going
    }

    fn goes(
        &mut self,
        line: &Arc<Mutex<Line>>,
        call: CallNumber,
        now: Instant,
    ) -> Option<(oneshot::Sender<Told>, Told)> {
        let Waiter { who, depth, lane, .. } = self.waiting.get(&call)?;
        let (who, depth, lane) = (who.clone(), *depth, *lane);
        let need = self.lanes.get(lane)?.need.clone();
        if let Some(who) = who.as_ref().filter(|_| depth == 0) {
            self.lanes.served(lane, who, now, &mut self.callers);
        }
        let Waiter { around, goes, .. } = self.part(call, true)?;
        let taken = self.room.taken();
        let slot = self.enter(line, &need, around.as_ref());
        if let Some(who) = who.filter(|_| depth > 0 && self.room.taken() > taken) {
            // What a caller's calls do beside themselves is a part of what it gets.
            self.callers.served(&who, false);
        }
        Some((goes, Told::Goes(slot)))
    }

    /// Who goes next, if anybody can.
    fn next(&mut self, lent: Option<Kin>) -> Option<CallNumber> {
        if self.room.is_full() {
            let lends = |deep: &&Deep| {
                let waiter = self.waiting.get(&deep.1);
                waiter.and_then(|waiter| waiter.around.as_ref()).is_some_and(Around::lends)
            };
            let kin = lent.and_then(|lent| self.kin.get(&lent)?.first()).filter(lends);
            return kin.into_iter().chain(self.lanes.deep().find(lends)).min().map(|(_, call)| *call);
        }
        let deepest = self.deep.first().into_iter().chain(self.lanes.deep().next()).min();
        if let Some((_, call)) = deepest {
            return Some(*call);
        }
        let Line { callers, lanes, room, .. } = self;
        loop {
            let (who, call, lane) = callers.first()?;
            if lanes.may_go(lane, &who.clone(), callers, room) {
                return Some(call);
            }
        }
    }

    /// Whether nothing is left of those that waited.
    #[cfg(test)]
    pub(super) fn is_forgotten(&self) -> bool {
        let Line { waiting, callers, lanes, deep, kin, .. } = self;
        waiting.is_empty() && callers.is_forgotten() && lanes.is_forgotten() && deep.is_empty() && kin.is_empty()
    }

    /// Whether one that has waited for as long as anybody waits is to wait no more: those that wait for room in their own
    /// tool may wait on, as long as no newer ones go before them.
    pub(super) fn gives_up(&self, call: CallNumber) -> bool {
        let Some(Waiter { who: Some(who), lane, .. }) = self.waiting.get(&call) else { return false };
        let Some(lane) = self.lanes.get(*lane) else { return false };
        !lane.need.is_more_than_a_place() || lane.queue(who).is_some_and(|queue| queue.is_aside(call))
    }
}

/// How deep a call is inside of others.
pub(super) fn depth(around: Option<&Around>) -> usize {
    around.map_or(0, |around| around.depth + 1)
}

fn kin(around: &Around) -> Kin {
    (Weak::as_ptr(&around.place).addr(), around.users)
}

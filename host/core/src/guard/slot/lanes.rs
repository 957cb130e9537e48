//! Whom do they hold up? A lane for each tool that has limits of its own, and one for all others.
//!
//! A call whose tool has room waits for a place and nothing else: it is *offered* to the turns of the callers. It is found only
//! when its turn has come that its tool has no room; then its caller is set *apart* in the lane, where callers take turns for
//! that room by a time of the lane's own: what a caller gets elsewhere does not put it back here, and who waits here is
//! held up nowhere else. When there is room, the first of those apart is offered a place.
//!
//! The lanes of a component with a tool that runs alone have one time together. None of them passes a lane that it cannot run
//! beside and whose first call comes before its own: who waits to be alone would wait for ever if others still came in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::Need;
use super::callers::Callers;
use super::fair::{Fair, Who};
use super::lane::{Deep, Flow, Kind, Lane, LaneId, Offer, PLAIN, ROUNDS};
use super::queue::{CallNumber, Queue};
use super::room::Room;

/// For how long it is remembered of a lane that one was refused there because of a flood.
const FLOOD: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<LaneId, Lane>,
    kinds: BTreeMap<Kind, LaneId>,
    /// The lanes that have one time together: of a component, or of a tool.
    times: HashMap<Kind, Time>,
    /// The first call inside of another one in each lane, where there is room for it.
    deep: BTreeSet<(Deep, LaneId)>,
    /// Where calls were refused because of a flood, and until when that is remembered.
    floods: HashMap<Kind, Instant>,
    latest: LaneId,
}

#[derive(Debug, Default)]
struct Time {
    fair: Fair,
    lanes: BTreeSet<LaneId>,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Lanes { lanes: HashMap::from([(PLAIN, Lane::default())]), ..Lanes::default() }
    }

    pub(super) fn get(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.get(&id)
    }

    /// The lane of a need, if somebody waits there.
    pub(super) fn find(&self, need: &Need) -> Option<&Lane> {
        if *need == Need::default() {
            return self.lanes.get(&PLAIN);
        }
        self.lanes.get(self.kinds.get(&Kind::of(need))?)
    }

    /// The lane of a need.
    pub(super) fn open(&mut self, need: &Need) -> LaneId {
        if *need == Need::default() {
            return PLAIN;
        }
        let kind = Kind::of(need);
        let id = *self.kinds.entry(kind.clone()).or_insert_with(|| {
            self.latest += 1;
            self.latest
        });
        let lane = self.lanes.entry(id).or_insert_with(|| {
            self.times.entry(kind.timed()).or_default().lanes.insert(id);
            Lane { kind, ..Lane::default() }
        });
        if lane.need != *need {
            lane.need = need.clone();
        }
        id
    }

    /// A call is refused because of a flood.
    pub(super) fn flooded(&mut self, need: &Need, now: Instant) {
        self.floods.retain(|_, until| *until > now);
        self.floods.insert(Kind::of(need), now + FLOOD);
    }

    /// Whether calls were refused there because of a flood a moment ago.
    pub(super) fn is_flooded(&self, need: &Need) -> bool {
        !self.floods.is_empty() && self.floods.get(&Kind::of(need)).is_some_and(|until| *until > Instant::now())
    }

    /// Whether one so deep would pass somebody who waits for the same.
    pub(super) fn is_behind(&self, need: &Need, depth: usize) -> bool {
        if self.kinds.is_empty() || *need == Need::default() {
            return false;
        }
        let kind = Kind::of(need);
        let waits = |lane: &Lane| lane.front().is_some_and(|((other, ..), _)| other.0 >= depth);
        let same = self.kinds.get(&kind).and_then(|id| self.lanes.get(id)).is_some_and(waits);
        same || self.rivals(&kind).any(|(_, lane)| waits(lane))
    }

    /// A call waits, where there are so many places.
    pub(super) fn join(
        &mut self,
        (id, who, call): (LaneId, &Who, CallNumber),
        weight: u64,
        places: usize,
        callers: &mut Callers,
        room: &Room,
    ) {
        let has_room = self.has_room(id, room);
        let is_flooded = self.get(id).is_some_and(|lane| self.is_flooded(&lane.need));
        self.unlist(id, who, callers);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let mut of_lane = lane.weight;
        let flow = lane.flows.entry(who.clone()).or_insert_with(|| {
            of_lane += weight;
            let time = if has_room { None } else { self.times.get_mut(&lane.kind.timed()) };
            Flow { queue: Queue::default(), weight, apart: time.map(|time| time.fair.comes(who, weight)) }
        });
        lane.weight = of_lane;
        if id != PLAIN {
            lane.crowd.change(who, flow.weight, flow.queue.len(), flow.queue.len() + 1);
        }
        let weight = flow.weight;
        lane.count += 1;
        let (round, is_flood) = (lane.round(places, weight), is_flooded || lane.is_longer_than(ROUNDS, places));
        if let Some(flow) = lane.flows.get_mut(who) {
            flow.queue.push(call, round, is_flood);
        }
        self.list(id, who, callers);
        self.look_at(id, callers, room);
    }

    /// A call waits no more; it goes, or it goes away.
    pub(super) fn part(
        &mut self,
        (id, who, call): (LaneId, &Who, CallNumber),
        goes: bool,
        callers: &mut Callers,
        room: &Room,
    ) {
        self.unlist(id, who, callers);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let round = lane.round(room.places(), lane.flows.get(who).map_or(1, |flow| flow.weight));
        let Some(flow) = lane.flows.get_mut(who) else { return };
        let before = flow.queue.len();
        if goes {
            flow.queue.served(call, round)
        } else {
            flow.queue.remove(call)
        }
        lane.count -= before - flow.queue.len();
        if id != PLAIN {
            lane.crowd.change(who, flow.weight, before, flow.queue.len());
        }
        if flow.queue.len() == 0 {
            lane.weight -= flow.weight;
            if flow.apart.is_some()
                && let Some(time) = self.times.get_mut(&lane.kind.timed())
            {
                time.fair.goes(who);
            }
            lane.flows.remove(who);
        }
        self.list(id, who, callers);
        self.look_at(id, callers, room);
        self.close(id);
    }

    /// A call inside of another one waits.
    pub(super) fn join_deep(&mut self, id: LaneId, deep: Deep, callers: &mut Callers, room: &Room) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.deep.insert(deep);
        }
        self.look_at(id, callers, room);
    }

    /// A call inside of another one waits no more.
    pub(super) fn part_deep(&mut self, id: LaneId, deep: Deep, callers: &mut Callers, room: &Room) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.deep.remove(&deep);
        }
        self.look_at(id, callers, room);
        self.close(id);
    }

    /// Those inside of others that are offered a place, the first to go first.
    pub(super) fn deep(&self) -> impl Iterator<Item = &Deep> {
        self.deep.iter().map(|(deep, _)| deep)
    }

    /// Whether there is room for what was offered; if not, its caller is set apart.
    pub(super) fn may_go(&mut self, id: LaneId, who: &Who, callers: &mut Callers, room: &Room) -> bool {
        let is_apart = |lane: &Lane| lane.flows.get(who).is_some_and(|flow| flow.apart.is_some());
        if id == PLAIN || self.get(id).is_some_and(is_apart) || self.has_room(id, room) {
            return true;
        }
        self.unlist(id, who, callers);
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        if let Some(flow) = lane.flows.get_mut(who) {
            let time = self.times.entry(lane.kind.timed()).or_default();
            flow.apart = Some(time.fair.comes(who, flow.weight));
        }
        self.list(id, who, callers);
        self.look_at(id, callers, room);
        false
    }

    /// A call of a caller goes: if it was apart, it has had its turn there.
    pub(super) fn served(&mut self, id: LaneId, who: &Who, now: Instant, callers: &mut Callers) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.pace.step(now);
        let is_apart = lane.flows.get(who).is_some_and(|flow| flow.apart.is_some());
        callers.served(who, is_apart);
        if !is_apart {
            return;
        }
        let Some(time) = self.times.get_mut(&lane.kind.timed()) else { return };
        let turn = time.fair.served(who);
        for id in time.lanes.clone() {
            self.unlist(id, who, callers);
            let flow = self.lanes.get_mut(&id).and_then(|lane| lane.flows.get_mut(who));
            if let Some(apart) = flow.and_then(|flow| flow.apart.as_mut()) {
                *apart = turn;
            }
            self.list(id, who, callers);
        }
    }

    /// What is needed there was taken, or given back.
    pub(super) fn changed(&mut self, need: &Need, callers: &mut Callers, room: &Room) {
        if self.kinds.is_empty() {
            return;
        }
        let Kind { tool, component, .. } = Kind::of(need);
        if tool.is_some() {
            let first = Kind { tool, ..Kind::default() };
            let of_tool = self.kinds.range(first.clone()..).take_while(|(kind, _)| kind.tool == first.tool);
            for id in of_tool.map(|(_, id)| *id).collect::<Vec<_>>() {
                self.look_at(id, callers, room);
            }
        }
        let timed = component.map(|component| Kind { component: Some(component), ..Kind::default() });
        if let Some(id) = timed.and_then(|timed| self.times.get(&timed)?.lanes.first().copied()) {
            self.look_at(id, callers, room);
        }
    }

    /// Whether a call that comes finds room in its tool, without passing one that waits for that.
    fn has_room(&self, id: LaneId, room: &Room) -> bool {
        let Some(lane) = self.lanes.get(&id).filter(|_| id != PLAIN) else { return true };
        lane.front().is_none()
            && room.has_leave(&lane.need)
            && self.rivals(&lane.kind).all(|(_, rival)| rival.front().is_none())
    }

    /// The lanes whose calls cannot run beside those of that kind, its own left out.
    fn rivals(&self, kind: &Kind) -> impl Iterator<Item = (LaneId, &Lane)> {
        let time = kind.component.as_ref().and_then(|_| self.times.get(&kind.timed()));
        let lanes = time.into_iter().flat_map(|time| &time.lanes).filter_map(|id| Some((*id, self.lanes.get(id)?)));
        lanes.filter(move |(_, lane)| lane.kind != *kind && (lane.kind.alone || kind.alone))
    }

    /// Looks again at what a lane offers, and those that have one time with it.
    fn look_at(&mut self, id: LaneId, callers: &mut Callers, room: &Room) {
        let Some(lane) = self.lanes.get(&id).filter(|_| id != PLAIN) else { return };
        let Some(time) = self.times.get(&lane.kind.timed()) else { return };
        for id in time.lanes.clone() {
            let offer = self.offer_of(id, room);
            let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.offered != offer) else { continue };
            match std::mem::replace(&mut lane.offered, offer.clone()) {
                Some(Offer::Deep(deep)) => drop(self.deep.remove(&(deep, id))),
                Some(Offer::Caller(call, who)) => callers.withdraw(&who, call, id, true),
                None => {}
            }
            match offer {
                Some(Offer::Deep(deep)) => drop(self.deep.insert((deep, id))),
                Some(Offer::Caller(call, who)) => callers.offer(&who, call, id, true),
                None => {}
            }
        }
    }

    fn offer_of(&self, id: LaneId, room: &Room) -> Option<Offer> {
        let lane = self.lanes.get(&id)?;
        let (rank, offer) = lane.front().filter(|_| room.has_leave(&lane.need))?;
        let is_held = self.rivals(&lane.kind).any(|(_, rival)| rival.front().is_some_and(|(other, _)| other < rank));
        (!is_held).then_some(offer)
    }

    /// Takes a caller out of the order in which it stands, before that changes.
    fn unlist(&mut self, id: LaneId, who: &Who, callers: &mut Callers) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(flow) = lane.flows.get(who) else { return };
        match (flow.queue.next(), flow.apart) {
            (Some(next), Some(turn)) => drop(lane.apart.remove(&(turn, next, who.clone()))),
            (Some(next), None) => callers.withdraw(who, next, id, false),
            (None, _) => {}
        }
    }

    /// Puts a caller where it belongs.
    fn list(&mut self, id: LaneId, who: &Who, callers: &mut Callers) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(flow) = lane.flows.get(who) else { return };
        match (flow.queue.next(), flow.apart) {
            (Some(next), Some(turn)) => drop(lane.apart.insert((turn, next, who.clone()))),
            (Some(next), None) => callers.offer(who, next, id, false),
            (None, _) => {}
        }
    }

    #[cfg(test)]
    pub(super) fn is_forgotten(&self) -> bool {
        let Lanes { lanes, kinds, times, deep, .. } = self;
        let nobody = |lane: &Lane| {
            lane.is_empty() && (lane.weight, lane.count) == (0, 0) && lane.apart.is_empty() && lane.crowd.is_empty()
        };
        lanes.len() == 1 && lanes.values().all(nobody) && kinds.is_empty() && times.is_empty() && deep.is_empty()
    }

    /// Forgets a lane in which nobody waits.
    fn close(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.is_empty()) else { return };
        lane.pace.rest();
        if id == PLAIN {
            return;
        }
        let timed = lane.kind.timed();
        self.kinds.remove(&lane.kind);
        if let Some(time) = self.times.get_mut(&timed) {
            time.lanes.remove(&id);
            if time.lanes.is_empty() {
                self.times.remove(&timed);
            }
        }
        self.lanes.remove(&id);
    }
}

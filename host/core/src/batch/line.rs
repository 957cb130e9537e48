//! Whose turn is it? The calls of a batch while it runs: a call goes as soon as those in its way have ended, and there is room.
//!
//! It decides, and does nothing: what comes, goes and ends is told to it.

use std::collections::{BTreeSet, HashMap};

use super::plan::{Plan, Planned};

/// The calls of a batch, by their place in its order.
#[derive(Debug)]
pub struct Line {
    plan: Plan,
    calls: Vec<Place>,
    /// Those that have come, and for which nothing is in the way.
    ready: BTreeSet<usize>,
    running: usize,
    running_of: HashMap<String, usize>,
    max_parallel: usize,
}

#[derive(Debug, Default)]
struct Place {
    stands: Stands,
    /// Those that are in its way and have not ended.
    waits_for: BTreeSet<usize>,
    /// Whether earlier calls are in its way, or were before they ended.
    is_behind: bool,
    /// Those in whose way it may be.
    holds_up: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stands {
    /// It is looked at, and perhaps asked about.
    #[default]
    Away,
    /// It may run, and waits for its turn.
    Waiting,
    Running,
    Ended,
}

impl Line {
    /// A line in which so many calls run at once, and at least one.
    #[must_use]
    pub fn new(max_parallel: usize) -> Self {
        Line {
            plan: Plan::default(),
            calls: Vec::new(),
            ready: BTreeSet::new(),
            running: 0,
            running_of: HashMap::new(),
            max_parallel: max_parallel.max(1),
        }
    }

    /// Adds a call behind the others, and says its place.
    pub fn push(&mut self, call: Planned) -> usize {
        let index = self.calls.len();
        self.plan.push(call);
        let (waits_for, is_behind) = self.in_its_way(index);
        for earlier in &waits_for {
            self.hold_up(*earlier, index);
        }
        self.calls.push(Place { waits_for, is_behind, ..Place::default() });
        index
    }

    /// The earlier calls that are in its way and have not ended; and whether any is or was.
    fn in_its_way(&self, index: usize) -> (BTreeSet<usize>, bool) {
        let all: Vec<usize> = (0..index).filter(|earlier| self.plan.is_in_the_way(*earlier, index)).collect();
        let is_behind = !all.is_empty();
        (all.into_iter().filter(|earlier| !self.has_ended(*earlier)).collect(), is_behind)
    }

    /// A call may run, and wants to. Where it was edited meanwhile, it is another one now: it also waits for those that run and
    /// were not in its way before.
    pub fn comes(&mut self, index: usize, edited: Option<Planned>) {
        if let Some(edited) = edited {
            self.edit(index, edited);
        }
        if let Some(place) = self.calls.get_mut(index).filter(|place| place.stands == Stands::Away) {
            place.stands = Stands::Waiting;
            if place.waits_for.is_empty() {
                self.ready.insert(index);
            }
        }
    }

    fn edit(&mut self, index: usize, edited: Planned) {
        self.plan.edit(index, edited);
        let runs = |at: usize| self.calls.get(at).is_some_and(|place| place.stands == Stands::Running);
        let (before, is_behind) = self.in_its_way(index);
        let behind = (index + 1..self.calls.len()).filter(|at| runs(*at) && self.plan.is_in_the_way(index, *at));
        let waits_for: BTreeSet<usize> = before.into_iter().chain(behind).collect();
        for at in &waits_for {
            self.hold_up(*at, index);
        }
        if let Some(place) = self.calls.get_mut(index) {
            (place.waits_for, place.is_behind) = (waits_for, is_behind);
        }
        for later in index + 1..self.calls.len() {
            let is_in_the_way = self.plan.is_in_the_way(index, later);
            let Some(place) = self.calls.get_mut(later) else { continue };
            place.is_behind |= is_in_the_way;
            let may_wait = matches!(place.stands, Stands::Away | Stands::Waiting);
            match is_in_the_way && may_wait {
                true => drop(place.waits_for.insert(index)),
                false => drop(place.waits_for.remove(&index)),
            }
            if place.stands == Stands::Waiting {
                match place.waits_for.is_empty() {
                    true => drop(self.ready.insert(later)),
                    false => drop(self.ready.remove(&later)),
                }
            }
            if is_in_the_way && may_wait {
                self.hold_up(index, later);
            }
        }
    }

    fn hold_up(&mut self, earlier: usize, later: usize) {
        if let Some(place) = self.calls.get_mut(earlier) {
            place.holds_up.insert(later);
        }
    }

    /// Those that go now, the first of the batch first.
    pub fn go(&mut self) -> Vec<usize> {
        let mut going = Vec::new();
        for index in self.ready.clone() {
            if self.running == self.max_parallel {
                break;
            }
            let Some(call) = self.plan.calls().get(index) else { continue };
            let running_of = self.running_of.entry(call.tool.clone()).or_default();
            if call.room.is_some_and(|room| *running_of >= room) {
                continue;
            }
            *running_of += 1;
            self.running += 1;
            self.ready.remove(&index);
            if let Some(place) = self.calls.get_mut(index) {
                place.stands = Stands::Running;
            }
            going.push(index);
        }
        going
    }

    /// A call has ended, perhaps before its turn.
    pub fn ends(&mut self, index: usize) {
        let Some(place) = self.calls.get_mut(index) else { return };
        let stood = std::mem::replace(&mut place.stands, Stands::Ended);
        place.waits_for.clear();
        let held_up = std::mem::take(&mut place.holds_up);
        self.ready.remove(&index);
        if stood == Stands::Running {
            self.running -= 1;
            let tool = self.plan.calls().get(index).map(|call| call.tool.as_str()).unwrap_or_default();
            self.running_of.entry(tool.to_owned()).and_modify(|running| *running -= 1);
        }
        for later in held_up {
            let Some(place) = self.calls.get_mut(later) else { continue };
            let was_last = place.waits_for.remove(&index) && place.waits_for.is_empty();
            if was_last && place.stands == Stands::Waiting {
                self.ready.insert(later);
            }
        }
    }

    /// Whether earlier calls are in its way, or were before they ended.
    #[must_use]
    pub fn is_behind_others(&self, index: usize) -> bool {
        self.calls.get(index).is_some_and(|place| place.is_behind)
    }

    /// The calls, and which waits for which.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn has_ended(&self, index: usize) -> bool {
        self.calls.get(index).is_some_and(|place| place.stands == Stands::Ended)
    }
}

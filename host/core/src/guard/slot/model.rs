//! The line in the fewest words: lists that are walked from end to end, and nothing kept that can be found. The real one must
//! do the same, whatever is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::lane::{CALLS, ROUNDS};
use super::{Asked, Need, ShareRule, Shares, Slot, Slots, Told, ToolRoom, Waiting};
use crate::call::Caller;
use crate::check::authorize::Pattern;
use crate::deadline::Deadline;
use crate::limits::HostLimits;

const UNIT: u64 = 1 << 20;
const CALLERS: [(&str, u64); 4] = [("ann", 1), ("bob", 1), ("cid", 3), ("", 1)];
/// A tool without limits, one with room for one, one with room for two and for few that wait, one with that alone.
const TOOLS: [(Option<usize>, Option<usize>); 4] = [(None, None), (Some(1), None), (Some(2), Some(5)), (None, Some(4))];

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask { caller: usize, tool: usize },
    End(usize),
    GoAway(usize),
}

/// Turns in virtual time.
#[derive(Default)]
struct Turns {
    now: u64,
    of: BTreeMap<usize, u64>,
}

impl Turns {
    fn comes(&mut self, who: usize) -> u64 {
        let turn = self.of.entry(who).or_default();
        *turn = self.now.max(*turn);
        *turn
    }

    fn served(&mut self, who: usize, of_all: u64) -> u64 {
        let begins = self.of[&who].max(self.now.saturating_sub(UNIT));
        self.now = begins.max(self.now + UNIT / of_all);
        self.of.insert(who, begins + UNIT / CALLERS[who].1);
        self.of[&who]
    }
}

/// The calls of a caller for a tool.
#[derive(Clone, Default)]
struct Flow {
    /// Each with how many had gone when it came, and whether it is late.
    calls: Vec<(u64, usize, bool)>,
    gone: usize,
    floods: bool,
    apart: Option<u64>,
}

impl Flow {
    fn next(&self) -> Option<u64> {
        let fresh = self.calls.iter().find(|(_, _, late)| self.floods && !late);
        fresh.or(self.calls.first()).map(|(call, ..)| *call)
    }

    fn last(&self) -> Option<u64> {
        let aside = self.calls.iter().rfind(|(_, _, late)| self.floods && *late);
        aside.or(self.calls.last()).map(|(call, ..)| *call)
    }
}

#[derive(Default)]
struct Model {
    places: usize,
    max_waiting: usize,
    latest: u64,
    flows: BTreeMap<(usize, usize), Flow>,
    turns: Turns,
    of_tool: BTreeMap<usize, Turns>,
    running: Vec<(u64, usize)>,
    /// The tools of which calls were refused because of a flood. No time passes here, so that is not forgotten.
    flooded: BTreeSet<usize>,
    /// Of each caller who waits, whether the last of its calls had waited for its tool.
    kept_last: BTreeMap<usize, bool>,
}

impl Model {
    fn waiting(&self, fits: impl Fn(usize, usize) -> bool) -> usize {
        self.flows.iter().filter(|((who, tool), _)| fits(*who, *tool)).map(|(_, flow)| flow.calls.len()).sum()
    }

    fn waits(&self, who: usize) -> bool {
        self.waiting(|other, _| other == who) > 0
    }

    fn has_leave(&self, tool: usize) -> bool {
        let running = self.running.iter().filter(|(_, other)| *other == tool).count();
        TOOLS[tool].0.is_none_or(|parallel| running < parallel)
    }

    /// The first of those apart.
    fn front(&self, tool: usize) -> Option<(u64, u64, &str, usize)> {
        let of_tool = self.flows.iter().filter(|((_, other), _)| *other == tool);
        let apart = of_tool.filter_map(|((who, _), flow)| Some((flow.apart?, flow.next()?, CALLERS[*who].0, *who)));
        apart.min()
    }

    fn width(&self, tool: usize) -> usize {
        TOOLS[tool].0.unwrap_or(usize::MAX).min(self.places)
    }

    fn is_longer(&self, tool: usize, rounds: usize) -> bool {
        self.waiting(|_, other| other == tool) > (self.width(tool) * rounds).max(CALLS)
    }

    fn round(&self, tool: usize, who: usize) -> usize {
        let of_all: u64 = self.flows.keys().filter(|(_, other)| *other == tool).map(|(who, _)| CALLERS[*who].1).sum();
        let width = self.width(tool) as u64;
        (width * CALLERS[who].1).div_ceil(of_all.max(CALLERS[who].1)).max(1) as usize
    }

    /// Whose last call makes way, among those who have most of what fits, if they have more than this.
    fn heavier(&self, load: u64, fits: impl Fn(usize) -> bool + Copy) -> Option<usize> {
        let load_of =
            |who: usize| self.waiting(|other, tool| other == who && fits(tool)) as u64 * UNIT / CALLERS[who].1;
        let most = (0..CALLERS.len()).map(|who| (load_of(who), CALLERS[who].0, who)).max()?;
        (most.0 > load).then_some(most.2)
    }

    /// A call is refused, and perhaps another one.
    fn refuse(&mut self, tool: usize, is_flood: bool, aside: Option<u64>) -> Result<Option<u64>, Option<u64>> {
        if is_flood {
            self.flooded.insert(tool);
            aside.into_iter().for_each(|call| self.make_way(call));
        }
        if is_flood { Err(aside) } else { Err(None) }
    }

    fn make_way(&mut self, call: u64) {
        let lane = self.flows.iter().find(|(_, flow)| flow.calls.iter().any(|(other, ..)| *other == call));
        let tool = lane.map(|((_, tool), _)| *tool).unwrap();
        if self.is_longer(tool, 2) {
            self.flooded.insert(tool);
        }
        self.part(call, false);
    }

    /// Whether a call goes or waits, and which other one makes way.
    fn ask(&mut self, who: usize, tool: usize) -> Result<Option<u64>, Option<u64>> {
        if self.running.len() < self.places && self.has_leave(tool) && self.front(tool).is_none() {
            self.latest += 1;
            self.running.push((self.latest, tool));
            return Ok(None);
        }
        let load = |calls: usize| (calls + 1) as u64 * UNIT / CALLERS[who].1;
        let (mut makes_way, is_long) = (None, self.is_longer(tool, 2));
        let flow = self.flows.get(&(who, tool));
        let goes_soon =
            flow.is_none_or(|flow| flow.calls.iter().filter(|call| !call.2).count() < self.round(tool, who));
        let aside =
            flow.filter(|flow| flow.floods).and_then(|flow| flow.calls.iter().rfind(|call| call.2).map(|call| call.0));
        let own = aside.filter(|_| goes_soon);
        if self.flooded.contains(&tool) && !goes_soon {
            return self.refuse(tool, true, aside);
        }
        if TOOLS[tool].1.is_some_and(|most| self.waiting(|_, other| other == tool) >= most) {
            let mine = self.waiting(|other, same| other == who && same == tool);
            let heavier = self.heavier(load(mine), |other| other == tool);
            makes_way = heavier.and_then(|heavier| self.flows[&(heavier, tool)].last()).or(own);
            if makes_way.is_none() {
                return self.refuse(tool, is_long, aside);
            }
        } else if self.waiting(|_, _| true) >= self.max_waiting {
            let mine = self.waiting(|other, _| other == who);
            let heavier = self.heavier(load(mine), |_| true);
            let flows = self.flows.iter().filter(|((who, _), _)| Some(*who) == heavier);
            let latest = flows.max_by_key(|(_, flow)| flow.calls.last().map(|(call, ..)| *call));
            makes_way = latest.and_then(|(_, flow)| flow.last()).or(own);
            if makes_way.is_none() {
                return self.refuse(tool, is_long, aside);
            }
        }
        if let Some(call) = makes_way {
            self.make_way(call);
        }
        self.latest += 1;
        if !self.waits(who) {
            self.turns.comes(who);
        }
        let has_room = self.has_leave(tool) && self.front(tool).is_none();
        let is_new = !self.flows.contains_key(&(who, tool));
        if is_new && tool > 0 && !has_room {
            let turn = self.of_tool.entry(tool).or_default().comes(who);
            self.flows.insert((who, tool), Flow { apart: Some(turn), ..Flow::default() });
        }
        let flow = self.flows.entry((who, tool)).or_default();
        flow.calls.push((self.latest, flow.gone, false));
        let round = self.round(tool, who);
        let is_flood = self.flooded.contains(&tool) || self.is_longer(tool, ROUNDS);
        let flow = self.flows.entry((who, tool)).or_default();
        flow.floods |= is_flood && flow.calls.len() > round;
        self.settle();
        Ok(makes_way)
    }

    fn part(&mut self, call: u64, goes: bool) -> Option<usize> {
        let (key, _) = self.flows.iter().find(|(_, flow)| flow.calls.iter().any(|(other, ..)| *other == call))?;
        let (key @ (who, tool), round) = (*key, self.round(key.1, key.0));
        let flow = self.flows.get_mut(&key)?;
        if goes {
            flow.gone += 1;
            flow.calls.iter_mut().for_each(|(_, came, late)| *late |= *came + round <= flow.gone);
        }
        flow.calls.retain(|(other, ..)| *other != call);
        flow.floods &= flow.calls.iter().any(|(_, _, late)| *late);
        if flow.calls.is_empty() {
            self.flows.remove(&key);
            if !self.flows.iter().any(|((_, other), flow)| *other == tool && flow.apart.is_some()) {
                self.of_tool.entry(tool).and_modify(|turns| turns.of.clear());
            }
            if !self.flows.keys().any(|(_, other)| *other == tool) {
                self.of_tool.remove(&tool);
            }
        }
        if !self.waits(who) {
            self.kept_last.remove(&who);
        }
        if self.flows.is_empty() {
            self.turns.of.clear();
        }
        Some(who)
    }

    fn settle(&mut self) {
        while self.running.len() < self.places {
            let offers = self.flows.iter().filter_map(|((who, tool), flow)| {
                let is_offered = match flow.apart {
                    None => true,
                    Some(_) => self.has_leave(*tool) && self.front(*tool).is_some_and(|front| front.3 == *who),
                };
                let next = flow.next().filter(|_| is_offered)?;
                Some((self.turns.of[who], next, CALLERS[*who].0, *who, *tool))
            });
            // For each caller the first of what it is offered; now of what was kept for it, now of all else.
            let mut first = BTreeMap::new();
            for (turn, call, name, who, tool) in offers {
                let is_apart = self.flows[&(who, tool)].apart.is_some();
                let is_second = self.kept_last.get(&who).copied().unwrap_or_default() == is_apart;
                let offer = (is_second, call, turn, name, who, tool, is_apart);
                let before = first.entry(who).or_insert(offer);
                *before = offer.min(*before);
            }
            let first = first.into_values().min_by_key(|(_, call, turn, name, ..)| (*turn, *call, *name));
            let Some((_, call, _, _, who, tool, is_apart)) = first else { return };
            if !is_apart && (!self.has_leave(tool) || self.front(tool).is_some()) {
                let turn = self.of_tool.entry(tool).or_default().comes(who);
                self.flows.entry((who, tool)).and_modify(|flow| flow.apart = Some(turn));
                continue;
            }
            let of_all = (0..CALLERS.len()).filter(|who| self.waits(*who)).map(|who| CALLERS[who].1).sum();
            self.turns.served(who, of_all);
            self.kept_last.insert(who, is_apart);
            if is_apart {
                let apart = self.flows.iter().filter(|((_, other), flow)| *other == tool && flow.apart.is_some());
                let of_all = apart.map(|((who, _), _)| CALLERS[*who].1).sum();
                let turn = self.of_tool.entry(tool).or_default().served(who, of_all);
                self.flows.entry((who, tool)).and_modify(|flow| flow.apart = Some(turn));
            }
            self.part(call, true);
            self.running.push((call, tool));
        }
    }
}

/// The real one, and the calls of it that run and wait by their numbers.
struct Real {
    slots: Slots,
    latest: u64,
    running: BTreeMap<u64, Slot>,
    waiting: BTreeMap<u64, Waiting>,
}

impl Real {
    fn new(max_parallel: usize, max_waiting: usize) -> Self {
        let slots = Slots::new(HostLimits { max_parallel, max_waiting, ..HostLimits::default() });
        let rule = |(id, weight): &(&str, u64)| ShareRule { callers: vec![Pattern::new(id).unwrap()], weight: *weight };
        slots.share_by(Shares::new(CALLERS.iter().map(rule).collect()));
        Real { slots, latest: 0, running: BTreeMap::new(), waiting: BTreeMap::new() }
    }

    fn ask(&mut self, who: usize, tool: usize) -> bool {
        let (parallel, waiting) = TOOLS[tool];
        let room = ToolRoom { name: format!("tool {tool}").into(), parallel, waiting };
        let need = Need { tool: Some(room).filter(|_| tool > 0), component: None };
        let deadline = Deadline::new(Instant::now(), Duration::from_secs(3_600), None, None);
        match self.slots.ask(&need, None, &Caller::named(CALLERS[who].0), deadline) {
            Ok(asked) => {
                self.latest += 1;
                match asked {
                    Asked::Goes(slot) => drop(self.running.insert(self.latest, slot)),
                    Asked::Waits(waiting) => drop(self.waiting.insert(self.latest, waiting)),
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Those that were told to make way.
    fn hear(&mut self) -> Vec<u64> {
        let mut made_way = Vec::new();
        self.waiting.retain(|call, waiting| match waiting.slot.try_recv() {
            Ok(Told::Goes(slot)) => {
                self.running.insert(*call, slot);
                false
            }
            Ok(Told::MakesWay(_)) => {
                made_way.push(*call);
                false
            }
            Err(_) => true,
        });
        made_way
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..CALLERS.len(), 0..TOOLS.len()).prop_map(|(caller, tool)| Step::Ask { caller, tool }),
        3 => (0_usize..1_000).prop_map(Step::End),
        1 => (0_usize..1_000).prop_map(Step::GoAway),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_line_does_what_a_walk_over_all_who_wait_would_do(
        places in 1_usize..5,
        max_waiting in prop_oneof![0_usize..12, 30_usize..90],
        // Some come again and again, so that lines get long.
        often in prop::option::of((0..CALLERS.len(), 0..TOOLS.len())),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _clock = runtime.enter();
        let mut real = Real::new(places, max_waiting);
        let mut model = Model { places, max_waiting, ..Model::default() };
        for step in steps {
            let mut made_way = None;
            match step {
                Step::Ask { caller, tool } => {
                    let (caller, tool) = often.filter(|_| caller > 0).unwrap_or((caller, tool));
                    let asked = model.ask(caller, tool);
                    prop_assert_eq!(real.ask(caller, tool), asked.is_ok());
                    made_way = asked.unwrap_or_else(|made_way| made_way);
                }
                Step::End(which) if !model.running.is_empty() => {
                    let (call, _) = model.running.remove(which % model.running.len());
                    model.settle();
                    prop_assert!(real.running.remove(&call).is_some());
                }
                Step::GoAway(which) if !real.waiting.is_empty() => {
                    let call = *real.waiting.keys().nth(which % real.waiting.len()).unwrap();
                    model.part(call, false);
                    model.settle();
                    real.waiting.remove(&call);
                }
                Step::End(_) | Step::GoAway(_) => {}
            }
            prop_assert_eq!(real.hear(), Vec::from_iter(made_way));
            let mut running: Vec<u64> = model.running.iter().map(|(call, _)| *call).collect();
            running.sort_unstable();
            prop_assert_eq!(real.running.keys().copied().collect::<Vec<_>>(), running, "after {:?}", step);
            prop_assert_eq!(real.slots.in_use(), (model.running.len(), model.waiting(|_, _| true)));
        }
        drop((real.waiting, real.running));
        prop_assert_eq!(real.slots.in_use(), (0, 0));
        prop_assert!(real.slots.remembers_nothing());
    }
}

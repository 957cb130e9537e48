//! How much room is there? What is held of it, and whether one more fits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::{Around, Line, Need, Slot};

#[derive(Debug)]
pub(super) struct Room {
    places: usize,
    taken: usize,
    tools: HashMap<Arc<str>, ToolLoad>,
    components: HashMap<Arc<str>, Held>,
}

/// The calls of a tool; nothing is remembered of one that has none.
#[derive(Debug, Default, PartialEq, Eq)]
struct ToolLoad {
    running: usize,
    waiting: usize,
}

/// Who has a component.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    /// So many calls share it.
    Shared(usize),
    /// One call has it alone.
    Alone,
}

impl Room {
    /// Room with so many places, and at least one.
    pub(super) fn new(places: usize) -> Self {
        Room { places: places.max(1), taken: 0, tools: HashMap::new(), components: HashMap::new() }
    }

    /// From now on there are so many places, and at least one. Those that are taken stay taken.
    pub(super) fn resize(&mut self, places: usize) {
        self.places = places.max(1);
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether every place is taken. One that runs may still lend its own.
    pub(super) fn is_full(&self) -> bool {
        self.taken >= self.places
    }

    pub(super) fn running(&self, tool: &str) -> usize {
        self.tools.get(tool).map_or(0, |load| load.running)
    }

    pub(super) fn waiting(&self, tool: &str) -> usize {
        self.tools.get(tool).map_or(0, |load| load.waiting)
    }

    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// Whether everything that is needed is free.
    pub(super) fn fits(&self, need: &Need, around: Option<&Around>) -> bool {
        self.has_leave(need) && (!self.is_full() || around.is_some_and(Around::lends))
    }

    /// Whether what is needed beside a place is free.
    pub(super) fn has_leave(&self, need: &Need) -> bool {
        let tool = need.tool.as_ref().and_then(|tool| Some(self.running(&tool.name) < tool.parallel?.max(1)));
        let component = need.component.as_ref().is_none_or(|wanted| match self.components.get(&wanted.name) {
            None => true,
            Some(Held::Shared(_)) => !wanted.alone,
            Some(Held::Alone) => false,
        });
        tool.unwrap_or(true) && component
    }

    /// Gives what is needed, where it fits.
    pub(super) fn enter(&mut self, line: &Arc<Mutex<Line>>, need: &Need, around: Option<&Around>) -> Slot {
        if let Some(tool) = &need.tool {
            self.tools.entry(tool.name.clone()).or_default().running += 1;
        }
        if let Some(wanted) = &need.component {
            let held = match self.components.get(&wanted.name) {
                Some(Held::Shared(others)) => Held::Shared(others + 1),
                _ if wanted.alone => Held::Alone,
                _ => Held::Shared(1),
            };
            self.components.insert(wanted.name.clone(), held);
        }
        let lent = around.filter(|around| around.lends()).and_then(|around| Some((around.place.upgrade()?, around)));
        let (place, users) = match lent {
            Some((place, around)) => (place, around.users + 1),
            None => {
                self.taken += 1;
                (Arc::default(), 1)
            }
        };
        let holds_leave = need.is_more_than_a_place() || around.is_some_and(|around| around.holds_leave);
        let depth = around.map_or(0, |around| around.depth + 1);
        Slot { line: line.clone(), need: need.clone(), place: Some(place), users, depth, holds_leave }
    }

    /// Takes back what a slot holds.
    pub(super) fn leave(&mut self, need: &Need, place: Option<Arc<()>>) {
        // Others may still run in it. Its holders come and go under the lock of the line only, so the count is exact.
        if place.is_some_and(|place| Arc::strong_count(&place) == 1) {
            self.taken = self.taken.saturating_sub(1);
        }
        if let Some(tool) = &need.tool {
            self.change(&tool.name, |load| load.running = load.running.saturating_sub(1));
        }
        if let Some(held) = &need.component {
            match self.components.get_mut(&held.name) {
                Some(Held::Shared(shares)) if *shares > 1 => *shares -= 1,
                _ => drop(self.components.remove(&held.name)),
            }
        }
    }

    /// One who needs this waits from now on.
    pub(super) fn waits(&mut self, need: &Need) {
        if let Some(tool) = &need.tool {
            self.change(&tool.name, |load| load.waiting += 1);
        }
    }

    /// One who needs this does not wait any more.
    pub(super) fn waits_no_more(&mut self, need: &Need) {
        if let Some(tool) = &need.tool {
            self.change(&tool.name, |load| load.waiting = load.waiting.saturating_sub(1));
        }
    }

    fn change(&mut self, tool: &Arc<str>, change: impl FnOnce(&mut ToolLoad)) {
        let load = self.tools.entry(tool.clone()).or_default();
        change(load);
        if *load == ToolLoad::default() {
            self.tools.remove(tool);
        }
    }
}

//! Is there room for one more? A bounded number of calls runs at once, a bounded number waits, the rest is refused.
//!
//! A call needs a place in its host, and perhaps its tool's leave: where only so many calls of the tool may run at once
//! (`guard.parallel`), or where one of its component's tools runs alone (`guard.exclusive`). It gets all of it at once or
//! nothing, in the order of asking.
//!
//! **Why nobody waits for ever.** Whoever waits holds nothing, except what the calls around it hold. So a circle of calls
//! that wait for one another could only go through calls inside of calls, and these have three rules:
//! 1. a call inside of another needs no further place: while the one around it waits, it runs in that one's place;
//! 2. it goes before all calls that are less deep, because somebody holds something until it is done;
//! 3. inside of a call that holds a tool's leave, none waits for another leave: it gets it, or is told to come back.
//!
//! By 3 and 1, a call that holds a leave waits at most for calls inside of itself, so every leave is given back; by 1 and 2
//! the deepest call that waits for one is the first to get it.

mod room;
mod seat;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout_at;

pub use self::seat::AWAY_MAX;
pub(crate) use self::seat::Seat;

use self::room::Room;
use crate::deadline::Deadline;
use crate::limits::HostLimits;
use crate::tell::{CallError, ErrorKind, Stage};

/// When one who finds no room should come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// What a call needs in order to run. Every call needs a place; nothing else is said of most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// The tool, where it has limits of its own.
    pub tool: Option<ToolRoom>,
    /// The component, where one of its tools runs alone.
    pub component: Option<ComponentRoom>,
}

/// How many calls of a tool may run, and wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRoom {
    /// The tool's name.
    pub name: Arc<str>,
    /// Calls of it that may run at once.
    pub parallel: Option<usize>,
    /// Calls of it that may wait.
    pub waiting: Option<usize>,
}

/// A share in a component, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentRoom {
    /// The component's name.
    pub name: Arc<str>,
    /// Whether no other tool of the component may run beside it.
    pub alone: bool,
}

impl Need {
    fn is_more_than_a_place(&self) -> bool {
        self.component.is_some() || self.tool.as_ref().is_some_and(|tool| tool.parallel.is_some())
    }
}

/// The places of a host, and those who wait for them.
#[derive(Debug)]
pub struct Slots {
    line: Arc<Mutex<Line>>,
    /// Attempts that have left their places for a while.
    away: Arc<AtomicUsize>,
}

/// Room to run in; dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    line: Arc<Mutex<Line>>,
    need: Need,
    /// The place. All who run in it hold it; the last one frees it.
    place: Option<Arc<()>>,
    /// How many of these calls run in the place: this one, and those around it.
    users: usize,
    depth: usize,
    /// Whether this call, or one around it, holds more than a place.
    holds_leave: bool,
}

/// The slot of a running call, as far as it concerns the calls inside of it.
#[derive(Clone, Debug)]
pub struct Around {
    place: Weak<()>,
    users: usize,
    depth: usize,
    holds_leave: bool,
}

#[derive(Debug)]
struct Line {
    limits: HostLimits,
    room: Room,
    waiting: BTreeMap<Turn, Waiter>,
    latest: u64,
}

/// First the deepest, among them the first to ask.
type Turn = (Reverse<usize>, u64);

#[derive(Debug)]
struct Waiter {
    need: Need,
    around: Option<Around>,
    goes: oneshot::Sender<Slot>,
}

/// One who waits; dropping it leaves the line.
struct Waiting {
    line: Arc<Mutex<Line>>,
    turn: Turn,
    slot: oneshot::Receiver<Slot>,
}

/// Those whose turn it is. They are told when the line is not locked any more, because a slot that nobody takes goes back.
type Going = Vec<(oneshot::Sender<Slot>, Slot)>;

enum Asked {
    Goes(Slot),
    Waits(Waiting),
}

impl Slots {
    /// As many places as the limits say.
    #[must_use]
    pub fn new(limits: HostLimits) -> Self {
        let room = Room::new(limits.max_parallel);
        let line = Line { limits, room, waiting: BTreeMap::new(), latest: 0 };
        Slots { line: Arc::new(Mutex::new(line)), away: Arc::default() }
    }

    /// Whether there is room to run in, or to wait: what would be refused need not prepare for more.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when as many calls wait as may wait.
    pub(crate) fn look(&self, need: &Need, around: Option<&Around>) -> Result<(), CallError> {
        let line = lock(&self.line);
        let goes = around.is_some() || line.waiting.is_empty() && line.room.fits(need, around);
        if goes { Ok(()) } else { line.too_long(need, 1).map_or(Ok(()), Err) }
    }

    /// Waits for room, no longer than until the deadline.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when as many calls wait as may wait, [`ErrorKind::TimedOut`] when no room came free.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn take(
        &self,
        need: &Need,
        around: Option<&Around>,
        deadline: Deadline,
    ) -> Result<Slot, CallError> {
        let mut waiting = match self.ask(need, around)? {
            Asked::Goes(slot) => return Ok(slot),
            Asked::Waits(waiting) => waiting,
        };
        match timeout_at(deadline.at, &mut waiting.slot).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(lost)) => Err(crate::bug!(Stage::Guard, "one who waits was forgotten: {lost}")),
            Err(_) => Err(no_room(need, deadline)),
        }
    }

    /// Waits for a place to go on in, before all others, however long the line is.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn take_again(&self, need: &Need) -> Option<Slot> {
        let mut waiting = self.wait(Reverse(usize::MAX), need, None);
        (&mut waiting.slot).await.ok()
    }

    /// How many have left their places for a while.
    fn away(&self) -> &Arc<AtomicUsize> {
        &self.away
    }

    /// Takes a place of its own, if one is free that nobody waits for.
    #[must_use]
    pub fn take_free(&self, need: &Need, around: Option<&Around>) -> Option<Slot> {
        // What runs beside another one cannot run in its place.
        let around = around.map(|around| Around { place: Weak::new(), ..around.clone() });
        let mut line = lock(&self.line);
        let is_free = line.waiting.is_empty() && line.room.fits(need, None);
        is_free.then(|| line.room.enter(&self.line, need, around.as_ref()))
    }

    /// Goes on with as many places as the limits say. Calls that run keep theirs, and count: where there are more of them
    /// than places, no other begins before enough of them have ended.
    pub fn resize(&self, limits: HostLimits) {
        let mut line = lock(&self.line);
        line.limits = limits;
        line.room.resize(limits.max_parallel);
        let going = line.whose_turn(&self.line);
        drop(line);
        hand_over(going);
    }

    /// What all calls together may use.
    #[must_use]
    pub fn limits(&self) -> HostLimits {
        lock(&self.line).limits
    }

    /// Calls that run, and calls that wait. Calls that run in one place count once.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        let line = lock(&self.line);
        (line.room.taken(), line.waiting.len())
    }

    fn ask(&self, need: &Need, around: Option<&Around>) -> Result<Asked, CallError> {
        let mut line = lock(&self.line);
        let may_wait = !(need.is_more_than_a_place() && around.is_some_and(|around| around.holds_leave));
        if (line.waiting.is_empty() || !may_wait) && line.room.fits(need, around) {
            return Ok(Asked::Goes(line.room.enter(&self.line, need, around)));
        }
        if !may_wait {
            return Err(does_not_wait(need));
        }
        drop(line);
        let waiting = self.wait(Reverse(around.map_or(0, |around| around.depth + 1)), need, around);
        let line = lock(&self.line);
        let busy = line.waiting.contains_key(&waiting.turn).then(|| line.too_long(need, 0)).flatten();
        drop(line);
        busy.map_or(Ok(Asked::Waits(waiting)), Err)
    }

    fn wait(&self, rank: Reverse<usize>, need: &Need, around: Option<&Around>) -> Waiting {
        let mut line = lock(&self.line);
        line.latest += 1;
        let turn = (rank, line.latest);
        let (goes, slot) = oneshot::channel();
        line.waiting.insert(turn, Waiter { need: need.clone(), around: around.cloned(), goes });
        line.room.waits(need);
        let going = line.whose_turn(&self.line);
        drop(line);
        hand_over(going);
        Waiting { line: self.line.clone(), turn, slot }
    }
}

impl Slot {
    /// What concerns the calls inside of the one that runs here.
    #[must_use]
    pub fn around(&self) -> Around {
        let Slot { users, depth, holds_leave, .. } = *self;
        let place = self.place.as_ref().map(Arc::downgrade).unwrap_or_default();
        Around { place, users, depth, holds_leave }
    }
}

impl Around {
    /// Whether nobody runs in the place but the calls around the one that asks.
    fn lends(&self) -> bool {
        self.place.strong_count() == self.users
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut line = lock(&self.line);
        line.room.leave(&self.need, self.place.take());
        let going = line.whose_turn(&self.line);
        drop(line);
        hand_over(going);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut line = lock(&self.line);
        if let Some(waiter) = line.waiting.remove(&self.turn) {
            line.room.waits_no_more(&waiter.need);
            // Those behind may have waited for what this one was the first to wait for.
            let going = line.whose_turn(&self.line);
            drop(line);
            hand_over(going);
        }
    }
}

impl Line {
    /// Lets in all who can go now. Nobody gets ahead of one who waits for the same.
    fn whose_turn(&mut self, line: &Arc<Mutex<Line>>) -> Going {
        let Line { room, waiting, .. } = self;
        let mut going = Vec::new();
        let (mut tools, mut components) = (HashSet::new(), HashSet::new());
        for (turn, Waiter { need, around, .. }) in waiting.iter() {
            if around.is_none() && room.is_full() {
                break;
            }
            let is_behind = need.tool.as_ref().is_some_and(|tool| tools.contains(&tool.name))
                || need.component.as_ref().is_some_and(|component| components.contains(&component.name));
            if !is_behind && room.fits(need, around.as_ref()) {
                going.push((*turn, room.enter(line, need, around.as_ref())));
                continue;
            }
            tools.extend(need.tool.as_ref().map(|tool| tool.name.clone()));
            // Who waits to be alone would wait for ever if others still came in to share.
            components.extend(need.component.iter().filter(|wanted| wanted.alone).map(|wanted| wanted.name.clone()));
        }
        let mut enters = |(turn, slot)| {
            let waiter = waiting.remove(&turn)?;
            room.waits_no_more(&waiter.need);
            Some((waiter.goes, slot))
        };
        going.into_iter().filter_map(&mut enters).collect()
    }

    /// Whether too many wait, with so many more.
    fn too_long(&self, need: &Need, more: usize) -> Option<CallError> {
        let HostLimits { max_parallel, max_waiting, .. } = self.limits;
        let words = match &need.tool {
            _ if self.waiting.len() + more > max_waiting => format!(
                "{max_parallel} calls run and {max_waiting} wait already; call again later, or raise `host.max_parallel` or \
                 `host.max_waiting`"
            ),
            Some(ToolRoom { name, parallel, waiting: Some(waiting) }) if self.room.waiting(name) + more > *waiting => {
                let or_parallel = if parallel.is_some() { "`guard.parallel` or " } else { "" };
                let running = self.room.running(name);
                format!(
                    "{running} calls of `{name}` run and {waiting} wait already; call again later, or raise \
                     {or_parallel}`guard.waiting`"
                )
            }
            _ => return None,
        };
        Some(busy(words))
    }
}

fn hand_over(going: Going) {
    for (goes, slot) in going {
        // Who has left meanwhile does not take it; then it is free again here.
        drop(goes.send(slot));
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

fn busy(words: String) -> CallError {
    CallError::new(ErrorKind::Busy, Stage::Guard, words).retry_after(COME_BACK)
}

fn does_not_wait(need: &Need) -> CallError {
    let whose = match need {
        Need { tool: Some(ToolRoom { name, parallel: Some(_), .. }), .. } => format!("no place of `{name}`"),
        Need { component: Some(ComponentRoom { name, .. }), .. } => format!("no share in the component `{name}`"),
        Need { .. } => "no place".into(),
    };
    busy(format!("{whose} is free, and a call inside of one that holds such a place does not wait; call again later"))
}

fn no_room(need: &Need, deadline: Deadline) -> CallError {
    match &need.tool {
        Some(ToolRoom { name, parallel: Some(_), .. }) => {
            let help = "call again later, raise `guard.parallel`";
            deadline.passed(Stage::Guard, &format!("no place of `{name}` came free"), help)
        }
        _ => deadline.passed(Stage::Guard, "no place came free", "call again later"),
    }
}

//! Is there room for one more? A bounded number of calls runs at once, a bounded number waits, the rest is refused.
//!
//! A call needs a place in its host, and perhaps its tool's leave: where only so many calls of the tool may run at once
//! (`guard.parallel`), or where one of its component's tools runs alone (`guard.exclusive`). It gets all of it at once or
//! nothing. Who waits gets it in this order:
//! - **callers take turns** (`fair`), by weight: whoever has had least goes first, however many calls others have in the
//!   line. A caller is an id, whatever the session: sessions are named by callers, and who named more of them would get more.
//!   A call counts as one, however long it takes. Those who wait for a tool's leave take turns for that among themselves, and
//!   are held up nowhere else (`lanes`);
//! - **the calls of a caller** go in the order of asking, unless so many wait that they would all come too late (`queue`).
//!
//! **When more come than can run.** The line is bounded, for the host and for a tool; who has most of it makes way for others
//! (`bounds`). A call waits for a place no longer than `host.max_wait`, and not at all where that would clearly be in vain. Of a
//! flood, those are served that came last, soon; the others are told to come back, and when: as long as the line ahead of them
//! takes at the pace at which it moves (`pace`).
//!
//! **Why nobody waits for ever.** Turns come round (`fair`), and no wait is without an end. But a call that waits may hold
//! up those that wait for it: whoever waits holds nothing, except what the calls around it hold. So a circle of calls
//! that wait for one another could only go through calls inside of calls, and these have three rules:
//! 1. a call inside of another needs no further place: while the one around it waits, it runs in that one's place;
//! 2. it goes before all calls that are less deep, because somebody holds something until it is done;
//! 3. inside of a call that holds a tool's leave, none waits for another leave: it gets it, or is told to come back.
//!
//! By 3 and 1, a call that holds a leave waits at most for calls inside of itself, so every leave is given back; by 1 and 2
//! the deepest call that waits for one is the first to get it.

// Who has what
mod room;
mod seat;

// Who waits, and whose turn it is
mod callers;
mod fair;
mod lane;
mod lanes;
mod line;
mod queue;
mod share;

// Who does not wait
mod bounds;
mod pace;
mod refusal;

#[cfg(test)]
mod model;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

pub use self::seat::AWAY_MAX;
pub(crate) use self::seat::Seat;
pub use self::share::{ShareRule, Shares, WEIGHT_MAX};

use self::bounds::Refusal;
use self::line::{Going, Line, depth};
use self::queue::CallNumber;
use self::refusal::{does_not_wait, made_way, no_room, waited_enough};
use crate::call::Caller;
use crate::deadline::{Deadline, after};
use crate::limits::HostLimits;
use crate::tell::{CallError, Stage};

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

/// One who waits; dropping it leaves the line.
struct Waiting {
    line: Arc<Mutex<Line>>,
    call: CallNumber,
    /// How long anybody waits for a place.
    until: Instant,
    slot: oneshot::Receiver<Told>,
}

/// What one who waits is told.
#[derive(Debug)]
enum Told {
    /// It goes.
    Goes(Slot),
    /// It makes way for another one, and may come back after so long.
    MakesWay(Duration),
}

enum Asked {
    Goes(Slot),
    Waits(Waiting),
}

impl Slots {
    /// As many places as the limits say.
    #[must_use]
    pub fn new(limits: HostLimits) -> Self {
        Slots { line: Arc::new(Mutex::new(Line::new(limits))), away: Arc::default() }
    }

    /// Whether there is room to run in, or to wait: what would be refused need not prepare for more.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) when it may not wait.
    pub(crate) fn look(
        &self,
        need: &Need,
        around: Option<&Around>,
        caller: &Caller,
        deadline: Deadline,
    ) -> Result<(), CallError> {
        let line = lock(&self.line);
        if around.is_some() || line.lets_in(need, around) {
            return Ok(());
        }
        line.may_wait(need, depth(around), caller, deadline).map(drop).map_err(|refusal| refuse(line, need, refusal))
    }

    /// Waits for room, no longer than until the deadline.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) when it may not wait, or no longer; [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut) when no room
    /// came free by the deadline.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn take(
        &self,
        need: &Need,
        around: Option<&Around>,
        caller: &Caller,
        deadline: Deadline,
    ) -> Result<Slot, CallError> {
        let mut waiting = match self.ask(need, around, caller, deadline)? {
            Asked::Goes(slot) => return Ok(slot),
            Asked::Waits(waiting) => waiting,
        };
        let until = waiting.until.min(deadline.at);
        let mut told = timeout_at(until, &mut waiting.slot).await;
        let gives_up = until < deadline.at && waiting.gives_up();
        if told.is_err() && !gives_up {
            told = timeout_at(deadline.at, &mut waiting.slot).await;
        }
        match told {
            Ok(Ok(Told::Goes(slot))) => Ok(slot),
            Ok(Ok(Told::MakesWay(retry_after))) => Err(made_way(need, retry_after)),
            Ok(Err(lost)) => Err(crate::bug!(Stage::Guard, "one who waits was forgotten: {lost}")),
            Err(_) if gives_up => Err(waited_enough(need, self.limits().max_wait, waiting.retry_after())),
            Err(_) => Err(no_room(need, deadline, waiting.retry_after())),
        }
    }

    /// Waits for a place to go on in, before all others, however long the line is.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn take_again(&self, need: &Need) -> Option<Slot> {
        let mut waiting = self.ask_again(need);
        match (&mut waiting.slot).await {
            Ok(Told::Goes(slot)) => Some(slot),
            Ok(Told::MakesWay(_)) | Err(_) => None,
        }
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
        is_free.then(|| line.enter(&self.line, need, around.as_ref()))
    }

    /// Goes on with as many places as the limits say. Calls that run keep theirs, and count: where there are more of them
    /// than places, no other begins before enough of them have ended.
    pub fn resize(&self, limits: HostLimits) {
        let mut line = lock(&self.line);
        line.limits = limits;
        line.room.resize(limits.max_parallel);
        let going = line.whose_turn(&self.line, None);
        drop(line);
        hand_over(going);
    }

    /// Goes on with these shares. Who waits keeps its weight until none of its calls waits.
    pub fn share_by(&self, shares: Shares) {
        lock(&self.line).shares = shares;
    }

    /// What part of the places callers get.
    #[must_use]
    pub fn shares(&self) -> Shares {
        lock(&self.line).shares.clone()
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

    fn ask(
        &self,
        need: &Need,
        around: Option<&Around>,
        caller: &Caller,
        deadline: Deadline,
    ) -> Result<Asked, CallError> {
        let mut line = lock(&self.line);
        if need.is_more_than_a_place() && around.is_some_and(|around| around.holds_leave) {
            let fits = line.room.fits(need, around);
            return if fits { Ok(Asked::Goes(line.enter(&self.line, need, around))) } else { Err(does_not_wait(need)) };
        }
        if line.lets_in(need, around) {
            return Ok(Asked::Goes(line.enter(&self.line, need, around)));
        }
        let makes_way = match line.may_wait(need, depth(around), caller, deadline) {
            Ok(makes_way) => makes_way,
            Err(refusal) => return Err(refuse(line, need, refusal)),
        };
        let mut going = makes_way.map(|call| line.make_way(call)).unwrap_or_default();
        let (call, slot) = line.join(need, around, caller);
        let until = if around.is_some() { deadline.at } else { after(Instant::now(), line.limits.max_wait) };
        let waiting = self.waits(call, slot, until);
        going.extend(line.whose_turn(&self.line, None));
        drop(line);
        hand_over(going);
        Ok(Asked::Waits(waiting))
    }

    /// Whether nothing is left of those that waited.
    #[cfg(test)]
    fn remembers_nothing(&self) -> bool {
        lock(&self.line).is_forgotten()
    }

    fn ask_again(&self, need: &Need) -> Waiting {
        let mut line = lock(&self.line);
        let (call, slot) = line.join_again(need);
        let waiting = self.waits(call, slot, Instant::now());
        let going = line.whose_turn(&self.line, None);
        drop(line);
        hand_over(going);
        waiting
    }

    fn waits(&self, call: CallNumber, slot: oneshot::Receiver<Told>, until: Instant) -> Waiting {
        Waiting { line: self.line.clone(), call, until, slot }
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
        let lent = line.take_back(&self.need, self.place.take());
        let going = line.whose_turn(&self.line, lent);
        drop(line);
        hand_over(going);
    }
}

impl Waiting {
    fn gives_up(&self) -> bool {
        lock(&self.line).gives_up(self.call)
    }

    fn retry_after(&self) -> Duration {
        lock(&self.line).retry_after(self.call)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut line = lock(&self.line);
        if line.part(self.call, false).is_some() {
            // Those behind may have waited for what this one was the first to wait for.
            let going = line.whose_turn(&self.line, None);
            drop(line);
            hand_over(going);
        }
    }
}

fn hand_over(going: Going) {
    for (goes, told) in going {
        // Who has left meanwhile does not take it; then it is free again here.
        drop(goes.send(told));
    }
}

/// A call is refused, and perhaps another one.
fn refuse(mut line: MutexGuard<'_, Line>, need: &Need, refusal: Refusal) -> CallError {
    let going = line.refuses(need, &refusal);
    drop(line);
    hand_over(going);
    refusal.why.into_error(need, refusal.retry_after)
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

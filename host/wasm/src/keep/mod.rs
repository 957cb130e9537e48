//! Which instance serves this call? A fresh one, and nothing of it is left when the call is over: that is the answer unless the
//! operator says otherwise of a component. Then there is a [`Shelf`] on which instances stand between two calls:
//!
//! - for **sessions**, an instance belongs to one session of one caller, and comes to no other;
//! - **warm** ones belong to nobody: the one that was used last serves whoever calls next.
//!
//! What stands on one shelf has the same component, the same grants and the same setup, so that no call comes to a memory in
//! which a more powerful one has worked. A shelf lives as long as tools that use it: when other settings are in force and the
//! last call of before has ended, it goes with all that stands on it.
//!
//! **A place is a value.** A call takes one ([`Shelf::place`]), with the instance that stands there, if any. Who comes to a
//! good end puts the instance back ([`Place::keep`]); whatever else happens to the call, the place is dropped, and the instance
//! with the call: after a trap, a time-out, at the end of its fuel or memory, or in the middle, nobody uses it again.
//!
//! **Bounds.** An instance goes when nobody called it for a while, when it has lived or worked long enough, and when others need
//! the room: then it is the one that was not used for longest. What a session has lost so is remembered for a while, because
//! its next call begins with nothing, and has to be told.

mod room;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use toolpost_core::catalog::lifetime::Bounds;
use toolpost_core::run::Meter;
use toolpost_core::tell::InstanceReport;
use toolpost_core::{Attempt, CallError, ErrorKind, Lifetime, Stage, bug};

use self::room::{Idle, Room, Unseen};
use crate::capability::Closed;
use crate::instance::Instance;

/// When one should come back whose instance is at work.
const COME_BACK: Duration = Duration::from_secs(1);

/// Why an instance serves nobody any more.
pub(crate) type Why = &'static str;

const FAILED: Why = "an attempt failed";
const IDLE: Why = "it was not called for too long";
const OLD: Why = "it had lived as long as it may";
const WORN: Why = "it had served as many calls as it may";
const CROWDED: Why = "others needed the room";
const LARGE: Why = "it held more memory than the tool may";
const OPEN: Why = "the tool left something open";
const FULL: Why = "it held on to too much of what the host had handed to it";

/// The instances that stand between two calls, of all components.
pub(crate) struct Keeper {
    room: Mutex<Room>,
    /// Something goes earlier than what was thought to go first.
    earlier: Arc<Notify>,
}

/// Those of one component with the same grants and setup.
pub(crate) struct Shelf {
    keeper: Arc<Keeper>,
    id: u64,
    lifetime: Lifetime,
    bounds: Bounds,
}

/// Whose an instance is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    caller: String,
    session: String,
}

/// Where the instance of a call stands when it does not work. Dropping it means that the instance is not to be used again.
pub(crate) struct Place {
    shelf: Arc<Shelf>,
    /// Whose it is; nobody's where it is warm.
    session: Option<Session>,
    instance: Option<Instance>,
    calls_before: u64,
    /// Why the session has nothing of before, where it had something.
    lost: Option<Why>,
    /// Handles of the host that it may hold between two calls.
    lasting_max: usize,
    meter: Arc<Meter>,
    is_settled: bool,
}

impl Keeper {
    /// One with so much room.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Keeper { room: Mutex::new(Room::new(max)), earlier: Arc::default() })
    }

    /// The shelf of what has that key. As long as somebody has it, it is the same one.
    pub(crate) fn shelf(self: &Arc<Self>, key: [u8; 32], lifetime: Lifetime, bounds: Bounds) -> Arc<Shelf> {
        let make = |id| Shelf { keeper: self.clone(), id, lifetime, bounds };
        self.room().shelf(key, make)
    }

    /// The instances that stand here now.
    pub(crate) fn count(&self) -> usize {
        self.room().count()
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let gone = self.keeper.room().clear(self.id);
        // An instance takes a while to go: not while others wait.
        drop(gone);
    }
}

impl Shelf {
    /// The place of a call, with what stands there.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: the instance of the session is at work for another call.
    pub(crate) fn place(self: &Arc<Self>, attempt: &Attempt) -> Result<Place, CallError> {
        let session = match self.lifetime {
            Lifetime::Session => Some(Session::of(attempt)?),
            Lifetime::Fresh | Lifetime::Warm => None,
        };
        let limits = attempt.call.tool.limits;
        let (found, lost, gone) = self.keeper.room().take(self.id, session.as_ref(), limits.memory_bytes_max)?;
        drop(gone);
        let calls_before = found.as_ref().map_or(0, |instance| instance.calls());
        let place = Place {
            shelf: self.clone(),
            session,
            instance: found,
            calls_before,
            lost,
            lasting_max: limits.handles_max as usize / 2,
            meter: attempt.meter.clone(),
            is_settled: false,
        };
        place.report(None);
        Ok(place)
    }

    /// Why an instance is not to be used again, if so.
    fn is_done(&self, instance: &Instance) -> Option<Why> {
        if instance.born().elapsed() >= self.bounds.total {
            return Some(OLD);
        }
        self.bounds.max_calls.is_some_and(|max| instance.calls() >= max).then_some(WORN)
    }

    /// When it goes, where nobody calls it, and why.
    fn ends(&self, instance: &Instance) -> (Instant, Why) {
        const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);
        let after = |start: Instant, span| start.checked_add(span).unwrap_or(start + NEVER);
        (after(Instant::now(), self.bounds.idle), IDLE).min((after(instance.born(), self.bounds.total), OLD))
    }

    /// Puts an instance where it stands until somebody calls it.
    fn put(&self, session: Option<Session>, instance: Instance) {
        let (ends, why) = self.ends(&instance);
        let idle = Idle { shelf: self.id, session, instance, ends, why };
        let (unseen, gone) = self.keeper.room().put(idle, self.bounds.max_instances);
        drop(gone);
        // Whoever looks is not woken for each call: what is kept in its place ends later.
        match unseen {
            Unseen::No => {}
            Unseen::InTime => self.keeper.earlier.notify_one(),
            Unseen::ByAnybody => watch::begin(&self.keeper),
        }
    }
}

impl Session {
    fn of(attempt: &Attempt) -> Result<Self, CallError> {
        let caller = &attempt.call.call.caller;
        let session = caller.session.clone();
        let session =
            session.ok_or_else(|| bug!(Stage::Run, "a call without a session came to a tool that needs one"))?;
        Ok(Session { caller: caller.id.clone(), session })
    }
}

impl Place {
    /// The instance that serves the call; none where one has to be made.
    pub(crate) fn instance(&mut self) -> Option<Instance> {
        self.instance.take()
    }

    /// Why the session has nothing of before, where it had something.
    pub(crate) fn lost(&self) -> Option<Why> {
        self.lost
    }

    /// The call has come to an end, a good one or one that the tool itself calls bad; puts its instance back if it may serve
    /// another one. Says what its caller must know.
    pub(crate) fn keep(mut self, instance: Instance, closed: Closed, is_good: bool) -> Option<String> {
        self.is_settled = true;
        let note =
            self.lost.map(|why| format!("the tool began anew: what it kept for the session before is gone ({why})"));
        let is_warm = self.session.is_none();
        let unfit = match self.shelf.is_done(&instance) {
            // What the next caller comes to is in good order, or there is no next caller.
            None if is_warm && !is_good => Some(FAILED),
            None if is_warm && closed.open + closed.unknown > 0 => Some(OPEN),
            // The next call must have room, whatever the ones before have left behind.
            None if closed.lasting + closed.unknown > self.lasting_max => Some(FULL),
            unfit => unfit,
        };
        if let Some(why) = unfit {
            self.retire(why);
            return note;
        }
        self.shelf.put(self.session.take(), instance);
        note
    }

    /// Nothing has come of the call, and what stood here stands here again.
    pub(crate) fn put_back(mut self, instance: Option<Instance>) {
        self.is_settled = true;
        match (instance, &self.session) {
            (Some(instance), _) => self.shelf.put(self.session.take(), instance),
            (None, Some(session)) => self.shelf.keeper.room().free(self.shelf.id, session, self.lost),
            (None, None) => {}
        }
    }

    fn retire(&self, why: Why) {
        self.report(Some(why));
        if let Some(session) = &self.session {
            // Who had nothing before has lost nothing.
            let lost = (self.calls_before > 0 || self.is_settled).then_some(why).or(self.lost);
            self.shelf.keeper.room().free(self.shelf.id, session, lost);
        }
    }

    fn report(&self, retired: Option<Why>) {
        let (lifetime, calls_before) = (self.shelf.lifetime, self.calls_before);
        self.meter.runs_in(InstanceReport { lifetime, calls_before, retired });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_settled {
            self.retire(FAILED);
        }
    }
}

fn busy() -> CallError {
    let why = "what the tool keeps for this session is at work for another call; call again later";
    CallError::new(ErrorKind::Busy, Stage::Run, why).retry_after(COME_BACK)
}

//! Whose turn is it? A session has one instance of a component that keeps its state, and that serves one call at a time. The
//! calls come to it in the order in which they were made, each with all of its attempts.
//!
//! **Why nobody waits for ever.** A turn is waited for before a place, so that a session that calls often takes no places from
//! others. So one whose turn it is may wait for a place, which a call has that waits for calls inside of itself. A call inside
//! of another therefore waits only behind its own siblings, which need nothing that is not given back without it, and goes
//! before all that are inside of nothing. Behind anybody else it is told to come back: also where the call around it is the one
//! whose turn it is.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::call::{AcceptedCall, CallId};
use crate::catalog::Lifetime;
use crate::deadline::Deadline;
use crate::inside::Inside;
use crate::tell::{CallError, ErrorKind, Stage};

/// When one who does not wait should come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// Calls of one session that may wait for one component.
const WAITING_MAX: usize = 64;

/// Whose turn it is, in each session and for each component that keeps its state. Nothing is remembered where nobody calls.
#[derive(Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<Lines>>);

/// The turn of a call; dropping it gives the turn to the next one.
#[derive(Debug)]
pub(crate) struct Turn {
    lines: Arc<Mutex<Lines>>,
    key: Arc<Key>,
}

/// What one call at a time may use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    component: String,
    caller: String,
    session: String,
}

#[derive(Debug, Default)]
struct Lines {
    of: HashMap<Arc<Key>, Line>,
    waiting: usize,
    latest: u64,
}

/// One whose turn it is, and those who wait.
#[derive(Debug)]
struct Line {
    /// The call around the one whose turn it is.
    inside: Option<CallId>,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    inside: Option<CallId>,
    goes: oneshot::Sender<Turn>,
}

/// One who waits; dropping it leaves the line.
struct Waiting {
    lines: Arc<Mutex<Lines>>,
    key: Arc<Key>,
    number: u64,
    turn: oneshot::Receiver<Turn>,
}

/// Whether a call says of which session it is, where its tool keeps something for one.
///
/// # Errors
/// It does not.
pub(crate) fn names_session(call: &AcceptedCall) -> Result<(), CallError> {
    if call.tool.lifetime != Lifetime::Session || call.call.caller.session.is_some() {
        return Ok(());
    }
    let why = format!("`{}` keeps its state for a session, and the call is of none", call.tool.name);
    let help = "name the session of the caller (`toolpost call --session NAME`)";
    Err(CallError::new(ErrorKind::InvalidArguments, Stage::Check, why).with_help(help))
}

impl Turns {
    /// Waits for the call's turn, no longer than until its deadline; nothing where its tool keeps nothing for a session. No more
    /// calls wait than may, all sessions together.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] where too many wait, or a call inside of another one would wait for a stranger;
    /// [`ErrorKind::TimedOut`] when its turn did not come.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn take(
        &self,
        call: &AcceptedCall,
        waiting_max: usize,
        deadline: Deadline,
    ) -> Result<Option<Turn>, CallError> {
        let Some(key) = Key::of(call).map(Arc::new) else { return Ok(None) };
        let inside = call.call.inside.as_ref().map(Inside::parent).cloned();
        let mut waiting = match self.ask(key, inside, waiting_max) {
            Ok(Asked::Goes(turn)) => return Ok(Some(turn)),
            Ok(Asked::Waits(waiting)) => waiting,
            Err(why) => return Err(busy(&call.tool.name, why)),
        };
        match timeout_at(deadline.at, &mut waiting.turn).await {
            Ok(Ok(turn)) => Ok(Some(turn)),
            Ok(Err(lost)) => Err(crate::bug!(Stage::Guard, "one who waits was forgotten: {lost}")),
            Err(_) => {
                let what = "the calls before it in its session did not end";
                Err(deadline.passed(Stage::Guard, what, "call again later"))
            }
        }
    }

    fn ask(&self, key: Arc<Key>, inside: Option<CallId>, waiting_max: usize) -> Result<Asked, Crowd> {
        let mut all = lock(&self.0);
        let (total, number) = (all.waiting, all.latest + 1);
        let line = match all.of.entry(key.clone()) {
            Entry::Vacant(free) => {
                free.insert(Line { inside, waiting: VecDeque::new() });
                return Ok(Asked::Goes(Turn { lines: self.0.clone(), key }));
            }
            Entry::Occupied(line) => line.into_mut(),
        };
        if inside.is_some() && line.inside != inside {
            return Err(Crowd::Strangers);
        }
        if line.waiting.len() >= WAITING_MAX || total >= waiting_max {
            return Err(Crowd::Many(line.waiting.len()));
        }
        let (goes, turn) = oneshot::channel();
        let behind = line.waiting.iter().take_while(|waiter| inside.is_none() || waiter.inside.is_some()).count();
        line.waiting.insert(behind, Waiter { number, inside, goes });
        (all.waiting, all.latest) = (total + 1, number);
        Ok(Asked::Waits(Waiting { lines: self.0.clone(), key, number, turn }))
    }

    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        let all = lock(&self.0);
        (all.of.len(), all.waiting)
    }
}

enum Asked {
    Goes(Turn),
    Waits(Waiting),
}

/// Why one does not wait.
enum Crowd {
    /// Behind those that are not its siblings.
    Strangers,
    /// Behind so many.
    Many(usize),
}

impl Key {
    fn of(call: &AcceptedCall) -> Option<Self> {
        let (component, caller) = (call.tool.keeper()?.to_owned(), &call.call.caller);
        Some(Key { component, caller: caller.id.clone(), session: caller.session.clone()? })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = lock(&self.lines);
        let Some(line) = all.of.get_mut(&self.key) else { return };
        let Some(next) = line.waiting.pop_front() else {
            all.of.remove(&self.key);
            return;
        };
        line.inside = next.inside;
        all.waiting -= 1;
        drop(all);
        // Who has left meanwhile does not take it; then it is the turn of the one behind.
        drop(next.goes.send(Turn { lines: self.lines.clone(), key: self.key.clone() }));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut all = lock(&self.lines);
        let Some(line) = all.of.get_mut(&self.key) else { return };
        let before = line.waiting.len();
        line.waiting.retain(|waiter| waiter.number != self.number);
        let left = before - line.waiting.len();
        all.waiting -= left;
    }
}

fn busy(tool: &str, why: Crowd) -> CallError {
    let words = match why {
        Crowd::Strangers => format!(
            "another call of this session is at work in the component of `{tool}`, and a call inside of another one does not \
             wait for it; call again later"
        ),
        Crowd::Many(many) => {
            format!("{many} calls of this session wait already for the component of `{tool}`; call again later")
        }
    };
    CallError::new(ErrorKind::Busy, Stage::Guard, words).retry_after(COME_BACK)
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;

    fn key(session: &str) -> Arc<Key> {
        Arc::new(Key { component: "basket".into(), caller: "ann".into(), session: session.into() })
    }

    fn waits(turns: &Turns, session: &str, inside: Option<&CallId>) -> Waiting {
        match turns.ask(key(session), inside.cloned(), 10).ok().unwrap() {
            Asked::Waits(waiting) => waiting,
            Asked::Goes(_) => panic!("it is somebody's turn"),
        }
    }

    fn goes(turns: &Turns, session: &str, inside: Option<&CallId>) -> Turn {
        match turns.ask(key(session), inside.cloned(), 10).ok().unwrap() {
            Asked::Goes(turn) => turn,
            Asked::Waits(_) => panic!("it is nobody's turn"),
        }
    }

    #[test]
    fn a_turn_goes_from_one_to_the_next_in_the_order_of_asking() {
        let turns = Turns::default();
        let first = goes(&turns, "a", None);
        let (mut second, mut third) = (waits(&turns, "a", None), waits(&turns, "a", None));
        let other = goes(&turns, "b", None);
        drop(first);
        assert!(third.turn.try_recv().is_err());
        let turn = second.turn.try_recv().unwrap();
        drop((turn, second));
        drop(third.turn.try_recv().unwrap());
        drop((third, other));
        assert_eq!(turns.counts(), (0, 0));
    }

    #[test]
    fn who_leaves_the_line_holds_up_nobody() {
        let turns = Turns::default();
        let first = goes(&turns, "a", None);
        let (second, mut third) = (waits(&turns, "a", None), waits(&turns, "a", None));
        drop(second);
        drop(first);
        let turn = third.turn.try_recv().unwrap();
        // Whose turn has come, and who goes without having heard of it.
        let fourth = waits(&turns, "a", None);
        drop(turn);
        drop((third, fourth));
        assert_eq!(turns.counts(), (0, 0));
    }

    #[test]
    fn a_call_inside_of_another_waits_behind_its_siblings_and_before_all_others_but_for_no_stranger() {
        let turns = Turns::default();
        let [parent, stranger] = [CallId::fresh(), CallId::fresh()];
        let first = goes(&turns, "a", Some(&parent));
        let mut outside = waits(&turns, "a", None);
        let mut sibling = waits(&turns, "a", Some(&parent));
        assert!(matches!(turns.ask(key("a"), Some(stranger.clone()), 10), Err(Crowd::Strangers)));
        drop(first);
        let turn = sibling.turn.try_recv().unwrap();
        drop(turn);
        let turn = outside.turn.try_recv().unwrap();
        // Now one from outside has the turn, and may wait for the place that the parent has.
        assert!(matches!(turns.ask(key("a"), Some(parent), 10), Err(Crowd::Strangers)));
        drop(turn);
    }

    #[test]
    fn no_more_wait_than_may() {
        let turns = Turns::default();
        let first = goes(&turns, "a", None);
        let waiting: Vec<Waiting> = (0..2).map(|_| waits(&turns, "a", None)).collect();
        assert!(matches!(turns.ask(key("a"), None, 2), Err(Crowd::Many(2))));
        let _other = goes(&turns, "b", None);
        assert!(matches!(turns.ask(key("b"), None, 2), Err(Crowd::Many(0))), "all sessions together");
        drop(first);
        drop(waiting);
    }
}

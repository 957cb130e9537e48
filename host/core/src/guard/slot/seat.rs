//! The place of a running attempt, which it gives back while it waits for a person.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Around, Need, Slot, Slots};

/// The most attempts that have given their places back and still hold what they run in. All others that wait keep theirs.
pub const AWAY_MAX: usize = 64;

/// A place that can be left and taken again. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Seat(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    need: Need,
    slot: Option<Slot>,
    /// As it was last.
    around: Around,
    /// How many questions keep it empty.
    away: usize,
    is_over: bool,
}

/// Nobody sits here; the place is free for others.
#[derive(Debug)]
pub(crate) struct Away {
    seat: Seat,
    count: Arc<AtomicUsize>,
}

impl Seat {
    pub(crate) fn new(slot: Slot) -> Self {
        let (need, around) = (slot.need.clone(), slot.around());
        Seat(Arc::new(Mutex::new(State { need, slot: Some(slot), around, away: 0, is_over: false })))
    }

    /// What concerns the calls inside of the one that sits here.
    pub(crate) fn around(&self) -> Around {
        let state = self.state();
        state.slot.as_ref().map_or_else(|| state.around.clone(), Slot::around)
    }

    /// Gives the place back for good.
    pub(crate) fn leave(&self) {
        let mut state = self.state();
        state.is_over = true;
        let slot = state.slot.take();
        drop(state);
        drop(slot);
    }

    /// Gives the place back for a while; not where too many have, nor inside of another call, nor where the
    /// place is more than one of the host.
    pub(crate) fn step_out(&self, slots: &Slots) -> Option<Away> {
        let count = slots.away();
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |away| (away < AWAY_MAX).then_some(away + 1)).ok()?;
        let away = Away { seat: self.clone(), count: count.clone() };
        let mut state = self.state();
        state.away += 1;
        // What runs alone, or is one of so many, stays so in the middle of its work.
        let stays = state.slot.as_ref().is_some_and(|slot| slot.depth > 0 || slot.need.is_more_than_a_place());
        let slot = if stays { None } else { state.slot.take() };
        drop(state);
        drop(slot);
        Some(away)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Away {
    /// Waits for a place to go on in, before all who wait for their first. The last one to come back takes it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn step_in(self, slots: &Slots) {
        let need = {
            let state = self.seat.state();
            let is_last = state.away == 1 && state.slot.is_none() && !state.is_over;
            is_last.then(|| state.need.clone())
        };
        if let Some(need) = need {
            let slot = slots.take_again(&need).await;
            let mut state = self.seat.state();
            if !state.is_over && state.slot.is_none() {
                state.slot = slot;
            }
        }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.seat.state().away -= 1;
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

//! Which of its calls comes next? The calls of one caller that wait for the same.
//!
//! First come, first served, as long as that is of use. In a *flood* more come than can run, and to serve the oldest first would
//! serve all of them late. There those go first that have waited for less than a round, which is as many calls as the caller
//! has places: these are still wanted. The others are set aside, and go when no newer one waits; when the last of them has
//! gone, it is first come, first served again. Where many come at once and none after them, nothing changes: all of them have
//! waited for the same time.
//!
//! (B. Maurer, "Fail at Scale", ACM Queue 13(8), 2015, tells of the use of serving the newest first under overload, and of
//! bounding the time in a line, after K. Nichols and V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012. Here time is
//! counted in rounds: one takes as long as the calls take, and a span that fits all calls there is none.)

use std::collections::{BTreeMap, BTreeSet};

use super::fair::Who;

/// A call by its number, which says when it came.
pub(super) type CallNumber = u64;

/// By how much a call of a caller with the weight 1 adds to its load.
const CALL: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Each with how many had gone when it came.
    calls: BTreeMap<CallNumber, u64>,
    gone: u64,
    /// The calls from this one on have waited for less than a round. So many before it are late.
    fresh: CallNumber,
    late: usize,
    /// Whether those that are late are set aside.
    floods: bool,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The one that goes next.
    pub(super) fn next(&self) -> Option<CallNumber> {
        let fresh = if self.floods { self.calls.range(self.fresh..).next() } else { None };
        fresh.or_else(|| self.calls.first_key_value()).map(|(call, _)| *call)
    }

    /// The one that goes last.
    pub(super) fn last(&self) -> Option<CallNumber> {
        let aside = if self.floods { self.calls.range(..self.fresh).next_back() } else { None };
        aside.or_else(|| self.calls.last_key_value()).map(|(call, _)| *call)
    }

    /// How many have waited for less than a round.
    pub(super) fn fresh(&self) -> usize {
        self.len() - self.late
    }

    /// How many go before one that comes now.
    pub(super) fn ahead(&self) -> usize {
        if self.floods { self.fresh() } else { self.len() }
    }

    /// The last of those that are set aside.
    pub(super) fn last_aside(&self) -> Option<CallNumber> {
        self.last().filter(|call| self.is_aside(*call))
    }

    /// Whether newer ones go before it.
    pub(super) fn is_aside(&self, call: CallNumber) -> bool {
        self.floods && call < self.fresh
    }

    /// Adds the newest call, where so many go in a round, perhaps in a flood.
    pub(super) fn push(&mut self, call: CallNumber, round: usize, is_flood: bool) {
        self.calls.insert(call, self.gone);
        self.floods |= is_flood && self.len() > round;
    }

    /// One goes, where so many go in a round.
    pub(super) fn served(&mut self, call: CallNumber, round: usize) {
        self.gone += 1;
        let is_late = |came: &u64| came + round as u64 <= self.gone;
        while let Some((late, _)) = self.calls.range(self.fresh..).next().filter(|(_, came)| is_late(came)) {
            (self.fresh, self.late) = (late + 1, self.late + 1);
        }
        self.remove(call);
    }

    /// Takes one out, whichever it is.
    pub(super) fn remove(&mut self, call: CallNumber) {
        if self.calls.remove(&call).is_some() {
            self.late -= usize::from(call < self.fresh);
            self.floods &= self.late > 0;
        }
    }
}

/// Who has most of a line, by weight.
#[derive(Debug, Default)]
pub(super) struct Crowd(BTreeSet<(u64, Who)>);

impl Crowd {
    /// How much so many calls are of a caller with that weight.
    pub(super) fn load(calls: usize, weight: u64) -> u64 {
        (calls as u64).saturating_mul(CALL) / weight.max(1)
    }

    /// A caller with that weight had so many calls in the line, and has so many now.
    pub(super) fn change(&mut self, who: &Who, weight: u64, before: usize, now: usize) {
        self.0.remove(&(Self::load(before, weight), who.clone()));
        if now > 0 {
            self.0.insert((Self::load(now, weight), who.clone()));
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one with the most, if that is more than this.
    pub(super) fn heavier_than(&self, load: u64) -> Option<&Who> {
        self.0.last().filter(|(most, _)| *most > load).map(|(_, who)| who)
    }
}

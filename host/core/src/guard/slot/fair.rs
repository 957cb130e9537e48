//! Who has had least? Turns in virtual time, by weight.
//!
//! This is start-time fair queueing (P. Goyal, H. M. Vin and H. Cheng, "Start-time Fair Queueing", SIGCOMM 1996): each caller
//! has a turn, the smallest goes first, and a call moves it on by the reciprocal of the caller's weight. Who comes anew begins at
//! the time of now, so nobody saves up turns by keeping quiet; who goes away with a turn that is ahead of now finds it again,
//! so nobody gets rid of it by staying away for a moment.
//!
//! Two things are added. Time goes on with each call by at least what it takes when every caller that waits gets its part (as
//! the virtual time of WF2Q+ does: J. C. R. Bennett and H. Zhang, "Hierarchical Packet Fair Queueing Algorithms", SIGCOMM
//! 1996): whoever waits is passed by only so many newcomers. And a caller that could not use its turns, because
//! all of its calls waited for something else, makes up for one of them at most.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A caller's id, shared by all that speak of it.
pub(super) type Who = Arc<str>;

/// A moment of virtual time.
pub(super) type Turn = u64;

/// By how much a call of a caller with the weight 1 moves its turn on.
const CALL: Turn = 1 << 20;

/// The turns of callers.
#[derive(Debug, Default)]
pub(super) struct Fair {
    now: Turn,
    /// Of all who wait.
    weight: u64,
    shares: HashMap<Who, Share>,
    /// Those who do not wait, by their turns, all of them ahead of now.
    gone: BTreeSet<(Turn, Who)>,
}

#[derive(Debug)]
struct Share {
    turn: Turn,
    weight: u64,
    /// For how many things it waits.
    waits: usize,
}

impl Fair {
    /// One waits, for one thing more. Says its turn.
    pub(super) fn comes(&mut self, who: &Who, weight: u64) -> Turn {
        let Fair { now, weight: of_all, shares, gone } = self;
        let share = shares.entry(who.clone()).or_insert(Share { turn: *now, weight, waits: 0 });
        if share.waits == 0 {
            gone.remove(&(share.turn, who.clone()));
            (share.turn, share.weight) = (share.turn.max(*now), weight);
            *of_all += weight;
        }
        share.waits += 1;
        share.turn
    }

    /// One waits no more for one of the things.
    pub(super) fn goes(&mut self, who: &Who) {
        let Some(share) = self.shares.get_mut(who) else { return };
        share.waits -= 1;
        if share.waits == 0 {
            self.weight -= share.weight;
            self.gone.insert((share.turn, who.clone()));
            self.forget();
        }
    }

    /// One of its calls goes. Says its next turn.
    pub(super) fn served(&mut self, who: &Who) -> Turn {
        let Some(share) = self.shares.get_mut(who) else { return self.now };
        let begins = share.turn.max(self.now.saturating_sub(CALL));
        self.now = begins.max(self.now + (CALL / self.weight.max(1)).max(1));
        share.turn = begins + CALL / share.weight.max(1);
        let turn = share.turn;
        self.forget();
        turn
    }

    pub(super) fn turn(&self, who: &Who) -> Turn {
        self.shares.get(who).map_or(self.now, |share| share.turn)
    }

    /// How many it remembers.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.shares.len()
    }

    /// Forgets those who are gone and would begin at the time of now; all of them, when nobody waits.
    fn forget(&mut self) {
        let Fair { now, weight, shares, gone } = self;
        while let Some((_, who)) = gone.first().filter(|(turn, _)| *weight == 0 || turn <= now) {
            shares.remove(who);
            gone.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(number: usize) -> Who {
        format!("caller {number}").into()
    }

    /// Serves so many calls of callers who always wait, and counts them.
    fn serve(fair: &mut Fair, weights: &[u64], calls: usize) -> Vec<usize> {
        let mut served = vec![0; weights.len()];
        for (at, weight) in weights.iter().enumerate() {
            fair.comes(&who(at), *weight);
        }
        for _ in 0..calls {
            let first = (0..weights.len()).min_by_key(|at| fair.turn(&who(*at))).unwrap();
            fair.served(&who(first));
            served[first] += 1;
        }
        served
    }

    #[test]
    fn each_gets_its_part_to_within_one_call() {
        for weights in [vec![1, 1], vec![3, 1], vec![1; 1_000], vec![1_000, 1], vec![5, 3, 2]] {
            let all: u64 = weights.iter().sum();
            let rounds = 7;
            let served = serve(&mut Fair::default(), &weights, usize::try_from(all * rounds).unwrap());
            for (served, weight) in served.iter().zip(&weights) {
                assert!(served.abs_diff(usize::try_from(weight * rounds).unwrap()) <= 1, "{weights:?}: {served}");
            }
        }
    }

    #[test]
    fn who_goes_away_for_a_moment_does_not_come_back_as_a_newcomer() {
        let mut fair = Fair::default();
        let (one, other) = (who(1), who(2));
        fair.comes(&one, 1);
        fair.comes(&other, 1);
        fair.served(&one);
        fair.goes(&one);
        assert!(fair.comes(&one, 1) > fair.turn(&other));
    }

    #[test]
    fn who_could_not_use_its_turns_makes_up_for_one_at_most() {
        let mut fair = Fair::default();
        let (held_up, other) = (who(1), who(2));
        fair.comes(&held_up, 1);
        fair.comes(&other, 1);
        for _ in 0..1_000 {
            fair.served(&other);
        }
        fair.served(&held_up);
        assert!(fair.turn(&held_up) + 2 * CALL >= fair.turn(&other), "{fair:?}");
    }

    #[test]
    fn whoever_waits_is_not_passed_by_newcomers_for_ever() {
        let mut fair = Fair::default();
        let waits = who(0);
        fair.comes(&waits, 1);
        fair.comes(&who(1), 1);
        fair.served(&waits);
        let passed = (2..1_000).position(|number| {
            let fresh = who(number);
            let passes = fair.comes(&fresh, 1) <= fair.turn(&waits);
            fair.served(&fresh);
            fair.goes(&fresh);
            !passes
        });
        assert!(passed.is_some_and(|passed| passed < 10), "{passed:?}");
    }

    #[test]
    fn time_goes_on_however_much_all_who_wait_weigh() {
        let mut fair = Fair::default();
        for number in 0..1_100 {
            fair.comes(&who(number), 1_000);
        }
        assert!(fair.weight > CALL);
        let before = fair.now;
        fair.served(&who(0));
        assert!(fair.now > before);
    }

    #[test]
    fn those_who_are_gone_are_forgotten() {
        let mut fair = Fair::default();
        fair.comes(&who(0), 1);
        for number in 1..10_000 {
            fair.comes(&who(number), 1);
            fair.served(&who(number));
            fair.goes(&who(number));
            assert!(fair.remembered() < 8, "{}", fair.remembered());
        }
        fair.goes(&who(0));
        assert_eq!(fair.remembered(), 0);
    }
}

//! Whose call gets the next place? Those who wait, and what each of them is offered.

use std::collections::{BTreeSet, HashMap};

use super::fair::{Fair, Turn, Who};
use super::lane::LaneId;
use super::queue::{CallNumber, Crowd};

/// The callers whose calls wait, calls inside of others left out.
#[derive(Debug, Default)]
pub(super) struct Callers {
    fair: Fair,
    accounts: HashMap<Who, Account>,
    /// Those who have a call that needs a place and nothing else, in the order of their turns.
    ready: BTreeSet<(Turn, CallNumber, Who)>,
    crowd: Crowd,
}

#[derive(Debug, Default)]
struct Account {
    weight: u64,
    calls: BTreeSet<CallNumber>,
    /// The next call of each lane in which that needs a place and nothing else.
    offers: BTreeSet<(CallNumber, LaneId)>,
    /// The same of lanes that have kept room for it. As others wait behind it there, it goes first, in turns with the ones above.
    kept: BTreeSet<(CallNumber, LaneId)>,
    kept_last: bool,
    /// As it stands among those who are ready.
    stands: Option<(Turn, CallNumber)>,
}

impl Account {
    fn offers(&mut self, is_kept: bool) -> &mut BTreeSet<(CallNumber, LaneId)> {
        if is_kept { &mut self.kept } else { &mut self.offers }
    }

    fn first(&self) -> Option<(CallNumber, LaneId)> {
        let (first, second) = if self.kept_last { (&self.offers, &self.kept) } else { (&self.kept, &self.offers) };
        first.first().or_else(|| second.first()).copied()
    }
}

impl Callers {
    /// The caller, if one of its calls waits.
    pub(super) fn find(&self, id: &str) -> Option<&Who> {
        self.accounts.get_key_value(id).map(|(who, _)| who)
    }

    pub(super) fn weight(&self, who: &str) -> Option<u64> {
        self.accounts.get(who).map(|account| account.weight)
    }

    /// How many of its calls wait.
    pub(super) fn count(&self, who: &str) -> usize {
        self.accounts.get(who).map_or(0, |account| account.calls.len())
    }

    /// The latest call of the caller who has most calls that wait, by weight, if that is more than this.
    pub(super) fn heavier_than(&self, load: u64) -> Option<(&Who, CallNumber)> {
        let who = self.crowd.heavier_than(load)?;
        Some((who, *self.accounts.get(who)?.calls.last()?))
    }

    /// A call waits.
    pub(super) fn comes(&mut self, who: &Who, weight: u64, call: CallNumber) {
        let new = || Account { weight, ..Account::default() };
        let account = self.accounts.entry(who.clone()).or_insert_with(new);
        self.fair.comes(who, account.weight);
        let before = account.calls.len();
        account.calls.insert(call);
        self.crowd.change(who, account.weight, before, account.calls.len());
    }

    /// A call waits no more.
    pub(super) fn goes(&mut self, who: &Who, call: CallNumber) {
        let Some(account) = self.accounts.get_mut(who) else { return };
        let before = account.calls.len();
        if account.calls.remove(&call) {
            self.fair.goes(who);
            self.crowd.change(who, account.weight, before, before - 1);
            if account.calls.is_empty() {
                self.accounts.remove(who);
            }
        }
    }

    /// The caller's next call in that lane needs a place and nothing else.
    pub(super) fn offer(&mut self, who: &Who, call: CallNumber, lane: LaneId, is_kept: bool) {
        let Some(account) = self.accounts.get_mut(who) else { return };
        account.offers(is_kept).insert((call, lane));
        self.stand(who);
    }

    pub(super) fn withdraw(&mut self, who: &Who, call: CallNumber, lane: LaneId, is_kept: bool) {
        let Some(account) = self.accounts.get_mut(who) else { return };
        account.offers(is_kept).remove(&(call, lane));
        self.stand(who);
    }

    /// A call of it gets a place, perhaps with room that was kept for it.
    pub(super) fn served(&mut self, who: &Who, is_kept: bool) {
        let Some(account) = self.accounts.get_mut(who) else { return };
        account.kept_last = is_kept;
        self.fair.served(who);
        self.stand(who);
    }

    /// Whose turn it is, with what.
    pub(super) fn first(&self) -> Option<(&Who, CallNumber, LaneId)> {
        let (_, _, who) = self.ready.first()?;
        let (call, lane) = self.accounts.get(who)?.first()?;
        Some((who, call, lane))
    }

    #[cfg(test)]
    pub(super) fn is_forgotten(&self) -> bool {
        let Callers { fair, accounts, ready, crowd } = self;
        fair.remembered() == 0 && accounts.is_empty() && ready.is_empty() && crowd.is_empty()
    }

    /// Puts it where it belongs among those who are ready.
    fn stand(&mut self, who: &Who) {
        let Some(account) = self.accounts.get_mut(who) else { return };
        let stands = account.first().map(|(call, _)| (self.fair.turn(who), call));
        if stands == account.stands {
            return;
        }
        if let Some((turn, call)) = std::mem::replace(&mut account.stands, stands) {
            self.ready.remove(&(turn, call, who.clone()));
        }
        if let Some((turn, call)) = stands {
            self.ready.insert((turn, call, who.clone()));
        }
    }
}

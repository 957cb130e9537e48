//! May the tool have this effect? Rules are tried, and where they ask, the attempt waits for a person: its place is free for
//! others meanwhile, and its clock stands still.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Attempt;
use crate::check::approve::{Decision, Leave};
use crate::effect::Effect;
use crate::tell::{CallError, Event};

/// How often a person has allowed each effect of a call. What was allowed in one attempt is not asked about again when the
/// next one comes to the same point; what an attempt does more often than that is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaves(Arc<Mutex<HashMap<Effect, u32>>>);

impl Leaves {
    /// One more time. Says the how-maniest.
    fn count(&self, effect: &Effect) -> u32 {
        let mut counts = self.counts();
        let count = counts.entry(effect.clone()).or_default();
        *count += 1;
        *count
    }

    fn counted(&self, effect: &Effect) -> u32 {
        self.counts().get(effect).copied().unwrap_or_default()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Effect, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// # Errors
    /// Rules deny it, or the one who was asked; or nobody could be asked.
    ///
    /// # Cancel safety
    /// Dropping the future takes the question back.
    pub(super) async fn leave_for(&self, effect: &Effect) -> Result<(), CallError> {
        let Some(host) = self.ties().host.host() else { return Ok(()) };
        let approval = host.approval();
        let (leave, decisions) = approval.leave(&self.call, effect);
        decisions.into_iter().for_each(|decision| self.decided(decision));
        let doing = match leave {
            Leave::Given => return Ok(()),
            Leave::Denied(why) => return Err(why),
            Leave::Asked(doing) => doing,
        };
        let allowed = &self.ties().leaves;
        if self.asked.count(effect) <= allowed.counted(effect) {
            return Ok(());
        }
        let guarding = host.guarding();
        let away = self.ties().seat.step_out(&guarding.slots);
        let standing = self.clock.stop();
        let mut decided = |decision| self.decided(decision);
        let answered = tokio::select! {
            biased;
            () = self.gate().closed() => return self.gate().check(),
            answered = approval.ask_leave(&self.call, effect, doing, &self.teller, &mut decided) => answered,
        };
        // Whatever was answered, the tool goes on, and does so in a place; the wait for it does not count as its time.
        if let Some(away) = away {
            away.step_in(&guarding.slots).await;
        }
        drop(standing);
        answered?;
        allowed.count(effect);
        Ok(())
    }

    fn decided(&self, decision: Decision) {
        self.teller.tell(&Event::Decision { decision: &decision });
        self.gate().decided(decision);
    }
}

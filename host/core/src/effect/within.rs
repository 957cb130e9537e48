//! What do the calls inside of an attempt do to the world? What they did, the attempt around them did too; and they end with it.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{EffectClass, EffectRecord, Fate, Gate, Inner, over};
use crate::call::PermittedCall;
use crate::tell::{CallError, InnerCall};

/// The most calls inside of one attempt that are written down; more are counted.
const CALLS_LISTED_MAX: usize = 1_000;

/// How long the end of an attempt waits until what it has inside has stopped. That may have to wait in its turn for a change that
/// is being made; beyond this it hangs, and what becomes of it is not known.
const LAST_INSIDE_TIME_MAX: Duration = Duration::from_secs(5);

/// An attempt of a call inside of another attempt. When it is over, that one has gone as far as it has.
#[derive(Debug)]
pub(crate) struct Within {
    outer: Gate,
    effect: EffectClass,
    gate: Gate,
    /// Where the call stands in the list of the outer one.
    place: Option<usize>,
    /// How far its attempts before this one went.
    before: Option<(u64, EffectClass)>,
}

impl Gate {
    /// Lets an attempt of a call inside of this attempt begin.
    pub(crate) fn enter(&self, call: &PermittedCall, within: &Gate) -> Result<Within, CallError> {
        let effect = call.tool.effect;
        let mut inner = self.lock();
        if self.is_over(&inner) {
            return Err(over());
        }
        inner.running_inside += usize::from(effect.may_change());
        let (place, before) = inner.begins(call);
        Ok(Within { outer: self.clone(), effect, gate: within.clone(), place, before })
    }

    /// What is to be waited for behind the end, so that nothing is done there: what may change something inside of this attempt, in a
    /// task of its own, and has been told to stop. Boxed, because few attempts have that.
    pub(crate) fn left_inside(&self) -> Option<impl Future<Output = ()> + Unpin + '_> {
        let waits = self.lock().running_inside > 0;
        waits.then(|| {
            Box::pin(async move {
                let _ = timeout(LAST_INSIDE_TIME_MAX, self.nothing_inside()).await;
            })
        })
    }

    async fn nothing_inside(&self) {
        loop {
            let mut left = pin!(self.inner.1.notified());
            // From here on nobody leaves unnoticed.
            left.as_mut().enable();
            if self.lock().running_inside == 0 {
                return;
            }
            left.await;
        }
    }

    /// How far the attempt has gone into the world by calls inside of it, or may have.
    pub(crate) fn inside(&self) -> EffectClass {
        let inner = self.lock();
        // What still runs has not stopped when it was told to.
        if inner.running_inside > 0 { EffectClass::Destroys } else { inner.inside }
    }

    /// The calls inside of it that came to run, and how many more than could be listed.
    pub(crate) fn calls(&self) -> (Vec<InnerCall>, u64) {
        let inner = self.lock();
        (inner.calls.clone(), inner.calls_unlisted)
    }

    /// How many effects the attempt has had, and how far it has gone into the world; or may have.
    fn reach(&self) -> (u64, EffectClass) {
        let inside = self.inside();
        let inner = self.lock();
        let happened = |record: &&EffectRecord| {
            matches!(record.fate, Fate::Done | Fate::Indeterminate) && !record.effect.is_call()
        };
        let classes = || inner.records.iter().filter(happened).map(|record| record.effect.class);
        let listed = classes().max().unwrap_or(EffectClass::Pure);
        let unlisted = if inner.unlisted > 0 { EffectClass::Destroys } else { EffectClass::Pure };
        (classes().count() as u64 + inner.unlisted, inside.max(listed).max(unlisted))
    }
}

impl Inner {
    /// Writes down that an attempt of a call inside begins. Says where it stands, and how far the call went before.
    fn begins(&mut self, call: &PermittedCall) -> (Option<usize>, Option<(u64, EffectClass)>) {
        let reach = call.tool.effect;
        if let Some(place) = self.calls.iter().rposition(|known| known.call == call.call.id) {
            let known = self.calls.get_mut(place);
            let before = known.map(|known| (known.effects, std::mem::replace(&mut known.reach, reach)));
            return (Some(place), before);
        }
        if self.calls.len() >= CALLS_LISTED_MAX {
            self.calls_unlisted += 1;
            return (None, None);
        }
        let (call, tool) = (call.call.id.clone(), call.tool.name.clone());
        self.calls.push(InnerCall { call, tool, effects: 0, reach });
        (Some(self.calls.len() - 1), None)
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        let (effects, reach) = self.gate.reach();
        let mut outer = self.outer.lock();
        outer.inside = outer.inside.max(reach);
        if let Some(listed) = self.place.and_then(|place| outer.calls.get_mut(place)) {
            let (effects_before, reach_before) = self.before.unwrap_or((0, EffectClass::Pure));
            (listed.effects, listed.reach) = (effects_before + effects, reach_before.max(reach));
        }
        outer.running_inside -= usize::from(self.effect.may_change());
        drop(outer);
        self.outer.inner.1.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::sync::Arc;

    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::catalog::accept;
    use crate::{Call, Native};

    #[tokio::test(start_paused = true)]
    async fn what_does_not_stop_inside_is_waited_for_only_so_long_and_counts_as_if_it_had_done_everything() {
        let (outer, inner) = (Gate::new(1), Gate::new(1));
        let tool = Native::new("inner", "").effect(EffectClass::Writes).run(|_| async { Ok(json!(1)) });
        let call = accept(Arc::new(tool), Call::new("inner", json!({}))).unwrap();
        let within = outer.enter(&PermittedCall::new(call), &inner).unwrap();
        outer.close();
        let began = Instant::now();
        outer.left_inside().unwrap().await;
        assert_eq!((began.elapsed(), outer.inside()), (LAST_INSIDE_TIME_MAX, EffectClass::Destroys));
        assert_eq!(outer.calls().0[0].reach, EffectClass::Writes);
        drop(within);
        assert!(outer.left_inside().is_none());
        assert_eq!((outer.inside(), outer.calls().0[0].reach), (EffectClass::Pure, EffectClass::Pure));
    }
}

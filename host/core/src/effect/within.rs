//! What do the calls inside of an attempt do to the world? What they did, the attempt around them did too; and they end with it.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{EffectClass, Fate, Gate, over};
use crate::tell::CallError;

/// How long the end of an attempt waits until what it has inside has stopped. That may have to wait in its turn for a change that
/// is being made; beyond this it hangs, and what becomes of it is not known.
const LAST_INSIDE_TIME_MAX: Duration = Duration::from_secs(5);

/// An attempt of a call inside of another attempt. When it is over, that one has gone as far as it has.
#[derive(Debug)]
pub(crate) struct Within {
    outer: Gate,
    effect: EffectClass,
    gate: Gate,
}

impl Gate {
    /// Lets an attempt of a call inside of this attempt begin.
    pub(crate) fn enter(&self, effect: EffectClass, within: &Gate) -> Result<Within, CallError> {
        let mut inner = self.lock();
        if self.is_over(&inner) {
            return Err(over());
        }
        inner.running_inside += usize::from(effect.may_change());
        Ok(Within { outer: self.clone(), effect, gate: within.clone() })
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

    /// How far the attempt has gone into the world, or may have.
    fn reach(&self) -> EffectClass {
        let inside = self.inside();
        let inner = self.lock();
        let happened = inner.records.iter().filter(|record| matches!(record.fate, Fate::Done | Fate::Indeterminate));
        let listed = happened.map(|record| record.effect.class).max().unwrap_or(EffectClass::Pure);
        let unlisted = if inner.unlisted > 0 { EffectClass::Destroys } else { EffectClass::Pure };
        inside.max(listed).max(unlisted)
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        let reach = self.gate.reach();
        let mut outer = self.outer.lock();
        outer.inside = outer.inside.max(reach);
        outer.running_inside -= usize::from(self.effect.may_change());
        drop(outer);
        self.outer.inner.1.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_stop_inside_is_waited_for_only_so_long_and_counts_as_if_it_had_done_everything() {
        let (outer, inner) = (Gate::new(1), Gate::new(1));
        let within = outer.enter(EffectClass::Writes, &inner).unwrap();
        outer.close();
        let began = Instant::now();
        outer.left_inside().unwrap().await;
        assert_eq!((began.elapsed(), outer.inside()), (LAST_INSIDE_TIME_MAX, EffectClass::Destroys));
        drop(within);
        assert!(outer.left_inside().is_none());
        assert_eq!(outer.inside(), EffectClass::Pure);
    }
}

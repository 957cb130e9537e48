//! A second attempt beside one that is slow, for tools that only read: whichever succeeds first is the answer.

use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout};

use super::once::Begun;
use super::{Attempts, Unmade};
use crate::catalog::Lifetime;
use crate::guard::retry::{Fence, Spent};
use crate::inside::Inside;
use crate::tell::{CallError, ErrorKind, Output, Stage};

type Answer = Result<Output, CallError>;

impl Attempts {
    /// Runs an attempt, and a second one beside it when it is slow and a second one may be made.
    pub(super) async fn hedged(&mut self, first: Begun, slow_after: Duration) -> (Answer, Fence) {
        let began = first.attempt.clone();
        let (answer, second) = {
            let mut running = pin!(first.run());
            match timeout(slow_after, running.as_mut()).await {
                Ok(answer) => (Some(answer), None),
                Err(_) => match self.second(&first) {
                    None => (Some(running.await), None),
                    Some((second, paid)) => {
                        let (answer, others) = race(running, &second).await;
                        (answer, Some((second, paid, others)))
                    }
                },
            }
        };
        self.deadline = self.deadline.later_by(began.clock.stood(), &self.call.call);
        // What has lost the race is gone by here, and its gate is closed.
        let first_answer = answer.unwrap_or_else(|| Err(cut_off()));
        let mut fence = first.end(&first_answer, &mut self.trail);
        let mut answer = first_answer;
        if let Some((second, paid, others)) = second {
            let second_answer = others.unwrap_or_else(|| Err(cut_off()));
            fence = fence.max(second.end(&second_answer, &mut self.trail));
            if answer.is_err() {
                if second_answer.is_ok() {
                    paid.give_back();
                }
                answer = second_answer;
            }
        }
        if answer.is_ok() {
            self.call.tool.guards.latencies.succeeded(began.took());
        }
        (answer, fence)
    }

    /// Begins a second attempt, if there is a place for it that nobody waits for, and if it may be paid for.
    fn second(&mut self, first: &Begun) -> Option<(Begun, Spent)> {
        let call = self.call.clone();
        let guards = &call.tool.guards;
        // There is one of what is kept for a session, and the first has it.
        if call.tool.lifetime == Lifetime::Session {
            return None;
        }
        let too_late = Instant::now() + guards.latencies.floor() > self.deadline.at;
        if too_late || first.attempt.clock.stood() > Duration::ZERO || matches!(first.fence(), Fence::Effect { .. }) {
            return None;
        }
        let slot = self.guarding.slots.take_free(&self.need, call.call.inside.as_ref().map(Inside::around).as_ref())?;
        let number = first.attempt.number;
        let purse = self.purse();
        let paid = guards.retry.pay_for_hedge(number, &self.retries, &purse);
        let unmade = Unmade { paid: Some(paid?), retries: self.retries.clone() };
        let second = Begun::begin(self, number + 1, slot, true).ok()?;
        unmade.made().map(|paid| (second, paid))
    }
}

/// Waits for the first success, or for both failures. Who has lost has no answer.
async fn race(first: Pin<&mut impl Future<Output = Answer>>, second: &Begun) -> (Option<Answer>, Option<Answer>) {
    match select(first, pin!(second.run())).await {
        Either::Left((Ok(output), _)) => (Some(Ok(output)), None),
        Either::Left((Err(error), second)) => (Some(Err(error)), Some(second.await)),
        Either::Right((Ok(output), _)) => (None, Some(Ok(output))),
        Either::Right((Err(error), first)) => (Some(first.await), Some(Err(error))),
    }
}

fn cut_off() -> CallError {
    CallError::new(ErrorKind::Cancelled, Stage::Run, "the attempt beside it succeeded first")
}

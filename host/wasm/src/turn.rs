//! A guest takes turns with everything else: how its turn ends, and what becomes of one that does not end it.
//!
//! Every few thousand operations the guest yields to us, and goes on at once while its turn lasts. Then everything else goes
//! first, also what the runtime waits for. A task that only wakes itself would not do: a runtime whose workers all have such
//! a task never runs out of work, and looks at its timers and at the network only once in a while (tokio: after 61 polls). So
//! the task is put off until the runtime has looked, which is what `yield_now` does.
//!
//! While somebody is asked about what the guest is about to do, it gets no turn at all.
//!
//! A call of a host function uses next to no fuel, whatever time it takes. So every host function looks at the clock as it
//! begins, and ends an attempt that is past its deadline, or that fills its turn with such calls.

#[cfg(panic = "abort")]
compile_error!("hostile guests are ended by unwinding: build with `panic = \"unwind\"`");

use std::any::Any;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::task::AtomicWaker;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;
use toolpost_core::Clock;

/// How long a turn lasts, if the guest yields to us at all.
const TURN: Duration = Duration::from_millis(2);

/// How long one turn may last. Beyond it, the guest may use so much of the processor's time again: a machine that is busy
/// with other things is no fault of the guest's.
pub(crate) const TURN_MAX: Duration = Duration::from_millis(100);

/// The future is being polled.
const POLLED: u8 = 0;
/// It was woken while it was polled.
const WOKEN: u8 = 1;
/// It waits.
const WAITING: u8 = 2;

/// What a future gives that catches unwinding.
type Unwound<T> = Result<T, Box<dyn Any + Send>>;

/// Why a host function ended the attempt in which it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its deadline is over.
    Late,
    /// It called one host function after the other without a pause.
    Hogging,
    /// It holds too many requests.
    Holding,
}

/// Ends the attempt from a host function, which must hold no lock of another thread: unwinds to [`taking`].
pub(crate) fn end(ended: Ended) -> ! {
    resume_unwind(Box::new(ended))
}

/// The turns of one attempt. It stands between the guest's future and its task, to see when the future is woken.
#[derive(Debug)]
pub(crate) struct Turns {
    started: Instant,
    clock: Clock,
    /// When the last turn ended, in nanoseconds since the start.
    paused: AtomicU64,
    /// The processor time of the thread, in nanoseconds, at which the turn was found to last too long; 0 before that.
    warned: AtomicU64,
    state: AtomicU8,
    task: AtomicWaker,
}

impl Turns {
    /// Those of an attempt that starts now.
    pub(crate) fn new(started: Instant, clock: Clock) -> Arc<Self> {
        let (paused, warned) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Turns { started, clock, paused, warned, state: AtomicU8::new(POLLED), task: AtomicWaker::new() })
    }

    /// The guest has yielded to us. Says when, in nanoseconds since the start.
    fn pause(&self) -> u64 {
        let now = self.since_start();
        self.paused.store(now, Ordering::Relaxed);
        self.warned.store(0, Ordering::Relaxed);
        now
    }

    /// A host function begins. Does not come back where the attempt must end: no host function has an error for that, so
    /// the way out is to unwind, which [`taking`] turns into a value.
    pub(crate) fn enter(&self) {
        if self.clock.is_over() {
            end(Ended::Late);
        }
        let now = self.since_start();
        if now.saturating_sub(self.paused.load(Ordering::Relaxed)) >= nanos(TURN_MAX) {
            self.lasts_too_long();
        }
    }

    #[cold]
    fn lasts_too_long(&self) {
        let used = processor_time();
        let warned = self.warned.load(Ordering::Relaxed);
        if warned == 0 {
            self.warned.store(used.max(1), Ordering::Relaxed);
        } else if used.saturating_sub(warned) >= nanos(TURN_MAX) {
            end(Ended::Hogging);
        }
    }

    fn since_start(&self) -> u64 {
        nanos(self.started.elapsed())
    }
}

/// Of the thread, in nanoseconds.
fn processor_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanos.unwrap_or_default()
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Wake for Turns {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == WAITING {
            self.task.wake();
        }
    }
}

/// Runs a guest's future to its end, turn by turn; an error where a host function had to end it.
///
/// # Cancel safety
/// That of the future.
pub(crate) async fn taking<T>(
    turns: Arc<Turns>,
    mut guest: impl Future<Output = Unwound<T>> + Unpin,
) -> Result<T, Ended> {
    let waker = Waker::from(turns.clone());
    let ran = std::future::poll_fn(|task| {
        if turns.clock.poll_goes(task).is_pending() {
            turns.pause();
            return Poll::Pending;
        }
        turns.task.register(task.waker());
        let turn_ends = turns.since_start() + nanos(TURN);
        loop {
            turns.state.store(POLLED, Ordering::Release);
            let polled = guest.poll_unpin(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                return polled;
            }
            let now = turns.pause();
            let waits = turns.state.compare_exchange(POLLED, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if !waits && now < turn_ends {
                continue;
            }
            if !waits {
                go_last(task);
            }
            return Poll::Pending;
        }
    })
    .await;
    ran.map_err(|unwound| match unwound.downcast_ref() {
        Some(ended) => *ended,
        None => resume_unwind(unwound),
    })
}

/// Has the task woken, behind everything else.
fn go_last(task: &mut Context<'_>) {
    if pin!(tokio::task::yield_now()).poll(task).is_ready() {
        task.waker().wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::AtomicU32;

    use futures_util::future::{BoxFuture, join};
    use serde_json::json;
    use tokio::sync::Semaphore;
    use tokio::time::sleep;
    use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question};
    use toolpost_core::{Attempt, Call, Catalog, Effect, EffectClass, Host, Native};

    use super::*;

    struct Slow(Semaphore);

    impl Approver for Slow {
        fn ask<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
            Box::pin(async {
                self.0.acquire().await.unwrap().forget();
                Ok(Answer { choice: Choice::Allow, by: "ann".into() })
            })
        }
    }

    /// Counts the turns of a guest that goes on while an effect of its attempt is asked about.
    async fn post(attempt: Attempt, count: Arc<AtomicU32>) {
        let turns = Turns::new(attempt.started, attempt.clock.clone());
        let guest = async {
            while attempt.clock.stood() == Duration::ZERO || count.load(Ordering::Relaxed) < 20 {
                count.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        let (class, action) = (EffectClass::Open, "net.post".into());
        let effect = Effect { class, action, target: "https://a.org/".into(), detail: None };
        let (_, passed) = join(taking(turns, Box::pin(guest)), attempt.pass(effect)).await;
        passed.unwrap().done();
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_gets_no_turn_while_somebody_is_asked() {
        let (count, person) = (Arc::new(AtomicU32::new(0)), Arc::new(Slow(Semaphore::new(0))));
        let mut catalog = Catalog::default();
        let counted = count.clone();
        let tool = Native::new("post", "Posts").effect(EffectClass::Open).run(move |attempt| {
            let counted = counted.clone();
            async move {
                post(attempt, counted).await;
                Ok(json!(null))
            }
        });
        catalog.add(tool).unwrap();
        let rules = serde_json::from_value(json!({"ask": [{"does": {"action": "net.post"}}]})).unwrap();
        let host = Host::new(catalog).with_approval(Approval::new(rules).then(person.clone()));
        let call = tokio::spawn(async move { host.call(Call::new("post", json!({}))).await.result });
        sleep(Duration::from_millis(10)).await;
        let before = count.load(Ordering::Relaxed);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(count.load(Ordering::Relaxed), before);
        person.0.add_permits(1);
        call.await.unwrap().unwrap();
        assert!(count.load(Ordering::Relaxed) > before);
    }
}

//! How long may an attempt still take? Its clock stands still while a person is asked about an effect, but for what its caller has
//! said: whoever wants an answer by then has it by then.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The longest that the clock of one attempt stands still, all questions together. Beyond it, it goes on while somebody is asked.
pub const STANDS_MAX: Duration = Duration::from_secs(3_600);

/// The clock of one attempt. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    /// When it is over in any case, however long it stands still.
    until: Option<Instant>,
    /// When the time is over at the latest, in nanoseconds since the start.
    over: AtomicU64,
    hands: Mutex<Hands>,
    moved: Notify,
    /// Whether it stands still, and who is to be run again when it goes on.
    stands: AtomicBool,
    guest: AtomicWaker,
    /// The clock of the attempt around it, which waits meanwhile.
    around: Option<Clock>,
}

#[derive(Debug)]
struct Hands {
    deadline: Instant,
    /// How many questions hold the clock, and since when.
    holders: usize,
    since: Instant,
    stood: Duration,
}

/// The clock stands still until this is dropped.
#[derive(Debug)]
pub(crate) struct Standing(Clock);

impl Clock {
    pub(crate) fn new(started: Instant, deadline: Instant, until: Option<Instant>, around: Option<Clock>) -> Self {
        let until = until.into_iter().chain(around.as_ref().and_then(Clock::until)).min();
        let hands = Mutex::new(Hands { deadline, holders: 0, since: started, stood: Duration::ZERO });
        let (over, stands) = (AtomicU64::default(), AtomicBool::new(false));
        let (moved, guest) = (Notify::new(), AtomicWaker::new());
        let clock = Clock(Arc::new(Inner { started, until, over, hands, moved, stands, guest, around }));
        clock.is_over_at(deadline);
        clock
    }

    /// When it is over in any case, where somebody has said so.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.0.until
    }

    fn is_over_at(&self, at: Instant) {
        let over = nanos(self.at_the_latest(at).saturating_duration_since(self.0.started));
        self.0.over.store(over, Ordering::Relaxed);
    }

    fn at_the_latest(&self, at: Instant) -> Instant {
        self.0.until.map_or(at, |until| until.min(at))
    }

    /// Whether the time is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        nanos(self.0.started.elapsed()) >= self.0.over.load(Ordering::Relaxed)
    }

    /// When the time is over, if the clock does not stand still any more from now on.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let hands = self.hands();
        self.at_the_latest(hands.deadline + hands.standing_for())
    }

    /// The time that is left.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// How long the clock has stood still so far.
    #[must_use]
    pub fn stood(&self) -> Duration {
        let hands = self.hands();
        hands.stood + hands.standing_for()
    }

    /// Ready while the clock goes. A runner does not run its tool while it stands: what is computed meanwhile would be
    /// computed outside of its time and of its place. One task at a time can wait for this.
    pub fn poll_goes(&self, task: &mut Context<'_>) -> Poll<()> {
        if !self.0.stands.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.0.guest.register(task.waker());
        // It may go on since a moment ago.
        if self.0.stands.load(Ordering::Acquire) { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Holds the clock, and those of the attempts around it.
    pub(crate) fn stop(&self) -> Vec<Standing> {
        let clocks = std::iter::successors(Some(self), |clock| clock.0.around.as_ref());
        clocks.map(Clock::stop_alone).collect()
    }

    fn stop_alone(&self) -> Standing {
        let mut hands = self.hands();
        hands.holders += 1;
        if hands.holders == 1 {
            hands.since = Instant::now();
            self.0.stands.store(true, Ordering::Release);
            // As late as it can be, however long somebody thinks.
            self.is_over_at(hands.deadline + STANDS_MAX.saturating_sub(hands.stood));
        }
        drop(hands);
        self.0.moved.notify_waiters();
        Standing(self.clone())
    }

    /// Waits until the time is over.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn over(&self) {
        loop {
            let mut moved = pin!(self.0.moved.notified());
            // From here on no move is missed.
            moved.as_mut().enable();
            if self.is_over() {
                return;
            }
            let over = Duration::from_nanos(self.0.over.load(Ordering::Relaxed));
            tokio::select! {
                () = moved => {}
                () = sleep_until(self.0.started + over) => {}
            }
        }
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hands {
    /// How long it stands still already, as far as it may.
    fn standing_for(&self) -> Duration {
        if self.holders == 0 {
            return Duration::ZERO;
        }
        self.since.elapsed().min(STANDS_MAX.saturating_sub(self.stood))
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let Standing(clock) = self;
        let mut hands = clock.hands();
        let stood = hands.standing_for();
        hands.holders -= 1;
        if hands.holders == 0 {
            hands.stood += stood;
            hands.deadline += stood;
            clock.is_over_at(hands.deadline);
            clock.0.stands.store(false, Ordering::Release);
        }
        drop(hands);
        clock.0.guest.wake();
        clock.0.moved.notify_waiters();
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance, timeout};

    use super::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn of_ten_seconds(around: Option<Clock>) -> Clock {
        let now = Instant::now();
        Clock::new(now, now + 10 * SECOND, None, around)
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_stands_still_is_over_so_much_later() {
        let clock = of_ten_seconds(None);
        advance(4 * SECOND).await;
        let (first, second) = (clock.stop(), clock.stop());
        advance(60 * SECOND).await;
        drop(first);
        assert!(!clock.is_over() && timeout(60 * SECOND, clock.over()).await.is_err(), "one question holds it still");
        assert_eq!(clock.left(), 6 * SECOND);
        drop(second);
        assert_eq!((clock.left(), clock.stood()), (6 * SECOND, 120 * SECOND));
        let waits = Instant::now();
        clock.over().await;
        assert_eq!(waits.elapsed(), 6 * SECOND);
        assert!(clock.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn the_clocks_around_it_stand_still_with_it() {
        let outer = of_ten_seconds(None);
        let inner = of_ten_seconds(Some(outer.clone()));
        let waits = tokio::spawn({
            let outer = outer.clone();
            async move { outer.over().await }
        });
        let standing = inner.stop();
        advance(3_000 * SECOND).await;
        assert!(!outer.is_over() && !waits.is_finished());
        drop(standing);
        assert_eq!(outer.left(), 10 * SECOND);
        waits.await.unwrap_or_default();
        assert!(outer.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_caller_has_said_does_not_move_for_it_nor_for_those_inside() {
        let now = Instant::now();
        let outer = Clock::new(now, now + 10 * SECOND, Some(now + 30 * SECOND), None);
        let inner = of_ten_seconds(Some(outer.clone()));
        let standing = inner.stop();
        advance(29 * SECOND).await;
        assert!(!outer.is_over() && !inner.is_over());
        assert_eq!((outer.left(), inner.left()), (SECOND, SECOND));
        outer.over().await;
        inner.over().await;
        assert_eq!(now.elapsed(), 30 * SECOND);
        drop(standing);
        assert!(outer.is_over() && inner.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_stand_still_for_ever() {
        let clock = of_ten_seconds(None);
        let standing = clock.stop();
        advance(super::STANDS_MAX + 9 * SECOND).await;
        assert!(!clock.is_over());
        advance(SECOND).await;
        assert!(clock.is_over() && timeout(SECOND, clock.over()).await.is_ok(), "also while somebody is still asked");
        drop(standing);
        assert!(clock.is_over());
        let _again = clock.stop();
        assert!(clock.is_over());
    }
}

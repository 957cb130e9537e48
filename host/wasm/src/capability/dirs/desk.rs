//! Where the work on files is done: off the threads that serve calls, one piece after the other for each attempt, and none
//! behind its end.
//!
//! What is given to the operating system cannot be taken back. So the end of an attempt waits for the one change that is being
//! made, and no other begins behind it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError};
use toolpost_core::effect::Passage;
use tracing::Span;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::driver::Driver;

/// Files and folders that one attempt may have open at once.
const OPEN_MAX: usize = 64;

/// Streams of files that one attempt may hold at once: each may hold a piece of its file.
const STREAMS_MAX: usize = 128;

/// How long the end of an attempt waits for a change that is being made. A disk that takes longer hangs, and must not take
/// the host with it; what becomes of the change is not known then, and the report says so.
const LAST_CHANGE_TIME_MAX: Duration = Duration::from_secs(2);

/// The work of one attempt.
pub(super) struct Desk {
    driver: Arc<Driver>,
    turn: Arc<Turn<()>>,
    open: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    life: Life,
}

/// The room for something open. Dropping it gives it back.
pub(super) struct Place {
    _of_attempt: OwnedSemaphorePermit,
    _of_host: OwnedSemaphorePermit,
}

impl Desk {
    pub(super) fn new(driver: &Arc<Driver>) -> Self {
        let [open, streams] = [OPEN_MAX, STREAMS_MAX].map(|places| Arc::new(Semaphore::new(places)));
        Desk { driver: driver.clone(), turn: Arc::default(), open, streams, life: Life::default() }
    }

    /// Room for a stream of a file.
    pub(super) fn stream(&self) -> Result<OwnedSemaphorePermit, ErrorCode> {
        self.streams.clone().try_acquire_owned().map_err(short)
    }

    /// Room for so many open files.
    pub(super) fn place(&self, files: u32) -> Result<Place, ErrorCode> {
        let of_attempt = self.open.clone().try_acquire_many_owned(files).map_err(short)?;
        let of_host = self.driver.places.clone().try_acquire_many_owned(files).map_err(short)?;
        Ok(Place { _of_attempt: of_attempt, _of_host: of_host })
    }

    /// Does a piece of work off the threads that serve calls. Where it waits for something, such as a person's leave, it holds
    /// neither a thread nor the attempt's turn meanwhile. Within one such piece there must be no other.
    ///
    /// # Cancel safety
    /// Dropping the future lets the work come to the next place where it would wait, and no further.
    pub(super) async fn off<T: Send + 'static>(
        &self,
        jobs: &Arc<Semaphore>,
        work: impl Future<Output = Result<T, ErrorCode>> + Send + 'static,
    ) -> Result<T, ErrorCode> {
        let woken = Arc::new(Woken::default());
        let (mut work, span) = (Box::pin(work), Span::current());
        loop {
            let turn = self.turn.clone().lock_owned().await;
            // First the folder's own share: who waits for a folder that hangs must not hold what others work with.
            let of_root = jobs.clone().acquire_owned().await.map_err(|_| ErrorCode::Io)?;
            let job = self.driver.jobs.clone().acquire_owned().await.map_err(|_| ErrorCode::Io)?;
            let (waker, span) = (Waker::from(woken.clone()), span.clone());
            let working = tokio::task::spawn_blocking(move || {
                // All are held until it rests, also where nobody waits for it any more.
                let _held = (turn, of_root, job);
                match span.in_scope(|| work.as_mut().poll(&mut Context::from_waker(&waker))) {
                    Poll::Ready(done) => Ok(done),
                    Poll::Pending => Err(work),
                }
            });
            match working.await {
                Ok(Ok(done)) => return done,
                Ok(Err(rest)) => work = rest,
                Err(_) => return Err(ErrorCode::Io),
            }
            woken.0.notified().await;
        }
    }

    /// Makes a change that has passed the gate, which hears what became of it. This is done at once, so only [`off`](Self::off).
    pub(super) fn change<T>(
        &self,
        passages: impl IntoIterator<Item = Passage>,
        work: impl FnOnce() -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        self.judged(Leave(passages.into_iter().collect()), || {
            let done = work();
            let fate = if done.is_ok() { Passage::done } else { Passage::failed };
            (done, Some(fate as fn(Passage)))
        })
    }

    /// As [`change`](Self::change), for a change that itself says what became of it: nothing where that is not known.
    pub(super) fn judged<T>(
        &self,
        mut leave: Leave,
        work: impl FnOnce() -> Judged<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        let act = || {
            let passages = std::mem::take(&mut leave.0);
            let (done, fate) = work();
            if let Some(fate) = fate {
                passages.into_iter().for_each(fate);
            }
            done
        };
        // The attempt is over; nobody hears this.
        self.life.act(act).unwrap_or(Err(ErrorCode::Interrupted))
    }

    /// Nothing is changed any more from here on.
    pub(super) fn end(&self) {
        self.life.end();
    }
}

/// The interface has no error for too many of something; this is the one of a system that is short of it.
fn short(_: TryAcquireError) -> ErrorCode {
    ErrorCode::InsufficientMemory
}

/// Tells a piece of work to go on.
#[derive(Default)]
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// What came of a change, and what the gate is to hear of it.
pub(super) type Judged<T, E> = (Result<T, E>, Option<fn(Passage)>);

/// Leave to make a change. What is dropped before the change has begun did not happen.
pub(super) struct Leave(pub(super) Vec<Passage>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Passage::failed);
    }
}

/// Whether the attempt still runs, and whether it is changing something.
#[derive(Default)]
struct Life {
    now: Mutex<Now>,
    rests: Condvar,
}

#[derive(Default)]
struct Now {
    over: bool,
    acting: bool,
}

impl Life {
    /// Acts, unless the attempt is over.
    fn act<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        /// Says that it rests again, also where what was done panicked.
        struct Acting<'a>(&'a Life);
        impl Drop for Acting<'_> {
            fn drop(&mut self) {
                let mut now = self.0.lock();
                now.acting = false;
                if now.over {
                    self.0.rests.notify_all();
                }
            }
        }
        {
            let mut now = self.lock();
            if now.over {
                return None;
            }
            now.acting = true;
        }
        let _acting = Acting(self);
        Some(act())
    }

    fn end(&self) {
        let mut now = self.lock();
        now.over = true;
        let waited = self.rests.wait_timeout_while(now, LAST_CHANGE_TIME_MAX, |now| now.acting);
        drop(waited);
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_end_waits_for_the_change_that_is_being_made_and_none_begins_behind_it() {
        let life = Arc::new(Life::default());
        let (begun, has_begun) = mpsc::channel();
        let (finish, may_finish) = mpsc::channel::<()>();
        let acting = life.clone();
        let thread = std::thread::spawn(move || {
            acting.act(|| {
                begun.send(()).unwrap();
                may_finish.recv().unwrap();
            })
        });
        has_begun.recv().unwrap();
        let ending = life.clone();
        let end = std::thread::spawn(move || ending.end());
        while !life.lock().over {
            std::thread::yield_now();
        }
        assert!(!end.is_finished() && life.act(|| ()).is_none());
        finish.send(()).unwrap();
        assert_eq!(thread.join().unwrap(), Some(()));
        end.join().unwrap();
    }

    fn jobs() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(1))
    }

    #[tokio::test]
    async fn a_folder_that_hangs_leaves_threads_for_the_others() {
        let driver = Arc::new(Driver::new());
        let [hangs, works] = [Arc::new(Semaphore::new(8)), Arc::new(Semaphore::new(8))];
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let stopped = Arc::new(Mutex::new(stopped));
        let hanging = (0..40).map(|_| {
            let (desk, hangs, stopped) = (Desk::new(&driver), hangs.clone(), stopped.clone());
            let hang = async move { Ok(stopped.lock().unwrap().recv().is_err()) };
            tokio::spawn(async move { desk.off(&hangs, hang).await })
        });
        let hanging: Vec<_> = hanging.collect();
        while hangs.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let desk = Desk::new(&driver);
        let done = tokio::time::timeout(Duration::from_secs(5), desk.off(&works, async { Ok(7) })).await;
        drop(stop);
        assert_eq!(done, Ok(Ok(7)));
        for hung in hanging {
            assert_eq!(hung.await.unwrap(), Ok(true));
        }
    }

    fn desk() -> Desk {
        Desk::new(&Arc::new(Driver::new()))
    }

    #[tokio::test]
    async fn work_that_waits_holds_up_no_other_of_its_attempt_and_goes_on_when_it_is_told_to() {
        let (desk, jobs) = (desk(), jobs());
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut waits = std::pin::pin!(desk.off(&jobs, async move {
            told.await.unwrap();
            Ok(std::thread::current().id())
        }));
        // The first goes as far as it comes, and the second is done meanwhile, again and again.
        for number in 0..100 {
            tokio::select! {
                biased;
                _ = &mut waits => panic!("it was not told to go on"),
                done = desk.off(&jobs, async move { Ok(number) }) => assert_eq!(done, Ok(number)),
            }
        }
        tell.send(()).unwrap();
        assert!(waits.await.unwrap() != std::thread::current().id(), "it is done where it may take its time");
    }

    #[tokio::test]
    async fn work_that_waits_is_dropped_with_who_waits_for_it() {
        let (desk, jobs, kept) = (desk(), jobs(), Arc::new(()));
        let held = kept.clone();
        let waits = desk.off(&jobs, async move {
            let _held = held;
            std::future::pending::<Result<(), ErrorCode>>().await
        });
        let late = tokio::time::timeout(Duration::from_millis(20), waits).await;
        assert!(late.is_err());
        // It may just have been polled elsewhere.
        let dropped = async {
            while Arc::strong_count(&kept) > 1 {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(5), dropped).await.is_ok());
        assert_eq!(desk.off(&jobs, async { Ok(()) }).await, Ok(()), "it has left its turn to others");
    }

    #[test]
    fn so_many_streams_are_held_at_once() {
        let desk = desk();
        let held: Vec<_> = (0..STREAMS_MAX).map(|_| desk.stream().unwrap()).collect();
        assert_eq!(desk.stream().err(), Some(ErrorCode::InsufficientMemory));
        drop(held);
        assert!(desk.stream().is_ok());
    }

    #[tokio::test]
    async fn nothing_is_changed_behind_the_end() {
        let desk = desk();
        desk.end();
        let changed = desk.change([], || -> Result<(), ErrorCode> { panic!("this is behind the end") });
        assert_eq!(changed, Err(ErrorCode::Interrupted));
    }
}

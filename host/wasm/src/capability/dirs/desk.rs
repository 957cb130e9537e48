//! Where the work on files is done: off the threads that serve calls, one piece after the other for each attempt, and none
//! behind its end.
//!
//! What is given to the operating system cannot be taken back. So the end of an attempt waits for the one change that is being
//! made, and no other begins behind it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, OwnedSemaphorePermit, Semaphore};
use toolpost_core::effect::Passage;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::driver::Driver;

/// Files and folders that one attempt may have open at once.
const OPEN_MAX: usize = 64;

/// How long the end of an attempt waits for a change that is being made. A disk that takes longer hangs, and must not take
/// the host with it; what becomes of the change is not known then, and the report says so.
const LAST_CHANGE_TIME_MAX: Duration = Duration::from_secs(2);

/// The work of one attempt.
pub(super) struct Desk {
    driver: Arc<Driver>,
    turn: Arc<Turn<()>>,
    open: Arc<Semaphore>,
    life: Arc<Life>,
}

/// The room for something open. Dropping it gives it back.
pub(super) struct Place {
    _of_attempt: OwnedSemaphorePermit,
    _of_host: OwnedSemaphorePermit,
}

impl Desk {
    pub(super) fn new(driver: &Arc<Driver>) -> Self {
        let (turn, open, life) = (Arc::default(), Arc::new(Semaphore::new(OPEN_MAX)), Arc::default());
        Desk { driver: driver.clone(), turn, open, life }
    }

    /// Room for so many open files.
    pub(super) fn place(&self, files: u32) -> Result<Place, ErrorCode> {
        // The interface has no error for too many of them; this is the one of a system that is short of something.
        let short = |_| ErrorCode::InsufficientMemory;
        let of_attempt = self.open.clone().try_acquire_many_owned(files).map_err(short)?;
        let of_host = self.driver.places.clone().try_acquire_many_owned(files).map_err(short)?;
        Ok(Place { _of_attempt: of_attempt, _of_host: of_host })
    }

    /// Does what changes nothing.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ErrorCode> + Send + 'static,
    ) -> Result<T, ErrorCode> {
        let turn = self.turn.clone().lock_owned().await;
        let job = self.driver.jobs.clone().acquire_owned().await.map_err(|_| ErrorCode::Io)?;
        let done = tokio::task::spawn_blocking(move || {
            // Both are held until it is done, also where nobody waits for it any more.
            let _held = (turn, job);
            work()
        });
        done.await.unwrap_or(Err(ErrorCode::Io))
    }

    /// Makes a change that has passed the gate, which hears what became of it.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        passages: impl IntoIterator<Item = Passage>,
        work: impl FnOnce() -> Result<T, ErrorCode> + Send + 'static,
    ) -> Result<T, ErrorCode> {
        let leave = Leave(passages.into_iter().collect());
        self.judged(leave, || {
            let done = work();
            let fate = if done.is_ok() { Passage::done } else { Passage::failed };
            (done, Some(fate as fn(Passage)))
        })
        .await
    }

    /// As [`change`](Self::change), for a change that itself says what became of it: nothing where that is not known.
    pub(super) async fn judged<T: Send + 'static>(
        &self,
        mut leave: Leave,
        work: impl FnOnce() -> Judged<T, ErrorCode> + Send + 'static,
    ) -> Result<T, ErrorCode> {
        let life = self.life.clone();
        self.look(move || {
            let act = || {
                let passages = std::mem::take(&mut leave.0);
                let (done, fate) = work();
                if let Some(fate) = fate {
                    passages.into_iter().for_each(fate);
                }
                done
            };
            // The attempt is over; nobody hears this.
            life.act(act).unwrap_or(Err(ErrorCode::Interrupted))
        })
        .await
    }

    /// Nothing is changed any more from here on.
    pub(super) fn end(&self) {
        self.life.end();
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
                self.0.lock().acting = false;
                self.0.rests.notify_all();
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
}

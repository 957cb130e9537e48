//! The connections to one database, for all attempts: never more than were allowed. A connection that is taken comes back only
//! when somebody says that it is clean; else it is closed, and its place is free when it is.
//!
//! The pool of `sqlx` is not used: while a server refuses connections it goes on trying, so that one which is down, and one which
//! is slow, look the same until the time is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{Connection, Database};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use toolpost_wasm::sql::Failure;

/// A connection that was not used for so long is not used again.
const IDLE_TIME_MAX: Duration = Duration::from_secs(300);

/// How long the last word to a server, or the cleaning of a connection, may take.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(5);

pub(super) struct Pool<D: Database> {
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Idle<D>>>>,
}

struct Idle<D: Database> {
    connection: D::Connection,
    since: Instant,
    origin: u64,
}

/// A connection that is taken. Dropping it closes it.
pub(super) struct Lease<D: Database> {
    held: Option<(D::Connection, OwnedSemaphorePermit)>,
    idle: Arc<Mutex<Vec<Idle<D>>>>,
    origin: u64,
    /// Whether it was used before, and so may have been closed by the server meanwhile.
    pub(super) is_used: bool,
}

impl<D: Database> Pool<D> {
    pub(super) fn new(connections_max: u32) -> Self {
        Pool { places: Arc::new(Semaphore::new(connections_max as usize)), idle: Arc::default() }
    }

    /// Takes a connection that is there, or the one that `connect` makes. `origin` tells where it leads: those that lead
    /// elsewhere are closed.
    pub(super) async fn take(
        &self,
        origin: u64,
        until: Instant,
        connect: impl Future<Output = Result<D::Connection, sqlx::Error>>,
    ) -> Result<Lease<D>, Failure> {
        let place = timeout_at(until, self.places.clone().acquire_owned()).await;
        let place = place.map_err(|_| Failure::Busy)?.map_err(|_| Failure::Busy)?;
        let found = self.idle_one(origin);
        let (connection, is_used) = match found {
            Some(connection) => (connection, true),
            None => match timeout_at(until, connect).await {
                Ok(Ok(connection)) => (connection, false),
                Ok(Err(error)) => return Err(Failure::Unreachable(error.to_string())),
                Err(_) => return Err(Failure::Unreachable("no connection came about in time".into())),
            },
        };
        Ok(Lease { held: Some((connection, place)), idle: self.idle.clone(), origin, is_used })
    }

    fn idle_one(&self, origin: u64) -> Option<D::Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|one| one.origin == origin && one.since.elapsed() < IDLE_TIME_MAX);
        idle.pop().map(|one| one.connection)
    }
}

impl<D: Database> Lease<D> {
    pub(super) fn connection(&mut self) -> Result<&mut D::Connection, Failure> {
        match &mut self.held {
            Some((connection, _)) => Ok(connection),
            None => Err(Failure::Lost("the connection is closed".into())),
        }
    }

    /// Gives it back as it is.
    pub(super) fn give_back(mut self) {
        if let Some((connection, place)) = self.held.take() {
            lock(&self.idle).push(Idle { connection, since: Instant::now(), origin: self.origin });
            drop(place);
        }
    }

    /// Gives it back when it is clean. Nobody waits for that.
    pub(super) fn give_back_when<F, R>(mut self, clean: F)
    where
        F: FnOnce(D::Connection) -> R + Send + 'static,
        R: Future<Output = Option<D::Connection>> + Send,
    {
        let Some((connection, place)) = self.held.take() else { return };
        let (idle, origin) = (self.idle.clone(), self.origin);
        tokio::spawn(async move {
            if let Ok(Some(connection)) = timeout(FAREWELL_TIME_MAX, clean(connection)).await {
                lock(&idle).push(Idle { connection, since: Instant::now(), origin });
            }
            drop(place);
        });
    }
}

impl<D: Database> Drop for Lease<D> {
    fn drop(&mut self) {
        let Some((connection, place)) = self.held.take() else { return };
        // Where nothing runs any more, the operating system closes it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                timeout(FAREWELL_TIME_MAX, connection.close()).await.ok();
                drop(place);
            });
        }
    }
}

impl<D: Database> std::fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("free", &self.places.available_permits()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

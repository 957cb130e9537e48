//! So many connections to a server, and no more. Who has one has it alone; who is given up while it waits for an answer takes the
//! connection along, so that nobody else gets that answer.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Connections, or room for them.
pub(super) struct Pool<C> {
    places: Semaphore,
    idle: Mutex<Vec<C>>,
}

/// Room for a connection, and one that was used before if there is one. Dropping it gives the room back, and closes the connection.
pub(super) struct Place<'p, C> {
    pool: &'p Pool<C>,
    pub(super) connection: Option<C>,
    _permit: SemaphorePermit<'p>,
}

impl<C> Pool<C> {
    pub(super) fn new(connections_max: usize) -> Self {
        Pool { places: Semaphore::new(connections_max), idle: Mutex::default() }
    }

    /// Waits for a place; nothing where there will be none any more.
    pub(super) async fn place(&self) -> Option<Place<'_, C>> {
        let permit = self.places.acquire().await.ok()?;
        let connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Some(Place { pool: self, connection, _permit: permit })
    }
}

impl<C> Place<'_, C> {
    /// The connection is as good as before, for the next one.
    pub(super) fn give_back(mut self) {
        let idle = &mut *self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.connection.take());
    }
}

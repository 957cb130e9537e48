//! Connections that outlive a request. They are shared by all instances, and by grants that reach equally far: what one
//! grant may not connect to, it may not find connected either.
//!
//! A connection of HTTP/1.1 serves one request at a time and comes back when its answer has been read to the end. One of
//! HTTP/2 serves many. What is dropped on the way is closed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::address::Reach;
use super::body::{RequestBody, Upload};

/// Connections that are kept in the whole host.
const KEPT_MAX: usize = 512;

/// How long a connection may be idle.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// Requests that share a connection of HTTP/2. Together with its windows it bounds what guests that do not read their
/// answers can keep from the others.
pub(super) const STREAMS_MAX: usize = 100;

/// How long a connection may take to be ready for the next request.
const READY_TIME_MAX: Duration = Duration::from_secs(1);

/// Destinations that are remembered although nothing is connected to them.
const PEERS_MAX: usize = 1_024;

/// To whom a connection leads, and how far the grants reach that may use it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) tls: bool,
    /// As in a URL: an address of version 6 stands in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) reach: Reach,
}

impl Peer {
    /// Host name and port, the latter also where it is that of the scheme.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    known: Mutex<HashMap<Peer, Known>>,
    /// Who waits for room for another connection: meanwhile, none is kept that nobody uses.
    waiting: AtomicUsize,
}

/// Who waits for room for another connection.
pub(super) struct Waiting(Arc<Pool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is known of a peer.
#[derive(Debug)]
struct Known {
    idle: Vec<One>,
    shared: Option<Arc<Two>>,
    /// Whether its last connection was one of HTTP/1.1.
    speaks_one: bool,
    dialing: Arc<Semaphore>,
}

impl Default for Known {
    fn default() -> Self {
        Known { idle: Vec::new(), shared: None, speaks_one: false, dialing: Arc::new(Semaphore::new(1)) }
    }
}

/// A connection of HTTP/1.1.
#[derive(Debug)]
pub(super) struct One {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) task: Task,
}

/// A connection of HTTP/2.
#[derive(Debug)]
pub(super) struct Two {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) task: Task,
}

/// What drives a connection; the connection goes with it.
#[derive(Debug)]
pub(super) struct Task {
    handle: JoinHandle<()>,
    used: Arc<Used>,
}

/// Who uses a connection now, and when it was last given back.
#[derive(Debug)]
struct Used {
    by: AtomicUsize,
    until: Mutex<Instant>,
}

impl Used {
    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_idle_too_long(&self) -> bool {
        self.by.load(Ordering::Relaxed) == 0 && self.until().elapsed() >= IDLE_TIME_MAX
    }
}

impl Task {
    /// Drives a connection until it ends, or nobody has used it for a while.
    pub(super) fn spawn(connection: impl Future + Send + 'static, room: OwnedSemaphorePermit) -> Self {
        let used = Arc::new(Used { by: AtomicUsize::new(0), until: Mutex::new(Instant::now()) });
        let seen = used.clone();
        let handle = tokio::spawn(async move {
            // It is given back behind the connection.
            let _room = room;
            let mut connection = std::pin::pin!(connection);
            while timeout(IDLE_TIME_MAX, connection.as_mut()).await.is_err() {
                if seen.is_idle_too_long() {
                    return;
                }
            }
        });
        Task { handle, used }
    }

    fn take(&self) -> usize {
        self.used.by.fetch_add(1, Ordering::Relaxed)
    }

    fn give_back(&self) {
        *self.used.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.used.by.fetch_sub(1, Ordering::Relaxed);
    }

    fn users(&self) -> usize {
        self.used.by.load(Ordering::Relaxed)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Link {
    One(One),
    Two(Arc<Two>),
}

/// A connection in use by one request.
pub(super) struct Lease {
    link: Option<Link>,
    peer: Peer,
    pool: Arc<Pool>,
    upload: Arc<Upload>,
    /// Whether the connection was made for this request.
    is_new: bool,
}

impl Pool {
    /// A connection that is there.
    pub(super) fn take(self: &Arc<Self>, peer: &Peer, upload: &Arc<Upload>) -> Option<Lease> {
        let mut known = self.lock();
        let found = known.get_mut(peer)?;
        found.shared.take_if(|two| two.sender.is_closed());
        let shared = found.shared.as_ref().filter(|two| two.task.users() < STREAMS_MAX).cloned();
        let link = match shared {
            Some(two) => Link::Two(two),
            None => Link::One(std::iter::from_fn(|| found.idle.pop()).find(|one| !one.sender.is_closed())?),
        };
        drop(known);
        let mut lease = self.lease(link, peer, upload);
        lease.is_new = false;
        Some(lease)
    }

    /// Takes in a new connection, for the request that it was made for.
    pub(super) fn lease(self: &Arc<Self>, link: Link, peer: &Peer, upload: &Arc<Upload>) -> Lease {
        match &link {
            Link::One(one) => one.task.take(),
            Link::Two(two) => two.task.take(),
        };
        Lease { link: Some(link), peer: peer.clone(), pool: self.clone(), upload: upload.clone(), is_new: true }
    }

    /// Notes what a peer speaks, and shares its connection if that can be shared.
    pub(super) fn met(&self, peer: &Peer, link: &Link) {
        let mut known = self.lock();
        let found = entry(&mut known, peer);
        match link {
            Link::One(_) => found.speaks_one = true,
            Link::Two(two) => {
                found.speaks_one = false;
                found.shared = None;
                make_room(&mut known);
                entry(&mut known, peer).shared = Some(two.clone());
            }
        }
    }

    /// The turn to connect to a peer: one after the other, where the first connection may do for all.
    pub(super) fn dialing(&self, peer: &Peer) -> Option<Arc<Semaphore>> {
        let mut known = self.lock();
        let found = entry(&mut known, peer);
        (peer.tls && !found.speaks_one).then(|| found.dialing.clone())
    }

    /// Makes room for another connection, of those that nobody uses; until it is dropped, of those that come back, too.
    pub(super) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        close_idle(&mut self.lock());
        Waiting(self.clone())
    }

    /// Whether connections that nobody uses are to be closed.
    fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn put(&self, peer: &Peer, one: One) {
        if self.is_short() {
            return;
        }
        let mut known = self.lock();
        make_room(&mut known);
        entry(&mut known, peer).idle.push(one);
    }

    /// Takes a shared connection out: those that use it keep it to their end.
    fn retire(&self, peer: &Peer, two: &Arc<Two>) {
        if let Some(found) = self.lock().get_mut(peer) {
            found.shared.take_if(|shared| Arc::ptr_eq(shared, two));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry<'k>(known: &'k mut HashMap<Peer, Known>, peer: &Peer) -> &'k mut Known {
    if known.len() >= PEERS_MAX {
        known.retain(|_, known| known.is_in_use());
    }
    known.entry(peer.clone()).or_default()
}

/// Where enough is kept, the connection that was not given back for the longest is kept no more. Who uses it has it to the
/// end.
fn make_room(known: &mut HashMap<Peer, Known>) {
    if known.values().map(|known| known.idle.len() + usize::from(known.shared.is_some())).sum::<usize>() < KEPT_MAX {
        return;
    }
    let all = known.values().flat_map(|known| known.idle.iter().map(|one| &one.task).chain(known.shared_task()));
    let longest = all.map(|task| task.used.until()).min();
    for known in known.values_mut() {
        known.idle.retain(|one| Some(one.task.used.until()) != longest);
        known.shared.take_if(|two| Some(two.task.used.until()) == longest);
    }
}

/// Closes the connection that nobody has used for the longest.
fn close_idle(known: &mut HashMap<Peer, Known>) {
    let all = known.values().flat_map(|known| known.idle.iter().map(|one| &one.task).chain(known.shared_task()));
    let longest = all.filter(|task| task.users() == 0).map(|task| task.used.until()).min();
    for known in known.values_mut() {
        known.idle.retain(|one| Some(one.task.used.until()) != longest);
        known.shared.take_if(|two| two.task.users() == 0 && Some(two.task.used.until()) == longest);
    }
}

impl Known {
    fn shared_task(&self) -> Option<&Task> {
        self.shared.as_ref().map(|two| &two.task)
    }

    fn is_in_use(&mut self) -> bool {
        self.idle.retain(|one| !one.sender.is_closed());
        self.shared.take_if(|two| two.sender.is_closed());
        !self.idle.is_empty() || self.shared.is_some() || Arc::strong_count(&self.dialing) > 1
    }
}

impl Lease {
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        self.link.as_mut()
    }

    /// Whether the connection was made for this request.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The answer was read to its end.
    pub(super) fn finish(mut self) {
        match self.link.take() {
            Some(Link::One(mut one)) => {
                one.task.give_back();
                let (pool, peer) = (self.pool.clone(), self.peer.clone());
                if one.sender.is_ready() {
                    return pool.put(&peer, one);
                }
                // It has to see for itself that the answer is over, and has perhaps more to send.
                tokio::spawn(async move {
                    if let Ok(Ok(())) = timeout(READY_TIME_MAX, one.sender.ready()).await {
                        pool.put(&peer, one);
                    }
                });
            }
            two => self.link = two,
        }
    }

    /// The connection does not do what it should: nobody else is to use it.
    pub(super) fn retire(&self) {
        if let Some(Link::Two(two)) = &self.link {
            self.pool.retire(&self.peer, two);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(Link::Two(two)) = &self.link {
            two.task.give_back();
            // What it still has to send, it would hold for as long as the connection lives.
            if !self.upload.is_finished() || (two.task.users() == 0 && self.pool.is_short()) {
                self.retire();
            }
        }
    }
}

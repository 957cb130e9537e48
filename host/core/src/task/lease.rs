//! Does this host still have its tasks? It does as long as it has said in time that it lives. One that comes too late is another
//! host from then on, and what it ran is not its own any more.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::record::HostId;

/// How long a host has its tasks that says nothing. It says so three times as often.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// The right of a host to its tasks.
#[derive(Debug)]
pub(super) struct Lease {
    span: Duration,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    host: HostId,
    /// Until when nobody else can have its tasks; nothing before it has said that it lives.
    until: Option<Instant>,
}

/// What there is to be said now.
#[derive(Debug, PartialEq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// That this host lives.
    Renew(HostId),
    /// It comes too late: that one is gone.
    Lost(HostId),
}

impl Lease {
    pub(super) fn new(span: Duration) -> Self {
        Lease { span, held: Mutex::new(Held { host: HostId::fresh(), until: None }) }
    }

    pub(super) fn span(&self) -> Duration {
        self.span
    }

    /// The host, where it has its tasks now.
    pub(super) fn host(&self) -> Option<HostId> {
        let held = self.held();
        held.until.filter(|until| *until > Instant::now()).map(|_| held.host.clone())
    }

    /// What the host is called, whether it has its tasks or not.
    pub(super) fn name(&self) -> HostId {
        self.held().host.clone()
    }

    /// Whether what that host runs is still this one's.
    pub(super) fn holds(&self, host: &HostId) -> bool {
        let held = self.held();
        held.host == *host && held.until.is_some_and(|until| until > Instant::now())
    }

    /// What is to be said. Where it is too late, it is another host from now on.
    pub(super) fn due(&self) -> Due {
        let mut held = self.held();
        let now = Instant::now();
        match held.until {
            Some(until) if until <= now => {
                held.until = None;
                Due::Lost(std::mem::replace(&mut held.host, HostId::fresh()))
            }
            Some(until) if until > now + self.span * 2 / 3 => Due::Nothing,
            _ => Due::Renew(held.host.clone()),
        }
    }

    /// It was said at that moment, and heard.
    pub(super) fn renewed(&self, host: &HostId, at: Instant) {
        let mut held = self.held();
        if held.host == *host {
            held.until = Some(at + self.span);
        }
    }

    /// It ends by itself; nobody else has its tasks, because it has none.
    pub(super) fn leave(&self) -> HostId {
        let mut held = self.held();
        held.until = None;
        std::mem::replace(&mut held.host, HostId::fresh())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

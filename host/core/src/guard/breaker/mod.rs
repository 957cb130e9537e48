//! Is it well enough to be called? A breaker leaves alone what keeps failing, and finds out when it is well again.
//!
//! [`Breaker::acquire`] gives a [`Permit`] or says why not; [`Permit::finish`] says what came of it, and a permit that is
//! dropped says that nobody waited for the end. In between, no lock is held.
//!
//! 1. the [`Registry`] finds the breaker of a [`Key`], and lists them all;
//! 2. a machine decides: a pure function of its state, what happens, and the time;
//! 3. what changed is told in order, outside of the lock, to a [`Listener`].
//!
//! Each breaker has one lock, and each operation takes it once: the order of operations is all the concurrency there is.
//!
//! ```
//! use std::time::Duration;
//! use toolpost_core::guard::breaker::{Key, Outcome, Registry, Settings};
//!
//! let registry = Registry::default();
//! let breaker = registry.get(&Key::tool("orders_create"), &Settings::default(), Duration::from_secs(30));
//! for _ in 0..5 {
//!     let permit = breaker.acquire().unwrap();
//!     permit.finish(Outcome::Failure("timed_out"));
//! }
//! let refused = breaker.acquire().unwrap_err().into_error(breaker.key());
//! assert!(refused.to_string().starts_with("`orders_create` failed too often and is left alone"));
//! ```

// Who is watched, and by which rules
mod key;
mod settings;

// What the end of a call says
mod outcome;
mod window;

// The machines
mod adaptive;
mod rules;
mod standard;

// Their home
mod machine;
mod registry;

// What they tell
mod news;
mod rejection;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use self::machine::Core;
use self::standard::{Ticket, after};
use crate::tell::CallError;

pub use self::key::{Key, Scope};
pub use self::machine::Snapshot;
pub use self::news::{Cause, Deaf, Listener, News, Status, Transition};
pub use self::outcome::{Classify, Outcome, classify};
pub use self::registry::Registry;
pub use self::rejection::{Refusal, Rejection};
pub use self::settings::{
    AdaptiveSettings, Custom, CustomJudge, Judge, Moment, Rate, Settings, StandardSettings, WindowSettings,
};
pub use self::standard::{Order, TicketKind};
pub use self::window::Counts;

/// Watches one tool, or one server as one tool knows it.
pub struct Breaker {
    key: Key,
    core: Mutex<Core>,
    listener: Arc<dyn Listener>,
    classify: Classify,
}

/// Leave to run once. Dropping it says that nobody waited for the end.
#[must_use = "dropping a permit says that its call was abandoned"]
pub struct Permit {
    breaker: Arc<Breaker>,
    ticket: Ticket,
    custom: Option<Arc<dyn Custom>>,
    is_over: bool,
}

impl Breaker {
    /// A closed breaker. The seed decides what it leaves to chance.
    pub fn new(
        key: Key,
        settings: Settings,
        attempt_time_max: Duration,
        listener: Arc<dyn Listener>,
        classify: Classify,
        seed: u64,
    ) -> Arc<Self> {
        let core = Core::new(settings, attempt_time_max, Rng::with_seed(seed), Instant::now());
        Arc::new(Breaker { key, core: Mutex::new(core), listener, classify })
    }

    /// What it watches.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// May a call run now?
    ///
    /// # Errors
    /// It may not; the rejection says why, and when to come back.
    pub fn acquire(self: &Arc<Self>) -> Result<Permit, Rejection> {
        let now = Instant::now();
        let (ticket, custom) = self.change(|core| match core.acquire(now) {
            Ok(ticket) => Ok((ticket, core.custom())),
            Err(rejection) => Err(core.refuse(rejection, now)),
        })?;
        // Strangers are asked outside of the lock.
        if let Some(span) = custom.as_ref().and_then(|custom| custom.judge(&self.key, Moment::Asked, now)) {
            return Err(self.change(|core| {
                core.give_back();
                core.refuse(Rejection::new(Refusal::Custom, Some(span)), now)
            }));
        }
        Ok(Permit { breaker: self.clone(), ticket, custom, is_over: false })
    }

    /// Refuses every call from now on, or for so long.
    pub fn isolate(&self, by: &str, why: &str, span: Option<Duration>) {
        let now = Instant::now();
        self.change(|core| core.standard.isolate(by, why, span.map(|span| after(now, span)), now));
    }

    /// Lets every call through from now on, and looks at none.
    pub fn disable(&self, by: &str, why: &str) {
        let now = Instant::now();
        self.change(|core| core.standard.disable(by, why, now));
    }

    /// Forgets everything: what happened, and what the operator wanted.
    pub fn reset(&self, by: &str, why: &str) {
        let now = Instant::now();
        self.change(|core| core.reset(by, why, now));
    }

    /// Ends what [`Breaker::isolate`] or [`Breaker::disable`] began. Says whether there was anything to end.
    pub fn release(&self, by: &str, why: &str) -> bool {
        let now = Instant::now();
        self.change(|core| {
            let is_forced = core.standard.is_forced();
            if is_forced {
                core.reset(by, why, now);
            }
            is_forced
        })
    }

    /// What there is to see.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.lock().show(&self.key, Instant::now())
    }

    /// Goes on by other settings, if they are others. A wait that has begun, and what the operator wants, stay in force.
    pub(super) fn adopt(&self, settings: &Settings, attempt_time_max: Duration) {
        let now = Instant::now();
        self.change(|core| core.adopt(settings, attempt_time_max, now));
    }

    /// Whether nothing is lost when it is forgotten.
    pub(super) fn is_idle(&self, idle: Duration, now: Instant) -> bool {
        self.lock().is_idle(idle, now)
    }

    fn finish(&self, ticket: Ticket, outcome: Outcome, custom: Option<&Arc<dyn Custom>>) {
        let now = Instant::now();
        let counts = self.change(|core| core.finish(ticket, outcome, now));
        if let Some(custom) = custom {
            let took = now.saturating_duration_since(ticket.started);
            custom.judge(&self.key, Moment::Ended { outcome, took, stale: !counts }, now);
        }
    }

    /// The one critical section. What changed is queued in it, and told behind it.
    fn change<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.lock();
        let result = change(&mut core);
        core.queue_news();
        let tells = core.outbox.begin();
        drop(core);
        if tells {
            self.tell();
        }
        result
    }

    fn tell(&self) {
        /// A listener that panics does not silence the breaker.
        struct Telling<'a>(&'a Breaker);
        impl Drop for Telling<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.lock().outbox.give_up();
                }
            }
        }
        let telling = Telling(self);
        loop {
            let next = telling.0.lock().outbox.next();
            let Some(news) = next else { return };
            self.listener.hear(&self.key, &news);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Whether the call finds out if all is well again.
    #[must_use]
    pub fn kind(&self) -> TicketKind {
        self.ticket.kind
    }

    /// The generation of the breaker that let it run. What it brings back counts for no other.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.ticket.generation
    }

    /// So much of its time does not count: the call has waited for a person, and not for what the breaker watches.
    pub fn began_later(&mut self, by: Duration) {
        self.ticket.started += by;
    }

    /// Says what came of it.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// Says what came of it, as the breaker reads errors.
    pub fn settle<T>(self, result: &Result<T, CallError>) {
        let outcome = result.as_ref().err().map_or(Outcome::Success, self.breaker.classify);
        self.finish(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.breaker.finish(self.ticket, outcome, self.custom.as_ref());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end(Outcome::Abandoned);
    }
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breaker").field("key", &self.key).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("key", &self.breaker.key).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

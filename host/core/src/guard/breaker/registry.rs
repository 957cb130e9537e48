//! Where are the breakers? One for each key, made when it is first asked for.
//!
//! Names of servers come from guests, so the number of breakers is bounded. What is idle is forgotten; what is open or
//! forced never is, or a flood of names could close it. Tools are as many as the operator has, so there is always room for
//! theirs: a guest that makes names up costs no other tool its breaker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::news::{Deaf, Listener};
use super::outcome::{Classify, classify};
use super::settings::Settings;
use super::{Breaker, Key, Scope, Snapshot};

/// So many breakers are kept, those of tools among them; these alone may be more.
const BREAKERS_MAX: usize = 10_000;

/// What was not used for longer than that may be forgotten.
const IDLE: Duration = Duration::from_secs(600);

/// A registry that is full looks for idle ones no more often than that.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The breakers of a host.
pub struct Registry {
    kept: RwLock<Kept>,
    unlisted: AtomicU64,
    listener: Arc<dyn Listener>,
    classify: Classify,
}

#[derive(Default)]
struct Kept {
    breakers: HashMap<Key, Arc<Breaker>>,
    swept: Option<Instant>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry::new(Arc::new(Deaf))
    }
}

impl Registry {
    /// An empty registry, whose breakers tell their news to that listener.
    #[must_use]
    pub fn new(listener: Arc<dyn Listener>) -> Self {
        Registry { kept: RwLock::default(), unlisted: AtomicU64::new(0), listener, classify }
    }

    /// Says how errors are read.
    #[must_use]
    pub fn with_classify(mut self, classify: Classify) -> Self {
        self.classify = classify;
        self
    }

    /// The breaker of that key. It goes on by these settings; some of their defaults follow from the time of an attempt.
    ///
    /// When 10,000 breakers are kept and none of them is idle, one more that is not a tool's is made and nobody else will
    /// find it: a flood of names costs protection, but stops nobody.
    #[must_use]
    pub fn get(&self, key: &Key, settings: &Settings, attempt_time_max: Duration) -> Arc<Breaker> {
        if let Some(breaker) = self.find(key) {
            breaker.adopt(settings, attempt_time_max);
            return breaker;
        }
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(breaker) = kept.breakers.get(key).cloned() {
            drop(kept);
            breaker.adopt(settings, attempt_time_max);
            return breaker;
        }
        let (settings, listener) = (settings.clone(), self.listener.clone());
        let breaker = Breaker::new(key.clone(), settings, attempt_time_max, listener, self.classify, fastrand::u64(..));
        if matches!(key.scope, Scope::Tool(_)) || kept.has_room(Instant::now()) {
            kept.breakers.insert(key.clone(), breaker.clone());
        } else {
            self.unlisted.fetch_add(1, Ordering::Relaxed);
        }
        breaker
    }

    /// The breaker of that key, if there is one.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Arc<Breaker>> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).breakers.get(key).cloned()
    }

    /// What there is to see of each breaker, in the order of keys.
    #[must_use]
    pub fn list(&self) -> Vec<Snapshot> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let breakers: Vec<Arc<Breaker>> = kept.breakers.values().cloned().collect();
        drop(kept);
        let mut list: Vec<Snapshot> = breakers.iter().map(|breaker| breaker.snapshot()).collect();
        list.sort_by(|one, other| one.key.cmp(&other.key));
        list
    }

    /// Forgets the breakers that are closed, have nothing in their window, and were not used for 10 minutes. Says how many.
    /// A registry that is full does it by itself.
    pub fn sweep(&self) -> usize {
        self.kept.write().unwrap_or_else(PoisonError::into_inner).sweep(Instant::now())
    }

    /// How many breakers were made that nobody else can find, because there was no room.
    #[must_use]
    pub fn unlisted(&self) -> u64 {
        self.unlisted.load(Ordering::Relaxed)
    }
}

impl Kept {
    fn has_room(&mut self, now: Instant) -> bool {
        if self.breakers.len() < BREAKERS_MAX {
            return true;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY) {
            self.sweep(now);
        }
        self.breakers.len() < BREAKERS_MAX
    }

    fn sweep(&mut self, now: Instant) -> usize {
        self.swept = Some(now);
        let before = self.breakers.len();
        // One that somebody holds stays, and each permit holds one: or there would be two for one key.
        self.breakers.retain(|_, breaker| Arc::strong_count(breaker) > 1 || !breaker.is_idle(IDLE, now));
        before - self.breakers.len()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("unlisted", &self.unlisted()).finish_non_exhaustive()
    }
}

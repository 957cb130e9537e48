//! Where are the breakers? One for each key, made when it is first asked for.
//!
//! Names of servers come from guests, so the number of breakers is bounded, in all and for the servers of each tool: a tool
//! that may reach any server cannot take the places of others, and the rest of its servers have no breaker of their own. What is idle is forgotten; what is open or
//! forced never is, or a flood of names could close it. Tools are as many as the operator has, so there is always room for
//! theirs, and for what an operator orders: a guest that makes names up costs nobody else a breaker.

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

/// So many of them for the servers of one tool.
const SERVERS_MAX: usize = 100;

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
    /// How many of them are for servers, by tool.
    servers: HashMap<Arc<str>, usize>,
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
    /// When 10,000 breakers are kept, or 100 for servers of the same tool, and none of them is idle, one more that is not a
    /// tool's is made and nobody else will find it: a flood of names costs protection, but stops nobody.
    #[must_use]
    pub fn get(&self, key: &Key, settings: &Settings, attempt_time_max: Duration) -> Arc<Breaker> {
        self.made(key, settings, attempt_time_max, false)
    }

    /// As [`Registry::get`], for what an operator orders: there is always room for it.
    #[must_use]
    pub fn get_for_order(&self, key: &Key, settings: &Settings, attempt_time_max: Duration) -> Arc<Breaker> {
        self.made(key, settings, attempt_time_max, true)
    }

    fn made(&self, key: &Key, settings: &Settings, attempt_time_max: Duration, is_order: bool) -> Arc<Breaker> {
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
        if is_order || kept.has_room(&key.scope, Instant::now()) {
            kept.add(key, breaker.clone());
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
    fn add(&mut self, key: &Key, breaker: Arc<Breaker>) {
        if let Scope::Egress { tool, .. } = &key.scope {
            *self.servers.entry(tool.clone()).or_default() += 1;
        }
        self.breakers.insert(key.clone(), breaker);
    }

    fn has_room(&mut self, scope: &Scope, now: Instant) -> bool {
        if self.fits(scope) {
            return true;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY) {
            self.sweep(now);
        }
        self.fits(scope)
    }

    fn fits(&self, scope: &Scope) -> bool {
        let has_room = self.breakers.len() < BREAKERS_MAX;
        match scope {
            Scope::Tool(_) => true,
            Scope::Egress { tool, .. } => has_room && self.servers.get(tool).is_none_or(|count| *count < SERVERS_MAX),
            Scope::Custom(_) => has_room,
        }
    }

    fn sweep(&mut self, now: Instant) -> usize {
        self.swept = Some(now);
        let before = self.breakers.len();
        // One that somebody holds stays, and each permit holds one: or there would be two for one key.
        let Kept { breakers, servers, .. } = self;
        servers.clear();
        breakers.retain(|key, breaker| {
            let stays = Arc::strong_count(breaker) > 1 || !breaker.is_idle(IDLE, now);
            if let (true, Scope::Egress { tool, .. }) = (stays, &key.scope) {
                *servers.entry(tool.clone()).or_default() += 1;
            }
            stays
        });
        before - self.breakers.len()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("unlisted", &self.unlisted()).finish_non_exhaustive()
    }
}

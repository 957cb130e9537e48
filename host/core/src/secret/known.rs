//! Which secrets does a host know? They are read when they are needed, and again after a while, because they change.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::{Masker, Secret, SecretError};
use crate::catalog::cast::nearest;

/// A secret is read again when it was read that long ago.
const FRESH: Duration = Duration::from_secs(300);

/// A source that failed is left alone for so long: a program that is run, or a service that is asked, for every call of a tool would be
/// stormed just when it is down.
const FAILED_FOR: Duration = Duration::from_secs(3);

/// The longest that reading a secret may take.
const READ_TIME_MAX: Duration = Duration::from_secs(10);

/// The secrets that a host may have.
pub const SECRETS_MAX: usize = 256;

/// Values of one name that are masked: the current one, and those before it, which calls may still hold.
const VALUES_MAX: usize = 4;

/// Where the value of a secret comes from.
pub trait SecretSource: Send + Sync {
    /// Reads the value as it is now.
    ///
    /// # Errors
    /// Why it cannot be had, without the value.
    ///
    /// # Cancel safety
    /// Dropping the future must leave nothing behind.
    fn read(&self) -> BoxFuture<'_, Result<Secret, SecretError>>;
}

/// The secrets of a host: where they come from, and those that were read.
pub struct Secrets {
    sources: BTreeMap<String, Source>,
    known: RwLock<Known>,
}

struct Source {
    from: Arc<dyn SecretSource>,
    read: Mutex<Reading>,
    failed: Mutex<Option<(Instant, SecretError)>>,
}

/// One reading of a source, which everyone who asks meanwhile waits for; it remembers when it ended.
type Reading = Arc<OnceCell<(Instant, Arc<Secret>)>>;

#[derive(Default)]
struct Known {
    values: BTreeMap<String, VecDeque<Arc<Secret>>>,
    masker: Arc<Masker>,
    /// The key of the host.
    key: [u8; 32],
}

impl Default for Secrets {
    fn default() -> Self {
        Secrets::new(BTreeMap::new())
    }
}

impl Secrets {
    /// Secrets from these sources, with a key that no other host has. Of more than [`SECRETS_MAX`] the rest is left out.
    #[must_use]
    pub fn new(sources: BTreeMap<String, Arc<dyn SecretSource>>) -> Self {
        let source = |(name, from)| (name, Source { from, read: Mutex::default(), failed: Mutex::default() });
        let mut key = [0; 32];
        for part in key.chunks_mut(8) {
            // Seeded by the operating system.
            part.copy_from_slice(&RandomState::new().hash_one(0).to_le_bytes());
        }
        let sources = sources.into_iter().take(SECRETS_MAX).map(source).collect();
        Secrets { sources, known: RwLock::new(Known { key, ..Known::default() }) }
    }

    /// Sets the key of the host, so that what is hashed with it means the same in its next life.
    #[must_use]
    pub fn with_key(self, key: [u8; 32]) -> Self {
        self.write().key = key;
        self
    }

    /// The names of the secrets that can be had.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// The value of a secret: read no longer than five minutes ago, or read now. From then on it is masked.
    ///
    /// # Errors
    /// There is no such secret, or it cannot be read; or it could not a moment ago.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the reading; another one who waits for it reads then.
    pub async fn get(&self, name: &str) -> Result<Arc<Secret>, SecretError> {
        let source = self.sources.get(name).ok_or_else(|| self.unknown(name))?;
        let reading = source.reading();
        let read = async || {
            source.has_failed()?;
            let read = timeout(READ_TIME_MAX, source.from.read()).await;
            let late = || SecretError::new(format!("it did not come within {} s", READ_TIME_MAX.as_secs()));
            let secret = Arc::new(read.unwrap_or_else(|_| Err(late())).inspect_err(|error| source.fails(error))?);
            self.learn(name, &secret)?;
            Ok((Instant::now(), secret))
        };
        let (_, secret) = reading.get_or_try_init(read).await.map_err(|error: SecretError| error.of(name))?;
        Ok(secret.clone())
    }

    /// Masks a value from now on.
    ///
    /// # Errors
    /// There are [`SECRETS_MAX`] names already.
    pub fn learn(&self, name: &str, secret: &Arc<Secret>) -> Result<(), SecretError> {
        let mut known = self.write();
        if !known.values.contains_key(name) && known.values.len() >= SECRETS_MAX {
            return Err(SecretError::new(format!("a host has at most {SECRETS_MAX} secrets")));
        }
        let values = known.values.entry(name.to_owned()).or_default();
        if values.front().is_some_and(|value| value.reveal() == secret.reveal()) {
            return Ok(());
        }
        values.push_front(secret.clone());
        values.truncate(VALUES_MAX);
        let masker = Masker::new(known.values.values().flatten().map(|value| &**value))?;
        known.masker = Arc::new(masker);
        Ok(())
    }

    /// What takes the known values out of a text.
    #[must_use]
    pub fn masker(&self) -> Arc<Masker> {
        self.read().masker.clone()
    }

    /// The key of the host, for hashes of what nobody may guess.
    pub(crate) fn key(&self) -> [u8; 32] {
        self.read().key
    }

    /// Goes on where other secrets have been: what they mask is masked here too, and the key is theirs.
    pub(crate) fn remember(&self, before: &Secrets) {
        let (values, key) = {
            let before = before.read();
            (before.values.clone(), before.key)
        };
        for (name, values) in values {
            // The latest last. What there is no room for was not asked for here.
            values.iter().rev().for_each(|value| drop(self.learn(&name, value)));
        }
        self.write().key = key;
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a secret of that name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.sources.contains_key(name)
    }

    /// That there is none of that name, and which was perhaps meant.
    #[must_use]
    pub fn unknown(&self, name: &str) -> SecretError {
        let near = nearest(name, self.names()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        SecretError::new(format!("no secret is named `{name}`{near}"))
    }
}

impl Source {
    /// The reading that counts: the one under way, or the last one while it is fresh.
    fn reading(&self) -> Reading {
        let mut reading = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.get().is_some_and(|(at, _)| at.elapsed() >= FRESH) {
            *reading = Reading::default();
        }
        reading.clone()
    }

    /// How it failed a moment ago.
    fn has_failed(&self) -> Result<(), SecretError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failed {
            Some((at, error)) if at.elapsed() < FAILED_FOR => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn fails(&self, error: &SecretError) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.clone()));
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

//! What is done with a bucket, from leave to answer. Nothing is asked of a store before it was judged by the grant, by the
//! breaker of the store's server, and by the gate, in this order.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use toolpost_core::Level;
use toolpost_core::effect::{Intent, Passage};
use toolpost_core::guard::breaker::Outcome;
use toolpost_core::run::Contact;

use super::backend::{Change, Changed, Entry, Fault, Only, Range, Scope};
use super::grant::{Act, KEY_BYTES_MAX, Share, Unheard};
use super::interface::Error;

/// Keys of one piece of work.
pub(super) const BATCH_MAX: usize = 100;

/// What one piece of work may read or write, in bytes.
const BATCH_BYTES_MAX: u64 = 32 << 20;

/// Keys of one page.
pub(super) const PAGE_MAX: usize = 1_000;

/// The longest time after which a value can be over: a hundred years.
const TTL_MS_MAX: u64 = 100 * 365 * 24 * 3_600 * 1_000;

/// A bucket that a guest holds: its place among those that are granted, which it has in every call of an instance.
#[expect(unreachable_pub, reason = "the bindings name it")]
pub struct Opened {
    pub(super) at: usize,
    pub(super) _place: OwnedSemaphorePermit,
}

/// A bucket that is worked with.
pub(super) struct Bucket {
    pub(super) share: Arc<Share>,
}

/// A key, as it was at a moment.
#[expect(unreachable_pub, reason = "the bindings name it")]
pub struct Cas {
    /// The place of its bucket.
    pub(super) at: usize,
    pub(super) key: String,
    pub(super) seen: Only,
    pub(super) _place: OwnedSemaphorePermit,
}

/// How a value is set.
pub(super) struct Set {
    pub(super) value: Vec<u8>,
    pub(super) ttl_ms: Option<u64>,
    pub(super) only: Only,
}

impl Bucket {
    pub(super) async fn get(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let whole = self.keys(Act::Get, keys.iter().map(String::as_str))?;
        let intents = keys.iter().map(|key| self.share.intent(Act::Get, key, None)).collect();
        let (contact, passages) = self.leave(intents).await?;
        let found = self.fetch(&whole).await;
        tell(contact, found.as_ref().err());
        let fate: fn(Passage) = if found.is_ok() { Passage::done } else { Passage::failed };
        passages.into_iter().for_each(fate);
        found.map_err(|fault| self.failed(Act::Get, &fault))
    }

    /// Asks the store for values, for no more at once than may be held.
    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, Fault> {
        let share = &self.share;
        let at_once = BATCH_BYTES_MAX / share.grant.max_value.0.max(1);
        let at_once = usize::try_from(at_once).unwrap_or(BATCH_MAX).clamp(1, BATCH_MAX);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for keys in keys.chunks(at_once) {
            let scope = self.scope();
            let asked = timeout(share.store.time_max, share.store.backend.get(&scope, keys)).await;
            let entries = asked.unwrap_or_else(|_| Err(self.late()))?;
            bytes += entries.iter().flatten().map(|entry| entry.value.len() as u64).sum::<u64>();
            if bytes > BATCH_BYTES_MAX {
                return Err(Fault::Unfit(TOO_MUCH));
            }
            found.extend(entries);
        }
        Ok(found)
    }

    pub(super) async fn get_one(&self, key: String) -> Result<Option<Entry>, Error> {
        Ok(self.get(vec![key]).await?.pop().flatten())
    }

    /// The keys that begin so, and where to go on.
    pub(super) async fn list(
        &self,
        prefix: &str,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>), Error> {
        let share = &self.share;
        let begin = share.within(Act::List, prefix).map_err(unheard)?;
        let after = cursor.map(|cursor| share.within(Act::List, &cursor)).transpose().map_err(unheard)?;
        let intent = share.intent(Act::List, &format!("{prefix}*"), None);
        let (contact, passages) = self.leave(vec![intent]).await?;
        let limit = limit.clamp(1, PAGE_MAX);
        let scope = self.scope();
        let range = Range { prefix: begin, after, limit };
        let asked = timeout(share.store.time_max, share.store.backend.list(&scope, range)).await;
        let found = asked.unwrap_or_else(|_| Err(self.late()));
        tell(contact, found.as_ref().err());
        let fate: fn(Passage) = if found.is_ok() { Passage::done } else { Passage::failed };
        passages.into_iter().for_each(fate);
        let found = found.map_err(|fault| self.failed(Act::List, &fault))?;
        let is_full = found.len() >= limit;
        let keys: Vec<String> = found.iter().filter_map(|key| share.known(key)).collect();
        let cursor = keys.last().filter(|_| is_full).cloned();
        Ok((keys, cursor))
    }

    pub(super) async fn set(&self, act: Act, key: String, set: Set) -> Result<Changed, Error> {
        let Set { value, ttl_ms, only } = set;
        let expires_ms = ttl_ms.map(|ttl| now_ms().saturating_add(ttl.min(TTL_MS_MAX)));
        self.change_one(act, key, Change::Set { value, expires_ms, only }).await
    }

    pub(super) async fn change_one(&self, act: Act, key: String, change: Change) -> Result<Changed, Error> {
        let changed = self.change(act, vec![(key, change)]).await?.pop();
        changed.ok_or_else(|| other("the store said nothing"))
    }

    /// Makes changes. The first that could not be made is the error.
    pub(super) async fn change(&self, act: Act, changes: Vec<(String, Change)>) -> Result<Vec<Changed>, Error> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let share = &self.share;
        let whole = self.keys(act, changes.iter().map(|(key, _)| key.as_str()))?;
        let (keys, changes): (Vec<String>, Vec<Change>) = changes.into_iter().unzip();
        let lengths: Vec<Option<usize>> = changes.iter().map(length).collect();
        if lengths.iter().flatten().map(|length| *length as u64).sum::<u64>() > BATCH_BYTES_MAX {
            return Err(other(TOO_MUCH));
        }
        // Either all of them may be made, or none is.
        if !keys.iter().all(|key| share.allows(act, key)) {
            return Err(Error::AccessDenied);
        }
        let is_held = |(key, length): (&String, &Option<usize>)| length.is_none_or(|it| share.holds(act, key, it));
        if !keys.iter().zip(&lengths).all(is_held) {
            return Err(other("the value is too long"));
        }
        let intents = keys.iter().zip(&changes).map(|(key, change)| share.intent(act, key, Some(change))).collect();
        let (contact, passages) = self.leave(intents).await?;
        let count = keys.len();
        let scope = self.scope();
        let changes = whole.into_iter().zip(changes).collect();
        let asked = timeout(share.store.time_max, share.store.backend.change(&scope, changes)).await;
        let made = asked.unwrap_or_else(|_| vec![Err(self.late()); count]);
        tell(contact, made.iter().find_map(|made| made.as_ref().err()));
        self.settle(act, passages, made)
    }

    /// Tells the gate what became of each change.
    fn settle(
        &self,
        act: Act,
        passages: Vec<Passage>,
        made: Vec<Result<Changed, Fault>>,
    ) -> Result<Vec<Changed>, Error> {
        let mut first = None;
        let mut all = Vec::new();
        for (passage, made) in passages.into_iter().zip(made) {
            match made {
                Ok(changed) => {
                    // What was left as it is has had no effect.
                    if matches!(changed, Changed::Stale(_)) {
                        passage.failed()
                    } else {
                        passage.done()
                    }
                    all.push(changed);
                }
                Err(fault) => {
                    match &fault {
                        // Whether it was made is not known: the passage is dropped untold.
                        Fault::Cut(_) => drop(passage),
                        Fault::TooManyKeys | Fault::TooManyBytes => passage.refused(),
                        Fault::Unfit(_) | Fault::Away(_) => passage.failed(),
                    }
                    first.get_or_insert(fault);
                }
            }
        }
        first.map_or(Ok(all), |fault| Err(self.failed(act, &fault)))
    }

    /// Asks for leave: whoever has to be asked before anything is held, then the server's breaker, and the gate for each key.
    async fn leave(&self, intents: Vec<Intent>) -> Result<(Option<Contact>, Vec<Passage>), Error> {
        let share = &self.share;
        let mut asked = Vec::with_capacity(intents.len());
        for intent in intents {
            asked.push(share.attempt.ask(intent).await.map_err(|_| Error::AccessDenied)?);
        }
        let contact = match share.store.is_server {
            true => Some(share.attempt.contact(&format!("kv.{}", share.grant.store))),
            false => None,
        };
        let contact = match contact.transpose() {
            Ok(contact) => contact,
            Err(open) => {
                asked.into_iter().for_each(|asked| share.attempt.refuse_asked(asked, open.clone()));
                return Err(other(AWAY));
            }
        };
        let mut passages = Passages(Vec::with_capacity(asked.len()));
        for asked in asked {
            let passed = share.attempt.pass_asked(asked).await;
            passages.0.push(passed.map_err(|_| Error::AccessDenied)?);
        }
        Ok((contact, std::mem::take(&mut passages.0)))
    }

    /// The keys as the store has them.
    fn keys<'k>(&self, act: Act, keys: impl ExactSizeIterator<Item = &'k str>) -> Result<Vec<String>, Error> {
        if keys.len() > BATCH_MAX {
            return Err(Error::Other(format!("there are {} keys; {BATCH_MAX} can be worked on at once", keys.len())));
        }
        keys.map(|key| self.share.key(act, key).map_err(unheard)).collect()
    }

    fn scope(&self) -> Scope {
        let (keys_max, bytes_max) = (self.share.grant.max_keys, self.share.grant.max_bytes.0);
        Scope { space: self.share.space.clone(), now_ms: now_ms(), keys_max, bytes_max }
    }

    fn late(&self) -> Fault {
        Fault::Cut(format!("it did not answer within {} ms", self.share.store.time_max.as_millis()))
    }

    /// Why a store did not do it, for the guest; the operator finds more in the log.
    fn failed(&self, act: Act, fault: &Fault) -> Error {
        let share = &self.share;
        if let Some(why) = share.full(fault) {
            share.attempt.keep_from(why);
            return other("the bucket is full");
        }
        match fault {
            Fault::Unfit(why) => other(why),
            Fault::Away(why) | Fault::Cut(why) => {
                let store = &share.grant.store;
                share
                    .attempt
                    .log(Level::Warn, &format!("{}: the store `{store}`: {why}", share.effect(act, "", None).action));
                other(AWAY)
            }
            Fault::TooManyKeys | Fault::TooManyBytes => Error::AccessDenied,
        }
    }
}

const TOO_MUCH: &str = "these are too many bytes at once";

/// What a guest hears of a store that cannot be had. It begins with a word by which a guest can tell that another try may do.
const AWAY: &str = "unavailable: the store does not answer";

/// Leave that was not used yet. Dropping it says that nothing happened.
struct Passages(Vec<Passage>);

impl Drop for Passages {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Passage::failed);
    }
}

/// Tells the breaker of a server how it went.
fn tell(contact: Option<Contact>, fault: Option<&Fault>) {
    let outcome = match fault {
        Some(Fault::Away(_)) => Outcome::Failure("unreachable"),
        Some(Fault::Cut(_)) => Outcome::Failure("broken_off"),
        Some(Fault::TooManyKeys | Fault::TooManyBytes | Fault::Unfit(_)) | None => Outcome::Success,
    };
    if let Some(contact) = contact {
        contact.finish(outcome);
    }
}

/// The length of the value that a change sets.
fn length(change: &Change) -> Option<usize> {
    match change {
        Change::Set { value, .. } => Some(value.len()),
        Change::Add(_) | Change::Delete => None,
    }
}

fn unheard(why: Unheard) -> Error {
    match why {
        Unheard::NoKey => {
            Error::Other(format!("a key has 1 to {KEY_BYTES_MAX} bytes, with its prefix, and no control characters"))
        }
        Unheard::Refused => Error::AccessDenied,
    }
}

pub(super) fn other(why: &str) -> Error {
    Error::Other(why.to_owned())
}

/// The time of the day: what is kept outlives the program, so no other clock would do.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

//! Keys and values, by `wasi:keyvalue` and `toolpost:kv`. No bucket is there that is not granted; everything that a tool does
//! passes the gate before it is done.
//!
//! The parts, as other capabilities have them: the **grant** says which buckets there are and what may be done in each
//! ([`grant`], and the settings in `toolpost_core::catalog::grants`); the **driver** keeps what is in them, for all attempts
//! ([`backend`]: anything that can keep keys and values, of which [`memory`] is one); the **handle** is what one attempt has of
//! both; and the **interface** turns what a guest asks for into what is done with a [`bucket`].
//!
//! A guest names a bucket of its grants, never a store. In the store each component has spaces of its own, and a key gets the
//! grant's prefix before it leaves the host. So a tool has no name for what is not its own, whatever it asks for.

// What was granted
mod grant;

// The driver
pub mod backend;
pub(crate) mod memory;

// What a guest holds
mod bucket;

// The interface, in its own words
mod interface;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use toolpost_core::Attempt;
use toolpost_core::catalog::grants::{KvGrant, KvName};
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, ResourceTable};

use self::backend::{KvOptions, KvStore};
use self::grant::Share;
use self::interface::Error;
use super::Fate;
use crate::state::State;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    interface::link(linker)
}

/// Buckets and handles that one attempt may hold at once.
const OPEN_MAX: usize = 256;

/// A bucket and a key are names, and whatever is done with them asks whether the call may.
pub(super) fn close(held: &mut (dyn Any + Send)) -> Option<Fate> {
    (held.is::<bucket::Opened>() || held.is::<bucket::Cas>()).then_some(Fate::Lasts)
}

/// Keys and values, as the linker knows them.
struct Keys;

impl HasData for Keys {
    type Data<'a> = View<'a>;
}

/// What the interface works on.
pub(crate) struct View<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) table: &'a mut ResourceTable,
}

/// The stores of a host.
pub(crate) struct Stores(BTreeMap<KvName, KvStore>);

/// The buckets that a tool has been granted, with the store of each.
pub(crate) struct Buckets(Vec<(Arc<KvGrant>, KvStore)>);

impl Stores {
    pub(crate) fn new(options: &KvOptions) -> Self {
        Stores(options.stores.clone())
    }

    /// Finds the stores of what was granted.
    ///
    /// # Errors
    /// There is no such store; for the operator.
    pub(crate) fn open(&self, grants: &[KvGrant]) -> std::result::Result<Buckets, String> {
        let open = |grant: &KvGrant| {
            let store = self.0.get(&grant.store).ok_or_else(|| {
                let (bucket, store) = (&grant.bucket, &grant.store);
                let known: Vec<String> = self.0.keys().map(|name| format!("`{name}`")).collect();
                let known = known.join(", ");
                format!(
                    "the bucket `{bucket}` is granted in the store `{store}`, which is not in `[kv]`; there is {known}"
                )
            })?;
            Ok((Arc::new(grant.clone()), store.clone()))
        };
        grants.iter().map(open).collect::<std::result::Result<_, _>>().map(Buckets)
    }
}

/// The granted buckets, as far as one attempt has them.
pub(crate) struct Handle {
    attempt: Attempt,
    shares: Vec<Arc<Share>>,
    open: Arc<Semaphore>,
}

impl Handle {
    pub(crate) fn new(attempt: &Attempt, buckets: &Buckets) -> Self {
        let share = |(grant, store): &(Arc<KvGrant>, KvStore)| {
            let space = grant.space(&attempt.call.tool).into();
            Arc::new(Share { grant: grant.clone(), store: store.clone(), space, attempt: attempt.clone() })
        };
        let shares = buckets.0.iter().map(share).collect();
        Handle { attempt: attempt.clone(), shares, open: Arc::new(Semaphore::new(OPEN_MAX)) }
    }

    /// The place of the bucket of that name.
    fn open(&self, identifier: &str) -> std::result::Result<usize, Error> {
        let found = self.shares.iter().position(|share| share.grant.bucket.as_str() == identifier);
        found.ok_or_else(|| {
            let (effect, why) = grant::not_granted(&self.attempt.call.tool, identifier);
            self.attempt.refuse(effect, why);
            Error::AccessDenied
        })
    }

    /// Room for a bucket or a handle.
    fn place(&self) -> std::result::Result<OwnedSemaphorePermit, Error> {
        let full = |_| Error::Other(format!("{OPEN_MAX} buckets and handles are open already"));
        self.open.clone().try_acquire_owned().map_err(full)
    }
}

//! The stores of keys and values.
//!
//! When settings are read again, a store of which the same is said goes on: what is in memory stays, and connections too.

use std::collections::BTreeMap;
use std::sync::Arc;

use toolpost_core::catalog::grants::KvName;
use toolpost_wasm::Memory;
use toolpost_wasm::kv::{Backend, KvOptions, KvStore};

use crate::settings::{KvSettings, Settings};
use crate::store::Store;
use crate::store::kv::KvTable;

/// The stores of a host, and what was said of each.
#[derive(Clone, Default)]
pub(crate) struct KvStores(BTreeMap<KvName, (KvSettings, KvStore)>);

impl KvStores {
    /// Those that the settings name, and the one of grants that name none. Nothing is opened yet.
    pub(crate) fn new(settings: &Settings, store: Option<&Arc<Store>>, before: &KvStores) -> Self {
        let mut said = settings.kv.clone();
        said.entry(KvName::default_store()).or_default();
        let stores = said.into_iter().map(|(name, said)| {
            let same = before.0.get(&name).filter(|(before, _)| *before == said).map(|(_, store)| store.clone());
            let made = same.unwrap_or_else(|| made(&said, store));
            (name, (said, made))
        });
        KvStores(stores.collect())
    }

    /// What the engine is to know of them.
    pub(crate) fn options(&self) -> KvOptions {
        let stores = self.0.iter().map(|(name, (_, store))| (name.clone(), store.clone()));
        KvOptions { stores: stores.collect() }
    }
}

fn made(said: &KvSettings, store: Option<&Arc<Store>>) -> KvStore {
    let backend: Arc<dyn Backend> = match (said, store) {
        (KvSettings::Sqlite(_), Some(store)) => Arc::new(KvTable::new(store.clone())),
        // A host that keeps nothing on disk keeps it for as long as it runs.
        (KvSettings::Sqlite(_), None) | (KvSettings::Memory(_), _) => Arc::new(Memory::default()),
    };
    KvStore { backend, is_server: false, time_max: said.time_max() }
}

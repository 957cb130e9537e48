//! The stores of keys and values.
//!
//! When settings are read again, a store of which the same is said goes on: what is in memory stays, and connections too.

use std::collections::BTreeMap;
use std::sync::Arc;

use toolpost_core::Host;
use toolpost_core::catalog::grants::KvName;
use toolpost_wasm::Memory;
use toolpost_wasm::kv::{Backend, KvOptions, KvStore};

use crate::kv::address::Vault;
use crate::kv::sqlite::KvTable;
use crate::settings::{KvSettings, Settings};
use crate::store::Store;

/// The stores of a host, and what was said of each.
#[derive(Clone, Default)]
pub(crate) struct KvStores {
    stores: BTreeMap<KvName, (KvSettings, KvStore)>,
    vault: Vault,
}

impl KvStores {
    /// Those that the settings name, and the one of grants that name none; what cannot be had is named. Nothing is opened yet.
    pub(crate) fn new(settings: &Settings, store: Option<&Arc<Store>>, before: &KvStores) -> (Self, Vec<String>) {
        let mut said = settings.kv.clone();
        said.entry(KvName::default_store()).or_default();
        let mut made = KvStores { stores: BTreeMap::new(), vault: before.vault.clone() };
        let mut faults = Vec::new();
        for (name, said) in said {
            if let Some(secret) = said.secret().filter(|secret| !settings.secrets.contains_key(secret.as_str())) {
                let secret = secret.as_str();
                faults.push(format!(
                    "the store `{name}` of `[kv]` needs the secret `{secret}`, which is not in `[secrets]`"
                ));
                continue;
            }
            let same = before.stores.get(&name).filter(|(before, _)| *before == said).map(|(_, store)| store.clone());
            let backend = same.map_or_else(|| made.backend(&said, store), Ok);
            match backend {
                Ok(backend) => drop(made.stores.insert(name, (said, backend))),
                Err(why) => faults.push(format!("the store `{name}` of `[kv]` {why}")),
            }
        }
        (made, faults)
    }

    /// What the engine is to know of them.
    pub(crate) fn options(&self) -> KvOptions {
        let stores = self.stores.iter().map(|(name, (_, store))| (name.clone(), store.clone()));
        KvOptions { stores: stores.collect() }
    }

    /// From now on, secrets are those of that host.
    pub(crate) fn look_at(&self, host: &Host) {
        self.vault.hold(host.secrets());
    }

    fn backend(&self, said: &KvSettings, store: Option<&Arc<Store>>) -> Result<KvStore, String> {
        let backend: Arc<dyn Backend> = match (said, store) {
            (KvSettings::Sqlite(_), Some(store)) => Arc::new(KvTable::new(store.clone())),
            // A host that keeps nothing on disk keeps it for as long as it runs.
            (KvSettings::Sqlite(_), None) | (KvSettings::Memory(_), _) => Arc::new(Memory::default()),
            #[cfg(feature = "redis")]
            (KvSettings::Redis(server), _) => {
                let url = server.url.as_str().to_owned();
                let time_max = said.time_max();
                Arc::new(crate::kv::redis::Redis::new(self.vault.clone(), url, server.pool, time_max))
            }
            #[cfg(feature = "dynamodb")]
            (KvSettings::Dynamodb(said), _) => {
                let place = crate::kv::dynamodb::Place {
                    table: said.table.clone(),
                    region: said.region.clone(),
                    access_key: said.access_key.clone(),
                    secret_key: said.secret_key.as_str().to_owned(),
                    endpoint: said.endpoint.clone(),
                };
                let (vault, time_max) = (self.vault.clone(), said.timeout.0);
                Arc::new(crate::kv::dynamodb::DynamoDb::new(vault, place, said.pool, time_max)?)
            }
            #[cfg(not(feature = "dynamodb"))]
            (KvSettings::Dynamodb(_), _) => {
                return Err("cannot be had: this program was built without the feature `dynamodb`".into());
            }
            #[cfg(not(feature = "redis"))]
            (KvSettings::Redis(_), _) => {
                return Err("cannot be had: this program was built without the feature `redis`".into());
            }
        };
        let is_server = matches!(said, KvSettings::Redis(_) | KvSettings::Dynamodb(_));
        Ok(KvStore { backend, is_server, time_max: said.time_max() })
    }
}

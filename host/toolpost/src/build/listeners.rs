//! Who listens because the settings say so.
//!
//! When settings are read again, what is the same goes on: a log that has a queue keeps it.

use std::sync::Arc;

use toolpost_core::Sink;

use crate::settings::{LogSettings, Settings};
use crate::store::Store;
use crate::store::log::Log;

/// The listeners of a host, and what they were made of.
#[derive(Clone, Default)]
pub(crate) struct Listeners {
    log: Option<(LogSettings, Arc<Log>)>,
}

impl Listeners {
    /// Those that are asked for, inside of a runtime.
    pub(crate) fn new(settings: &Settings, store: Option<&Arc<Store>>, before: &Listeners) -> Self {
        let log = store.filter(|_| settings.log.enabled).map(|store| {
            let same = before.log.clone().filter(|(said, _)| *said == settings.log);
            same.unwrap_or_else(|| (settings.log.clone(), Arc::new(Log::start(store.clone(), settings.log.clone()))))
        });
        Listeners { log }
    }

    /// All of them.
    pub(crate) fn sinks(&self) -> Vec<Arc<dyn Sink>> {
        self.log.iter().map(|(_, log)| log.clone() as Arc<dyn Sink>).collect()
    }
}

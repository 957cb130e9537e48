//! Who listens because the settings say so.
//!
//! When settings are read again, what is the same goes on: a log keeps its queue, metrics their counts and their address.

use std::sync::Arc;

use toolpost_core::{Host, Sink};

use crate::settings::{LogSettings, Settings};
use crate::store::Store;
use crate::store::log::Log;
use crate::telemetry::Telemetry;

/// The listeners of a host, and what they were made of.
#[derive(Clone, Default)]
pub(crate) struct Listeners {
    log: Option<(LogSettings, Arc<Log>)>,
    telemetry: Telemetry,
}

impl Listeners {
    /// Those that are asked for, inside of a runtime; what cannot be had is named.
    pub(crate) fn new(settings: &Settings, store: Option<&Arc<Store>>, before: &Listeners) -> (Self, Vec<String>) {
        let log = store.filter(|_| settings.log.enabled).map(|store| {
            let same = before.log.clone().filter(|(said, _)| *said == settings.log);
            same.unwrap_or_else(|| (settings.log.clone(), Arc::new(Log::start(store.clone(), settings.log.clone()))))
        });
        let (telemetry, missing) = Telemetry::new(settings, &before.telemetry);
        (Listeners { log, telemetry }, missing)
    }

    /// All of them.
    pub(crate) fn sinks(&self) -> Vec<Arc<dyn Sink>> {
        let log = self.log.iter().map(|(_, log)| log.clone() as Arc<dyn Sink>);
        log.chain(self.telemetry.sinks()).collect()
    }

    /// From now on what only that host knows is shown too.
    pub(crate) fn look_at(&self, host: &Host) {
        self.telemetry.look_at(host);
    }
}

//! Who else is told? Sinks that count for Prometheus and send traces to an OpenTelemetry collector. Each is behind a cargo
//! feature of its name, and is there only where the settings ask for it.
//!
//! Programs that have a subscriber of `tracing` need none of this: each call and each attempt is a span there anyway.

// What is counted, for any recorder of the `metrics` facade
#[cfg(feature = "metrics")]
pub mod metrics;

// Who takes it
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "prometheus")]
pub mod prometheus;

use std::sync::Arc;

use toolpost_core::{Host, Sink};

use crate::settings::Settings;

/// What the settings ask for, and what it was made of. It is made before its host, and looks at the host's breakers
/// afterwards.
#[derive(Clone, Default)]
pub(crate) struct Telemetry {
    #[cfg(feature = "otlp")]
    otlp: Option<(String, Option<crate::mask::Masks>, Arc<otlp::Otlp>)>,
    #[cfg(feature = "prometheus")]
    prometheus: Option<(std::net::SocketAddr, Arc<prometheus::Prometheus>)>,
}

impl Telemetry {
    /// Makes what is asked for and was not there before, inside of a runtime. What cannot be had is named.
    pub(crate) fn new(settings: &Settings, before: &Telemetry) -> (Self, Vec<String>) {
        let mut telemetry = Telemetry::default();
        let said = &settings.telemetry;
        let otlp = said.otlp.as_ref().map(|endpoint| telemetry.send_to(endpoint, settings, before));
        let prometheus = said.prometheus.map(|address| telemetry.serve_at(address, before));
        let missing = [otlp, prometheus].into_iter().flatten().filter_map(Result::err).collect();
        (telemetry, missing)
    }

    #[cfg(feature = "otlp")]
    fn send_to(&mut self, endpoint: &str, settings: &Settings, before: &Telemetry) -> Result<(), String> {
        let content = settings.telemetry.content.then(|| settings.log.mask.clone());
        let same = before.otlp.clone().filter(|(to, with, _)| to == endpoint && *with == content);
        self.otlp = match same {
            Some(same) => Some(same),
            None => {
                let otlp = otlp::Otlp::new(endpoint, content.clone());
                let otlp = otlp.map_err(|why| format!("`telemetry.otlp`: {why}"))?;
                Some((endpoint.to_owned(), content, Arc::new(otlp)))
            }
        };
        Ok(())
    }

    #[cfg(not(feature = "otlp"))]
    #[expect(clippy::unused_self, reason = "with the feature, a sink is kept")]
    fn send_to(&mut self, _: &str, _: &Settings, _: &Telemetry) -> Result<(), String> {
        Err("`telemetry.otlp`: this program is built without it; build it with the cargo feature `otlp`".into())
    }

    #[cfg(feature = "prometheus")]
    fn serve_at(&mut self, address: std::net::SocketAddr, before: &Telemetry) -> Result<(), String> {
        let same = before.prometheus.clone().filter(|(at, _)| *at == address);
        self.prometheus = match same {
            Some(same) => Some(same),
            None => {
                let cannot = |error| format!("`telemetry.prometheus`: nothing can be served at `{address}`: {error}");
                Some((address, Arc::new(prometheus::Prometheus::serve(address).map_err(cannot)?)))
            }
        };
        Ok(())
    }

    #[cfg(not(feature = "prometheus"))]
    #[expect(clippy::unused_self, reason = "with the feature, a sink is kept")]
    fn serve_at(&mut self, _: std::net::SocketAddr, _: &Telemetry) -> Result<(), String> {
        Err("`telemetry.prometheus`: this program is built without it; build it with the cargo feature `prometheus`"
            .into())
    }

    /// All that is there.
    pub(crate) fn sinks(&self) -> Vec<Arc<dyn Sink>> {
        let sinks: [Option<Arc<dyn Sink>>; 2] = [
            #[cfg(feature = "otlp")]
            self.otlp.as_ref().map(|(.., otlp)| otlp.clone() as _),
            #[cfg(not(feature = "otlp"))]
            None,
            #[cfg(feature = "prometheus")]
            self.prometheus.as_ref().map(|(_, prometheus)| prometheus.clone() as _),
            #[cfg(not(feature = "prometheus"))]
            None,
        ];
        sinks.into_iter().flatten().collect()
    }

    /// From now on what only that host knows is shown too.
    pub(crate) fn look_at(&self, host: &Host) {
        #[cfg(feature = "prometheus")]
        if let Some((_, prometheus)) = &self.prometheus {
            prometheus.look_at(host);
        }
        #[cfg(not(feature = "prometheus"))]
        let _ = host;
    }
}

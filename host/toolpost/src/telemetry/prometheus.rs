//! Metrics for Prometheus: a page of text at `/metrics`, served to this machine.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{counter, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::task::JoinHandle;
use toolpost_core::guard::breaker::Registry;
use toolpost_core::guard::slot::Slots;
use toolpost_core::{Host, Sink, Told};

use super::metrics::{Metrics, Watched};

/// What was measured is summed up that often: between two readers nothing piles up.
const SUM_EVERY: Duration = Duration::from_secs(5);

/// The bounds of the histograms, in seconds.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// Counts, and serves the counts. Dropping it ends the serving.
pub struct Prometheus {
    metrics: Metrics,
    page: Arc<Page>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

struct Page {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    breakers: RwLock<Weak<Registry>>,
    places: RwLock<Weak<Slots>>,
    watched: Arc<Watched>,
}

impl Prometheus {
    /// Serves at that address; with port 0, at any that is free. It must be called inside of a runtime.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn serve(address: SocketAddr) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let builder = PrometheusBuilder::new().set_buckets(&SECONDS).map_err(std::io::Error::other)?;
        let recorder = Arc::new(builder.build_recorder());
        let metrics = Metrics::new(recorder.clone());
        let (handle, watched) = (recorder.handle(), metrics.watched.clone());
        let page = Arc::new(Page {
            recorder: recorder.clone(),
            handle,
            breakers: RwLock::default(),
            places: RwLock::default(),
            watched,
        });
        let router = Router::new().route("/metrics", get(show)).with_state(page.clone());
        let handle = recorder.handle();
        let server = tokio::spawn(async move {
            let sum = async {
                loop {
                    tokio::time::sleep(SUM_EVERY).await;
                    handle.run_upkeep();
                }
            };
            tokio::select! {
                served = async { axum::serve(listener, router).await } => {
                    if let Err(error) = served {
                        tracing::warn!(%error, "metrics are served no more");
                    }
                }
                () = sum => {}
            }
        });
        Ok(Prometheus { metrics, page, address, server })
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows from now on what only that host knows: what its breakers count, and how many calls wait.
    pub fn look_at(&self, host: &Host) {
        *self.page.breakers.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&host.breakers());
        *self.page.places.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&host.places());
    }
}

impl Page {
    fn text(&self) -> String {
        let breakers = self.breakers.read().unwrap_or_else(PoisonError::into_inner).upgrade();
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner).upgrade();
        with_local_recorder(&*self.recorder, || {
            if let Some(places) = places {
                #[expect(clippy::cast_precision_loss, reason = "a number of calls")]
                gauge!("toolpost_waiting").set(places.in_use().1 as f64);
            }
            for breaker in breakers.iter().flat_map(|breakers| breakers.list()).filter(|breaker| breaker.stale > 0) {
                if let Some(labels) = self.watched.labels(&breaker.key) {
                    counter!("toolpost_breaker_stale_results_total", labels).absolute(breaker.stale);
                }
            }
        });
        self.handle.render()
    }
}

async fn show(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    if !is_local(&headers) {
        return (StatusCode::FORBIDDEN, "metrics are served to this machine alone\n").into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page.text()).into_response()
}

/// Whether it was asked for by an address or as `localhost`: a page in a browser of this machine that has its own name
/// lead here must not read what is here.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = host.parse::<SocketAddr>().map(|address| address.ip().to_string());
    let name = name.unwrap_or_else(|_| host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned());
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Sink for Prometheus {
    fn tell(&self, told: &Told<'_>) {
        self.metrics.tell(told);
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl std::fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prometheus").field("address", &self.address).finish_non_exhaustive()
    }
}

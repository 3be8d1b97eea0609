//! What a process says of itself to machines: `/metrics` for Prometheus, `/healthz` and `/readyz` for who runs it. On a
//! listener of its own, which needs no token and so belongs on a private network.
//!
//! No label holds a number, a call id, a wallet or a secret: labels are kinds, outcomes, reasons and names of our own.

#![expect(clippy::disallowed_types, reason = "Prometheus counts in floats, and no amount is counted")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::gauge;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use bus::{Bus, ConsumerSpec};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// An answer is due in well under two seconds; a decision takes microseconds.
const BUCKETS_SECS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// How often what is not counted as it happens is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A bound listener, and what counts.
#[derive(Debug)]
pub struct Metrics {
    listener: TcpListener,
    board: Arc<Board>,
}

#[derive(Debug)]
struct Board {
    counted: PrometheusHandle,
    bus: Bus,
    /// Those whose lag is told.
    consumers: Vec<ConsumerSpec>,
}

/// Nothing is counted.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("listen for metrics on {address}: {cause}; is another process there? set [telemetry] metrics")]
    Listen { address: SocketAddr, cause: io::Error },
    #[error("begin to count: {0}")]
    Count(#[from] BuildError),
}

impl Metrics {
    /// Begins to count. Once in a process.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn build(address: SocketAddr, bus: Bus, consumers: Vec<ConsumerSpec>) -> Result<Self, MetricsError> {
        let listener = TcpListener::bind(address).await.map_err(|cause| MetricsError::Listen { address, cause })?;
        let counted = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS_SECS)?
            .install_recorder()?;
        Ok(Self { listener, board: Arc::new(Board { counted, bus, consumers }) })
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until asked to stop.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let routes = Router::new()
            .route("/metrics", get(scrape))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .with_state(Arc::clone(&self.board));
        let looking = self.board.look_until(stop.clone());
        let serving = axum::serve(self.listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        let (served, ()) = tokio::join!(serving, looking);
        served
    }
}

async fn scrape(State(board): State<Arc<Board>>) -> String {
    board.counted.render()
}

/// Whether this process can do its work now.
async fn ready(State(board): State<Arc<Board>>) -> (StatusCode, String) {
    match board.bus.healthy() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

impl Board {
    async fn look_until(&self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.counted.run_upkeep();
            gauge!("callbus_spool_bytes").set(self.bus.spooled_bytes() as f64);
            for consumer in &self.consumers {
                self.look_at(consumer).await;
            }
        }
    }

    /// How far a consumer is behind. A role without the right to know says nothing of it.
    async fn look_at(&self, consumer: &ConsumerSpec) {
        let (end, done) =
            (self.bus.last_seq(&consumer.filter), self.bus.consumer_floor(&consumer.filter, &consumer.name));
        if let (Ok(end), Ok(done)) = tokio::join!(end, done) {
            gauge!("callbus_consumer_lag", "consumer" => consumer.name.clone()).set(end.saturating_sub(done) as f64);
        }
    }
}

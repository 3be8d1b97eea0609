//! What the program says of itself while it runs: a log on stderr, for people on a terminal, as JSON for machines; and,
//! where a collector is named, traces over OTLP.
//!
//! The two do not mix: spans are not in the log, and what the log says is not in the traces. Without a collector there
//! is no exporter and no layer, and every span is disabled.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use anyhow::Context;
use bus::trace;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::cli::Role;
use crate::environment::Environment;

/// Ours in full, others only when something is wrong.
const SERVING: &str =
    "warn,callbus=info,api=info,billing=info,bus=info,ingress=info,policy=info,simulator=info,workers=info";

/// For commands that print what they do themselves.
const QUIET: &str = "error";

/// A collector that takes no spans for this long gets none of the last.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// Traces on their way out.
#[derive(Debug)]
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

/// Begins to log for a command, which traces nothing.
///
/// # Errors
/// When `RUST_LOG` or the format cannot be understood.
pub(crate) fn start_quiet(environment: &Environment) -> anyhow::Result<()> {
    begin(tracing_subscriber::registry().with(log(environment, QUIET)?))
}

/// Begins to log for a role, and to trace where `otlp` names a collector (its base, without `/v1/traces`).
///
/// # Errors
/// When `RUST_LOG` or the format cannot be understood, or the exporter cannot be made. A collector that is away is no
/// error.
pub(crate) fn start(role: Role, otlp: Option<&str>, environment: &Environment) -> anyhow::Result<Telemetry> {
    let log = log(environment, SERVING)?;
    let Some(otlp) = otlp else {
        begin(tracing_subscriber::registry().with(log))?;
        return Ok(Telemetry(None));
    };
    let provider = provider(role, otlp, environment)?;
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("callbus"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_filter(Targets::new().with_target(trace::TARGET, LevelFilter::INFO));
    begin(tracing_subscriber::registry().with(log).with(traces))?;
    Ok(Telemetry(Some(provider)))
}

impl Telemetry {
    /// Hands over the last spans. After everything that makes some has ended.
    pub(crate) fn flush(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown_with_timeout(FLUSH_WITHIN)) {
            tracing::warn!(%error, "the last spans were not handed over");
        }
    }
}

fn begin(subscriber: impl SubscriberInitExt) -> anyhow::Result<()> {
    subscriber.try_init().context("begin to log")
}

/// `RUST_LOG` wins over `level`, and `CALLBUS_LOG_FORMAT=json` gives one object a line.
fn log(environment: &Environment, level: &str) -> anyhow::Result<Box<dyn Layer<Registry> + Send + Sync>> {
    let level = environment.get("RUST_LOG").unwrap_or(level);
    let filter = EnvFilter::try_new(level)
        .map_err(|error| anyhow::anyhow!("RUST_LOG={level}: {error}; write a level, or target=level,…"))?
        .add_directive(format!("{}=off", trace::TARGET).parse()?);
    let log = tracing_subscriber::fmt::layer().with_writer(stderr);
    Ok(match environment.get("CALLBUS_LOG_FORMAT") {
        Some("json") => log.json().with_filter(filter).boxed(),
        Some("text") | None => {
            let colour = stderr().is_terminal() && environment.get("NO_COLOR").is_none();
            log.with_ansi(colour).with_target(false).with_filter(filter).boxed()
        }
        Some(other) => anyhow::bail!("CALLBUS_LOG_FORMAT={other}: write json or text"),
    })
}

/// Spans wait in memory, at most a few thousand, and leave from a thread of their own; what does not fit is dropped.
fn provider(role: Role, otlp: &str, environment: &Environment) -> anyhow::Result<SdkTracerProvider> {
    // The exporter's HTTP client is built without a crypto library of its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", otlp.trim_end_matches('/')))
        .build()
        .context("set up the export of traces")?;
    let instance = format!("{}-{}", environment.host(), std::process::id());
    let mut resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance),
    ]);
    if environment.get("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(match role {
            Role::All => "callbus".to_owned(),
            Role::Ingress | Role::Worker | Role::Billing | Role::Delivery | Role::Views | Role::Api => {
                format!("callbus-{role}")
            }
        });
    }
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())
}

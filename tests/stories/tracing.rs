//! One trace runs from a callback through worker and admission to the money.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use proto::event::TRACEPARENT;
use proto::{Event, Kind, Subject};
use tests::World;
use tests::world::{ALLOWED, APP_SECRET, POLICY, WALLET};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::calls::script;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_runs_from_the_callback_to_the_money() -> Result<()> {
    let collector = Collector::start().await?;
    let mut world = World::nats_with(POLICY, &format!("[telemetry]\notlp = \"{}\"\n", collector.address)).await?;
    world.top_up(WALLET, "100").await?;
    let call = world.platform(30)?.call(script(ALLOWED)).await.call;
    world.cdr(&call).await?;
    let events = world.events(&call).await?;
    // Each role hands over its last spans.
    world.stop()?;
    let spans = collector.spans();

    let trace = trace_of(&events, Kind::Ice)?;
    let of = |role: &str, name: &str| -> Vec<&Told> {
        spans.iter().filter(|told| told.is(role, name) && told.trace() == trace).collect()
    };
    let (receive, record) = (one(&of("ingress", "receive"))?, one(&of("ingress", "record"))?);
    assert_eq!(receive.span.parent_span_id, Vec::<u8>::new(), "a callback begins a trace");
    assert_eq!(receive.attribute("callbus.call"), Some(call.to_string()));
    assert!(record.is_below(&[receive]));
    // A slow worker is hedged, so there may be two.
    let (decide, hold) = (of("worker", "decide"), of("worker", "hold"));
    assert!(!decide.is_empty() && decide.iter().all(|told| told.is_below(&[receive])));
    assert!(!hold.is_empty() && hold.iter().all(|told| told.is_below(&decide)));
    let settle = of("billing", "settle");
    let kinds: Vec<_> = settle.iter().filter_map(|told| told.attribute("callbus.kind")).collect();
    assert_eq!(kinds, ["ice", "decided"]);
    assert!(settle.iter().all(|told| told.is_below(&[record])));
    let placed = of("billing", "append");
    assert!(!placed.is_empty() && placed.iter().all(|told| told.is_below(&settle)), "the hold is posted");

    let ending = trace_of(&events, Kind::Dice)?;
    assert_ne!(ending, trace, "each callback has a trace of its own");
    let charge =
        spans.iter().find(|told| told.is("billing", "settle") && told.trace() == ending).context("a charge")?;
    let linked: Vec<String> = charge.span.links.iter().map(|link| hex(&link.trace_id)).collect();
    assert_eq!(linked, [trace], "the charge names the trace its call was decided in");

    let printed = format!("{spans:?}");
    for secret in ["46701234567", "46700000001", APP_SECRET] {
        assert!(!printed.contains(secret), "{secret} in a span");
    }
    Ok(())
}

/// A collector that takes OTLP over HTTP and keeps all it is told.
struct Collector {
    address: String,
    told: Arc<Mutex<Vec<Told>>>,
    _serving: JoinSet<std::io::Result<()>>,
}

/// A span, and the service that told it.
#[derive(Debug, Clone)]
struct Told {
    service: String,
    span: Span,
}

impl Collector {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, told) = (format!("http://{}", listener.local_addr()?), Arc::default());
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&told));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, told, _serving: serving })
    }

    fn spans(&self) -> Vec<Told> {
        let mut spans = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        spans.sort_by_key(|told| told.span.start_time_unix_nano);
        spans
    }
}

async fn take(State(told): State<Arc<Mutex<Vec<Told>>>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    for resource_spans in request.resource_spans {
        let attributes = resource_spans.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = text(&attributes, "service.name").unwrap_or_default();
        let spans = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
        told.extend(spans.map(|span| Told { service: service.clone(), span }));
    }
    StatusCode::OK
}

impl Told {
    fn is(&self, role: &str, name: &str) -> bool {
        self.service == format!("callbus-{role}") && self.span.name == name
    }

    fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    fn is_below(&self, parents: &[&Self]) -> bool {
        parents.iter().any(|parent| parent.span.span_id == self.span.parent_span_id)
    }

    fn attribute(&self, name: &str) -> Option<String> {
        text(&self.span.attributes, name)
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?;
    if let AnyValue { value: Some(any_value::Value::StringValue(text)) } = value { Some(text) } else { None }
}

/// The trace a recorded event belongs to.
fn trace_of(events: &[Event], kind: Kind) -> Result<String> {
    let of_kind = |event: &&Event| matches!(event.subject, Subject::Call { kind: found, .. } if found == kind);
    let event = events.iter().find(of_kind).with_context(|| format!("a recorded {kind}"))?;
    let traceparent = event.attribute(TRACEPARENT).context("the recorded event carries its trace")?;
    Ok(traceparent.split('-').nth(1).context("a trace id")?.to_owned())
}

fn one<'a>(found: &[&'a Told]) -> Result<&'a Told> {
    anyhow::ensure!(found.len() == 1, "not one but {found:?}");
    found.first().copied().context("one")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! The trace context: where a span stands in its trace travels with questions and events, as W3C `traceparent`.
//!
//! Shells open the few spans there are with `info_span!(target: trace::TARGET, …)` and the attribute names below. What
//! a span records or asks carries its place ([`crate::Bus`] sees to that); who is asked or handed an event goes on from
//! there with [`follow`]. Nobody but us is followed: a callback's own headers are never read for it. Where no exporter
//! is set nobody listens to the target, every span is disabled, and all of this does nothing.
//!
//! Attributes hold no phone number, no secret and no wallet (a policy may name wallets by caller).

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use proto::Event;
use proto::event::TRACEPARENT;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of our spans, by which exporters find them and the log leaves them out.
pub const TARGET: &str = "callbus::trace";

/// The app's name.
pub const APP: &str = "callbus.app";
/// The call id. An attribute only, never the label of a metric.
pub const CALL: &str = "callbus.call";
/// The kind of callback or event.
pub const KIND: &str = "callbus.kind";
/// Events recorded together.
pub const EVENTS: &str = "callbus.events";
/// Why no worker's decision was answered.
pub const FALLBACK: &str = "callbus.fallback";
/// `server`, `client`, `producer` or `consumer`.
pub const SPAN_KIND: &str = "otel.kind";
/// `ERROR` when it failed.
pub const STATUS: &str = "otel.status_code";

/// Makes the span a child of the one that wrote `traceparent`; without one, or with one that cannot be read, it begins
/// a trace of its own. Before the span is entered.
pub fn follow(span: &Span, traceparent: Option<&str>) {
    if !span.is_disabled() {
        // Fails only for a span that was entered, which then stays where it is.
        let _ = span.set_parent(context_of(traceparent));
    }
}

/// Notes on the span that what happened in another trace led to it.
pub fn link(span: &Span, traceparent: Option<&str>) {
    if span.is_disabled() {
        return;
    }
    let (ours, other) = (place_of(&span.context()), place_of(&context_of(traceparent)));
    if other.is_valid() && other.trace_id() != ours.trace_id() {
        span.add_link(other);
    }
}

/// Where the span stands; `None` when nobody traces.
pub(crate) fn traceparent(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Lets events carry the span's place, but for those that carry another already.
pub(crate) fn stamp(span: &Span, events: &mut [Event]) {
    let Some(traceparent) = traceparent(span) else { return };
    for event in events.iter_mut().filter(|event| event.attribute(TRACEPARENT).is_none()) {
        event.extra.push((TRACEPARENT.to_owned(), traceparent.clone()));
    }
}

fn context_of(traceparent: Option<&str>) -> Context {
    let carrier: HashMap<String, String> =
        traceparent.map(|traceparent| (TRACEPARENT.to_owned(), traceparent.to_owned())).into_iter().collect();
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

fn place_of(context: &Context) -> SpanContext {
    context.span().span_context().clone()
}

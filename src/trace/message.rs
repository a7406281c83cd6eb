//! Traces as OTLP has them on the wire (<https://opentelemetry.io/docs/specs/otlp/>). Pure.

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as WireSpan, Status};

use super::assemble::{Kind, Trace};
use crate::model::span::Span;
use crate::model::step::Subject;
use crate::model::timeline::What;

/// Where the traces are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The node's name.
    pub node: String,
    /// This program's version.
    pub version: String,
}

/// The message with these traces.
pub(super) fn request(source: &Source, traces: &[Trace]) -> ExportTraceServiceRequest {
    let resource = Resource {
        // The kubelet's name of itself, by which dashboards find a node's traces.
        attributes: vec![
            text("service.name", "kubelet"),
            text("service.version", &source.version),
            text("host.name", &source.node),
            text("k8s.node.name", &source.node),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "gantry".to_owned(),
        version: source.version.clone(),
        ..InstrumentationScope::default()
    };
    let of_scope = ScopeSpans {
        scope: Some(scope),
        spans: traces.iter().flat_map(spans).collect(),
        ..ScopeSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![of_scope],
            ..ResourceSpans::default()
        }],
    }
}

/// One for the whole trace, and those of which it consists below it.
fn spans(trace: &Trace) -> Vec<WireSpan> {
    let pod = [
        text("k8s.namespace.name", &trace.pod.namespace),
        text("k8s.pod.name", &trace.pod.name),
        text("k8s.pod.uid", &trace.uid.0),
    ];
    let starts = trace.spans.iter().map(|(_, span)| span.start);
    let ends = trace.spans.iter().map(|(_, span)| span.end);
    let name = match trace.kind {
        Kind::Start => "start pod",
        Kind::Change => "change pod",
        Kind::End => "end pod",
    };
    let root = WireSpan {
        trace_id: trace.id.0.to_vec(),
        span_id: span_id(0),
        name: name.to_owned(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanoseconds(starts.min()),
        end_time_unix_nano: nanoseconds(ends.max()),
        attributes: pod.to_vec(),
        status: status(trace.error.as_deref()),
        ..WireSpan::default()
    };
    let children = trace
        .spans
        .iter()
        .zip(1..)
        .map(|((what, span), number)| WireSpan {
            trace_id: root.trace_id.clone(),
            span_id: span_id(number),
            parent_span_id: root.span_id.clone(),
            name: span.name.clone(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: nanoseconds(Some(span.start)),
            end_time_unix_nano: nanoseconds(Some(span.end)),
            attributes: pod.iter().cloned().chain(details(what, span)).collect(),
            status: status(span.error.as_deref()),
            ..WireSpan::default()
        });
    let children: Vec<WireSpan> = children.collect();
    std::iter::once(root).chain(children).collect()
}

fn details(what: &What, span: &Span) -> Vec<KeyValue> {
    let subject = match what {
        What::Step(_, Subject::Container(name)) | What::Started(name) | What::ContainerReady(name) => {
            Some(text("k8s.container.name", name))
        }
        What::Step(_, Subject::Volume(name) | Subject::ImageVolume(name)) => {
            Some(text("k8s.volume.name", name))
        }
        What::Step(_, Subject::Pod) | What::PodReady | What::StatusWritten(_) => None,
    };
    let detail = span.detail.as_deref().map(|detail| text("gantry.detail", detail));
    subject.into_iter().chain(detail).collect()
}

/// IDs of spans are unique within their trace; 0 is none.
fn span_id(number: u64) -> Vec<u8> {
    (number + 1).to_be_bytes().to_vec()
}

fn status(error: Option<&str>) -> Option<Status> {
    error.map(|error| Status {
        message: error.to_owned(),
        code: StatusCode::Error.into(),
    })
}

fn nanoseconds(at: Option<Timestamp>) -> u64 {
    at.and_then(|at| u64::try_from(at.as_nanosecond()).ok())
        .unwrap_or_default()
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

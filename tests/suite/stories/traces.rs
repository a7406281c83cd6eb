//! What a collector of traces gets.

use std::collections::BTreeMap;

use gantry::model::collector::{Address, Collector, Rate};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use crate::agent::{DEADLINE, Machine, manifest};

struct FakeCollector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for FakeCollector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        // It fails once the story has ended.
        let _ = self.0.send(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attributes(all: &[KeyValue]) -> BTreeMap<&str, &str> {
    let text = |attribute: &'_ KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref())
    {
        Some(Value::StringValue(_)) => true,
        other => panic!("{other:?}"),
    };
    assert!(all.iter().all(text));
    all.iter()
        .map(|attribute| match &attribute.value.as_ref().unwrap().value {
            Some(Value::StringValue(value)) => (attribute.key.as_str(), value.as_str()),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// The next trace: its spans, the whole one first.
async fn next(received: &mut mpsc::UnboundedReceiver<ExportTraceServiceRequest>) -> Vec<Span> {
    let request = tokio::time::timeout(DEADLINE, received.recv()).await;
    let request = request.expect("a trace is sent").unwrap();
    let of_resource = &request.resource_spans[0];
    let resource = attributes(&of_resource.resource.as_ref().unwrap().attributes);
    assert_eq!(
        (resource["service.name"], resource["k8s.node.name"]),
        ("kubelet", "node")
    );
    of_resource.scope_spans[0].spans.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_start_and_the_end_of_a_pod() {
    let mut machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("collector.sock");
    machine.collector = Some(Collector {
        address: Address::Unix(socket.clone()),
        rate: Rate::per_million(1_000_000).unwrap(),
    });
    let (out, mut received) = mpsc::unbounded_channel();
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(FakeCollector(out)));
    let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    let serving = tokio::spawn(server.serve_with_incoming(listener));
    machine.start().await;
    machine.write("web.yaml", &manifest("web", "", &["name: c, image: demo:1"]));

    let spans = next(&mut received).await;
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names[0], "start pod");
    for step in [
        "run sandbox",
        "find image",
        "create container",
        "start container",
        "ready",
    ] {
        assert!(names.contains(&step), "{names:?}");
    }
    let (root, child) = (
        &spans[0],
        spans.iter().find(|span| span.name == "start container").unwrap(),
    );
    assert_eq!((root.trace_id.len(), root.span_id.len()), (16, 8));
    assert_eq!(
        (&child.trace_id, &child.parent_span_id),
        (&root.trace_id, &root.span_id)
    );
    assert!(root.start_time_unix_nano <= child.start_time_unix_nano);
    assert!(root.end_time_unix_nano >= child.end_time_unix_nano);
    let about = attributes(&child.attributes);
    assert_eq!(
        (about["k8s.pod.name"], about["k8s.container.name"]),
        ("web-node", "c")
    );
    assert!(spans.iter().all(|span| span.status.is_none()), "{spans:?}");

    machine.delete("web.yaml");
    let spans = next(&mut received).await;
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names[0], "end pod");
    assert!(names.contains(&"remove sandbox"), "{names:?}");
    assert_ne!(spans[0].trace_id, root.trace_id);
    serving.abort();
}

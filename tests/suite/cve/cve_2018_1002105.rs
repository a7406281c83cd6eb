//! After an upgrade that failed the connection was still used, with the rights of the client that had opened it.

use std::sync::Arc;
use std::sync::atomic::AtomicU16;

use crate::agent::{Machine, manifest};
use crate::probed::listen;

#[tokio::test]
async fn cve_2018_1002105_an_upgraded_connection_of_a_probe_carries_nothing_more() {
    let machine = Machine::started().await;
    let (port, mut asked) = listen(Arc::new(AtomicU16::new(101)), "/").await;
    let c = format!(
        "name: c, image: demo:1, readinessProbe: {{httpGet: {{host: 127.0.0.1, port: {port}, httpHeaders: [{{name: Connection, value: Upgrade}}, {{name: Upgrade, value: x}}]}}, periodSeconds: 1, failureThreshold: 1}}"
    );
    machine.write("web.yaml", &manifest("web", "", &[&c]));
    let (message, _) = machine.event("Unhealthy").await;
    assert_eq!(
        message,
        "Readiness probe failed: HTTP probe failed with statuscode: 101"
    );
    // Each request comes on a connection of its own: the listener reads one from each.
    for _ in 0..2 {
        let request = asked.recv().await.unwrap();
        assert_eq!(request.matches("GET /").count(), 1, "{request}");
    }
}

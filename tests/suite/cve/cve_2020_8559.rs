//! An answer that redirects sent the caller, and its credentials, to another host.

use std::sync::Arc;
use std::sync::atomic::AtomicU16;

use crate::agent::{Machine, manifest};
use crate::probed::listen;

#[tokio::test]
async fn cve_2020_8559_a_redirect_to_another_host_is_a_warning_and_is_not_followed() {
    let machine = Machine::started().await;
    let (other, mut asked_other) = listen(Arc::new(AtomicU16::new(200)), "/").await;
    let location = format!("http://127.0.0.2:{other}/secret");
    let (port, _asked) = listen(Arc::new(AtomicU16::new(301)), location.leak()).await;
    let c = format!(
        "name: c, image: demo:1, livenessProbe: {{httpGet: {{host: 127.0.0.1, port: {port}}}, periodSeconds: 1, failureThreshold: 1}}, readinessProbe: {{tcpSocket: {{host: 127.0.0.1, port: {port}}}}}"
    );
    machine.write("web.yaml", &manifest("web", "", &[&c]));
    machine.running("web").await;
    let (message, _) = machine.event("ProbeWarning").await;
    assert_eq!(
        message,
        "Liveness probe warning: Probe terminated redirects, Response body: "
    );
    assert_eq!(machine.fake.count("StopContainer"), 0);
    assert!(asked_other.try_recv().is_err(), "somebody else was asked");
}

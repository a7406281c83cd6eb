//! Requests filled memory before their sender was authenticated. Here each brings an unknown token of its own.

use std::net::Ipv4Addr;

use crate::node_port::{Http, NodePort, agree, connect, serves};

/// Together 26 MiB.
const REQUESTS: usize = 450;
const TOKEN: usize = 60 * 1024;

#[test]
fn cve_2020_8552_nothing_is_kept_of_who_is_not_known() {
    if serves() {
        return;
    }
    let name = "cve::cve_2020_8552::cve_2020_8552_nothing_is_kept_of_who_is_not_known";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let port = NodePort::start(name, None);
        let config = port.trust(None);
        let ask = async |number: usize| {
            let stream = connect(Ipv4Addr::LOCALHOST.into(), port.address).await.unwrap();
            let mut http = Http::open(agree(stream, config.clone()).await.unwrap()).await;
            let token = format!("{number:0TOKEN$}");
            assert_eq!(http.get("/pods", Some(&token)).await.unwrap(), 401);
            // The connection is not kept either.
            assert!(http.get("/pods", None).await.is_err());
        };
        for number in 0..50 {
            ask(number).await;
        }
        let before = port.memory();
        for number in 50..REQUESTS {
            ask(number).await;
        }
        let grown = port.memory().saturating_sub(before) / 1024;
        assert!(grown < 20 * 1024, "memory grew by {grown} KiB");
    });
}

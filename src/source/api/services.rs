//! The Services of the cluster, for the service environment variables of containers.
//!
//! They are changed in place and wake no receiver: container creation reads them when it needs them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service as Object;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::pods::first_line;
use crate::manifest::names;
use crate::model::pod::{Provenance, SourceSet};
use crate::model::service::{ByName, Service, ServicePort, Services};
use crate::source::SetReceiver;
use crate::source::checkpoint::stored::Stored;

/// Watches until canceled. While the API server is unreachable, the last known Services stay; before its first answer,
/// those from the checkpoint are used.
pub async fn run(
    mut clients: watch::Receiver<kube::Client>,
    mut reserve: Option<Reserve>,
    out: watch::Sender<Services>,
    cancel: CancellationToken,
) {
    let mut listing = BTreeMap::new();
    loop {
        let client = clients.borrow_and_update().clone();
        let api: kube::Api<Object> = kube::Api::all(client);
        let mut events = kube::runtime::watcher(api, watcher::Config::default())
            .backoff(Pace::new())
            .boxed();
        loop {
            // Every arm may be cancelled: an event that was not taken is still in the stream.
            let event = tokio::select! {
                () = cancel.cancelled() => return,
                Ok(()) = clients.changed() => break,
                event = events.next() => event,
                stored = is_used(reserve.as_mut()) => {
                    reserve = None;
                    out.send_if_modified(|services| {
                        let is_lacking = !services.are_known();
                        if is_lacking {
                            *services = Services::Known(stored.services.clone());
                        }
                        is_lacking
                    });
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => take(event, &mut listing, &out),
                Some(Err(error)) => {
                    tracing::warn!(error = %first_line(&error), "cannot watch Services; retrying");
                    out.send_if_modified(|services| {
                        let was_asked = *services == Services::Asked;
                        if was_asked {
                            *services = Services::Unread;
                        }
                        was_asked
                    });
                }
                None => break,
            }
        }
    }
}

/// The checkpoint, and the pods, which show when it is used.
pub struct Reserve {
    /// The checkpoint from before this start.
    pub stored: Arc<Stored>,
    /// The API server's pods.
    pub pods: SetReceiver,
}

/// Waits until pods are started from the checkpoint; never returns where there is none. Cancel safe.
async fn is_used(reserve: Option<&mut Reserve>) -> Arc<Stored> {
    let Some(reserve) = reserve else {
        return std::future::pending().await;
    };
    let is_stored = |set: &Option<Arc<SourceSet>>| {
        set.as_ref()
            .is_some_and(|set| set.provenance == Provenance::Checkpoint)
    };
    let is_used = reserve.pods.wait_for(is_stored).await.is_ok();
    if !is_used {
        // The sender of the pods is gone; the agent stops, too.
        std::future::pending::<()>().await;
    }
    reserve.stored.clone()
}

fn take(event: Event<Object>, listing: &mut BTreeMap<String, ByName>, out: &watch::Sender<Services>) {
    match event {
        Event::Init => listing.clear(),
        Event::InitApply(object) => set(listing, &object),
        Event::InitDone => {
            let listed = Services::Known(std::mem::take(listing));
            out.send_replace(listed);
        }
        Event::Apply(object) => change(out, |all| set(all, &object)),
        Event::Delete(object) => change(out, |all| remove(all, &object)),
    }
}

fn change(out: &watch::Sender<Services>, work: impl FnOnce(&mut BTreeMap<String, ByName>)) {
    out.send_modify(|services| {
        if let Services::Known(all) = services {
            work(all);
        }
    });
}

/// Inserts the Service, or removes it if it no longer has an address.
fn set(all: &mut BTreeMap<String, ByName>, object: &Object) {
    let Some(service) = read(object) else {
        return remove(all, object);
    };
    let (namespace, name) = name(object);
    all.entry(namespace.to_owned())
        .or_default()
        .insert(name.to_owned(), service);
}

fn remove(all: &mut BTreeMap<String, ByName>, object: &Object) {
    let (namespace, name) = name(object);
    if let Some(own) = all.get_mut(namespace) {
        own.remove(name);
        if own.is_empty() {
            all.remove(namespace);
        }
    }
}

fn name(object: &Object) -> (&str, &str) {
    let metadata = &object.metadata;
    (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// The Service, where it has an address. An invalid name, address or protocol would reach every container of the
/// namespace: such a Service is left out.
fn read(object: &Object) -> Option<Service> {
    let spec = object.spec.as_ref()?;
    let address = spec
        .cluster_ip
        .clone()
        .filter(|ip| !ip.is_empty() && ip != "None")?;
    if let Some(wrong) = wrong(object, &address) {
        let (namespace, name) = name(object);
        tracing::warn!("Service {namespace:?}/{name:?} is left out of the containers' environment: {wrong}");
        return None;
    }
    let ports = spec.ports.iter().flatten().map(|port| ServicePort {
        name: port.name.clone().unwrap_or_default(),
        port: port.port,
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
    });
    Some(Service {
        address,
        ports: ports.collect(),
    })
}

/// What is wrong with a Service from the API server.
fn wrong(object: &Object, address: &str) -> Option<String> {
    let (namespace, name) = name(object);
    let (namespace, name) = (names::dns_label(namespace), names::dns_label(name));
    if let Some(complaint) = namespace.or(name) {
        return Some(format!("its name {complaint}"));
    }
    if address.parse::<IpAddr>().is_err() {
        return Some(format!("{address:?} is not an IP address"));
    }
    let ports = object.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    for port in ports {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let own = port.name.as_deref().filter(|name| !name.is_empty());
        if !matches!(protocol, "TCP" | "UDP" | "SCTP")
            || own.is_some_and(|own| names::dns_label(own).is_some())
        {
            return Some(format!(
                "its port {own:?} with protocol {protocol:?} is not valid"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_service_is_left_out() {
        let check = |name: &str, address: &str, protocol: &str, is_right: bool| {
            let mut object = object(name, address);
            let ports = object.spec.as_mut().unwrap().ports.as_mut().unwrap();
            ports[0].protocol = Some(protocol.to_owned());
            assert_eq!(
                read(&object).is_some(),
                is_right,
                "{name:?} {address:?} {protocol:?}"
            );
        };
        check("web-1", "10.0.0.1", "TCP", true);
        check("web", "fd00::1", "SCTP", true);
        check("../web", "10.0.0.1", "TCP", false);
        check("a=b\nc", "10.0.0.1", "TCP", false);
        check("web", "10.0.0.1\n127.0.0.1", "TCP", false);
        check("web", "10.0.0.1", "TCP=x", false);
    }

    fn object(name: &str, address: &str) -> Object {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "ns"},
            "spec": {"clusterIP": address, "ports": [{"port": 80}]},
        }))
        .unwrap()
    }

    #[test]
    fn only_a_complete_list_is_told_and_what_has_no_address_is_left_out() {
        let (out, receiver) = watch::channel(Services::Asked);
        let mut listing = BTreeMap::new();
        let mut take = |event| take(event, &mut listing, &out);
        let addresses = || match &*receiver.borrow() {
            Services::Known(all) => {
                let all = all.values().flat_map(BTreeMap::values);
                Some(all.map(|service| service.address.clone()).collect::<Vec<_>>())
            }
            _ => None,
        };
        take(Event::Init);
        take(Event::InitApply(object("a", "10.0.0.1")));
        take(Event::InitApply(object("b", "None")));
        assert_eq!(addresses(), None);
        take(Event::InitDone);
        assert_eq!(addresses().unwrap(), ["10.0.0.1"]);
        take(Event::Apply(object("b", "10.0.0.2")));
        assert_eq!(addresses().unwrap(), ["10.0.0.1", "10.0.0.2"]);
        // The list after a 410 replaces the former one when it is complete.
        take(Event::Init);
        take(Event::InitApply(object("c", "10.0.0.3")));
        assert_eq!(addresses().unwrap().len(), 2);
        take(Event::InitDone);
        assert_eq!(addresses().unwrap(), ["10.0.0.3"]);
        take(Event::Apply(object("c", "")));
        assert_eq!(addresses().unwrap(), Vec::<String>::new());
        take(Event::Delete(object("c", "10.0.0.3")));
    }
}

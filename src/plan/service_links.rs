//! The environment variables that describe Services to a container (`pkg/kubelet/envvars`, and `getServiceEnvVarMap` in
//! `pkg/kubelet/kubelet_pods.go`).

use std::collections::BTreeMap;

use super::content::Origin;
use crate::model::bounds;
use crate::model::pod::Source;
use crate::model::service::{ByName, Service, Services};

/// Namespace and name of the cluster's own Service, whose variables every container gets.
const CLUSTER: (&str, &str) = ("default", "kubernetes");

/// Why there are no variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// The Services are not known.
    Unread,
    /// They exceed what can be passed to a program.
    TooMany,
}

/// The kubelet's message for Services that are not known.
pub(super) const UNREAD: &str = "services have not yet been read at least once, cannot construct envvars";

/// The variables by name, if they take no more than `most` of what Linux passes to a program; otherwise the reason. A
/// static pod does not wait for the Services: it may be what serves them.
pub(super) fn variables(origin: Origin<'_>, most: usize) -> Result<BTreeMap<String, String>, Lack> {
    let Origin { pod, services, .. } = origin;
    if matches!(services, Services::Asked | Services::Unread) && pod.source == Source::Api {
        return Err(Lack::Unread);
    }
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    let (namespace, name) = CLUSTER;
    let cluster = services.of_namespace(namespace).and_then(|all| all.get(name));
    chosen.extend(cluster.map(|service| (name, service)));
    let own = services.of_namespace(&pod.name.namespace);
    let own = own
        .filter(|_| pod.service_links)
        .into_iter()
        .flat_map(ByName::iter);
    chosen.extend(own.map(|(name, service)| (name.as_str(), service)));
    let mut all = Variables {
        all: BTreeMap::new(),
        left: most,
    };
    for (name, service) in chosen {
        all.add(name, service).ok_or(Lack::TooMany)?;
    }
    Ok(all.all)
}

struct Variables {
    all: BTreeMap<String, String>,
    /// How many bytes they may still use.
    left: usize,
}

impl Variables {
    /// Adds one variable; `None`: there is no room for it.
    fn set(&mut self, name: String, value: String) -> Option<()> {
        bounds::step();
        let bytes = bounds::exec_bytes(name.len() + "=".len() + value.len());
        self.left = self.left.checked_sub(bytes)?;
        self.all.insert(name, value);
        Some(())
    }

    /// The variables of one Service: its address and first port, its named ports, and each port again in the format of
    /// Docker links.
    fn add(&mut self, name: &str, service: &Service) -> Option<()> {
        let Some(first) = service.ports.first() else {
            return Some(());
        };
        let prefix = variable(name);
        let address = &service.address;
        self.set(format!("{prefix}_SERVICE_HOST"), address.clone())?;
        self.set(format!("{prefix}_SERVICE_PORT"), first.port.to_string())?;
        for port in service.ports.iter().filter(|port| !port.name.is_empty()) {
            let name = variable(&port.name);
            self.set(format!("{prefix}_SERVICE_PORT_{name}"), port.port.to_string())?;
        }
        let host = match address.contains(':') {
            true => format!("[{address}]"),
            false => address.clone(),
        };
        for (index, port) in service.ports.iter().enumerate() {
            let protocol = port.protocol.to_lowercase();
            let number = port.port;
            let url = format!("{protocol}://{host}:{number}");
            if index == 0 {
                self.set(format!("{prefix}_PORT"), url.clone())?;
            }
            let link = format!("{prefix}_PORT_{number}_{}", port.protocol.to_uppercase());
            self.set(format!("{link}_PROTO"), protocol)?;
            self.set(format!("{link}_PORT"), number.to_string())?;
            self.set(format!("{link}_ADDR"), address.clone())?;
            self.set(link, url)?;
        }
        Some(())
    }
}

fn variable(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::sample;
    use crate::model::service::ServicePort;

    fn service(address: &str, ports: &[(&str, i32, &str)]) -> Service {
        let port = |(name, port, protocol): &(&str, i32, &str)| ServicePort {
            name: (*name).to_owned(),
            port: *port,
            protocol: (*protocol).to_owned(),
        };
        Service {
            address: address.to_owned(),
            ports: ports.iter().map(port).collect(),
        }
    }

    fn known() -> Services {
        let cluster = service("10.0.0.1", &[("https", 443, "TCP")]);
        let web = service("fd00::5", &[("http", 80, "TCP"), ("dns-udp", 53, "UDP")]);
        let other = service("10.0.0.9", &[("", 1, "TCP")]);
        let named = |name: &str, service| BTreeMap::from([(name.to_owned(), service)]);
        Services::Known(BTreeMap::from([
            ("default".to_owned(), named("kubernetes", cluster)),
            ("ns".to_owned(), named("web-1", web)),
            ("other".to_owned(), named("other", other)),
        ]))
    }

    fn check(services: &Services, source: Source, links: bool, expected: Expect) {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        (pod.source, pod.service_links) = (source, links);
        let origin = Origin {
            services,
            ..Origin::sample(&pod)
        };
        let result = match variables(origin, bounds::EXEC_TOTAL) {
            Err(Lack::Unread) => UNREAD.to_owned(),
            Err(Lack::TooMany) => "too many".to_owned(),
            Ok(all) => all
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join("\n"),
        };
        expected.assert_eq(&result);
    }

    #[test]
    fn the_cluster_is_always_told_of_and_the_namespace_where_it_is_asked_for() {
        check(
            &known(),
            Source::Api,
            false,
            expect![[r#"
                KUBERNETES_PORT=tcp://10.0.0.1:443
                KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443
                KUBERNETES_PORT_443_TCP_ADDR=10.0.0.1
                KUBERNETES_PORT_443_TCP_PORT=443
                KUBERNETES_PORT_443_TCP_PROTO=tcp
                KUBERNETES_SERVICE_HOST=10.0.0.1
                KUBERNETES_SERVICE_PORT=443
                KUBERNETES_SERVICE_PORT_HTTPS=443"#]],
        );
        check(
            &known(),
            Source::Api,
            true,
            expect![[r#"
                KUBERNETES_PORT=tcp://10.0.0.1:443
                KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443
                KUBERNETES_PORT_443_TCP_ADDR=10.0.0.1
                KUBERNETES_PORT_443_TCP_PORT=443
                KUBERNETES_PORT_443_TCP_PROTO=tcp
                KUBERNETES_SERVICE_HOST=10.0.0.1
                KUBERNETES_SERVICE_PORT=443
                KUBERNETES_SERVICE_PORT_HTTPS=443
                WEB_1_PORT=tcp://[fd00::5]:80
                WEB_1_PORT_53_UDP=udp://[fd00::5]:53
                WEB_1_PORT_53_UDP_ADDR=fd00::5
                WEB_1_PORT_53_UDP_PORT=53
                WEB_1_PORT_53_UDP_PROTO=udp
                WEB_1_PORT_80_TCP=tcp://[fd00::5]:80
                WEB_1_PORT_80_TCP_ADDR=fd00::5
                WEB_1_PORT_80_TCP_PORT=80
                WEB_1_PORT_80_TCP_PROTO=tcp
                WEB_1_SERVICE_HOST=fd00::5
                WEB_1_SERVICE_PORT=80
                WEB_1_SERVICE_PORT_DNS_UDP=53
                WEB_1_SERVICE_PORT_HTTP=80"#]],
        );
    }

    #[test]
    fn only_pods_of_the_cluster_wait_for_its_services() {
        let file = || Source::File {
            path: "/m/a.yaml".into(),
            document: 1,
        };
        check(
            &Services::Unread,
            Source::Api,
            false,
            expect![[r#"services have not yet been read at least once, cannot construct envvars"#]],
        );
        check(&Services::Unread, file(), true, expect![""]);
        check(&Services::NoCluster, Source::Api, true, expect![""]);
    }

    #[test]
    fn services_beyond_what_a_program_can_be_passed_are_not_put_together() {
        use crate::model::bounds::steps;

        let one = service("10.0.0.1", &[("", 1, "TCP")]);
        let all: ByName = (0..100_000).map(|n| (format!("s{n:05}"), one.clone())).collect();
        let services = Services::Known(BTreeMap::from([("ns".to_owned(), all)]));
        let (steps, ()) = steps::of(|| check(&services, Source::Api, true, expect!["too many"]));
        assert!(
            steps <= bounds::EXEC_TOTAL / bounds::exec_bytes("S00000_PORT=1".len()),
            "{steps} steps"
        );
    }
}

//! The calls behind attaching and forwarding ports.

use k8s_cri::v1;

use super::{CriError, Runtime};

/// The network of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxNetwork {
    /// The node's own.
    Host,
    /// A namespace, by its path: `/var/run/netns/cni-…`.
    Namespace(String),
}

impl Runtime {
    /// The URL at which the runtime serves the streams of a container's process. containerd forgets it after a minute,
    /// or after its first use.
    pub async fn attach(&self, request: v1::AttachRequest) -> Result<String, CriError> {
        Ok(self
            .within("Attach", self.timeout, self.pods.clone().attach(request))
            .await?
            .url)
    }

    /// The network of a sandbox, from the verbose status: containerd gives the runtime specification there as JSON.
    pub async fn sandbox_network(&self, id: &str) -> Result<SandboxNetwork, CriError> {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: true,
        };
        let mut pods = self.pods.clone();
        let call = pods.pod_sandbox_status(request);
        let answer = self.within("PodSandboxStatus", self.timeout, call).await?;
        let info = answer.info.get("info").map_or("", String::as_str);
        network_of(info).ok_or_else(|| CriError::empty("PodSandboxStatus"))
    }
}

/// Reads the network from containerd's `info`: a specification without a network namespace shares the node's.
fn network_of(info: &str) -> Option<SandboxNetwork> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    let namespaces = info.pointer("/runtimeSpec/linux/namespaces")?.as_array()?;
    let network = namespaces.iter().find(|namespace| namespace["type"] == "network");
    match network {
        None => Some(SandboxNetwork::Host),
        Some(network) => Some(SandboxNetwork::Namespace(
            network.get("path")?.as_str()?.to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_read_from_the_specification() {
        let check =
            |info: &str, expected: Option<SandboxNetwork>| assert_eq!(network_of(info), expected, "{info}");
        check(
            r#"{"pid":7,"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"},
                {"type":"network","path":"/var/run/netns/cni-1"}]}}}"#,
            Some(SandboxNetwork::Namespace("/var/run/netns/cni-1".to_owned())),
        );
        check(
            r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"}]}}}"#,
            Some(SandboxNetwork::Host),
        );
        // A namespace without a path was made by the runtime: it cannot be found by this.
        check(
            r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"network"}]}}}"#,
            None,
        );
        check(r#"{"runtimeSpec":{}}"#, None);
        check("", None);
    }
}

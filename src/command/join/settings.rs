//! The node settings of a kubeadm cluster, and which file each goes to.

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use serde_json::{Value, json};

use super::error::JoinError;
use super::files::Places;
use crate::config::version;
use crate::identity::cause::text;
use crate::identity::kubeconfig;
use crate::model::yaml::document;

/// The cluster's settings.
#[derive(Debug)]
pub(super) struct Settings {
    /// The cluster's KubeletConfiguration, as text.
    pub(super) kubelet: String,
    /// The version of the control plane.
    pub(super) version: String,
}

/// Reads the settings with the bootstrap token.
pub(super) async fn read(client: &kube::Client) -> Result<Settings, JoinError> {
    let kubelet = entry(client, "kubelet-config", "kubelet").await?;
    let cluster = entry(client, "kubeadm-config", "ClusterConfiguration").await?;
    let cluster = document::read_one(&cluster).ok();
    let version = cluster.and_then(|cluster| Some(cluster.value["kubernetesVersion"].as_str()?.to_owned()));
    let version = version.ok_or_else(|| JoinError::Settings {
        name: "kubeadm-config",
        why: "it has no kubernetesVersion".to_owned(),
    })?;
    Ok(Settings { kubelet, version })
}

async fn entry(client: &kube::Client, name: &'static str, key: &str) -> Result<String, JoinError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let wrong = |why: String| JoinError::Settings { name, why };
    let map = api
        .get(name)
        .await
        .map_err(|error| refusal(&error).unwrap_or_else(|| wrong(text(&error))))?;
    let text = map.data.and_then(|mut data| data.remove(key));
    text.ok_or_else(|| wrong(format!("it has no {key}")))
}

/// The error for an answer that rejects the token.
fn refusal(error: &kube::Error) -> Option<JoinError> {
    match error {
        kube::Error::Api(status) if status.code == 401 => Some(JoinError::Refused(status.message.clone())),
        _ => None,
    }
}

/// Ensures that the name is free: a Ready Node belongs to another machine. A Node that is not Ready may be this
/// machine's former one.
pub(super) async fn check_name(client: &kube::Client, name: &str) -> Result<(), JoinError> {
    match Api::<Node>::all(client.clone()).get_opt(name).await {
        Ok(Some(node)) if readiness(&node).is_ok() => Err(JoinError::Taken(name.to_owned())),
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            // A cluster may forbid reading Nodes; then the user must choose a free name.
            Ok(())
        }
        Err(error) => Err(refusal(&error).unwrap_or_else(|| JoinError::Refused(text(&error)))),
    }
}

/// Whether a Node is Ready; else the condition's message.
pub(super) fn readiness(node: &Node) -> Result<(), String> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    match ready {
        Some(ready) if ready.status == "True" => Ok(()),
        Some(ready) => Err(ready.message.clone().unwrap_or_default()),
        None => Err("it has not reported a Ready condition yet".to_owned()),
    }
}

/// The Kubernetes version to report in a cluster of that version; `None`: the agent's own.
pub(super) fn reported_version(control_plane: &str) -> Result<Option<String>, JoinError> {
    if let Ok(reported) = version::reported(control_plane) {
        let is_own = reported == crate::config::KUBERNETES_VERSION;
        return Ok((!is_own).then_some(reported));
    }
    // A node may be up to three minor versions older than its control plane.
    let minor = |text: &str| text.strip_prefix("v1.")?.split('.').next()?.parse::<u32>().ok();
    match (minor(control_plane), minor(crate::config::KUBERNETES_VERSION)) {
        (Some(theirs), Some(ours)) if theirs > ours && theirs <= ours + 3 => Ok(None),
        _ => Err(JoinError::Version(control_plane.to_owned())),
    }
}

/// The cluster's kubelet configuration for this machine. If systemd-resolved runs, pods use its upstream name servers
/// and not its loopback address, as with kubeadm.
pub(super) fn for_machine(kubelet: &str, places: &Places) -> String {
    let resolved = places.resolved();
    let read = document::read_one(kubelet).ok().map(|document| document.value);
    let with = |mut config: Value| {
        let fields = config.as_object_mut()?;
        if !resolved.exists() || fields.contains_key("resolvConf") {
            return None;
        }
        fields.insert("resolvConf".to_owned(), json!(resolved));
        Some(kubeconfig::text(&config))
    };
    read.and_then(with).unwrap_or_else(|| kubelet.to_owned())
}

/// The flags of this node as an environment file, like kubeadm's.
pub(super) fn flags(name: &str, hostname: &str) -> String {
    let flags = match name == hostname {
        true => String::new(),
        false => format!("--hostname-override={name}"),
    };
    format!("KUBELET_KUBEADM_ARGS=\"{flags}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_follows_the_control_plane() {
        let check = |theirs: &str, expected: Result<Option<&str>, ()>| {
            let found = reported_version(theirs);
            let found = found.as_ref().map(Option::as_deref).map_err(|_| ());
            assert_eq!(found, expected, "{theirs}");
        };
        check(crate::config::KUBERNETES_VERSION, Ok(None));
        check("v1.36.0", Ok(Some("v1.36.0")));
        check("v1.33.7", Ok(Some("v1.33.7")));
        check("v1.32.0", Err(()));
        check("v1.39.0", Ok(None));
        check("v1.40.0", Err(()));
        check("nonsense", Err(()));
    }

    #[test]
    fn name_servers_behind_resolved() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places {
            root: directory.path().to_owned(),
        };
        let text = "kind: KubeletConfiguration\nclusterDNS:\n- 10.96.0.10\n";
        assert_eq!(for_machine(text, &places), text);
        std::fs::create_dir_all(places.resolved().parent().unwrap()).unwrap();
        std::fs::write(places.resolved(), "").unwrap();
        assert!(for_machine(text, &places).contains("/run/systemd/resolve/resolv.conf"));
        // What the file says keeps its meaning when it is written again.
        let more = format!("{text}evictionHard: {{pid.available: 0200}}\n");
        assert!(for_machine(&more, &places).contains("pid.available: 128"));
        let stated = format!("{text}resolvConf: /x\n");
        assert_eq!(for_machine(&stated, &places), stated);
    }

    #[test]
    fn the_flags_file() {
        assert_eq!(flags("a", "a"), "KUBELET_KUBEADM_ARGS=\"\"\n");
        assert_eq!(
            flags("b", "a"),
            "KUBELET_KUBEADM_ARGS=\"--hostname-override=b\"\n"
        );
    }
}

//! The IDs of a pod with a user namespace in the requests to the runtime (`NamespacesForPod` and
//! `applyPlatformSpecificContainerConfig` in `pkg/kubelet/kuberuntime`).

use k8s_cri::v1::{
    ContainerConfig, IdMapping, NamespaceMode, NamespaceOption, PodSandboxConfig, UserNamespace,
};

use super::context::Work;

/// Puts them into the configuration of a sandbox, if its pod has a user namespace.
pub(super) async fn fill_in_sandbox(work: &Work<'_>, config: &mut PodSandboxConfig) -> Result<(), String> {
    let linux = config.linux.as_mut();
    let security = linux.and_then(|linux| linux.security_context.as_mut());
    let namespaces = security.and_then(|security| security.namespace_options.as_mut());
    fill_in(work, namespaces).await.map(drop)
}

/// The same for a container and its sandbox. Its mounts are mapped likewise: what belongs to root on the host belongs to
/// the pod's root in it.
pub(super) async fn fill_in_container(
    work: &Work<'_>,
    config: &mut ContainerConfig,
    sandbox: &mut PodSandboxConfig,
) -> Result<(), String> {
    fill_in_sandbox(work, sandbox).await?;
    let linux = config.linux.as_mut();
    let security = linux.and_then(|linux| linux.security_context.as_mut());
    let namespaces = security.and_then(|security| security.namespace_options.as_mut());
    if let Some(mapping) = fill_in(work, namespaces).await? {
        for mount in &mut config.mounts {
            mount.uid_mappings = vec![mapping];
            mount.gid_mappings = vec![mapping];
        }
    }
    Ok(())
}

async fn fill_in(
    work: &Work<'_>,
    namespaces: Option<&mut NamespaceOption>,
) -> Result<Option<IdMapping>, String> {
    let asked = |users: &&mut UserNamespace| users.mode() == NamespaceMode::Pod;
    let users = namespaces.and_then(|namespaces| namespaces.userns_options.as_mut());
    let Some(users) = users.filter(asked) else {
        return Ok(None);
    };
    let range = work.context.users.of(work.uid).await?;
    let mapping = IdMapping {
        host_id: range.first,
        container_id: 0,
        length: range.length,
    };
    users.uids = vec![mapping];
    users.gids = vec![mapping];
    Ok(Some(mapping))
}

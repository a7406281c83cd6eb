//! Security contexts in CRI requests (`pkg/kubelet/kuberuntime/security_context.go`).

use k8s_cri::v1::{
    Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, SeLinuxOption, SecurityProfile, SupplementalGroupsPolicy, UserNamespace,
    security_profile::ProfileType,
};

use crate::model::node::NodePolicy;
use crate::model::pod::{Container, Pod, PodSecurity, Profile, SeLinux};
use crate::model::runtime::RuntimeHandler;

/// Masked paths of /proc and /sys (`pkg/securitycontext/util.go`).
const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Read-only paths of /proc.
const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// For the sandbox. Its seccomp profile is always the runtime's default: the pause process needs no other.
pub(super) fn of_sandbox(pod: &Pod) -> LinuxSandboxSecurityContext {
    let security = &pod.security;
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        selinux_options: security.selinux.as_ref().map(selinux),
        run_as_user: security.run_as_user.map(int64),
        run_as_group: security.run_as_group.map(int64),
        supplemental_groups: supplemental_groups(security),
        supplemental_groups_policy: groups_policy(security),
        privileged: pod
            .all_containers()
            .any(|container| container.security.privileged),
        seccomp: Some(profile(ProfileType::RuntimeDefault, String::new())),
        ..LinuxSandboxSecurityContext::default()
    }
}

#[allow(deprecated)] // `apparmor_profile` is what runtimes before CRI's `apparmor` read; the kubelet sends both
/// For a container. A user that the manifest does not set is the image's, which is filled in during execution.
pub(super) fn of_container(
    pod: &Pod,
    container: &Container,
    policy: &NodePolicy,
) -> LinuxContainerSecurityContext {
    let security = &container.security;
    let own_masked = policy.masked_paths.iter().map(String::as_str);
    let (masked, readonly) = match security.unmasked_proc {
        true => (Vec::new(), Vec::new()),
        false => (
            MASKED_PATHS.into_iter().chain(own_masked).collect(),
            READONLY_PATHS.to_vec(),
        ),
    };
    let paths = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
    let capable = !security.capabilities_add.is_empty() || !security.capabilities_drop.is_empty();
    let (apparmor, apparmor_profile) = apparmor(&security.apparmor);
    LinuxContainerSecurityContext {
        capabilities: capable.then(|| Capability {
            add_capabilities: security.capabilities_add.clone(),
            drop_capabilities: security.capabilities_drop.clone(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged: security.privileged,
        namespace_options: Some(namespaces(pod)),
        selinux_options: security.selinux.as_ref().map(selinux),
        run_as_user: security.run_as_user.map(int64),
        run_as_group: security.run_as_group.map(int64),
        readonly_rootfs: security.read_only_root,
        supplemental_groups: supplemental_groups(&pod.security),
        supplemental_groups_policy: groups_policy(&pod.security),
        no_new_privs: security.no_new_privileges,
        masked_paths: paths(masked),
        readonly_paths: paths(readonly),
        seccomp: Some(seccomp(&security.seccomp, policy)),
        apparmor,
        apparmor_profile,
        ..LinuxContainerSecurityContext::default()
    }
}

/// Which namespaces are shared, and with the node or the pod. The IDs of a user namespace are filled in during execution:
/// which ones are free is only known then.
fn namespaces(pod: &Pod) -> NamespaceOption {
    let shared = pod.namespaces;
    let host_or_pod = |host| match host {
        true => NamespaceMode::Node,
        false => NamespaceMode::Pod,
    };
    let pid = match (shared.host_pid, shared.share_pid) {
        (true, _) => NamespaceMode::Node,
        (false, true) => NamespaceMode::Pod,
        (false, false) => NamespaceMode::Container,
    };
    NamespaceOption {
        network: host_or_pod(shared.host_network).into(),
        pid: pid.into(),
        ipc: host_or_pod(shared.host_ipc).into(),
        target_id: String::new(),
        userns_options: Some(UserNamespace {
            mode: host_or_pod(!shared.own_users).into(),
            ..UserNamespace::default()
        }),
    }
}

/// Why the pod cannot have a user namespace, if it is to have one (`GetOrCreateUserNamespaceMappings` in
/// `pkg/kubelet/userns`). `handler` is the runtime handler of its sandbox.
pub(super) fn users_refusal(pod: &Pod, handlers: &[RuntimeHandler], handler: &str) -> Result<(), String> {
    if !pod.namespaces.own_users {
        return Ok(());
    }
    let known = handlers.iter().find(|known| known.name == handler);
    if known.is_some_and(|known| known.user_namespaces) {
        return Ok(());
    }
    let who = match handler {
        "" => "runtime".to_owned(),
        _ => format!("RuntimeClass handler {handler:?}"),
    };
    let why = format!("can't set `spec.hostUsers: false`, {who} does not support user namespaces");
    // Runtimes that do not say what their handlers can do are too old to do this.
    match known.is_none() && !handlers.is_empty() {
        true => Err(format!("{why}: the handler {handler:?} is not known")),
        false => Err(why),
    }
}

fn supplemental_groups(security: &PodSecurity) -> Vec<i64> {
    let groups = security.supplemental_groups.iter().copied();
    security.fs_group.into_iter().chain(groups).collect()
}

fn groups_policy(security: &PodSecurity) -> i32 {
    match security.supplemental_groups_strict {
        true => SupplementalGroupsPolicy::Strict.into(),
        false => SupplementalGroupsPolicy::Merge.into(),
    }
}

/// Why a container cannot be created with this security context: a profile without a name would mean none
/// (`fieldSeccompProfile` and `getAppArmorProfile` in `pkg/kubelet/kuberuntime/helpers.go`).
pub(super) fn refusal(container: &Container) -> Option<String> {
    let is_nameless = |profile: &Profile| matches!(profile, Profile::Localhost(name) if name.is_empty());
    if is_nameless(&container.security.seccomp) {
        Some("localhostProfile must be set if seccompProfile type is Localhost.".to_owned())
    } else if is_nameless(&container.security.apparmor) {
        Some("missing localhost apparmor profile name".to_owned())
    } else {
        None
    }
}

fn seccomp(stated: &Profile, policy: &NodePolicy) -> SecurityProfile {
    match stated {
        Profile::Unstated if policy.seccomp_default => profile(ProfileType::RuntimeDefault, String::new()),
        Profile::Unstated | Profile::Unconfined => profile(ProfileType::Unconfined, String::new()),
        Profile::RuntimeDefault => profile(ProfileType::RuntimeDefault, String::new()),
        Profile::Localhost(name) => {
            let path = policy.seccomp_dir.join(name);
            profile(ProfileType::Localhost, path.to_string_lossy().into_owned())
        }
    }
}

/// The profile, and the same in the notation that older runtimes read.
fn apparmor(stated: &Profile) -> (Option<SecurityProfile>, String) {
    match stated {
        Profile::Unstated => (None, String::new()),
        Profile::RuntimeDefault => (
            Some(profile(ProfileType::RuntimeDefault, String::new())),
            "runtime/default".to_owned(),
        ),
        Profile::Unconfined => (
            Some(profile(ProfileType::Unconfined, String::new())),
            "unconfined".to_owned(),
        ),
        Profile::Localhost(name) => (
            Some(profile(ProfileType::Localhost, name.clone())),
            format!("localhost/{name}"),
        ),
    }
}

fn profile(kind: ProfileType, localhost_ref: String) -> SecurityProfile {
    SecurityProfile {
        profile_type: kind.into(),
        localhost_ref,
    }
}

fn selinux(options: &SeLinux) -> SeLinuxOption {
    SeLinuxOption {
        user: options.user.clone(),
        role: options.role.clone(),
        r#type: options.kind.clone(),
        level: options.level.clone(),
    }
}

fn int64(value: i64) -> Int64Value {
    Int64Value { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::sample;

    #[test]
    fn a_user_namespace_needs_a_handler_that_makes_it() {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let handler = |name: &str, user_namespaces| RuntimeHandler {
            name: name.to_owned(),
            recursive_read_only: true,
            user_namespaces,
        };
        let handlers = [handler("", true), handler("old", false)];
        assert_eq!(users_refusal(&pod, &[], "old"), Ok(()));
        pod.namespaces.own_users = true;
        let check = |handlers: &[RuntimeHandler], handler: &str, expected: &str| {
            let refused = users_refusal(&pod, handlers, handler).unwrap_err();
            assert_eq!(refused, format!("can't set `spec.hostUsers: false`, {expected}"));
        };
        assert_eq!(users_refusal(&pod, &handlers, ""), Ok(()));
        let old = r#"RuntimeClass handler "old" does not support user namespaces"#;
        check(&handlers, "old", old);
        check(&[], "", "runtime does not support user namespaces");
        check(&[], "old", old);
        let unknown =
            r#"RuntimeClass handler "x" does not support user namespaces: the handler "x" is not known"#;
        check(&handlers, "x", unknown);
    }
}

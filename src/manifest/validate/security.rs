//! Validates the security contexts: the pod's with its kernel parameters, and the containers'.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};

use super::sysctl::sysctls;
use crate::manifest::context::ManifestContext;
use crate::manifest::convert::has_own_users;
use crate::manifest::convert::security::APPARMOR;
use crate::manifest::path::{Faults, FieldPath};

/// Notes what is wrong with the pod's context.
pub(crate) fn pod(spec: &PodSpec, context: &ManifestContext, at: &FieldPath, faults: &mut Faults) {
    if spec.host_pid == Some(true) && spec.share_process_namespace == Some(true) {
        let message = "cannot be set together with hostPID: remove one of the two";
        faults.add(&at.parent().field("shareProcessNamespace"), message);
    }
    if has_own_users(spec) {
        for (shared, field) in [
            (spec.host_network, "hostNetwork"),
            (spec.host_pid, "hostPID"),
            (spec.host_ipc, "hostIPC"),
        ] {
            if shared == Some(true) {
                let message = "cannot be set together with hostUsers: false: remove one of the two";
                faults.add(&at.parent().field(field), message);
            }
        }
    }
    let Some(security) = &spec.security_context else {
        return;
    };
    ids(
        &[
            ("runAsUser", security.run_as_user),
            ("runAsGroup", security.run_as_group),
            ("fsGroup", security.fs_group),
        ],
        at,
        faults,
    );
    for (index, group) in security.supplemental_groups.iter().flatten().enumerate() {
        id(*group, &at.field("supplementalGroups").index(index), faults);
    }
    pod_policies(security, at, faults);
    let sysctls = security.sysctls.as_deref().unwrap_or(&[]);
    self::sysctls(sysctls, spec, context, &at.field("sysctls"), faults);
    seccomp(
        security.seccomp_profile.as_ref(),
        &at.field("seccompProfile"),
        faults,
    );
    apparmor(
        security.app_armor_profile.as_ref(),
        &at.field("appArmorProfile"),
        faults,
    );
    if security.windows_options.is_some() {
        faults.unsupported(&at.field("windowsOptions"), "has no meaning on Linux: remove it");
    }
}

fn pod_policies(security: &PodSecurityContext, at: &FieldPath, faults: &mut Faults) {
    for (field, value, allowed) in [
        (
            "fsGroupChangePolicy",
            &security.fs_group_change_policy,
            ["Always", "OnRootMismatch"],
        ),
        (
            "supplementalGroupsPolicy",
            &security.supplemental_groups_policy,
            ["Merge", "Strict"],
        ),
        (
            "seLinuxChangePolicy",
            &security.se_linux_change_policy,
            ["MountOption", "Recursive"],
        ),
    ] {
        if let Some(value) = value {
            faults.one_of(&at.field(field), value, &allowed);
        }
    }
}

/// Notes what is wrong with a container's context.
pub(crate) fn container(
    security: &SecurityContext,
    spec: &PodSpec,
    context: &ManifestContext,
    at: &FieldPath,
    faults: &mut Faults,
) {
    ids(
        &[
            ("runAsUser", security.run_as_user),
            ("runAsGroup", security.run_as_group),
        ],
        at,
        faults,
    );
    if security.privileged == Some(true) && !context.privileged_allowed {
        faults.add(&at.field("privileged"), "is not allowed on this node");
    }
    privilege_escalation(security, at, faults);
    if let Some(capabilities) = &security.capabilities {
        for (field, list) in [("add", &capabilities.add), ("drop", &capabilities.drop)] {
            for (index, name) in list.iter().flatten().enumerate() {
                capability(name, &at.field("capabilities").field(field).index(index), faults);
            }
        }
    }
    match security.proc_mount.as_deref() {
        None | Some("Default") => {}
        Some("Unmasked") if has_own_users(spec) => {}
        Some("Unmasked") => faults.add(
            &at.field("procMount"),
            "Unmasked needs a user namespace: set spec.hostUsers to false, or remove it",
        ),
        Some(other) => faults.add(
            &at.field("procMount"),
            format!("{other:?} is not one of Default, Unmasked"),
        ),
    }
    seccomp(
        security.seccomp_profile.as_ref(),
        &at.field("seccompProfile"),
        faults,
    );
    apparmor(
        security.app_armor_profile.as_ref(),
        &at.field("appArmorProfile"),
        faults,
    );
    if security.windows_options.is_some() {
        faults.unsupported(&at.field("windowsOptions"), "has no meaning on Linux: remove it");
    }
}

/// What gives more privileges cannot be combined with `allowPrivilegeEscalation: false`.
fn privilege_escalation(security: &SecurityContext, at: &FieldPath, faults: &mut Faults) {
    if security.allow_privilege_escalation != Some(false) {
        return;
    }
    let at = at.field("allowPrivilegeEscalation");
    if security.privileged == Some(true) {
        faults.add(&at, "cannot be false for a privileged container");
    }
    let added = security
        .capabilities
        .as_ref()
        .and_then(|c| c.add.as_deref())
        .unwrap_or(&[]);
    let message = "cannot be false for a container with the capability SYS_ADMIN";
    if added.iter().any(|name| name == "CAP_SYS_ADMIN") {
        faults.add(&at, message);
    } else if added
        .iter()
        .any(|name| matches!(name.as_str(), "SYS_ADMIN" | "ALL"))
    {
        // The kubelet does not recognize the capability by these names.
        faults.warn(&at, message);
    }
}

fn capability(name: &str, at: &FieldPath, faults: &mut Faults) {
    if let Some(short) = name.strip_prefix("CAP_") {
        // The runtime adds CAP_ to every name.
        faults.warn(at, format!("{name:?} must be written without CAP_: {short}"));
    } else if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_') {
        faults.warn(at, format!("{name:?} is not a capability (NET_ADMIN, ALL)"));
    }
}

fn ids(ids: &[(&'static str, Option<i64>)], at: &FieldPath, faults: &mut Faults) {
    for (field, value) in ids {
        if let Some(value) = value {
            id(*value, &at.field(*field), faults);
        }
    }
}

fn id(value: i64, at: &FieldPath, faults: &mut Faults) {
    let most = i64::from(i32::MAX);
    if !(0..=most).contains(&value) {
        faults.add(
            at,
            format!("{value} is not a valid user or group ID: it must be from 0 to {most}"),
        );
    }
}

fn seccomp(profile: Option<&SeccompProfile>, at: &FieldPath, faults: &mut Faults) {
    let Some(profile) = profile else {
        return;
    };
    profile_kind(&profile.type_, profile.localhost_profile.as_deref(), at, faults);
    if let Some(path) = &profile.localhost_profile
        && (path.starts_with('/') || path.split('/').any(|part| part == ".."))
    {
        let message = format!("{path:?} must be a path below the node's seccomp directory, without '..'");
        faults.add(&at.field("localhostProfile"), message);
    }
}

fn apparmor(profile: Option<&AppArmorProfile>, at: &FieldPath, faults: &mut Faults) {
    let Some(profile) = profile else {
        return;
    };
    profile_kind(&profile.type_, profile.localhost_profile.as_deref(), at, faults);
    if let Some(name) = &profile.localhost_profile
        && (name.trim() != name || name.len() > 4095)
    {
        faults.add(
            &at.field("localhostProfile"),
            "must be the name of a profile without leading or trailing spaces",
        );
    }
}

/// Notes what is wrong with the annotations that set AppArmor profiles before the field existed
/// (`ValidateAppArmorPodAnnotations`, `validateAppArmorAnnotationsAndFieldsMatchOnCreate`).
pub(crate) fn annotations(pod: &Pod, at: &FieldPath, faults: &mut Faults) {
    let spec = pod.spec.as_ref();
    let init = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    let containers: Vec<&Container> = spec
        .into_iter()
        .flat_map(|spec| &spec.containers)
        .chain(init)
        .collect();
    let of_pod = spec.and_then(|spec| spec.security_context.as_ref()?.app_armor_profile.as_ref());
    for (key, value) in pod.metadata.annotations.iter().flatten() {
        let Some(name) = key.strip_prefix(APPARMOR) else {
            continue;
        };
        let at = at.key(key.clone());
        let is_known = matches!(value.as_str(), "" | "runtime/default" | "unconfined");
        if !is_known && !value.starts_with("localhost/") {
            faults.add(
                &at,
                format!("{value:?} is not one of runtime/default, unconfined, localhost/…"),
            );
        }
        let Some(container) = containers.iter().find(|container| container.name == name) else {
            faults.add(&at, format!("no container is named {name:?}"));
            continue;
        };
        let own = container.security_context.as_ref();
        let stated = own.and_then(|own| own.app_armor_profile.as_ref()).or(of_pod);
        if stated.is_some_and(|profile| annotation(profile) != *value) {
            faults.add(
                &at,
                "conflicts with securityContext.appArmorProfile: remove the annotation",
            );
        }
    }
}

/// The profile in the form of the annotation.
fn annotation(profile: &AppArmorProfile) -> String {
    match profile.type_.as_str() {
        "RuntimeDefault" => "runtime/default".to_owned(),
        "Unconfined" => "unconfined".to_owned(),
        _ => format!(
            "localhost/{}",
            profile.localhost_profile.as_deref().unwrap_or_default()
        ),
    }
}

fn profile_kind(kind: &str, localhost: Option<&str>, at: &FieldPath, faults: &mut Faults) {
    faults.one_of(
        &at.field("type"),
        kind,
        &["RuntimeDefault", "Unconfined", "Localhost"],
    );
    match (kind, localhost) {
        ("Localhost", None | Some("")) => {
            faults.add(
                &at.field("localhostProfile"),
                "is missing: the type Localhost needs it",
            );
        }
        ("Localhost", Some(_)) | (_, None) => {}
        (_, Some(_)) => faults.add(
            &at.field("localhostProfile"),
            "is only for the type Localhost: remove it",
        ),
    }
}

//! Converts security contexts. A value that this version does not know is rejected: otherwise a restriction would be
//! dropped.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as k8s;

use crate::manifest::path::{Faults, FieldPath};
use crate::model::pod::{ContainerSecurity, GroupChange, PodSecurity, Profile, SeLinux};

/// The prefix of the annotation that had a container's AppArmor profile before the field existed.
pub(crate) const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The pod's context.
pub(crate) fn pod(spec: &k8s::PodSpec, at: &FieldPath, faults: &mut Faults) -> PodSecurity {
    let Some(own) = &spec.security_context else {
        return PodSecurity::default();
    };
    let strict = match own.supplemental_groups_policy.as_deref() {
        None | Some("Merge") => false,
        Some("Strict") => true,
        Some(other) => {
            unknown(&at.field("supplementalGroupsPolicy"), other, faults);
            true
        }
    };
    let sysctls = own.sysctls.iter().flatten();
    PodSecurity {
        run_as_user: own.run_as_user,
        run_as_group: own.run_as_group,
        run_as_non_root: own.run_as_non_root,
        supplemental_groups: own.supplemental_groups.clone().unwrap_or_default(),
        supplemental_groups_strict: strict,
        fs_group: own.fs_group,
        group_change: match own.fs_group_change_policy.as_deref() {
            Some("OnRootMismatch") => GroupChange::OnRootMismatch,
            _ => GroupChange::Always,
        },
        sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
        seccomp: seccomp(own.seccomp_profile.as_ref(), at, faults),
        apparmor: apparmor(own.app_armor_profile.as_ref(), at, faults),
        selinux: own.se_linux_options.as_ref().map(selinux),
    }
}

/// A container's context, merged with the pod's (`DetermineEffectiveSecurityContext` of `pkg/securitycontext/util.go`).
/// `annotated` is the AppArmor profile from an annotation, which takes precedence over the pod's.
pub(crate) fn container(
    own: Option<&k8s::SecurityContext>,
    annotated: Profile,
    pod: &PodSecurity,
    at: &FieldPath,
    faults: &mut Faults,
) -> ContainerSecurity {
    let default = k8s::SecurityContext::default();
    let own = own.unwrap_or(&default);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let first = |profiles: [Profile; 3]| {
        let mut stated = profiles
            .into_iter()
            .filter(|profile| *profile != Profile::Unstated);
        stated.next().unwrap_or_default()
    };
    let unmasked_proc = match own.proc_mount.as_deref() {
        None | Some("" | "Default") => false,
        Some("Unmasked") => true,
        Some(other) => {
            unknown(&at.field("procMount"), other, faults);
            false
        }
    };
    ContainerSecurity {
        privileged: own.privileged.unwrap_or(false),
        run_as_user: own.run_as_user.or(pod.run_as_user),
        run_as_group: own.run_as_group.or(pod.run_as_group),
        run_as_non_root: own.run_as_non_root.or(pod.run_as_non_root).unwrap_or(false),
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        capabilities_add: capabilities.add.unwrap_or_default(),
        capabilities_drop: capabilities.drop.unwrap_or_default(),
        unmasked_proc,
        seccomp: first([
            seccomp(own.seccomp_profile.as_ref(), at, faults),
            pod.seccomp.clone(),
            Profile::Unstated,
        ]),
        apparmor: first([
            apparmor(own.app_armor_profile.as_ref(), at, faults),
            annotated,
            pod.apparmor.clone(),
        ]),
        selinux: own
            .se_linux_options
            .as_ref()
            .map(selinux)
            .or_else(|| pod.selinux.clone()),
    }
}

/// The AppArmor profile from a container's annotation: the API server turns such annotations into fields, but a static
/// pod does not pass through it (`getProfileFromPodAnnotations` of `pkg/security/apparmor/helpers.go`).
pub(crate) fn annotated(annotations: &BTreeMap<String, String>, container: &str) -> Profile {
    let value = annotations.get(&format!("{APPARMOR}{container}"));
    match value.map(String::as_str) {
        Some("runtime/default") => Profile::RuntimeDefault,
        Some("unconfined") => Profile::Unconfined,
        Some(value) => match value.strip_prefix("localhost/") {
            Some(name) => Profile::Localhost(name.to_owned()),
            None => Profile::Unstated,
        },
        None => Profile::Unstated,
    }
}

/// Notes a value that this version does not know.
pub(crate) fn unknown(at: &FieldPath, value: &str, faults: &mut Faults) {
    faults.add(
        at,
        format!("{value:?} is not supported by this version of gantry yet"),
    );
}

fn seccomp(profile: Option<&k8s::SeccompProfile>, at: &FieldPath, faults: &mut Faults) -> Profile {
    profile.map_or(Profile::Unstated, |p| {
        let at = at.field("seccompProfile").field("type");
        self::profile(&p.type_, p.localhost_profile.as_ref(), &at, faults)
    })
}

fn apparmor(profile: Option<&k8s::AppArmorProfile>, at: &FieldPath, faults: &mut Faults) -> Profile {
    profile.map_or(Profile::Unstated, |p| {
        let at = at.field("appArmorProfile").field("type");
        self::profile(&p.type_, p.localhost_profile.as_ref(), &at, faults)
    })
}

fn profile(kind: &str, localhost: Option<&String>, at: &FieldPath, faults: &mut Faults) -> Profile {
    match kind {
        "RuntimeDefault" => Profile::RuntimeDefault,
        "Unconfined" => Profile::Unconfined,
        "Localhost" => Profile::Localhost(localhost.cloned().unwrap_or_default()),
        other => {
            unknown(at, other, faults);
            Profile::Unstated
        }
    }
}

fn selinux(own: &k8s::SELinuxOptions) -> SeLinux {
    SeLinux {
        user: own.user.clone().unwrap_or_default(),
        role: own.role.clone().unwrap_or_default(),
        kind: own.type_.clone().unwrap_or_default(),
        level: own.level.clone().unwrap_or_default(),
    }
}

//! What the kernel holds a pod and its containers to.

/// Seccomp or AppArmor profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Profile {
    /// Not stated: the pod's, else the node's default.
    #[default]
    Unstated,
    /// The runtime's default profile.
    RuntimeDefault,
    /// None at all.
    Unconfined,
    /// A profile of this name (seccomp: a file below the node's seccomp directory).
    Localhost(String),
}

/// SELinux labels; empty strings where unstated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeLinux {
    /// `user`
    pub user: String,
    /// `role`
    pub role: String,
    /// `type`
    pub kind: String,
    /// `level`
    pub level: String,
}

/// When the files of a volume are given to the pod's group (`fsGroupChangePolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupChange {
    /// Each time the volume is mounted.
    #[default]
    Always,
    /// Only if its root directory does not belong to the group.
    OnRootMismatch,
}

/// `spec.securityContext`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodSecurity {
    /// `runAsUser`
    pub run_as_user: Option<i64>,
    /// `runAsGroup`
    pub run_as_group: Option<i64>,
    /// `runAsNonRoot`
    pub run_as_non_root: Option<bool>,
    /// `supplementalGroups`
    pub supplemental_groups: Vec<i64>,
    /// `supplementalGroupsPolicy: Strict`
    pub supplemental_groups_strict: bool,
    /// `fsGroup`
    pub fs_group: Option<i64>,
    /// `fsGroupChangePolicy`
    pub group_change: GroupChange,
    /// `sysctls`, in order.
    pub sysctls: Vec<(String, String)>,
    /// `seccompProfile`
    pub seccomp: Profile,
    /// `appArmorProfile`
    pub apparmor: Profile,
    /// `seLinuxOptions`
    pub selinux: Option<SeLinux>,
}

/// `securityContext` of a container, with the pod's values where the container states none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerSecurity {
    /// `privileged`
    pub privileged: bool,
    /// `runAsUser`
    pub run_as_user: Option<i64>,
    /// `runAsGroup`
    pub run_as_group: Option<i64>,
    /// `runAsNonRoot`
    pub run_as_non_root: bool,
    /// `readOnlyRootFilesystem`
    pub read_only_root: bool,
    /// `allowPrivilegeEscalation: false`
    pub no_new_privileges: bool,
    /// `capabilities.add`
    pub capabilities_add: Vec<String>,
    /// `capabilities.drop`
    pub capabilities_drop: Vec<String>,
    /// `procMount: Unmasked`
    pub unmasked_proc: bool,
    /// `seccompProfile`
    pub seccomp: Profile,
    /// `appArmorProfile`
    pub apparmor: Profile,
    /// `seLinuxOptions`
    pub selinux: Option<SeLinux>,
}

//! Every reason that users and programs of Kubernetes see, in the kubelet's words (`pkg/kubelet/events/event.go`,
//! `pkg/kubelet/images/types.go`, `pkg/kubelet/container/sync_result.go`, `pkg/kubelet/status/generate.go` of
//! Kubernetes v1.36).

/// Reasons of a container's waiting state.
pub mod waiting {
    /// The container is about to be created.
    pub const CONTAINER_CREATING: &str = "ContainerCreating";
    /// An init container has not ended yet.
    pub const POD_INITIALIZING: &str = "PodInitializing";
    /// It ended too often and is in back-off.
    pub const CRASH_LOOP_BACK_OFF: &str = "CrashLoopBackOff";
    /// The pull failed.
    pub const ERR_IMAGE_PULL: &str = "ErrImagePull";
    /// The pull failed and is in back-off.
    pub const IMAGE_PULL_BACK_OFF: &str = "ImagePullBackOff";
    /// The image is missing and must not be pulled.
    pub const ERR_IMAGE_NEVER_PULL: &str = "ErrImageNeverPull";
    /// The image's name is invalid.
    pub const INVALID_IMAGE_NAME: &str = "InvalidImageName";
    /// The image cannot be inspected.
    pub const IMAGE_INSPECT_ERROR: &str = "ImageInspectError";
    /// The registry does not answer; the runtime's message starts with it.
    pub const REGISTRY_UNAVAILABLE: &str = "RegistryUnavailable";
    /// The image's signature is invalid; the runtime's message starts with it.
    pub const SIGNATURE_VALIDATION_FAILED: &str = "SignatureValidationFailed";
    /// An image cannot be mounted as a volume; the runtime's message starts with it.
    pub const IMAGE_VOLUME_MOUNT_FAILED: &str = "ImageVolumeMountFailed";
    /// The container's configuration cannot be generated.
    pub const CREATE_CONTAINER_CONFIG_ERROR: &str = "CreateContainerConfigError";
    /// The runtime did not create it.
    pub const CREATE_CONTAINER_ERROR: &str = "CreateContainerError";
    /// The runtime did not start it.
    pub const RUN_CONTAINER_ERROR: &str = "RunContainerError";
    /// It was removed to be restarted with all other containers of its pod.
    pub const RESTARTING_ALL_CONTAINERS: &str = "RestartingAllContainers";
    /// Its post-start hook failed, so it was stopped.
    pub const POST_START_HOOK_ERROR: &str = "PostStartHookError";
}

/// Reasons of failures about the pod as a whole, as the event names them.
pub mod pod {
    /// The runtime did not make the sandbox.
    pub const FAILED_CREATE_SANDBOX: &str = "FailedCreatePodSandBox";
    /// A volume could not be made.
    pub const FAILED_MOUNT: &str = "FailedMount";
    /// A volume could not be made a device.
    pub const FAILED_MAP: &str = "FailedMapVolume";
    /// The node has no room for a volume; the pod is rejected.
    pub const VOLUME_ATTACHMENT_LIMIT: &str = "VolumeAttachmentLimitExceeded";
    /// A volume could not be enlarged.
    pub const VOLUME_RESIZE_FAILED: &str = "VolumeResizeFailed";
    /// The pod's cgroup could not be made.
    pub const FAILED_CREATE_CGROUP: &str = "FailedCreatePodContainer";
    /// The pod's directories could not be made.
    pub const FAILED_MAKE_DIRS: &str = "Failed";
    /// Something of the pod could not be stopped or removed.
    pub const FAILED_KILL_POD: &str = "FailedKillPod";
    /// The pod has reached its active deadline.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// The node is or was short of something, or the pod took more of its disk than it may.
    pub const EVICTED: &str = "Evicted";
    /// The machine was shutting down.
    pub const TERMINATED: &str = "Terminated";
    /// The pod makes room for a critical one.
    pub const PREEMPTING: &str = "Preempting";
    /// The pod was rejected because of its specification.
    pub const FAILED_VALIDATION: &str = "FailedValidation";
    /// A resize of the pod could not be actuated.
    pub const RESIZE_ERROR: &str = "ResizeError";
    /// The runtime does not return the sandbox's status.
    pub const FAILED_STATUS_SANDBOX: &str = "FailedPodSandBoxStatus";
    /// Anything else.
    pub const FAILED_SYNC: &str = "FailedSync";
}

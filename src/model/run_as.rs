//! The user that a container runs as, and whether `runAsNonRoot` allows it (`verifyRunAsNonRoot` in
//! `pkg/kubelet/kuberuntime/security_context_others.go`).

use super::pod::{PodName, PodUid};

/// The largest user id that Kubernetes accepts.
const MAX_UID: i64 = i32::MAX as i64;

/// The user settings of a container, merged with the pod's security context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunAs {
    /// `runAsUser`; `None`: the image's own user.
    pub user: Option<i64>,
    /// `runAsNonRoot`
    pub non_root: bool,
}

/// The user that an image names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageUser {
    /// By number. An image without a user runs as root: 0.
    Uid(i64),
    /// By name.
    Name(String),
}

impl RunAs {
    /// Why a container must not be created from an image with this user; `None` if it may. Checked at each start,
    /// because the image may have changed.
    pub fn refusal(self, image: &ImageUser, pod: &PodName, uid: &PodUid, container: &str) -> Option<String> {
        if !self.non_root {
            return None;
        }
        let why = match (self.user, image) {
            (Some(0), _) => "container's runAsUser breaks non-root policy".to_owned(),
            (Some(_), _) => return None,
            (None, ImageUser::Name(name)) => format!(
                "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
            ),
            (None, ImageUser::Uid(0)) => "container has runAsNonRoot and image will run as root".to_owned(),
            (None, ImageUser::Uid(user)) if !(0..=MAX_UID).contains(user) => format!(
                "container has runAsNonRoot and image has an invalid user id ({user}). (Must be 1-({MAX_UID})): \
                 must be between 0 and {MAX_UID}, inclusive"
            ),
            (None, ImageUser::Uid(_)) => return None,
        };
        Some(format!(
            "{why} (pod: \"{}_{}({uid})\", container: {container})",
            pod.name, pod.namespace
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_run_as_non_root_refuses_is_said_in_the_kubelets_words() {
        let pod = PodName::new("default", "web-node1");
        let check = |user: Option<i64>, image: ImageUser, want: Option<&str>| {
            let refusal =
                |non_root| RunAs { user, non_root }.refusal(&image, &pod, &PodUid("u1".into()), "c");
            let want = want.map(|why| format!("{why} (pod: \"web-node1_default(u1)\", container: c)"));
            assert_eq!(refusal(true), want, "{user:?} {image:?}");
            assert_eq!(refusal(false), None, "{user:?} {image:?}");
        };
        let breaks = Some("container's runAsUser breaks non-root policy");
        check(Some(0), ImageUser::Uid(7), breaks);
        check(Some(0), ImageUser::Uid(0), breaks);
        check(Some(0), ImageUser::Name("app".into()), breaks);
        check(Some(7), ImageUser::Uid(0), None);
        check(Some(7), ImageUser::Name("app".into()), None);
        check(None, ImageUser::Uid(1), None);
        check(None, ImageUser::Uid(MAX_UID), None);
        let root = "container has runAsNonRoot and image will run as root";
        check(None, ImageUser::Uid(0), Some(root));
        let named =
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root";
        check(None, ImageUser::Name("app".into()), Some(named));
        for user in [-1, MAX_UID + 1] {
            let invalid = format!(
                "container has runAsNonRoot and image has an invalid user id ({user}). (Must be 1-(2147483647)): must \
                 be between 0 and 2147483647, inclusive"
            );
            check(None, ImageUser::Uid(user), Some(&invalid));
        }
    }
}

//! `runAsNonRoot`, from the fields to the image request: every combination.

use serde_json::{Value, json};

use super::planned::{api_pod, steps};
use crate::model::request::ImageRequest;
use crate::model::run_as::ImageUser;
use crate::model::sample;
use crate::model::step::Step;

/// The kind of a container in its pod.
#[derive(Debug, Clone, Copy)]
enum Role {
    Regular,
    Init,
    Sidecar,
    Ephemeral,
}

const ROLES: [Role; 4] = [Role::Regular, Role::Init, Role::Sidecar, Role::Ephemeral];
const NON_ROOT: [Option<bool>; 3] = [None, Some(false), Some(true)];
const USERS: [Option<i64>; 3] = [None, Some(0), Some(7)];

fn context(non_root: Option<bool>, user: Option<i64>) -> Value {
    let mut context = json!({});
    if let Some(non_root) = non_root {
        context["runAsNonRoot"] = json!(non_root);
    }
    if let Some(user) = user {
        context["runAsUser"] = json!(user);
    }
    context
}

/// The image request of the container under test, in a pod with these security contexts.
fn request(role: Role, pod: Value, own: Value) -> ImageRequest {
    let mut spec = json!({"securityContext": pod, "containers": [{"name": "main", "image": "i:1"}]});
    let mut container = json!({"name": "c", "image": "i:1", "securityContext": own});
    let list = match role {
        Role::Regular => "containers",
        Role::Init => "initContainers",
        Role::Sidecar => {
            container["restartPolicy"] = json!("Always");
            "initContainers"
        }
        Role::Ephemeral => "ephemeralContainers",
    };
    match spec[list].as_array_mut() {
        Some(list) => list.push(container),
        None => spec[list] = json!([container]),
    }
    let metadata = json!({"name": "p", "namespace": "ns", "uid": "u1"});
    let pod = api_pod(json!({"metadata": metadata, "spec": spec})).unwrap();
    let found = steps(&pod, &sample::policy())
        .into_iter()
        .find_map(|step| match step {
            Step::EnsureImage(request) if request.container == "c" => Some(request),
            _ => None,
        });
    found.unwrap()
}

/// An independent statement of the rule: the container's setting precedes the pod's, the manifest's user precedes the
/// image's.
fn refused(non_root: [Option<bool>; 2], user: [Option<i64>; 2], image: &ImageUser) -> bool {
    let first = |values: [Option<i64>; 2]| values.into_iter().flatten().next();
    if non_root.into_iter().flatten().next() != Some(true) {
        return false;
    }
    match (first(user), image) {
        (Some(user), _) => user == 0,
        (None, ImageUser::Uid(uid)) => *uid == 0,
        (None, ImageUser::Name(_)) => true,
    }
}

#[test]
fn run_as_non_root_holds_for_each_kind_of_container_whoever_names_the_user() {
    // An image without a user runs as root; for `7:8` the runtime reports the user 7.
    let images = [
        ImageUser::Uid(0),
        ImageUser::Uid(7),
        ImageUser::Name("app".to_owned()),
    ];
    let (mut asked, mut refusals) = (0, 0);
    for role in ROLES {
        for (pod_non_root, own_non_root) in NON_ROOT.iter().flat_map(|a| NON_ROOT.map(|b| (*a, b))) {
            for (pod_user, own_user) in USERS.iter().flat_map(|a| USERS.map(|b| (*a, b))) {
                let request = request(
                    role,
                    context(pod_non_root, pod_user),
                    context(own_non_root, own_user),
                );
                for image in &images {
                    let refusal = request
                        .run_as
                        .refusal(image, &sample::name(), &sample::uid("u1"), "c");
                    let want = refused([own_non_root, pod_non_root], [own_user, pod_user], image);
                    assert_eq!(
                        refusal.is_some(),
                        want,
                        "{role:?}: runAsNonRoot {pod_non_root:?}/{own_non_root:?}, runAsUser \
                         {pod_user:?}/{own_user:?}, {image:?}: {refusal:?}"
                    );
                    asked += 1;
                    refusals += usize::from(want);
                }
            }
        }
    }
    assert_eq!((asked, refusals), (972, 224));
}

//! Images that a policy forbids ran in ephemeral containers, which the policy did not check. gantry decides nothing
//! differently for an ephemeral container than for the pod's own.

use serde_json::json;

use crate::manifest::tests::planned::{steps, with_spec};
use crate::model::pod::PullPolicy;
use crate::model::request::ImageRequest;
use crate::model::sample;
use crate::model::step::Step;

#[test]
fn cve_2023_2727_the_image_of_an_added_container_is_had_like_any_other() {
    let container = |name: &str| json!([{"name": name, "image": "registry.example.com/i:1", "imagePullPolicy": "Always"}]);
    let pod =
        with_spec(json!({"containers": container("c"), "ephemeralContainers": container("debug")})).unwrap();
    let of = |name: &str| -> ImageRequest {
        let requests = steps(&pod, &sample::policy())
            .into_iter()
            .filter_map(|step| match step {
                Step::EnsureImage(request) if request.container == name => Some(request),
                _ => None,
            });
        let mut requests = requests;
        requests.next().unwrap()
    };
    let (own, added) = (of("c"), of("debug"));
    assert_eq!(added.pull, PullPolicy::Always);
    let renamed = ImageRequest {
        container: "c".to_owned(),
        ..added
    };
    assert_eq!(renamed, own);
}

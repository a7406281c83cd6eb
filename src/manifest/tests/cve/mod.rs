//! Vulnerabilities of other node agents that concern the reading of a pod: one file each. `tests/suite/cve/mod.rs`
//! lists all of them.

mod cve_2023_2431;
mod cve_2023_2727;
mod cve_2023_2728;
mod cve_2024_10220;
mod cve_2025_1767;
mod cve_2025_4563;

use super::planned::steps;
use super::problems;
use crate::model::pod::Pod;
use crate::model::sample;
use crate::model::step::Step;

/// Why the container of this name is not created.
fn refusal(pod: &Pod, container: &str) -> Option<String> {
    let requests = steps(pod, &sample::policy())
        .into_iter()
        .filter_map(|step| match step {
            Step::CreateContainer(request) if request.container == container => Some(request),
            _ => None,
        });
    let mut requests = requests;
    requests.next().unwrap().refusal
}

/// Asserts that a manifest is rejected with a problem that contains `wants`.
fn check_manifest(spec: &str, wants: &str) {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers: [{{name: c, image: x}}]\n{spec}"
    );
    let reported = problems(manifest.as_bytes());
    assert!(
        reported.contains(wants),
        "{wants} is not in\n{reported}of\n{manifest}"
    );
}

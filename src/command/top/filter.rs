//! Which pods are shown. Pure.

use super::rows::PodRow;

/// Whether a pod has this text in its namespace and name, its status or the name of a container. The empty text is in
/// all of them.
pub(super) fn is_match(pod: &PodRow, text: &str) -> bool {
    let text = text.to_lowercase();
    let has = |field: &str| field.to_lowercase().contains(&text);
    has(&format!("{}/{}", pod.namespace, pod.name))
        || pod.status.as_deref().is_some_and(has)
        || pod.containers.iter().any(|container| has(&container.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::top::{rows, sample};

    #[test]
    fn names_statuses_and_containers_are_searched() {
        let now = "2026-11-29T00:00:00Z".parse().unwrap();
        let rows = rows::rows(None, &sample::top(0), &sample::pods(), now);
        let check = |text: &str, expected: &[&str]| {
            let found = rows.pods.iter().filter(|pod| is_match(pod, text));
            let names: Vec<&str> = found.map(|pod| pod.name.as_str()).collect();
            assert_eq!(names, expected, "{text:?}");
        };
        check("", &["crashing-vm", "web-vm"]);
        check("web", &["web-vm"]);
        check("ault/WEB", &["web-vm"]);
        check("backoff", &["crashing-vm"]);
        check("proxy", &["web-vm"]);
        check("nothing", &[]);
    }
}

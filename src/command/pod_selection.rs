//! Selects the pod and the container that a command refers to.

use std::fmt::Write;

use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;

use super::CommandError;
use super::client::Client;

/// The annotation that names the container for `logs` and `exec`, as kubectl reads it.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// All pods of the node.
pub async fn pods(client: &Client) -> Result<Vec<Pod>, CommandError> {
    Ok(client.object::<List<Pod>>("/pods").await?.items)
}

/// The pods' name and namespace.
pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The pod's namespace.
pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// The pod that a name refers to: its full name, or a static pod's without the node name suffix, optionally prefixed
/// with `pod/`. Without a namespace all are searched.
pub fn pod<'a>(pods: &'a [Pod], wanted: &str, in_namespace: Option<&str>) -> Result<&'a Pod, CommandError> {
    let bare = ["pod/", "pods/", "po/"]
        .iter()
        .find_map(|kind| wanted.strip_prefix(kind))
        .unwrap_or(wanted);
    let here = || {
        pods.iter()
            .filter(|pod| in_namespace.is_none_or(|wanted| wanted == namespace(pod)))
    };
    let mut found: Vec<&Pod> = here().filter(|pod| name(pod) == bare).collect();
    if found.is_empty() {
        found = here().filter(|pod| short_name(pod) == Some(bare)).collect();
    }
    match found[..] {
        [pod] => Ok(pod),
        [] => {
            let place = in_namespace
                .map(|namespace| format!(" in namespace {namespace}"))
                .unwrap_or_default();
            Err(CommandError::Choice(format!(
                "pod \"{bare}\" not found{place}: `gantry get pods -A` lists all pods"
            )))
        }
        _ => {
            let namespaces: Vec<&str> = found.iter().map(|pod| namespace(pod)).collect();
            Err(CommandError::Choice(format!(
                "pod \"{bare}\" exists in namespaces {}: choose one with -n",
                namespaces.join(", ")
            )))
        }
    }
}

/// A static pod's name as in its manifest.
fn short_name(pod: &Pod) -> Option<&str> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    name(pod).strip_suffix(node)?.strip_suffix('-')
}

/// The selected container, and a note for the user.
#[derive(Debug, PartialEq, Eq)]
pub struct ChosenContainer {
    /// Its name.
    pub name: String,
    /// Set if several containers could have been meant.
    pub note: Option<String>,
}

/// The selected container: the named one, else the pod's default, else its first.
pub fn container(pod: &Pod, wanted: Option<&str>) -> Result<ChosenContainer, CommandError> {
    let spec = pod.spec.as_ref();
    let main: Vec<&str> = spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|c| c.name.as_str())
        .collect();
    let init: Vec<&str> = spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .map(|c| c.name.as_str())
        .collect();
    let added: Vec<&str> = spec
        .iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten())
        .map(|c| c.name.as_str())
        .collect();
    let mut all = main.join(", ");
    for name in &init {
        write!(all, ", {name} (init)").expect("writing to a String cannot fail");
    }
    for name in &added {
        write!(all, ", {name} (ephemeral)").expect("writing to a String cannot fail");
    }
    let chosen = |name: &str, note| {
        Ok(ChosenContainer {
            name: name.to_owned(),
            note,
        })
    };
    if let Some(wanted) = wanted {
        return match [&main, &init, &added].iter().any(|list| list.contains(&wanted)) {
            true => chosen(wanted, None),
            false => Err(CommandError::Choice(format!(
                "container {wanted} is not valid for pod {}: it has {all}",
                name(pod)
            ))),
        };
    }
    let annotation = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(DEFAULT_CONTAINER));
    if let Some(default) = annotation.filter(|default| main.contains(&default.as_str())) {
        return chosen(default, None);
    }
    match main[..] {
        [] => Err(CommandError::Choice(format!(
            "pod {} has no containers",
            name(pod)
        ))),
        [only] if init.is_empty() => chosen(only, None),
        [first, ..] => chosen(
            first,
            Some(format!("Defaulted container \"{first}\" out of: {all}")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn make(namespace: &str, name: &str, containers: &[&str], init: &[&str]) -> Pod {
        let list = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"nodeName": "vm", "containers": list(containers), "initContainers": list(init)},
        }))
        .unwrap()
    }

    fn check(wanted: &str, in_namespace: Option<&str>, expected: Result<(&str, &str), &str>) {
        let pods = [
            make("default", "web-vm", &["web"], &[]),
            make("default", "web", &["web"], &[]),
            make("default", "db-vm", &["db"], &[]),
            make("kube-system", "db-vm", &["db"], &[]),
        ];
        let found = pod(&pods, wanted, in_namespace);
        let found = found
            .map(|pod| (namespace(pod), name(pod)))
            .map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{wanted}");
    }

    #[test]
    fn a_pod_is_found_by_its_full_and_by_its_short_name() {
        check("web-vm", None, Ok(("default", "web-vm")));
        check("web", None, Ok(("default", "web")));
        check("pod/db", Some("kube-system"), Ok(("kube-system", "db-vm")));
        check(
            "db",
            None,
            Err("pod \"db\" exists in namespaces default, kube-system: choose one with -n"),
        );
        check(
            "x",
            None,
            Err("pod \"x\" not found: `gantry get pods -A` lists all pods"),
        );
        check(
            "web",
            Some("kube-system"),
            Err("pod \"web\" not found in namespace kube-system: `gantry get pods -A` lists all pods"),
        );
    }

    #[test]
    fn a_container_is_named_annotated_alone_or_the_first() {
        let chosen = |pod: &Pod, wanted: Option<&str>| {
            container(pod, wanted)
                .map(|chosen| (chosen.name, chosen.note))
                .map_err(|error| error.to_string())
        };
        let alone = make("d", "p", &["a"], &[]);
        assert_eq!(chosen(&alone, None), Ok(("a".into(), None)));
        let mut several = make("d", "p", &["a", "b"], &["i"]);
        assert_eq!(
            chosen(&several, None),
            Ok((
                "a".into(),
                Some("Defaulted container \"a\" out of: a, b, i (init)".into())
            ))
        );
        assert_eq!(chosen(&several, Some("i")), Ok(("i".into(), None)));
        assert_eq!(
            chosen(&several, Some("x")),
            Err("container x is not valid for pod p: it has a, b, i (init)".into())
        );
        several.metadata.annotations = Some([(DEFAULT_CONTAINER.to_owned(), "b".to_owned())].into());
        assert_eq!(chosen(&several, None), Ok(("b".into(), None)));
    }
}

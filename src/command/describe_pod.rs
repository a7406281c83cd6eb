//! A pod described. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStatus, EnvVar, Event, Pod, PodSpec, PodStatus, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::describe_volumes;
use super::description::{date, events, pairs};
use super::outline::Outline;
use super::pod_selection;
use super::table::Table;
use crate::model::{age, pod_row};
use crate::serve::problem::ReportedProblem;
use crate::serve::volumes::wire::ListedVolume;

/// The text. `warnings` are those about its manifest, and why another manifest of the same name is not run.
pub(super) fn text(
    pod: &Pod,
    its_volumes: &[&ListedVolume],
    warnings: &[&ReportedProblem],
    its_events: &[&Event],
    now: Timestamp,
) -> String {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let mut outline = Outline::default();
    head(&mut outline, pod, spec, status, now);
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let states = status.init_container_statuses.as_deref().unwrap_or_default();
    if !init.is_empty() {
        outline.section("Init Containers", |outline| containers(outline, init, states));
    }
    let states = status.container_statuses.as_deref().unwrap_or_default();
    outline.section("Containers", |outline| {
        containers(outline, &spec.containers, states)
    });
    let mut conditions = Table::new(&["Type", "Status"]);
    for condition in status.conditions.iter().flatten() {
        conditions.row([condition.type_.clone(), condition.status.clone()]);
    }
    outline.table("Conditions", &conditions);
    describe_volumes::volumes(
        &mut outline,
        spec.volumes.as_deref().unwrap_or_default(),
        its_volumes,
    );
    outline.field("QoS Class", status.qos_class.as_deref().unwrap_or("<unset>"));
    outline.fields("Node-Selectors", pairs(spec.node_selector.as_ref(), "="));
    outline.fields("Tolerations", tolerations(spec));
    if !warnings.is_empty() {
        outline.fields("Warnings", warnings.iter().map(|warning| warning.text.clone()));
    }
    events(&mut outline, its_events, now);
    outline.into_text()
}

fn head(outline: &mut Outline, pod: &Pod, spec: &PodSpec, status: &PodStatus, now: Timestamp) {
    let meta = &pod.metadata;
    outline.field("Name", pod_selection::name(pod));
    outline.field("Namespace", pod_selection::namespace(pod));
    outline.field("Priority", spec.priority.unwrap_or(0).to_string());
    outline.field_if("Priority Class Name", spec.priority_class_name.as_deref());
    outline.field_if("Runtime Class Name", spec.runtime_class_name.as_deref());
    outline.field_if("Service Account", spec.service_account_name.as_deref());
    let host_ip = status.host_ip.as_deref().unwrap_or_default();
    let node = spec.node_name.as_deref().filter(|node| !node.is_empty());
    outline.field(
        "Node",
        node.map_or("<none>".to_owned(), |node| format!("{node}/{host_ip}")),
    );
    outline.field_if(
        "Start Time",
        status.start_time.as_ref().map(|time| date(Some(time))),
    );
    outline.fields("Labels", pairs(meta.labels.as_ref(), "="));
    outline.fields("Annotations", pairs(meta.annotations.as_ref(), ": "));
    if let Some(deletion) = &meta.deletion_timestamp {
        let ago = age::since(deletion.0, now);
        outline.field("Status", format!("Terminating (lasts {ago})"));
        let grace = meta
            .deletion_grace_period_seconds
            .map(|seconds| format!("{seconds}s"));
        outline.field_if("Termination Grace Period", grace);
    } else {
        outline.field("Status", status.phase.as_deref().unwrap_or("Unknown"));
    }
    outline.field_if("Reason", status.reason.as_deref());
    outline.field_if("Message", status.message.as_deref());
    let shown = pod_row::row(pod, now).status;
    if Some(shown.as_str()) != status.phase.as_deref() {
        outline.field("Shown As", shown);
    }
    outline.field("IP", status.pod_ip.as_deref().unwrap_or_default());
    outline.fields("IPs", status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()));
}

fn containers(outline: &mut Outline, containers: &[Container], states: &[ContainerStatus]) {
    for container in containers {
        let status = states.iter().find(|status| status.name == container.name);
        outline.section(&container.name, |outline| {
            one_container(outline, container, status)
        });
    }
}

fn one_container(outline: &mut Outline, container: &Container, status: Option<&ContainerStatus>) {
    outline.field(
        "Container ID",
        status
            .and_then(|status| status.container_id.as_deref())
            .unwrap_or_default(),
    );
    outline.field("Image", container.image.as_deref().unwrap_or_default());
    outline.field("Image ID", status.map_or("", |status| status.image_id.as_str()));
    let ports = container.ports.as_deref().unwrap_or_default();
    let (one, host) = if ports.len() > 1 {
        ("Ports", "Host Ports")
    } else {
        ("Port", "Host Port")
    };
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let list = |number: fn(&k8s_openapi::api::core::v1::ContainerPort) -> i32| match ports {
        [] => "<none>".to_owned(),
        _ => Vec::from_iter(
            ports
                .iter()
                .map(|port| format!("{}/{}", number(port), protocol(&port.protocol))),
        )
        .join(", "),
    };
    outline.field(one, list(|port| port.container_port));
    outline.field(host, list(|port| port.host_port.unwrap_or(0)));
    outline.words("Command", container.command.as_deref());
    outline.words("Args", container.args.as_deref());
    if let Some(status) = status {
        state(outline, "State", status.state.as_ref());
        if status
            .last_state
            .as_ref()
            .is_some_and(|last| last.terminated.is_some())
        {
            state(outline, "Last State", status.last_state.as_ref());
        }
        outline.field("Ready", if status.ready { "True" } else { "False" });
        outline.field("Restart Count", status.restart_count.to_string());
    }
    let resources = container.resources.as_ref();
    amounts(
        outline,
        "Limits",
        resources.and_then(|resources| resources.limits.as_ref()),
    );
    amounts(
        outline,
        "Requests",
        resources.and_then(|resources| resources.requests.as_ref()),
    );
    environment(outline, container.env.as_deref().unwrap_or_default());
    mounts(outline, container.volume_mounts.as_deref().unwrap_or_default());
}

fn state(outline: &mut Outline, heading: &str, state: Option<&ContainerState>) {
    let none = ContainerState::default();
    let state = state.unwrap_or(&none);
    if let Some(running) = &state.running {
        outline.field(heading, "Running");
        outline.field("  Started", date(running.started_at.as_ref()));
    } else if let Some(ended) = &state.terminated {
        outline.field(heading, "Terminated");
        outline.field_if("  Reason", ended.reason.as_deref());
        outline.field_if("  Message", ended.message.as_deref());
        outline.field("  Exit Code", ended.exit_code.to_string());
        outline.field_if(
            "  Signal",
            ended
                .signal
                .filter(|signal| *signal > 0)
                .map(|signal| signal.to_string()),
        );
        outline.field("  Started", date(ended.started_at.as_ref()));
        outline.field("  Finished", date(ended.finished_at.as_ref()));
    } else {
        outline.field(heading, "Waiting");
        let waiting = state.waiting.as_ref();
        outline.field_if("  Reason", waiting.and_then(|waiting| waiting.reason.as_deref()));
        outline.field_if(
            "  Message",
            waiting.and_then(|waiting| waiting.message.as_deref()),
        );
    }
}

fn amounts(outline: &mut Outline, heading: &str, amounts: Option<&BTreeMap<String, Quantity>>) {
    if let Some(amounts) = amounts.filter(|amounts| !amounts.is_empty()) {
        outline.section(heading, |outline| {
            amounts
                .iter()
                .for_each(|(name, amount)| outline.field(name, &amount.0))
        });
    }
}

fn environment(outline: &mut Outline, variables: &[EnvVar]) {
    if variables.is_empty() {
        return outline.field("Environment", "<none>");
    }
    outline.section("Environment", |outline| {
        for variable in variables {
            outline.field(&variable.name, value(variable));
        }
    });
}

fn value(variable: &EnvVar) -> String {
    let Some(from) = &variable.value_from else {
        return variable.value.clone().unwrap_or_default();
    };
    // The object does not contain a Secret's value, and neither does this output.
    if let Some(field) = &from.field_ref {
        format!(
            "({}:{})",
            field.api_version.as_deref().unwrap_or("v1"),
            field.field_path
        )
    } else if let Some(field) = &from.resource_field_ref {
        format!("({})", field.resource)
    } else if let Some(key) = &from.secret_key_ref {
        format!("<set to the key '{}' in secret '{}'>", key.key, key.name)
    } else if let Some(key) = &from.config_map_key_ref {
        format!("<set to the key '{}' of config map '{}'>", key.key, key.name)
    } else if let Some(key) = &from.file_key_ref {
        format!(
            "<set to the key '{}' of file '{}' in volume '{}'>",
            key.key, key.path, key.volume_name
        )
    } else {
        "<set from another source>".to_owned()
    }
}

fn mounts(outline: &mut Outline, mounts: &[VolumeMount]) {
    if mounts.is_empty() {
        return outline.field("Mounts", "<none>");
    }
    let words: Vec<String> = mounts
        .iter()
        .map(|mount| {
            let mode = if mount.read_only == Some(true) { "ro" } else { "rw" };
            let sub = mount
                .sub_path
                .as_ref()
                .map(|path| format!(",path=\"{path}\""))
                .unwrap_or_default();
            format!("{} from {} ({mode}{sub})", mount.mount_path, mount.name)
        })
        .collect();
    outline.words("Mounts", Some(&words));
}

fn tolerations(spec: &PodSpec) -> impl Iterator<Item = String> {
    spec.tolerations.iter().flatten().map(|toleration| {
        let mut text = toleration.key.clone().unwrap_or_default();
        if let Some(value) = toleration.value.as_deref().filter(|value| !value.is_empty()) {
            text += &format!("={value}");
        }
        if let Some(effect) = toleration.effect.as_deref().filter(|effect| !effect.is_empty()) {
            text += &format!(":{effect}");
        }
        if toleration.operator.as_deref() == Some("Exists") && toleration.value.is_none() {
            text += " op=Exists";
        }
        if let Some(seconds) = toleration.toleration_seconds {
            text += &format!(" for {seconds}s");
        }
        text
    })
}

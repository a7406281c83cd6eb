//! `gantry get volumes`: the volumes of this machine's pods, and those of storage drivers that no pod uses.

use std::collections::BTreeSet;
use std::io::Write;

use jiff::Timestamp;
use serde_json::Value;

use super::client::Client;
use super::get::{Output, json_text, yaml_text};
use super::table::{Table, in_line};
use super::top::amounts;
use super::{CommandError, pod_selection, print};
use crate::model::age;
use crate::serve::volumes::wire::{ContainerMount, ListedVolume, VolumeList};

/// The options.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only the volumes of the pods with these names, full or short; empty: all.
    pub pods: Vec<String>,
    /// Only volumes of pods in this namespace; `None`: in all.
    pub namespace: Option<String>,
    /// Show the namespace column even if all pods have the same one.
    pub all_namespaces: bool,
    /// How it is written.
    pub output: Output,
}

/// Writes the volumes to `out`, or to `err` that there are none.
pub async fn run(
    client: &Client,
    options: &Options,
    now: Timestamp,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), CommandError> {
    let of_pods = match options.pods.as_slice() {
        [] => None,
        names => Some(uids(client, names, options.namespace.as_deref()).await?),
    };
    // What volumes hold is measured when it is asked for.
    let path = match options.output {
        Output::Table | Output::Name => "/volumes",
        Output::Wide | Output::Json | Output::Yaml => "/volumes?usage=true",
    };
    let mut list: VolumeList = client.object(path).await?;
    list.items.retain(|volume| match &of_pods {
        Some(uids) => volume.pod_uid.as_ref().is_some_and(|uid| uids.contains(uid)),
        None => options.namespace.is_none() || options.namespace == volume.namespace,
    });
    let text = match options.output {
        Output::Json => json_text(&value(&list)?)?,
        Output::Yaml => yaml_text(&value(&list)?)?,
        _ if list.items.is_empty() => return print(err, "No resources found\n"),
        Output::Name => list.items.iter().map(name).collect(),
        Output::Table | Output::Wide => table(&list.items, options, now),
    };
    print(out, &text)
}

/// The UIDs of the pods with these names.
async fn uids(
    client: &Client,
    names: &[String],
    namespace: Option<&str>,
) -> Result<BTreeSet<String>, CommandError> {
    let pods = pod_selection::pods(client).await?;
    let uid = |name: &String| {
        let pod = pod_selection::pod(&pods, name, namespace)?;
        Ok(pod.metadata.uid.clone().unwrap_or_default())
    };
    names.iter().map(uid).collect()
}

fn value(list: &VolumeList) -> Result<Value, CommandError> {
    serde_json::to_value(list).map_err(|error| CommandError::Answer(error.into()))
}

/// `volume/<pod>/<name>`; of one that no pod uses `volume/<name>`.
fn name(volume: &ListedVolume) -> String {
    let pod = volume.pod.as_ref().map(|pod| format!("{}/", in_line(pod)));
    format!("volume/{}{}\n", pod.unwrap_or_default(), in_line(&volume.name))
}

fn table(volumes: &[ListedVolume], options: &Options, now: Timestamp) -> String {
    let namespaces: BTreeSet<&str> = volumes
        .iter()
        .filter_map(|volume| volume.namespace.as_deref())
        .collect();
    let with_namespace = options.all_namespaces || namespaces.len() > 1;
    let wide = options.output == Output::Wide;
    let mut headings = vec!["POD", "VOLUME", "KIND", "SOURCE", "STATUS", "AGE"];
    if wide {
        headings.extend(["CAPACITY", "USED", "CONTAINERS", "PATH"]);
    }
    headings.push("MESSAGE");
    if with_namespace {
        headings.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(&headings);
    for volume in volumes {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "<none>".to_owned());
        let age = volume.since.map(|since| age::since(since, now));
        let mut cells = vec![
            or_none(&volume.pod),
            volume.name.clone(),
            volume.kind.clone(),
            or_none(&volume.source),
            volume.state.as_str().to_owned(),
            age.unwrap_or_else(|| "<unknown>".to_owned()),
        ];
        if wide {
            cells.push(amounts::bytes(volume.capacity));
            cells.push(amounts::bytes(volume.used));
            cells.push(containers(&volume.mounts));
            cells.push(or_none(&volume.path));
        }
        cells.push(volume.message.clone().unwrap_or_default());
        if with_namespace {
            cells.insert(0, or_none(&volume.namespace));
        }
        // A name is a cell's only line.
        table.row(cells.iter().map(|cell| in_line(cell)));
    }
    table.text("")
}

/// The containers that mount it.
fn containers(mounts: &[ContainerMount]) -> String {
    let mut names: Vec<&str> = mounts.iter().map(|mount| mount.container.as_str()).collect();
    names.dedup();
    match names[..] {
        [] => "<none>".to_owned(),
        _ => names.join(","),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn volumes() -> Vec<ListedVolume> {
        let volumes = json!([
            {
                "namespace": "default", "pod": "web-vm", "podUid": "u1", "name": "scratch", "kind": "emptyDir",
                "state": "Mounted", "since": "2026-11-21T00:00:00Z", "path": "/pods/u1/scratch",
                "mounts": [
                    {"container": "web", "path": "/a", "readOnly": false},
                    {"container": "web", "path": "/b", "readOnly": true},
                    {"container": "side", "path": "/a", "readOnly": false},
                ],
            },
            {
                "namespace": "default", "pod": "web-vm", "podUid": "u1", "name": "data", "kind": "csi/d1",
                "source": "claim data (pv-1)", "state": "Waiting", "since": "2026-11-21T00:04:00Z",
                "message": "waiting for NodePublishVolume of driver d1", "path": "/pods/u1/data", "mounts": [],
                "capacity": 1_073_741_824, "used": 4_404_019,
            },
            {
                "name": "h1\u{1b}[2J\nx", "kind": "csi/d1", "state": "Staged", "mounts": [],
                "message": "driver d1 is not registered",
            },
        ]);
        serde_json::from_value(volumes).unwrap()
    }

    fn check(options: Options, expected: Expect) {
        let now = "2026-11-21T00:05:00Z".parse().unwrap();
        expected.assert_eq(&table(&volumes(), &options, now));
    }

    #[test]
    fn a_row_for_each_volume() {
        check(
            Options::default(),
            expect![[r#"
            POD      VOLUME     KIND       SOURCE              STATUS    AGE         MESSAGE
            web-vm   scratch    emptyDir   <none>              Mounted   5m
            web-vm   data       csi/d1     claim data (pv-1)   Waiting   60s         waiting for NodePublishVolume of driver d1
            <none>   h1␛[2J␊x   csi/d1     <none>              Staged    <unknown>   driver d1 is not registered
        "#]],
        );
        let wide = Options {
            output: Output::Wide,
            all_namespaces: true,
            ..Options::default()
        };
        check(
            wide,
            expect![[r#"
            NAMESPACE   POD      VOLUME     KIND       SOURCE              STATUS    AGE         CAPACITY   USED    CONTAINERS   PATH               MESSAGE
            default     web-vm   scratch    emptyDir   <none>              Mounted   5m          -          -       web,side     /pods/u1/scratch
            default     web-vm   data       csi/d1     claim data (pv-1)   Waiting   60s         1.0Gi      4.2Mi   <none>       /pods/u1/data      waiting for NodePublishVolume of driver d1
            <none>      <none>   h1␛[2J␊x   csi/d1     <none>              Staged    <unknown>   -          -       <none>       <none>             driver d1 is not registered
        "#]],
        );
        let names: String = volumes().iter().map(name).collect();
        assert_eq!(
            names,
            "volume/web-vm/scratch\nvolume/web-vm/data\nvolume/h1␛[2J␊x\n"
        );
    }
}

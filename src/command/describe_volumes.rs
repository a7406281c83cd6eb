//! The volumes in the description of a pod: what they are, where they are mounted and since when, or what they wait for.
//! Pure.

use k8s_openapi::api::core::v1::Volume;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::description::date;
use super::outline::Outline;
use crate::serve::volumes::wire::{ContainerMount, ListedVolume};

/// Those of the pod's specification, then what is left on the node of others.
pub(super) fn volumes(outline: &mut Outline, volumes: &[Volume], listed: &[&ListedVolume]) {
    let is_of_pod = |left: &&&ListedVolume| volumes.iter().any(|volume| volume.name == left.name);
    let left: Vec<&&ListedVolume> = listed.iter().filter(|one| !is_of_pod(one)).collect();
    if volumes.is_empty() && left.is_empty() {
        return outline.field("Volumes", "<none>");
    }
    outline.section("Volumes", |outline| {
        for volume in volumes {
            outline.section(&volume.name, |outline| {
                let listed = listed.iter().find(|listed| listed.name == volume.name);
                kind(outline, volume, listed.copied());
                if let Some(listed) = listed {
                    standing(outline, listed);
                }
            });
        }
        for left in left {
            outline.section(&left.name, |outline| {
                outline.field("Type", &left.kind);
                standing(outline, left);
            });
        }
    });
}

fn kind(outline: &mut Outline, volume: &Volume, listed: Option<&ListedVolume>) {
    if let Some(directory) = &volume.empty_dir {
        outline.field(
            "Type",
            "EmptyDir (a temporary directory that shares a pod's lifetime)",
        );
        outline.field("Medium", directory.medium.as_deref().unwrap_or_default());
        let limit = directory.size_limit.as_ref().map(|limit| limit.0.as_str());
        outline.field("SizeLimit", limit.unwrap_or("<unset>"));
    } else if let Some(path) = &volume.host_path {
        outline.field("Type", "HostPath (bare host directory volume)");
        outline.field("Path", &path.path);
        outline.field("HostPathType", path.type_.as_deref().unwrap_or_default());
    } else {
        // Any other volume type, by its name in the manifest.
        let value = serde_json::to_value(volume).unwrap_or_default();
        let kind = value
            .as_object()
            .and_then(|fields| fields.keys().find(|key| *key != "name"));
        outline.field("Type", kind.map_or("<unknown>", String::as_str));
        outline.field_if("Source", listed.and_then(|listed| listed.source.as_deref()));
        if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() {
            outline.field_if("Kind", listed.map(|listed| &listed.kind));
        }
    }
}

/// What the node has of it.
fn standing(outline: &mut Outline, volume: &ListedVolume) {
    outline.field("State", volume.state.as_str());
    outline.field_if("  Message", volume.message.as_deref());
    outline.field_if("  Since", volume.since.map(|since| date(Some(&Time(since)))));
    outline.field_if("Host Path", volume.path.as_deref());
    outline.fields("Mounted At", volume.mounts.iter().map(mounted_at));
}

/// `web:/data (rw)`, `web:/conf (ro,path="a")`
fn mounted_at(mount: &ContainerMount) -> String {
    let mode = if mount.read_only { "ro" } else { "rw" };
    let part = mount.sub_path.as_ref().map(|part| format!(",path={part:?}"));
    let device = if mount.is_device { ",device" } else { "" };
    let ContainerMount { container, path, .. } = mount;
    format!("{container}:{path} ({mode}{}{device})", part.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_is_described_with_where_it_is_and_since_when() {
        let own: Vec<Volume> = serde_json::from_value(json!([
            {"name": "scratch", "emptyDir": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "new", "configMap": {"name": "conf"}},
        ]))
        .unwrap();
        let listed: Vec<ListedVolume> = serde_json::from_value(json!([
            {
                "name": "scratch", "kind": "emptyDir", "state": "Mounted", "since": "2026-11-21T00:00:00Z",
                "path": "/pods/u1/scratch",
                "mounts": [
                    {"container": "web", "path": "/a", "readOnly": false},
                    {"container": "side", "path": "/b", "readOnly": true, "subPath": "part"},
                ],
            },
            {
                "name": "data", "kind": "csi/d1", "source": "claim data (pv-1)", "state": "Waiting",
                "since": "2026-11-21T00:04:00Z", "message": "waiting for NodePublishVolume of driver d1",
                "path": "/pods/u1/pv-1",
                "mounts": [{"container": "web", "path": "/dev/x", "readOnly": false, "isDevice": true}],
            },
            {"name": "old", "kind": "local", "state": "Removing", "message": "it is busy", "mounts": []},
        ]))
        .unwrap();
        let mut outline = Outline::default();
        volumes(&mut outline, &own, &listed.iter().collect::<Vec<_>>());
        expect![[r#"
            Volumes:
              scratch:
                Type:        EmptyDir (a temporary directory that shares a pod's lifetime)
                Medium:
                SizeLimit:   <unset>
                State:       Mounted
                  Since:     Sat, 21 Nov 2026 00:00:00 +0000
                Host Path:   /pods/u1/scratch
                Mounted At:  web:/a (rw)
                             side:/b (ro,path="part")
              data:
                Type:        persistentVolumeClaim
                Source:      claim data (pv-1)
                Kind:        csi/d1
                State:       Waiting
                  Message:   waiting for NodePublishVolume of driver d1
                  Since:     Sat, 21 Nov 2026 00:04:00 +0000
                Host Path:   /pods/u1/pv-1
                Mounted At:  web:/dev/x (rw,device)
              new:
                Type:  configMap
              old:
                Type:        local
                State:       Removing
                  Message:   it is busy
                Mounted At:  <none>
        "#]]
        .assert_eq(&outline.into_text());
    }
}

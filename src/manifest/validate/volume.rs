//! Validates the volumes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    CSIVolumeSource, EmptyDirVolumeSource, HostPathVolumeSource, ImageVolumeSource, NFSVolumeSource, PodSpec,
};

use super::{network_disk, projected, resources};
use crate::manifest::image::complaint;
use crate::manifest::names;
use crate::manifest::path::{Faults, FieldPath};
use crate::model::image_ref::ImageRef;
use crate::model::nfs::{path_complaint, server_complaint};

/// Notes what is wrong with the volumes.
pub(crate) fn volumes(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let mut taken = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let at = at.index(index);
        if volume.name.is_empty() {
            faults.add(&at.field("name"), "is missing: every volume has a name");
        } else {
            faults.complain(&at.field("name"), &volume.name, names::dns_label(&volume.name));
            if !taken.insert(volume.name.as_str()) {
                let message = format!(
                    "another volume is already named {:?}: names must differ",
                    volume.name
                );
                faults.add(&at.field("name"), message);
            }
        }
        let kinds = [
            (volume.empty_dir.is_some(), "emptyDir"),
            (volume.host_path.is_some(), "hostPath"),
            (volume.config_map.is_some(), "configMap"),
            (volume.secret.is_some(), "secret"),
            (volume.downward_api.is_some(), "downwardAPI"),
            (volume.projected.is_some(), "projected"),
            (volume.csi.is_some(), "csi"),
            (volume.image.is_some(), "image"),
            (volume.nfs.is_some(), "nfs"),
            (volume.iscsi.is_some(), "iscsi"),
            (volume.fc.is_some(), "fc"),
        ];
        let mut kinds = kinds.into_iter().filter(|(is, _)| *is).map(|(_, kind)| kind);
        if let (Some(first), Some(second)) = (kinds.next(), kinds.next()) {
            let message = format!("cannot be set together with {first}: a volume has one source");
            faults.add(&at.field(second), message);
        }
        projected::volume(volume, spec, &at, faults);
        if let Some(empty) = &volume.empty_dir {
            empty_dir(empty, &at.field("emptyDir"), faults);
        }
        if let Some(own) = &volume.csi {
            csi(own, &at.field("csi"), faults);
        }
        if let Some(own) = &volume.image {
            image(own, &at.field("image"), faults);
        }
        if let Some(own) = &volume.nfs {
            nfs(own, &at.field("nfs"), faults);
        }
        if let Some(own) = &volume.iscsi {
            network_disk::iscsi(own, &at.field("iscsi"), faults);
        }
        if let Some(own) = &volume.fc {
            network_disk::fc(own, &at.field("fc"), faults);
        }
        if let Some(path) = &volume.host_path {
            host_path(path, &at.field("hostPath"), faults);
        }
    }
}

fn empty_dir(empty: &EmptyDirVolumeSource, at: &FieldPath, faults: &mut Faults) {
    let medium = empty.medium.as_deref().unwrap_or("");
    let page = medium
        .strip_prefix("HugePages-")
        .map(|size| format!("hugepages-{size}"));
    match medium {
        "" | "Memory" | "HugePages" => {}
        _ if page.is_some_and(|page| resources::page_size(&page).is_some()) => {}
        medium => faults.unsupported(
            &at.field("medium"),
            format!("{medium:?} is neither empty nor Memory, HugePages or HugePages-<size>"),
        ),
    }
    if let Some(limit) = &empty.size_limit {
        resources::amount("sizeLimit", &limit.0, &at.field("sizeLimit"), faults);
    }
}

fn csi(own: &CSIVolumeSource, at: &FieldPath, faults: &mut Faults) {
    if own.driver.is_empty() {
        faults.add(
            &at.field("driver"),
            "is missing: it is the name of the CSI driver",
        );
    } else {
        faults.complain(&at.field("driver"), &own.driver, names::csi_driver(&own.driver));
    }
    if let Some(secret) = &own.node_publish_secret_ref {
        let complaint = names::dns_subdomain(&secret.name);
        faults.complain(
            &at.field("nodePublishSecretRef").field("name"),
            &secret.name,
            complaint,
        );
    }
}

fn nfs(own: &NFSVolumeSource, at: &FieldPath, faults: &mut Faults) {
    let (at_server, at_path) = (at.field("server"), at.field("path"));
    match own.server.as_str() {
        "" => faults.add(
            &at_server,
            "is missing: it is the name or the address of the NFS server",
        ),
        // The API server takes any text; a program is given this one.
        server => {
            if let Some(complaint) = server_complaint(server) {
                faults.unsupported(&at_server, format!("{server:?} {complaint}"));
            }
        }
    }
    match own.path.as_str() {
        "" => faults.add(&at_path, "is missing: it is the path that the NFS server exports"),
        path if !path.starts_with('/') => {
            faults.add(
                &at_path,
                format!("{path:?} is not an absolute path: start it with '/'"),
            );
        }
        path => {
            if let Some(complaint) = path_complaint(path) {
                faults.unsupported(&at_path, format!("{path:?} {complaint}"));
            }
        }
    }
}

fn image(image: &ImageVolumeSource, at: &FieldPath, faults: &mut Faults) {
    let reference = image.reference.as_deref().unwrap_or("");
    let at_reference = at.field("reference");
    if reference.is_empty() {
        // The kubelet takes it, too: containers that mount it then wait with InvalidImageName.
        faults.warn(
            &at_reference,
            "is missing: it is the image whose files the volume has (registry.example.com/data:1)",
        );
    } else if let Err(error) = ImageRef::parse(reference) {
        faults.warn(&at_reference, format!("{reference:?} {}", complaint(&error)));
    }
    faults.one_of(
        &at.field("pullPolicy"),
        image.pull_policy.as_deref().unwrap_or(""),
        &["Always", "IfNotPresent", "Never"],
    );
}

fn host_path(host: &HostPathVolumeSource, at: &FieldPath, faults: &mut Faults) {
    let path = host.path.as_str();
    if path.is_empty() {
        faults.add(&at.field("path"), "is missing: it is the path on the node");
    } else if !path.starts_with('/') {
        // A relative path would depend on where the agent was started.
        faults.unsupported(
            &at.field("path"),
            format!("{path:?} is not an absolute path: start it with '/'"),
        );
    }
    if path.split('/').any(|part| part == "..") {
        faults.add(
            &at.field("path"),
            format!("{path:?} contains '..': write the path without it"),
        );
    }
    faults.one_of(
        &at.field("type"),
        host.type_.as_deref().unwrap_or(""),
        &[
            "",
            "DirectoryOrCreate",
            "Directory",
            "FileOrCreate",
            "File",
            "Socket",
            "CharDevice",
            "BlockDevice",
        ],
    );
}

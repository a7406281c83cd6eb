//! Converts volumes whose files come from objects and the pod, and variables that take their values from there.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::network_disk;
use crate::manifest::field_value::{self, Use};
use crate::manifest::path::{Faults, FieldPath};
use crate::manifest::validate::resources::page_size;
use crate::model::csi::InlineCsi;
use crate::model::nfs::NfsExport;
use crate::model::object::certificate::{CertificateRequest, KeyType};
use crate::model::object::{ObjectKind, Selection, TrustAnchors};
use crate::model::pod::{ClaimOrigin, HostPathKind, Medium, VolumeSource};
use crate::model::resources::Bytes;
use crate::model::value::{
    AnchorsFile, CertificateFiles, DownwardFile, DownwardValue, EnvFrom, EnvValue, FileSource, KeyFile,
    Projection, SubPath, TokenFile,
};

/// The default permissions of files.
const DEFAULT_MODE: u32 = 0o644;
/// The default lifetime of a token.
const TOKEN_SECONDS: i64 = 3600;

/// The volume, if it is of one of these types.
pub(crate) fn projected(volume: &k8s::Volume, at: &FieldPath, faults: &mut Faults) -> Option<VolumeSource> {
    let made = |kind, mode: Option<i32>, sources| VolumeSource::Projected {
        kind,
        mode: self::mode(mode).unwrap_or(DEFAULT_MODE),
        sources,
    };
    if let Some(own) = &volume.config_map {
        let source = object(
            ObjectKind::ConfigMap,
            Some(&own.name),
            own.items.as_deref(),
            own.optional,
        );
        return Some(made(Projection::ConfigMap, own.default_mode, vec![source]));
    }
    if let Some(own) = &volume.secret {
        let name = own.secret_name.as_ref();
        let source = object(ObjectKind::Secret, name, own.items.as_deref(), own.optional);
        return Some(made(Projection::Secret, own.default_mode, vec![source]));
    }
    if let Some(own) = &volume.downward_api {
        let files = downward(own.items.as_deref(), &at.field("downwardAPI"), faults);
        let sources = vec![FileSource::Downward(files)];
        return Some(made(Projection::DownwardApi, own.default_mode, sources));
    }
    let own = volume.projected.as_ref()?;
    let sources = projected_sources(&volume.name, own, &at.field("projected").field("sources"), faults);
    Some(made(Projection::Projected, own.default_mode, sources))
}

/// The volume, if it is backed by a claim, by a driver, by an NFS server or by a disk of a storage network. The claim of a generic
/// ephemeral volume is named after the pod (KEP-1698).
pub(crate) fn stored(volume: &k8s::Volume, pod: &str) -> Option<VolumeSource> {
    if let Some(own) = &volume.persistent_volume_claim {
        return Some(VolumeSource::Claim {
            claim: own.claim_name.clone(),
            read_only: own.read_only.unwrap_or(false),
            origin: ClaimOrigin::Named,
        });
    }
    if let Some(own) = &volume.csi {
        return Some(VolumeSource::Csi(Box::new(InlineCsi {
            driver: own.driver.clone(),
            read_only: own.read_only.unwrap_or(false),
            fs_type: own.fs_type.clone().unwrap_or_default(),
            attributes: own.volume_attributes.clone().unwrap_or_default(),
            publish_secret: own
                .node_publish_secret_ref
                .as_ref()
                .map(|secret| secret.name.clone()),
        })));
    }
    if let Some(own) = &volume.nfs {
        return Some(VolumeSource::Nfs {
            export: NfsExport {
                server: own.server.clone(),
                path: own.path.clone(),
            },
            read_only: own.read_only.unwrap_or(false),
        });
    }
    if let Some(own) = &volume.iscsi {
        return Some(VolumeSource::Iscsi {
            source: Box::new(network_disk::iscsi(own)),
            read_only: own.read_only.unwrap_or(false),
        });
    }
    if let Some(own) = &volume.fc {
        return Some(VolumeSource::Fc {
            source: Box::new(network_disk::fc(own)),
            read_only: own.read_only.unwrap_or(false),
        });
    }
    volume.ephemeral.as_ref().map(|_| VolumeSource::Claim {
        claim: format!("{pod}-{}", volume.name),
        read_only: false,
        origin: ClaimOrigin::OfPod,
    })
}

/// `emptyDir.medium`; `None`: it is none.
pub(crate) fn medium(written: &str) -> Option<Medium> {
    match written {
        "" => Some(Medium::Disk),
        "Memory" => Some(Medium::Memory),
        "HugePages" => Some(Medium::HugePages(None)),
        other => {
            let size = format!("hugepages-{}", other.strip_prefix("HugePages-")?);
            page_size(&size).map(|size| Medium::HugePages(Some(Bytes(size))))
        }
    }
}

/// `hostPath.type`
pub(crate) fn host_path_kind(kind: Option<&str>) -> HostPathKind {
    match kind {
        Some("DirectoryOrCreate") => HostPathKind::DirectoryOrCreate,
        Some("Directory") => HostPathKind::Directory,
        Some("FileOrCreate") => HostPathKind::FileOrCreate,
        Some("File") => HostPathKind::File,
        Some("Socket") => HostPathKind::Socket,
        Some("CharDevice") => HostPathKind::CharDevice,
        Some("BlockDevice") => HostPathKind::BlockDevice,
        _ => HostPathKind::Unchecked,
    }
}

fn projected_sources(
    volume: &str,
    own: &k8s::ProjectedVolumeSource,
    at: &FieldPath,
    faults: &mut Faults,
) -> Vec<FileSource> {
    let mut sources = Vec::new();
    for (index, source) in own.sources.iter().flatten().enumerate() {
        let at = at.index(index);
        if let Some(own) = &source.config_map {
            let items = own.items.as_deref();
            sources.push(object(
                ObjectKind::ConfigMap,
                Some(&own.name),
                items,
                own.optional,
            ));
        } else if let Some(own) = &source.secret {
            let items = own.items.as_deref();
            sources.push(object(ObjectKind::Secret, Some(&own.name), items, own.optional));
        } else if let Some(own) = &source.downward_api {
            let files = downward(own.items.as_deref(), &at.field("downwardAPI"), faults);
            sources.push(FileSource::Downward(files));
        } else if let Some(own) = &source.service_account_token {
            sources.push(FileSource::Token(TokenFile {
                audience: own.audience.clone().filter(|audience| !audience.is_empty()),
                seconds: own.expiration_seconds.unwrap_or(TOKEN_SECONDS),
                path: own.path.clone(),
            }));
        } else if let Some(own) = &source.cluster_trust_bundle {
            match anchors(own) {
                Some(file) => sources.push(FileSource::Anchors(file)),
                None => faults.add(&at.field("clusterTrustBundle"), "needs name or signerName"),
            }
        } else if let Some(own) = &source.pod_certificate {
            sources.push(FileSource::Certificate(certificate(
                (volume.to_owned(), index),
                own,
            )));
        } else {
            faults.add(
                &at,
                "is a type of source that is not supported by this version of gantry yet",
            );
        }
    }
    sources
}

fn certificate(place: (String, usize), own: &k8s::PodCertificateProjection) -> CertificateFiles {
    let file = |path: &Option<String>| path.clone().filter(|path| !path.is_empty());
    CertificateFiles {
        request: CertificateRequest {
            place,
            signer: own.signer_name.clone(),
            key_type: KeyType::from(own.key_type.as_str()),
            most_seconds: own.max_expiration_seconds,
            annotations: own.user_annotations.clone().unwrap_or_default(),
        },
        bundle: file(&own.credential_bundle_path),
        key: file(&own.key_path),
        chain: file(&own.certificate_chain_path),
    }
}

/// `None`: neither a name nor a signer is given.
fn anchors(own: &k8s::ClusterTrustBundleProjection) -> Option<AnchorsFile> {
    let anchors = match (&own.name, &own.signer_name) {
        (Some(name), _) => TrustAnchors::Named(name.clone()),
        (None, Some(signer)) => TrustAnchors::Signed {
            signer: signer.clone(),
            labels: own
                .label_selector
                .as_ref()
                .map_or(Selection::Nothing, |labels| Selection::Those(selector(labels))),
        },
        (None, None) => return None,
    };
    Some(AnchorsFile {
        anchors,
        optional: own.optional.unwrap_or(false),
        path: own.path.clone(),
    })
}

/// A selector in the form of an API request; equal ones have equal text.
fn selector(own: &LabelSelector) -> String {
    let equal = own.match_labels.iter().flatten();
    let mut parts: Vec<String> = equal.map(|(key, value)| format!("{key}={value}")).collect();
    for own in own.match_expressions.iter().flatten() {
        let key = &own.key;
        let values: BTreeSet<&str> = own.values.iter().flatten().map(String::as_str).collect();
        let values = Vec::from_iter(values).join(",");
        parts.push(match own.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            // `Exists`: the API server allows no other.
            _ => key.clone(),
        });
    }
    parts.sort();
    parts.join(",")
}

fn mode(mode: Option<i32>) -> Option<u32> {
    mode.and_then(|mode| u32::try_from(mode).ok())
        .map(|mode| mode & 0o777)
}

fn object(
    kind: ObjectKind,
    name: Option<&String>,
    items: Option<&[k8s::KeyToPath]>,
    optional: Option<bool>,
) -> FileSource {
    let item = |item: &k8s::KeyToPath| KeyFile {
        key: item.key.clone(),
        path: item.path.clone(),
        mode: mode(item.mode),
    };
    FileSource::Object {
        kind,
        name: name.cloned().unwrap_or_default(),
        items: items.unwrap_or(&[]).iter().map(item).collect(),
        optional: optional.unwrap_or(false),
    }
}

fn downward(
    items: Option<&[k8s::DownwardAPIVolumeFile]>,
    at: &FieldPath,
    faults: &mut Faults,
) -> Vec<DownwardFile> {
    let mut files = Vec::new();
    for (index, item) in items.unwrap_or(&[]).iter().enumerate() {
        let at = at.field("items").index(index);
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => field_value::field(field, Use::Volume).map(DownwardValue::Field),
            (None, Some(resource)) => {
                field_value::resource(resource, Use::Volume).map(DownwardValue::Resource)
            }
            (None, None) => Err(("fieldRef", "is missing".to_owned())),
        };
        match value {
            Ok(value) => files.push(DownwardFile {
                path: item.path.clone(),
                mode: mode(item.mode),
                value,
            }),
            Err((part, complaint)) => faults.add(&at.field(part), complaint),
        }
    }
    files
}

/// The environment variables from whole objects.
pub(crate) fn env_from(all: &[k8s::EnvFromSource]) -> Vec<EnvFrom> {
    let convert = |from: &k8s::EnvFromSource| {
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(own), _) => (ObjectKind::ConfigMap, &own.name, own.optional),
            (None, Some(own)) => (ObjectKind::Secret, &own.name, own.optional),
            (None, None) => return None,
        };
        Some(EnvFrom {
            prefix: from.prefix.clone().unwrap_or_default(),
            kind,
            name: name.clone(),
            optional: optional.unwrap_or(false),
        })
    };
    all.iter().filter_map(convert).collect()
}

/// The variables.
pub(crate) fn env(all: &[k8s::EnvVar], at: &FieldPath, faults: &mut Faults) -> Vec<(String, EnvValue)> {
    let mut env = Vec::new();
    for (index, variable) in all.iter().enumerate() {
        let at = at.index(index).field("valueFrom");
        match value(variable) {
            Ok(value) => env.push((variable.name.clone(), value)),
            Err((part, complaint)) => faults.add(&at.field(part), complaint),
        }
    }
    env
}

fn value(variable: &k8s::EnvVar) -> Result<EnvValue, (&'static str, String)> {
    let Some(from) = &variable.value_from else {
        return Ok(EnvValue::Text(variable.value.clone().unwrap_or_default()));
    };
    if let Some(field) = &from.field_ref {
        return field_value::field(field, Use::Environment).map(EnvValue::Field);
    }
    if let Some(resource) = &from.resource_field_ref {
        return field_value::resource(resource, Use::Environment).map(EnvValue::Resource);
    }
    if let Some(own) = &from.file_key_ref {
        return Ok(EnvValue::File {
            volume: own.volume_name.clone(),
            // The volume is its root, too (`SecureJoin`).
            path: own.path.trim_start_matches('/').to_owned(),
            key: own.key.clone(),
            optional: own.optional.unwrap_or(false),
        });
    }
    let (kind, name, key, optional) = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(own), _) => (ObjectKind::ConfigMap, &own.name, &own.key, own.optional),
        (None, Some(own)) => (ObjectKind::Secret, &own.name, &own.key, own.optional),
        (None, None) => return Err(("fieldRef", "is missing: set one source".to_owned())),
    };
    Ok(EnvValue::Key {
        kind,
        name: name.clone(),
        key: key.clone(),
        optional: optional.unwrap_or(false),
    })
}

/// The part of a volume to mount.
pub(crate) fn sub_path(mount: &k8s::VolumeMount) -> Option<SubPath> {
    let stated = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match stated(&mount.sub_path) {
        Some(path) => Some(SubPath::Plain(path)),
        None => stated(&mount.sub_path_expr).map(SubPath::Expression),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trust_anchors_by_name_or_by_signer_and_labels() {
        let check = |own: serde_json::Value, want: Option<TrustAnchors>| {
            let own = serde_json::from_value(own).unwrap();
            assert_eq!(anchors(&own).map(|file| file.anchors), want);
        };
        let signed = |labels| {
            Some(TrustAnchors::Signed {
                signer: "s/ca".to_owned(),
                labels,
            })
        };
        let those = |text: &str| signed(Selection::Those(text.to_owned()));
        check(
            json!({"path": "a", "name": "n"}),
            Some(TrustAnchors::Named("n".to_owned())),
        );
        check(
            json!({"path": "a", "signerName": "s/ca"}),
            signed(Selection::Nothing),
        );
        check(
            json!({"path": "a", "signerName": "s/ca", "labelSelector": {}}),
            those(""),
        );
        let labels = json!({"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["y", "x"]},
            {"key": "d", "operator": "NotIn", "values": ["z"]},
            {"key": "e", "operator": "Exists"},
            {"key": "f", "operator": "DoesNotExist"},
        ]});
        check(
            json!({"path": "a", "signerName": "s/ca", "labelSelector": labels}),
            those("!f,a=1,b=2,c in (x,y),d notin (z),e"),
        );
        check(json!({"path": "a"}), None);
    }
}

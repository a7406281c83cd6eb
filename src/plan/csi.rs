//! Volumes of CSI drivers: what a driver is asked to do for a pod (`pkg/volume/csi`: `csi_attacher.go`, `csi_mounter.go`,
//! `csi_block.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::Origin;
use crate::model::csi::{
    Attachment, AttachmentKey, CsiDriver, CsiSource, GroupPolicy, InlineCsi, Lifecycle, SecretName,
    inline_handle,
};
use crate::model::csi_request::{CsiPlaces, CsiRequest, Publishing, Shape};
use crate::model::driver::{Ability, Driver, not_registered};
use crate::model::object::content::Content;
use crate::model::object::lookup::Lookup;
use crate::model::persistent::{AccessMode, PersistentVolume};
use crate::model::pod::{Source, Volume};
use crate::model::reference;
use crate::model::request::{VolumeKind, set_up_failed};
use crate::model::security::GroupChange;

/// The attribute with which a driver gets tokens.
const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";

/// Texts for a driver, by key. Any of them may be secret.
type Texts = BTreeMap<String, Content>;

/// Where volumes of drivers are for this pod.
pub(super) fn places(origin: Origin<'_>) -> CsiPlaces {
    CsiPlaces {
        root: origin.policy.root_dir.clone(),
        pod: origin.pod.uid.0.clone(),
    }
}

/// A volume that finds no room on the node, where the driver's limit may change: the pod's controller makes another pod,
/// which the scheduler sends elsewhere (`VerifyExhaustedResource` in `pkg/volume/csi/csi_plugin.go`).
pub(super) fn exhausted(origin: Origin<'_>, source: &CsiSource) -> Option<VolumeKind> {
    let Lookup::Found(driver) = origin.objects.csi_driver(&source.driver) else {
        return None;
    };
    if !driver.attaches || !driver.recounts {
        return None;
    }
    let key = reference::attachment(origin.pod, source);
    let Lookup::Found(attachment) = origin.objects.attachment(&key) else {
        return None;
    };
    match attachment {
        Attachment::Exhausted(why) => Some(VolumeKind::Exhausted { message: why.clone() }),
        Attachment::Attached(_) => None,
    }
}

/// A PersistentVolume of a driver.
pub(super) fn persistent(
    origin: Origin<'_>,
    (name, volume): (&str, &PersistentVolume),
    source: &CsiSource,
    read_only: bool,
) -> VolumeKind {
    request(origin, (name, volume), source, read_only).map_or_else(
        |message| VolumeKind::Missing { message },
        |request| VolumeKind::Csi(Box::new(request)),
    )
}

fn request(
    origin: Origin<'_>,
    (name, volume): (&str, &PersistentVolume),
    source: &CsiSource,
    read_only: bool,
) -> Result<CsiRequest, String> {
    let failed = match volume.is_block {
        true => format!("MapVolume.SetUpDevice failed for volume {name:?} : "),
        false => format!("MountVolume.MountDevice failed for volume {name:?} : "),
    };
    let about = |why: String| format!("{failed}{why}");
    let registered = registered(origin, &source.driver).map_err(|why| {
        about(match volume.is_block {
            true => format!("kubernetes.io/csi: blockMapper.SetUpDevice failed to get CSI client: {why}"),
            false => {
                format!("kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient: {why}")
            }
        })
    })?;
    let driver = described(origin, &source.driver).map_err(about)?;
    supports(&driver, &source.driver, Lifecycle::Persistent)
        .map_err(|why| set_up_failed(name, lifecycle_failed(&why)))?;
    let key = reference::attachment(origin.pod, source);
    let publish_context = match driver.attaches {
        true => attached(origin, &key).map_err(about)?,
        false => BTreeMap::new(),
    };
    let stage_secrets = match registered.can(Ability::Stage) {
        true => secrets(origin, "NodeStageSecretRef", source.stage_secret.as_ref()).map_err(about)?,
        false => Texts::new(),
    };
    let own = secrets(origin, "NodePublishSecretRef", source.publish_secret.as_ref())
        .map_err(|why| set_up_failed(name, why))?;
    let (volume_context, publish_secrets) =
        of_pod(origin, &driver, Lifecycle::Persistent, &source.attributes, own)
            .map_err(|why| set_up_failed(name, why))?;
    let access = volume.access.first().copied().unwrap_or(AccessMode::OneNode);
    let modes = Some(volume.access.as_slice());
    Ok(CsiRequest {
        driver: source.driver.clone(),
        shape: shape(origin, volume, source, read_only, (&driver, &registered), modes),
        registered,
        handle: source.handle.clone(),
        name: name.to_owned(),
        lifecycle: Lifecycle::Persistent,
        node: origin.policy.name.clone(),
        access,
        is_exclusive: volume.access.contains(&AccessMode::OnePod),
        read_only,
        publish_context,
        stage_context: source.attributes.clone(),
        volume_context,
        stage_secrets,
        publish_secrets,
        places: places(origin),
        attachment: key.name(),
        attaches: driver.attaches,
        publishing: Publishing::of(&driver),
    })
}

fn shape(
    origin: Origin<'_>,
    volume: &PersistentVolume,
    source: &CsiSource,
    read_only: bool,
    drivers: (&CsiDriver, &Driver),
    modes: Option<&[AccessMode]>,
) -> Shape {
    if volume.is_block {
        return Shape::Block;
    }
    let (group, delegated) = groups(origin, drivers, &source.fs_type, read_only, modes);
    Shape::FileSystem {
        fs_type: source.fs_type.clone(),
        options: volume.mount_options.clone(),
        group,
        delegated,
    }
}

/// A volume that lives as long as the pod.
pub(super) fn inline(origin: Origin<'_>, volume: &Volume, own: &InlineCsi) -> VolumeKind {
    inline_request(origin, volume, own).map_or_else(
        |why| VolumeKind::Missing {
            message: set_up_failed(&volume.name, why),
        },
        |request| VolumeKind::Csi(Box::new(request)),
    )
}

fn inline_request(origin: Origin<'_>, volume: &Volume, own: &InlineCsi) -> Result<CsiRequest, String> {
    let registered = registered(origin, &own.driver)
        .map_err(|why| format!("kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: {why}"))?;
    let driver = described(origin, &own.driver)?;
    supports(&driver, &own.driver, Lifecycle::Ephemeral).map_err(|why| lifecycle_failed(&why))?;
    let handle = inline_handle(&origin.pod.uid.0, &volume.name);
    let secret = own.publish_secret.as_ref().map(|name| SecretName {
        namespace: origin.pod.name.namespace.clone(),
        name: name.clone(),
    });
    let secrets = secrets(origin, "NodePublishSecretRef", secret.as_ref())?;
    let (volume_context, publish_secrets) =
        of_pod(origin, &driver, Lifecycle::Ephemeral, &own.attributes, secrets)?;
    let (group, delegated) = groups(origin, (&driver, &registered), &own.fs_type, own.read_only, None);
    let key = AttachmentKey {
        driver: own.driver.clone(),
        handle: handle.clone(),
        node: origin.policy.name.clone(),
    };
    Ok(CsiRequest {
        driver: own.driver.clone(),
        registered,
        handle,
        name: volume.name.clone(),
        lifecycle: Lifecycle::Ephemeral,
        node: origin.policy.name.clone(),
        shape: Shape::FileSystem {
            fs_type: own.fs_type.clone(),
            options: Vec::new(),
            group,
            delegated,
        },
        access: AccessMode::OneNode,
        is_exclusive: false,
        read_only: own.read_only,
        publish_context: BTreeMap::new(),
        stage_context: BTreeMap::new(),
        volume_context,
        stage_secrets: Texts::new(),
        publish_secrets,
        places: places(origin),
        attachment: key.name(),
        attaches: false,
        publishing: Publishing::of(&driver),
    })
}

/// The driver that is registered on the node; or why there is none.
fn registered(origin: Origin<'_>, name: &str) -> Result<Arc<Driver>, String> {
    match origin.objects.driver(name) {
        Lookup::Found(driver) => Ok(driver.clone()),
        Lookup::Missing | Lookup::Asked | Lookup::Unread(_) => Err(not_registered(name)),
    }
}

/// What the CSIDriver object says. It is optional for volumes of the API server's pods; for static pods, which may know no
/// API server, it is taken for one whose volumes may live as long as the pod.
fn described(origin: Origin<'_>, name: &str) -> Result<CsiDriver, String> {
    match origin.objects.csi_driver(name) {
        Lookup::Found(driver) => Ok(driver.clone()),
        Lookup::Missing | Lookup::Asked | Lookup::Unread(_) if origin.pod.source != Source::Api => {
            Ok(CsiDriver {
                attaches: false,
                tells_of_pods: true,
                lifecycles: vec![Lifecycle::Persistent, Lifecycle::Ephemeral],
                ..CsiDriver::default()
            })
        }
        Lookup::Missing => Ok(CsiDriver {
            lifecycles: Vec::new(),
            ..CsiDriver::default()
        }),
        Lookup::Asked => Err(format!("CSIDriver {name}: the API server does not answer")),
        Lookup::Unread(why) => Err(format!("CSIDriver {name}: {why}")),
    }
}

/// Whether volumes of the driver may live so long. A driver without an object, of which nothing is listed, may have those
/// that outlive their pods.
fn supports(driver: &CsiDriver, name: &str, lifecycle: Lifecycle) -> Result<(), String> {
    if driver.lifecycles.contains(&lifecycle) {
        return Ok(());
    }
    let mode = lifecycle.as_str();
    if driver.lifecycles.is_empty() {
        return match lifecycle {
            Lifecycle::Persistent => Ok(()),
            Lifecycle::Ephemeral => Err(format!(
                "volume mode {mode:?} not supported by driver {name} (no CSIDriver object)"
            )),
        };
    }
    let listed: Vec<String> = driver
        .lifecycles
        .iter()
        .map(|own| format!("{:?}", own.as_str()))
        .collect();
    Err(format!(
        "volume mode {mode:?} not supported by driver {name} (only supports [{}])",
        listed.join(" ")
    ))
}

fn lifecycle_failed(why: &str) -> String {
    format!("kubernetes.io/csi: mounter.SetupAt failed to check volume lifecycle mode: {why}")
}

/// What came of attaching a volume.
fn attached(origin: Origin<'_>, key: &AttachmentKey) -> Result<BTreeMap<String, String>, String> {
    match origin.objects.attachment(key) {
        Lookup::Found(Attachment::Attached(volume)) => Ok(volume.metadata.clone()),
        Lookup::Found(Attachment::Exhausted(why)) => Err(why.clone()),
        // Nothing is started before there is an answer.
        Lookup::Asked | Lookup::Missing => {
            Err(format!("volume {} is not attached to the node yet", key.volume()))
        }
        Lookup::Unread(why) => Err(why.to_owned()),
    }
}

fn secrets(origin: Origin<'_>, field: &str, name: Option<&SecretName>) -> Result<Texts, String> {
    let Some(name) = name else {
        return Ok(Texts::new());
    };
    let why = match origin.objects.secret(&name.namespace, &name.name) {
        Lookup::Found(secret) => return Ok(secret.data.clone()),
        Lookup::Missing => format!("secrets {:?} not found", name.name),
        Lookup::Unread(why) => why.to_owned(),
        Lookup::Asked => "the API server does not answer".to_owned(),
    };
    Err(format!("fetching {field} {name} failed: {why}"))
}

/// The volume's attributes, and the secrets, with what the driver wants to know of the pod.
fn of_pod(
    origin: Origin<'_>,
    driver: &CsiDriver,
    lifecycle: Lifecycle,
    attributes: &BTreeMap<String, String>,
    mut secrets: Texts,
) -> Result<(Texts, Texts), String> {
    let pod = origin.pod;
    let mut context: Texts = attributes
        .iter()
        .map(|(key, value)| (key.clone(), Content::from(value.as_str())))
        .collect();
    if driver.tells_of_pods {
        let is_ephemeral = lifecycle == Lifecycle::Ephemeral;
        for (key, value) in [
            ("pod.name", pod.name.name.as_str()),
            ("pod.namespace", pod.name.namespace.as_str()),
            ("pod.uid", pod.uid.0.as_str()),
            ("serviceAccount.name", pod.service_account()),
            ("ephemeral", if is_ephemeral { "true" } else { "false" }),
        ] {
            context.insert(format!("csi.storage.k8s.io/{key}"), Content::from(value));
        }
    }
    if let Some(tokens) = tokens(origin, driver)? {
        let to = match driver.tokens_are_secrets {
            true => &mut secrets,
            false => &mut context,
        };
        to.insert(TOKENS.to_owned(), tokens);
    }
    Ok((context, secrets))
}

/// The pod's tokens for the driver, by audience.
fn tokens(origin: Origin<'_>, driver: &CsiDriver) -> Result<Option<Content>, String> {
    let failed = |why: &str| {
        format!("kubernetes.io/csi: mounter.SetUpAt failed to get service accoount token attributes: {why}")
    };
    let mut all = serde_json::Map::new();
    for key in reference::driver_tokens(origin.pod, driver) {
        let audience = key.audience.clone().unwrap_or_default();
        let token = match origin.objects.token(key) {
            Lookup::Found(token) => token,
            Lookup::Unread(why) => return Err(failed(why)),
            Lookup::Asked | Lookup::Missing => return Err(failed("no answer from the API server yet")),
        };
        let expires = token.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let value = serde_json::json!({
            "token": token.content.text(),
            "expirationTimestamp": expires,
        });
        all.insert(audience, value);
    }
    let text = serde_json::Value::Object(all.clone()).to_string();
    Ok((!all.is_empty()).then(|| Content::from(text.as_str())))
}

/// The group that the volume's files are given to, and the group that the driver gives it to.
fn groups(
    origin: Origin<'_>,
    (driver, registered): (&CsiDriver, &Driver),
    fs_type: &str,
    read_only: bool,
    modes: Option<&[AccessMode]>,
) -> (Option<(i64, GroupChange)>, Option<i64>) {
    let security = &origin.pod.security;
    let Some(group) = security.fs_group else {
        return (None, None);
    };
    if registered.can(Ability::MountGroup) {
        return (None, Some(group));
    }
    // One that lives as long as the pod is always of one node.
    let is_of_one_node = modes.is_none_or(|modes| {
        let one = [AccessMode::OneNode, AccessMode::OnePod];
        modes.iter().any(|mode| one.contains(mode))
    });
    let changes = match driver.group_policy {
        GroupPolicy::Never => false,
        GroupPolicy::Always => !read_only,
        GroupPolicy::OfOneNode => !read_only && !fs_type.is_empty() && is_of_one_node,
    };
    (changes.then_some((group, security.group_change)), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::{Known, Object, Reference};
    use crate::model::sample;

    /// What is made of a volume for which there is no room.
    fn crowded(recounts: bool) -> Option<VolumeKind> {
        let (pod, mut objects) = sample::claims::pod();
        let source = CsiSource {
            driver: "d1".to_owned(),
            handle: "h".to_owned(),
            ..CsiSource::default()
        };
        let described = CsiDriver {
            recounts,
            ..CsiDriver::default()
        };
        let attachment = Attachment::Exhausted("every slot is taken".to_owned());
        let key = Reference::CsiDriver("d1".to_owned());
        objects.insert(key, Known::Found(Object::CsiDriver(described).into()));
        let key = reference::attachment(&pod, &source);
        objects.insert(
            Reference::Attachment(key.clone()),
            Known::Found(Object::Attachment(attachment).into()),
        );
        let origin = Origin {
            objects: &objects,
            ..Origin::sample(&pod)
        };
        assert_eq!(attached(origin, &key), Err("every slot is taken".to_owned()));
        exhausted(origin, &source)
    }

    #[test]
    fn a_volume_without_room_rejects_the_pod_where_the_limit_may_change() {
        let want = VolumeKind::Exhausted {
            message: "every slot is taken".to_owned(),
        };
        assert_eq!(crowded(true), Some(want));
        assert_eq!(crowded(false), None);
    }
}

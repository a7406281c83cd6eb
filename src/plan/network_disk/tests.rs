use std::path::Path;

use expect_test::{Expect, expect};

use super::*;
use crate::model::csi::{AttachedVolume, SecretName};
use crate::model::object::content::Content;
use crate::model::object::{Known, Object, ObjectKey, ObjectKind, Objects, Reference};
use crate::model::persistent::PersistentSource;
use crate::model::pod::{Pod, RestartPolicy};
use crate::model::sample;

fn source() -> IscsiSource {
    IscsiSource {
        portal: "192.0.2.7".to_owned(),
        iqn: "iqn.2001-04.com.example:disk".to_owned(),
        lun: 3,
        interface: "default".to_owned(),
        ..IscsiSource::default()
    }
}

fn with_chap() -> IscsiSource {
    IscsiSource {
        session_chap: true,
        secret: Some(SecretName {
            namespace: String::new(),
            name: "chap".to_owned(),
        }),
        ..source()
    }
}

fn pod() -> Pod {
    let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
    pod.security.fs_group = Some(2000);
    pod
}

fn secret() -> (Reference, Known) {
    let key = ObjectKey {
        kind: ObjectKind::Secret,
        namespace: "ns".to_owned(),
        name: "chap".to_owned(),
    };
    let value = |text: &str| Content::from(text);
    let secret = Secret {
        data: [
            ("node.session.auth.username".to_owned(), value("me")),
            ("node.session.auth.password".to_owned(), value("hidden")),
            ("node.session.auth.password_in".to_owned(), value("")),
            ("discovery.sendtargets.auth.username".to_owned(), value("me")),
            ("other".to_owned(), value("x")),
        ]
        .into(),
        ..Secret::default()
    };
    (
        Reference::Object(key),
        Known::Found(Object::Secret(secret).into()),
    )
}

fn check_own(source: DiskSource<'_>, read_only: bool, objects: &Objects, expected: Expect) {
    let pod = pod();
    let origin = Origin {
        objects,
        ..Origin::sample(&pod)
    };
    let kind = inline(origin, "v", source, read_only);
    expected.assert_eq(&format!("{kind:?}"));
}

#[test]
fn a_disk_of_a_pod_is_mounted_for_the_node_and_for_the_pod() {
    let none = Objects::default();
    check_own(
        DiskSource::Iscsi(&source()),
        false,
        &none,
        expect![[
            r#"NetworkDisk(NetworkDiskVolume { disk: NamedDisk { disk: Iscsi(IscsiDisk { record: IscsiRecord { vol_name: "v", portals: ["192.0.2.7:3260"], iqn: "iqn.2001-04.com.example:disk", lun: "3", init_iface: "default", iface: "default", initiator_name: "", metrics_provider: () }, lun: 3, discovery: None, session: None }), handle: "192.0.2.7:iqn.2001-04.com.example:disk:3", attaches: false }, global: "/var/lib/kubelet/plugins/kubernetes.io/iscsi/iface-default/192.0.2.7:3260-iqn.2001-04.com.example:disk-lun-3", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~iscsi/v", access: ReadWrite, fs_type: "ext4", options: [], group: Some((2000, Always)) })"#
        ]],
    );
    let fc = FcSource {
        wwns: vec!["50060e801049cfd1".to_owned()],
        lun: Some(2),
        fs_type: "xfs".to_owned(),
        ..FcSource::default()
    };
    check_own(
        DiskSource::Fc(&fc),
        true,
        &none,
        expect![[
            r#"NetworkDisk(NetworkDiskVolume { disk: NamedDisk { disk: Fc(Target { wwns: ["50060e801049cfd1"], lun: 2 }), handle: "[50060e801049cfd1]:2", attaches: false }, global: "/var/lib/kubelet/plugins/kubernetes.io/fc/50060e801049cfd1-lun-2", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~fc/v", access: ReadOnly, fs_type: "xfs", options: [], group: None })"#
        ]],
    );
}

#[test]
fn names_and_passwords_come_from_the_secret_and_are_not_printed() {
    check_own(
        DiskSource::Iscsi(&with_chap()),
        false,
        &[secret()].into_iter().collect(),
        expect![[
            r#"NetworkDisk(NetworkDiskVolume { disk: NamedDisk { disk: Iscsi(IscsiDisk { record: IscsiRecord { vol_name: "v", portals: ["192.0.2.7:3260"], iqn: "iqn.2001-04.com.example:disk", lun: "3", init_iface: "default", iface: "default", initiator_name: "", metrics_provider: () }, lun: 3, discovery: None, session: Some(Credentials([("node.session.auth.username", <2 bytes>), ("node.session.auth.password", <6 bytes>)])) }), handle: "192.0.2.7:iqn.2001-04.com.example:disk:3", attaches: false }, global: "/var/lib/kubelet/plugins/kubernetes.io/iscsi/iface-default/192.0.2.7:3260-iqn.2001-04.com.example:disk-lun-3", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~iscsi/v", access: ReadWrite, fs_type: "ext4", options: [], group: Some((2000, Always)) })"#
        ]],
    );
}

#[test]
fn what_is_missing_or_strange_is_said() {
    let none = Objects::default();
    check_own(
        DiskSource::Iscsi(&with_chap()),
        false,
        &none,
        expect![[
            r#"Missing { message: "MountVolume.NewMounter initialization failed for volume \"v\" : couldn't get secret ns/chap error: secrets \"chap\" not found" }"#
        ]],
    );
    let strange = IscsiSource {
        portal: "-x".to_owned(),
        ..source()
    };
    check_own(
        DiskSource::Iscsi(&strange),
        false,
        &none,
        expect![[
            r#"Missing { message: "MountVolume.NewMounter initialization failed for volume \"v\" : the portal \"-x\" begins with '-' or '.', as no such name does" }"#
        ]],
    );
    check_own(
        DiskSource::Fc(&FcSource::default()),
        false,
        &none,
        expect![[
            r#"Missing { message: "MountVolume.NewMounter initialization failed for volume \"v\" : fc: no fc disk information found. failed to make a new mounter" }"#
        ]],
    );
}

fn volume(is_block: bool) -> PersistentVolume {
    PersistentVolume {
        claim: None,
        is_block,
        affinity: None,
        capacity: String::new(),
        access: Vec::new(),
        mount_options: vec!["noatime".to_owned()],
        source: PersistentSource::Iscsi(Box::new(source())),
    }
}

fn check_persistent(is_block: bool, attachment: Option<Known>, expected: Expect) {
    let pod = pod();
    let source = source();
    let key = reference::disk_attachment(&pod, "kubernetes.io/iscsi", source.handle());
    let objects = attachment
        .into_iter()
        .map(|known| (Reference::Attachment(key.clone()), known));
    let objects: Objects = objects.collect();
    let origin = Origin {
        objects: &objects,
        ..Origin::sample(&pod)
    };
    let kind = persistent(
        origin,
        ("pv", &volume(is_block)),
        DiskSource::Iscsi(&source),
        false,
    );
    expected.assert_eq(&format!("{kind:?}"));
}

#[test]
fn a_persistent_disk_waits_until_the_control_plane_has_attached_it() {
    let attached = || {
        let attached = Attachment::Attached(AttachedVolume::default());
        Some(Known::Found(Object::Attachment(attached).into()))
    };
    check_persistent(
        false,
        attached(),
        expect![[
            r#"NetworkDisk(NetworkDiskVolume { disk: NamedDisk { disk: Iscsi(IscsiDisk { record: IscsiRecord { vol_name: "pv", portals: ["192.0.2.7:3260"], iqn: "iqn.2001-04.com.example:disk", lun: "3", init_iface: "default", iface: "default", initiator_name: "", metrics_provider: () }, lun: 3, discovery: None, session: None }), handle: "192.0.2.7:iqn.2001-04.com.example:disk:3", attaches: true }, global: "/var/lib/kubelet/plugins/kubernetes.io/iscsi/iface-default/192.0.2.7:3260-iqn.2001-04.com.example:disk-lun-3", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~iscsi/pv", access: ReadWrite, fs_type: "ext4", options: ["noatime"], group: Some((2000, Always)) })"#
        ]],
    );
    check_persistent(
        true,
        attached(),
        expect![[
            r#"NetworkDiskDevice(NetworkDiskDevice { disk: NamedDisk { disk: Iscsi(IscsiDisk { record: IscsiRecord { vol_name: "pv", portals: ["192.0.2.7:3260"], iqn: "iqn.2001-04.com.example:disk", lun: "3", init_iface: "default", iface: "default", initiator_name: "", metrics_provider: () }, lun: 3, discovery: None, session: None }), handle: "192.0.2.7:iqn.2001-04.com.example:disk:3", attaches: true }, link: "/var/lib/kubelet/pods/u1/volumeDevices/kubernetes.io~iscsi/pv", map: "/var/lib/kubelet/plugins/kubernetes.io/iscsi/volumeDevices/iface-default/192.0.2.7:3260-iqn.2001-04.com.example:disk-lun-3/u1" })"#
        ]],
    );
    check_persistent(
        false,
        None,
        expect![[
            r#"Missing { message: "MountVolume.WaitForAttach failed for volume \"pv\" : volume kubernetes.io/iscsi/192.0.2.7:iqn.2001-04.com.example:disk:3 is not attached to the node yet" }"#
        ]],
    );
    let why = || Some(Known::Unread("volume x is not attached to the node: y".into()));
    check_persistent(
        true,
        why(),
        expect![[
            r#"Missing { message: "MapVolume.WaitForAttach failed for volume \"pv\" : volume x is not attached to the node: y" }"#
        ]],
    );
}

#[test]
fn a_disk_is_found_where_it_is_mounted() {
    let pod = pod();
    let origin = Origin::sample(&pod);
    let dir = Path::new("/var/lib/kubelet/pods/u1");
    assert_eq!(
        path(origin, DiskPlugin::Iscsi, "v"),
        dir.join("volumes/kubernetes.io~iscsi/v")
    );
    assert_eq!(
        link(origin, DiskPlugin::Fc, "pv"),
        dir.join("volumeDevices/kubernetes.io~fc/pv")
    );
}

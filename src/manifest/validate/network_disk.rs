//! Validates disks of storage networks (`validateISCSIVolumeSource`, `validateFCVolumeSource` in
//! `pkg/apis/core/validation`). What the API server takes and this node gives to no program is not supported.

use k8s_openapi::api::core::v1::{FCVolumeSource, ISCSIVolumeSource};

use crate::manifest::names;
use crate::manifest::path::{Faults, FieldPath};
use crate::model::iscsi::{format_complaint, portal_complaint, word_complaint};

/// Notes what is wrong with a disk of an iSCSI target.
pub(crate) fn iscsi(own: &ISCSIVolumeSource, at: &FieldPath, faults: &mut Faults) {
    let at_portal = at.field("targetPortal");
    match own.target_portal.as_str() {
        "" => faults.add(
            &at_portal,
            "is missing: it is the address of the target, or address:port",
        ),
        portal => strange(portal, portal_complaint(portal), &at_portal, faults),
    }
    for (index, portal) in own.portals.iter().flatten().enumerate() {
        strange(
            portal,
            portal_complaint(portal),
            &at.field("portals").index(index),
            faults,
        );
    }
    match own.iqn.as_str() {
        "" => faults.add(
            &at.field("iqn"),
            "is missing: it is the name of the target (iqn.2001-04.com.example:storage)",
        ),
        name => name_of(name, &at.field("iqn"), faults),
    }
    if let Some(name) = &own.initiator_name {
        name_of(name, &at.field("initiatorName"), faults);
    }
    lun(own.lun, &at.field("lun"), faults);
    let interface = own.iscsi_interface.as_deref().unwrap_or_default();
    strange(
        interface,
        word_complaint(interface),
        &at.field("iscsiInterface"),
        faults,
    );
    file_system(own.fs_type.as_deref(), at, faults);
    let has_chap = own.chap_auth_discovery == Some(true) || own.chap_auth_session == Some(true);
    match &own.secret_ref {
        None if has_chap => faults.add(
            &at.field("secretRef"),
            "is missing: CHAP needs a Secret with the names and passwords",
        ),
        Some(secret) if has_chap => {
            let complaint = names::dns_subdomain(&secret.name);
            let at = at.field("secretRef").field("name");
            if let Some(complaint) = complaint {
                faults.unsupported(&at, format!("{:?} {complaint}", secret.name));
            }
        }
        _ => {}
    }
}

/// Notes what is wrong with a disk of a Fibre Channel target.
pub(crate) fn fc(own: &FCVolumeSource, at: &FieldPath, faults: &mut Faults) {
    let (wwns, wwids) = (
        own.target_wwns.as_deref().unwrap_or_default(),
        own.wwids.as_deref().unwrap_or_default(),
    );
    let at_wwns = at.field("targetWWNs");
    match (wwns, wwids) {
        ([], []) => faults.add(
            &at_wwns,
            "is missing: name the disk by targetWWNs and lun, or by wwids",
        ),
        ([_, ..], [_, ..]) => faults.add(&at_wwns, "cannot be set together with wwids"),
        _ => {}
    }
    match own.lun {
        _ if wwns.is_empty() => {}
        None => faults.add(&at.field("lun"), "is missing: targetWWNs need it"),
        Some(own) => lun(own, &at.field("lun"), faults),
    }
    for (field, names) in [("targetWWNs", wwns), ("wwids", wwids)] {
        for (index, name) in names.iter().enumerate() {
            let complaint = match name.is_empty() {
                true => Some("is empty"),
                // A name of a disk may have spaces.
                false => word_complaint(&name.replace(' ', "_")),
            };
            strange(name, complaint, &at.field(field).index(index), faults);
        }
    }
    file_system(own.fs_type.as_deref(), at, faults);
}

fn name_of(name: &str, at: &FieldPath, faults: &mut Faults) {
    match format_complaint(name) {
        Some(complaint) => faults.add(at, format!("{name:?} {complaint}")),
        None => strange(name, word_complaint(name), at, faults),
    }
}

fn lun(number: i32, at: &FieldPath, faults: &mut Faults) {
    if !(0..=255).contains(&number) {
        faults.add(at, format!("{number} is not between 0 and 255"));
    }
}

fn file_system(name: Option<&str>, at: &FieldPath, faults: &mut Faults) {
    let name = name.unwrap_or_default();
    if let Some(complaint) = names::file_system(name) {
        faults.unsupported(&at.field("fsType"), format!("{name:?} {complaint}"));
    }
}

/// Notes what would become an option of a program or another path.
fn strange(text: &str, complaint: Option<&'static str>, at: &FieldPath, faults: &mut Faults) {
    if let Some(complaint) = complaint {
        faults.unsupported(at, format!("{text:?} {complaint}"));
    }
}

//! What is kept of PersistentVolumes that are disks of storage networks. What the API server has checked is checked again:
//! programs that run as root are given it, and it becomes part of paths.

use k8s_openapi::api::core::v1 as k8s;

use crate::manifest::{convert, names};
use crate::model::fc::FcSource;
use crate::model::iscsi::IscsiSource;

/// `spec.iscsi`
pub(super) fn iscsi(own: &k8s::ISCSIPersistentVolumeSource) -> Result<IscsiSource, String> {
    let source = IscsiSource {
        secret: own.secret_ref.as_ref().map(convert::secret_name),
        ..convert::iscsi(&k8s::ISCSIVolumeSource {
            chap_auth_discovery: own.chap_auth_discovery,
            chap_auth_session: own.chap_auth_session,
            fs_type: own.fs_type.clone(),
            initiator_name: own.initiator_name.clone(),
            iqn: own.iqn.clone(),
            iscsi_interface: own.iscsi_interface.clone(),
            lun: own.lun,
            portals: own.portals.clone(),
            read_only: own.read_only,
            secret_ref: None,
            target_portal: own.target_portal.clone(),
        })
    };
    u8::try_from(own.lun).map_err(|_| format!("lun {} is not between 0 and 255", own.lun))?;
    file_system(&source.fs_type)?;
    match source.complaint() {
        None => Ok(source),
        Some(complaint) => Err(complaint),
    }
}

/// `spec.fc`
pub(super) fn fc(own: &k8s::FCVolumeSource) -> Result<FcSource, String> {
    let source = convert::fc(own);
    if let Some(lun) = own.lun {
        u8::try_from(lun).map_err(|_| format!("lun {lun} is not between 0 and 255"))?;
    }
    file_system(&source.fs_type)?;
    source.disk().map(|_| source)
}

fn file_system(name: &str) -> Result<(), String> {
    match names::file_system(name) {
        None => Ok(()),
        Some(complaint) => Err(format!("fsType {name:?} {complaint}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_disk_of_a_volume_is_read_and_checked() {
        let read = |own| iscsi(&serde_json::from_value(own).unwrap());
        let iqn = "iqn.2001-04.com.example:a";
        let source = read(json!({
            "targetPortal": "192.0.2.7", "portals": ["192.0.2.8:3261"], "iqn": iqn, "lun": 7, "fsType": "xfs",
            "chapAuthSession": true, "secretRef": {"name": "chap", "namespace": "storage"},
        }));
        let source = source.unwrap();
        assert_eq!(source.handle(), "192.0.2.7:iqn.2001-04.com.example:a:7");
        assert_eq!(
            (source.interface.as_str(), source.fs_type.as_str()),
            ("default", "xfs")
        );
        assert_eq!(source.needed_secret().unwrap().to_string(), "storage/chap");
        for wrong in [
            json!({"targetPortal": "-x", "iqn": iqn, "lun": 0}),
            json!({"targetPortal": "a", "iqn": "b", "lun": 0}),
            json!({"targetPortal": "a", "iqn": iqn, "lun": 256}),
            json!({"targetPortal": "a", "iqn": iqn, "lun": 0, "fsType": "../x"}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
        let read = |own| fc(&serde_json::from_value(own).unwrap());
        let source = read(json!({"targetWWNs": ["a"], "lun": 1})).unwrap();
        assert_eq!(source.handle(), "[a]:1");
        for wrong in [
            json!({}),
            json!({"targetWWNs": ["a"]}),
            json!({"targetWWNs": ["a"], "lun": -1}),
            json!({"wwids": ["a"], "fsType": "-x"}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}

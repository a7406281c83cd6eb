//! Converts disks of storage networks.

use k8s_openapi::api::core::v1 as k8s;

use crate::model::csi::SecretName;
use crate::model::fc::FcSource;
use crate::model::iscsi::{DEFAULT_INTERFACE, IscsiSource};

/// `iscsi`, with the default that the API server applies. A number that no disk has was refused before.
pub(crate) fn iscsi(own: &k8s::ISCSIVolumeSource) -> IscsiSource {
    let interface = own.iscsi_interface.as_deref().unwrap_or_default();
    let interface = match interface {
        "" => DEFAULT_INTERFACE,
        own => own,
    };
    IscsiSource {
        portal: own.target_portal.clone(),
        more_portals: own.portals.clone().unwrap_or_default(),
        iqn: own.iqn.clone(),
        lun: u8::try_from(own.lun).unwrap_or_default(),
        interface: interface.to_owned(),
        initiator: own.initiator_name.clone().filter(|name| !name.is_empty()),
        fs_type: own.fs_type.clone().unwrap_or_default(),
        discovery_chap: own.chap_auth_discovery.unwrap_or(false),
        session_chap: own.chap_auth_session.unwrap_or(false),
        secret: own
            .secret_ref
            .as_ref()
            .filter(|secret| !secret.name.is_empty())
            .map(|secret| SecretName {
                namespace: String::new(),
                name: secret.name.clone(),
            }),
    }
}

/// `fc`
pub(crate) fn fc(own: &k8s::FCVolumeSource) -> FcSource {
    FcSource {
        wwns: own.target_wwns.clone().unwrap_or_default(),
        lun: own.lun.and_then(|lun| u8::try_from(lun).ok()),
        wwids: own.wwids.clone().unwrap_or_default(),
        fs_type: own.fs_type.clone().unwrap_or_default(),
    }
}

/// The Secret that a PersistentVolume names.
pub(crate) fn secret_name(own: &k8s::SecretReference) -> SecretName {
    SecretName {
        namespace: own.namespace.clone().unwrap_or_default(),
        name: own.name.clone().unwrap_or_default(),
    }
}

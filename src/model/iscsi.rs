//! Disks of iSCSI targets (documentation: *Volumes, iscsi*), with the kubelet's names for them (`pkg/volume/iscsi`).

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::csi::SecretName;
use super::object::content::Content;

/// The plugin's name, in names of volumes and in paths.
pub const PLUGIN: &str = "kubernetes.io/iscsi";
/// The file in the directory of a disk that says what is attached.
pub const RECORD: &str = "iscsi.json";
/// The longest record that is read.
pub const LONGEST_RECORD: u64 = 64 << 10;
/// The interface that a manifest names if it names none.
pub const DEFAULT_INTERFACE: &str = "default";
/// What the directory of an interface begins with.
const INTERFACE_DIR: &str = "iface-";
/// What stands before the number of the LUN in names.
const LUN: &str = "-lun-";
/// The port of targets (RFC 7143).
const PORT: &str = "3260";

/// What a secret has for the discovery of targets, by key.
pub const DISCOVERY_KEYS: [&str; 4] = [
    "discovery.sendtargets.auth.username",
    "discovery.sendtargets.auth.password",
    "discovery.sendtargets.auth.username_in",
    "discovery.sendtargets.auth.password_in",
];
/// What a secret has for sessions, by key.
pub const SESSION_KEYS: [&str; 4] = [
    "node.session.auth.username",
    "node.session.auth.password",
    "node.session.auth.username_in",
    "node.session.auth.password_in",
];

/// A disk, as a pod or a PersistentVolume describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IscsiSource {
    /// `targetPortal`
    pub portal: String,
    /// `portals`: further ways to it.
    pub more_portals: Vec<String>,
    /// The name of the target.
    pub iqn: String,
    /// The number of the disk.
    pub lun: u8,
    /// `iscsiInterface`
    pub interface: String,
    /// `initiatorName`
    pub initiator: Option<String>,
    /// `fsType`; empty: the default.
    pub fs_type: String,
    /// `chapAuthDiscovery`
    pub discovery_chap: bool,
    /// `chapAuthSession`
    pub session_chap: bool,
    /// `secretRef`; an empty namespace is the pod's.
    pub secret: Option<SecretName>,
}

impl IscsiSource {
    /// What the Node's status calls it, after the plugin (`GetVolumeName`).
    pub fn handle(&self) -> String {
        format!("{}:{}:{}", self.portal, self.iqn, self.lun)
    }

    /// The Secret that is needed, where one is.
    pub fn needed_secret(&self) -> Option<&SecretName> {
        self.secret
            .as_ref()
            .filter(|_| self.discovery_chap || self.session_chap)
    }

    /// Why it is not given to programs and not made part of paths, whatever the API server has checked.
    pub fn complaint(&self) -> Option<String> {
        let portals = [&self.portal].into_iter().chain(&self.more_portals);
        let of_portals = portals.filter_map(|portal| {
            let complaint = portal_complaint(portal)?;
            Some(format!("the portal {portal:?} {complaint}"))
        });
        let of_names = [
            ("target", Some(&self.iqn)),
            ("initiator", self.initiator.as_ref()),
        ];
        let of_names = of_names.into_iter().filter_map(|(what, name)| {
            let name = name?;
            let complaint = format_complaint(name).or_else(|| word_complaint(name))?;
            Some(format!("the name of the {what}, {name:?}, {complaint}"))
        });
        let of_interface = word_complaint(&self.interface)
            .map(|complaint| format!("the interface {:?} {complaint}", self.interface));
        of_portals.chain(of_names).chain(of_interface).next()
    }
}

/// Why a text cannot be a portal, which the API server does not check.
pub fn portal_complaint(portal: &str) -> Option<&'static str> {
    match portal.is_empty() {
        true => Some("is empty: write the address of the target, or address:port"),
        false => word_complaint(portal),
    }
}

/// Why a text is not given to a program and not made part of a path.
pub fn word_complaint(text: &str) -> Option<&'static str> {
    if text.starts_with(['-', '.']) {
        Some("begins with '-' or '.', as no such name does")
    } else if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        Some("contains a space, a control character or '/'")
    } else {
        None
    }
}

/// Why a text is no name of a target or an initiator (`validateISCSIVolumeSource` in `pkg/apis/core/validation`).
pub fn format_complaint(name: &str) -> Option<&'static str> {
    let is_right = match name.get(..3) {
        Some("iqn") => name
            .match_indices("iqn.")
            .any(|(at, _)| is_qualified(&name[at + 4..])),
        Some("eui") => has_digits_after_prefix(name, 16),
        Some("naa") => has_digits_after_prefix(name, 32),
        _ => false,
    };
    (!is_right).then_some(
        "is no name of iSCSI: it has the form iqn.2001-04.com.example:name, eui. with 16 letters or digits, or naa. with 32",
    )
}

/// `2001-04.com.example:name`
fn is_qualified(rest: &str) -> bool {
    let Some((authority, own)) = rest.split_once(':') else {
        return false;
    };
    let [a, b, c, d, b'-', e, f, b'.', domain @ ..] = authority.as_bytes() else {
        return false;
    };
    let is_strange = |c: char| ",;*&$|\t\n\u{c}\r ".contains(c);
    [a, b, c, d, e, f].iter().all(|digit| digit.is_ascii_digit())
        && !domain.is_empty()
        && domain
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && !own.is_empty()
        && !own.contains(is_strange)
}

/// Three letters, any character, and this many letters or digits.
fn has_digits_after_prefix(name: &str, count: usize) -> bool {
    let mut rest = name[3..].chars();
    rest.next().is_some_and(|c| c != '\n')
        && rest.clone().count() == count
        && rest.all(|c| c.is_ascii_alphanumeric())
}

/// A disk that is to be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IscsiDisk {
    /// What is attached, as it is written down.
    pub record: IscsiRecord,
    /// The number of the disk.
    pub lun: u8,
    /// What is needed to ask for targets; `None`: no authentication.
    pub discovery: Option<Credentials>,
    /// What is needed to log in; `None`: no authentication.
    pub session: Option<Credentials>,
}

/// The names and passwords of CHAP, by key. Their values are not printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials(pub Vec<(&'static str, Content)>);

/// What the kubelet writes down of a disk, with its names of fields (`iscsiDisk` in `pkg/volume/iscsi`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IscsiRecord {
    /// The name of the PersistentVolume, or of the pod's volume.
    #[serde(default)]
    pub vol_name: String,
    /// The ways to it, each with a port. The first is part of its name.
    #[serde(default)]
    pub portals: Vec<String>,
    /// The name of the target.
    #[serde(default)]
    pub iqn: String,
    /// The number of the disk.
    #[serde(default)]
    pub lun: String,
    /// The interface that the manifest names.
    #[serde(default)]
    pub init_iface: String,
    /// The interface that is used: with an initiator's name, a copy of it.
    #[serde(default)]
    pub iface: String,
    /// The initiator's name; empty: the node's.
    #[serde(default)]
    pub initiator_name: String,
    /// The kubelet writes it, with nothing in it.
    #[serde(skip_deserializing)]
    pub metrics_provider: (),
}

impl IscsiRecord {
    /// Of a volume of this name.
    pub fn new(name: &str, source: &IscsiSource) -> IscsiRecord {
        let portals = [&source.portal].into_iter().chain(&source.more_portals);
        let portals: Vec<String> = portals.map(|portal| with_port(portal)).collect();
        let initiator_name = source.initiator.clone().unwrap_or_default();
        let iface = match initiator_name.as_str() {
            "" => source.interface.clone(),
            _ => copied_interface(&portals, name),
        };
        IscsiRecord {
            vol_name: name.to_owned(),
            iqn: source.iqn.clone(),
            lun: source.lun.to_string(),
            init_iface: source.interface.clone(),
            metrics_provider: (),
            iface,
            initiator_name,
            portals,
        }
    }

    /// What its directory says, below that of the plugin: where there is no record, or something is mounted over it.
    pub fn of_directory(interface: &str, disk: &str) -> Option<IscsiRecord> {
        let interface = interface.strip_prefix(INTERFACE_DIR)?;
        let (before, lun) = disk.rsplit_once(LUN)?;
        let starts = ["-iqn.", "-eui.", "-naa."]
            .into_iter()
            .filter_map(|start| before.find(start));
        let at = starts.min()?;
        let (portal, iqn) = (&before[..at], &before[at + 1..]);
        lun.parse::<u8>().ok()?;
        Some(IscsiRecord {
            vol_name: String::new(),
            portals: vec![portal.to_owned()],
            iqn: iqn.to_owned(),
            lun: lun.to_owned(),
            init_iface: interface.to_owned(),
            iface: interface.to_owned(),
            initiator_name: String::new(),
            metrics_provider: (),
        })
    }

    /// The two parts of its directory, below that of the plugin (`makePDNameInternal`).
    pub fn directory(&self) -> (String, String) {
        let portal = self.portals.first().map_or("", String::as_str);
        let disk = format!("{portal}-{}{LUN}{}", self.iqn, self.lun);
        (format!("{INTERFACE_DIR}{}", self.iface), disk)
    }

    /// Whether the interface was made for this volume, and goes with it.
    pub fn owns_interface(&self) -> bool {
        !self.initiator_name.is_empty() && self.iface == copied_interface(&self.portals, &self.vol_name)
    }

    /// What the Node's status may call it, after the plugin: whether the manifest states the usual port is not known.
    pub fn handles(&self) -> Vec<String> {
        let portal = self.portals.first().map_or("", String::as_str);
        let bare = portal.strip_suffix(&format!(":{PORT}"));
        let handle = |portal: &str| format!("{portal}:{}:{}", self.iqn, self.lun);
        [Some(portal), bare].into_iter().flatten().map(handle).collect()
    }

    /// The name below `/dev/disk/by-path` of the disk through a portal.
    pub fn link(&self, portal: &str, transport: &str) -> String {
        // Addresses have no brackets there.
        let address = portal.replace(['[', ']'], "");
        let (iqn, lun) = (&self.iqn, &self.lun);
        match transport {
            TCP => format!("ip-{address}-iscsi-{iqn}{LUN}{lun}"),
            // Which adapter it is comes before.
            _ => format!("-ip-{address}-iscsi-{iqn}{LUN}{lun}"),
        }
    }
}

/// The transport of the node's own initiator.
pub const TCP: &str = "tcp";

fn copied_interface(portals: &[String], name: &str) -> String {
    format!("{}:{name}", portals.first().map_or("", String::as_str))
}

fn with_port(portal: &str) -> String {
    match portal.contains(':') {
        true => portal.to_owned(),
        false => format!("{portal}:{PORT}"),
    }
}

/// An address and a port, as portals are written.
pub fn portal_of(address: &str, port: &str) -> String {
    match address.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{address}]:{port}"),
        Err(_) => format!("{address}:{port}"),
    }
}

/// The settings that `iscsiadm -m iface -o show` prints, without those that have no value, and the name, which cannot be
/// changed (`parseIscsiadmShow`).
pub fn settings_in(shown: &str) -> Result<Vec<(&str, &str)>, String> {
    let lines = shown
        .lines()
        .filter(|line| line.starts_with("iface.") && !line.contains("<empty>"));
    let settings = lines.map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [key, "=", value] => Ok((key, value)),
        _ => Err(format!("error: invalid iface setting: {line}")),
    });
    let settings = settings.collect::<Result<Vec<_>, _>>()?;
    let is_name = |(key, _): &(&str, &str)| *key == "iface.iscsi_ifacename";
    Ok(settings.into_iter().filter(|setting| !is_name(setting)).collect())
}

/// The transport of an interface that `iscsiadm` shows; `None`: it names none.
pub fn transport_in(shown: &str) -> Option<&str> {
    let value = shown
        .lines()
        .find_map(|line| line.strip_prefix("iface.transport_name = "))?;
    Some(match value {
        "<empty>" => TCP,
        own => own,
    })
}

/// Whether a disk is used through as many ways as it is waited for: two make one that can lose one (`AttachDisk`).
pub fn has_ways_enough(found: usize, wanted: usize, pass: u32) -> bool {
    found == wanted || (found >= 2 && pass >= 2)
}

/// How often all ways are tried before one alone is enough.
pub const MOST_PASSES: u32 = 5;

#[cfg(test)]
mod tests;

//! Disks of iSCSI targets: iscsiadm(8) logs in to a target and out of it (`pkg/volume/iscsi/iscsi_util.go`).
//!
//! Names and passwords of CHAP are arguments of iscsiadm(8), as with the kubelet: it takes them in no other way. They are
//! in no message and no log.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::ledger::DiskId;
use super::multipath;
use super::node::Node;
use super::others::Others;
use super::sysfs::DiskPlaces;
use crate::act::mount_tools::{NotRun, Ran};
use crate::model::iscsi::{
    Credentials, IscsiDisk, IscsiRecord, MOST_PASSES, TCP, has_ways_enough, settings_in, transport_in,
};

/// The program.
const ISCSIADM: &str = "iscsiadm";
/// What it says of a session, or of an interface in use, that is there (`ISCSI_ERR_SESS_EXISTS`).
const SESSION_EXISTS: i32 = 15;
/// What it says where there is nothing to log out of or to remove (`ISCSI_ERR_SESS_NOT_FOUND`, `ISCSI_ERR_NO_OBJS_FOUND`).
const NOTHING_THERE: [i32; 2] = [2, 21];
/// How long a disk may take to appear (`deviceDiscoveryTimeout`).
const DISCOVERY: Duration = Duration::from_secs(30);
/// How long a device of several ways may take to appear (`multipathDeviceTimeout`).
const MULTIPATH: Duration = Duration::from_secs(10);
/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// Attaches a disk; returns its device. To be called while nobody may log out of the target. The error is the kubelet's.
pub(super) async fn attach(node: &Node<'_>, disk: &IscsiDisk) -> Result<PathBuf, String> {
    let record = &disk.record;
    let shown = interface(node, record).await?;
    let transport = transport_in(&shown)
        .ok_or_else(|| format!("could not parse iface file for {}", record.iface))?
        .to_owned();
    if !record.initiator_name.is_empty() {
        copy_interface(node, record, &shown).await?;
    }
    let mut ways: BTreeMap<&str, PathBuf> = BTreeMap::new();
    let mut last = String::new();
    for pass in 1..=MOST_PASSES {
        for portal in &record.portals {
            if ways.contains_key(portal.as_str()) {
                continue;
            }
            match way(node, disk, portal, &transport).await {
                Ok(link) => _ = ways.insert(portal, link),
                Err(why) => last = why,
            }
        }
        if ways.is_empty() {
            give_interface_up(node, record).await;
            return Err(format!(
                "failed to get any path for iscsi disk, last err seen:\n{last}"
            ));
        }
        if has_ways_enough(ways.len(), record.portals.len(), pass) {
            break;
        }
    }
    if !last.is_empty() {
        tracing::warn!(iqn = record.iqn, "some portals do not lead to a disk: {last}");
    }
    let patience = match record.portals.len() {
        1 => Duration::ZERO,
        _ => MULTIPATH,
    };
    let links = ways.into_values().collect();
    multipath::wait(node, links, patience)
        .await
        .map_err(|error| error.to_string())
}

/// The disk through one portal.
async fn way(node: &Node<'_>, disk: &IscsiDisk, portal: &str, transport: &str) -> Result<PathBuf, String> {
    let record = &disk.record;
    let turn = node.disks.portal(&record.iqn, portal).await;
    let host = match host(node, record, portal).await? {
        Some(host) => host,
        None => {
            log_in(node, disk, portal).await?;
            host(node, record, portal).await?.ok_or_else(|| {
                format!("Could not get SCSI host number for portal {portal} after logging in")
            })?
        }
    };
    drop(turn);
    let lun = disk.lun;
    let scanned = node
        .ask(&about(record), move |places| places.scan_lun(host, lun))
        .await;
    scanned.map_err(|error| format!("scanning SCSI host {host} for LUN {lun}: {error}"))?;
    wait_for(node, &record.link(portal, transport), transport).await
}

/// The SCSI host of the session through a portal.
async fn host(node: &Node<'_>, record: &IscsiRecord, portal: &str) -> Result<Option<u32>, String> {
    let iqn = record.iqn.clone();
    let sessions = node
        .ask(&about(record), move |places| places.sessions(&iqn))
        .await;
    let sessions = sessions.map_err(|error| format!("looking for sessions: {error}"))?;
    Ok(sessions.get(portal).map(|session| session.host))
}

async fn log_in(node: &Node<'_>, disk: &IscsiDisk, portal: &str) -> Result<(), String> {
    let IscsiRecord { iqn, iface, .. } = &disk.record;
    let sent_targets = [
        "-m",
        "discoverydb",
        "-t",
        "sendtargets",
        "-p",
        portal,
        "-I",
        iface,
    ];
    let of_node = ["-m", "node", "-p", portal, "-T", iqn, "-I", iface];
    // The kubelet does not mind, either: the discovery says what is wrong.
    let _ = run(node, portal, &sent_targets, &["-o", "new"]).await;
    if let Some(credentials) = &disk.discovery {
        let key = "discovery.sendtargets.auth.authmethod";
        authenticate(node, portal, &sent_targets, (key, credentials))
            .await
            .map_err(|why| format!("iscsi: failed to update discoverydb to portal {portal} error: {why}"))?;
    }
    if let Err(why) = run(node, portal, &sent_targets, &["--discover"]).await {
        let _ = run(node, portal, &sent_targets, &["-o", "delete"]).await;
        let why = why.text();
        return Err(format!("iscsi: failed to sendtargets to portal {portal} {why}"));
    }
    // Lest the kernel find disks that nobody here wants: kubernetes#90982.
    let manual = ["-o", "update", "-n", "node.session.scan", "-v", "manual"];
    if let Err(why) = run(node, portal, &of_node, &manual).await {
        let why = why.text();
        tracing::warn!(iqn, portal, "a session looks for all disks of its target: {why}");
    }
    if let Some(credentials) = &disk.session {
        let key = "node.session.auth.authmethod";
        authenticate(node, portal, &of_node, (key, credentials))
            .await
            .map_err(|why| format!("iscsi: failed to update iscsi node to portal {portal} error: {why}"))?;
    }
    if let Err(why) = run(node, portal, &of_node, &["--login"]).await {
        let _ = run(node, portal, &of_node, &["-o", "delete"]).await;
        return Err(format!("iscsi: failed to attach disk: {}", why.text()));
    }
    // After a reboot the agent logs in, not the boot, which would wait for the target.
    let manual = ["-o", "update", "-n", "node.startup", "-v", "manual"];
    if let Err(why) = run(node, portal, &of_node, &manual).await {
        let why = why.text();
        tracing::warn!(
            iqn,
            portal,
            "the next boot may log in to a target by itself: {why}"
        );
    }
    Ok(())
}

/// Says to iscsiadm(8) with what it authenticates itself.
async fn authenticate(
    node: &Node<'_>,
    portal: &str,
    record: &[&str],
    (method, credentials): (&str, &Credentials),
) -> Result<(), String> {
    let chap = ["-o", "update", "-n", method, "-v", "CHAP"];
    run(node, portal, record, &chap).await.map_err(Refusal::text)?;
    for (key, value) in &credentials.0 {
        let value = value.text();
        let own = ["-o", "update", "-n", key, "-v", &value];
        run(node, portal, record, &own)
            .await
            .map_err(|refusal| format!("{key:?}: {}", refusal.text().replace(&value, "***")))?;
    }
    Ok(())
}

/// What iscsiadm(8) shows of the interface that a manifest names.
async fn interface(node: &Node<'_>, record: &IscsiRecord) -> Result<String, String> {
    let iface = &record.init_iface;
    let shown = run(node, iface, &["-m", "iface", "-I", iface], &["-o", "show"]).await;
    shown.map(|ran| ran.output).map_err(|refusal| match refusal {
        Refusal::NotRun(NotRun::Missing(why)) => format!(
            "{why} the package open-iscsi (Debian, Ubuntu) or iscsi-initiator-utils (Fedora, Red Hat)"
        ),
        refusal => format!("iscsi: could not read iface {iface} error: {}", refusal.text()),
    })
}

/// Makes an interface with an initiator's name of its own, like the one that the manifest names (`cloneIface`).
async fn copy_interface(node: &Node<'_>, record: &IscsiRecord, shown: &str) -> Result<(), String> {
    let iface = ["-m", "iface", "-I", &record.iface];
    match run(node, &record.iface, &iface, &["-o", "new"]).await {
        Ok(_) => {}
        Err(Refusal::Ended(ran)) if ran.status.code() == Some(SESSION_EXISTS) => {}
        Err(refusal) => return Err(format!("iscsi: failed to create new iface: {}", refusal.text())),
    }
    let mut settings: BTreeMap<&str, &str> = settings_in(shown)?.into_iter().collect();
    settings.insert("iface.initiatorname", &record.initiator_name);
    for (key, value) in settings {
        let setting = ["-o", "update", "-n", key, "-v", value];
        if let Err(refusal) = run(node, &record.iface, &iface, &setting).await {
            give_interface_up(node, record).await;
            return Err(format!(
                "iscsi: failed to update iface records: {}",
                refusal.text()
            ));
        }
    }
    Ok(())
}

async fn give_interface_up(node: &Node<'_>, record: &IscsiRecord) {
    if record.owns_interface() {
        // It may be in use, or gone.
        let iface = ["-m", "iface", "-I", &record.iface];
        let _ = run(node, &record.iface, &iface, &["-o", "delete"]).await;
    }
}

/// Waits for the link that udev makes to a disk.
async fn wait_for(node: &Node<'_>, link: &str, transport: &str) -> Result<PathBuf, String> {
    let deadline = Instant::now() + DISCOVERY;
    loop {
        let (own, is_tcp) = (link.to_owned(), transport == TCP);
        let is_it = move |name: &str| match is_tcp {
            true => name == own,
            false => name.starts_with("pci-") && name.ends_with(&own),
        };
        let found = node.ask(link, move |places| places.links("by-path", is_it)).await;
        let found = found.map_err(|error| error.to_string())?;
        if let Some(link) = found.into_iter().next() {
            return Ok(link);
        }
        if Instant::now() >= deadline {
            let path = node.disks.places().dev.join("disk/by-path").join(link);
            return Err(format!(
                "Timed out waiting for device at path {} after {}s",
                path.display(),
                DISCOVERY.as_secs()
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Takes a disk from the node, and logs out of its target where nothing else needs the session. To be called with the
/// target alone.
pub(super) async fn detach(node: &Node<'_>, record: &IscsiRecord, others: &Others) -> Result<(), String> {
    let is_same =
        |id: &DiskId| matches!(id, DiskId::Iscsi(own) if own.iqn == record.iqn && own.lun == record.lun);
    if let (false, Ok(lun)) = (others.any(is_same), record.lun.parse::<u8>()) {
        let iqn = record.iqn.clone();
        let disks = node
            .ask(&about(record), move |places| places.disks_of_lun(&iqn, lun))
            .await;
        multipath::remove(node, disks.map_err(|error| error.to_string())?).await?;
    }
    let portals: BTreeSet<&String> = record
        .portals
        .iter()
        .filter(|portal| !portal.is_empty())
        .collect();
    for portal in portals {
        if others.need_session(record, portal) || is_used_otherwise(node, record, portal).await? {
            continue;
        }
        tracing::info!(
            iqn = record.iqn,
            portal,
            interface = record.iface,
            "logging out of an iSCSI target"
        );
        let of_node = ["-m", "node", "-p", portal, "-T", &record.iqn, "-I", &record.iface];
        for what in [&["--logout"][..], &["-o", "delete"]] {
            gone(run(node, portal, &of_node, what).await)?;
        }
    }
    if record.owns_interface()
        && !others.any(|id| matches!(id, DiskId::Iscsi(own) if own.iface == record.iface))
    {
        let iface = ["-m", "iface", "-I", &record.iface];
        gone(run(node, &record.iface, &iface, &["-o", "delete"]).await)?;
    }
    Ok(())
}

/// Whether something else of the node, which no pod is, has a disk of the session for itself: the kubelet does not look.
async fn is_used_otherwise(node: &Node<'_>, record: &IscsiRecord, portal: &str) -> Result<bool, String> {
    let (iqn, own) = (record.iqn.clone(), portal.to_owned());
    let looking = move |places: &DiskPlaces| {
        let sessions = places.sessions(&iqn)?;
        let disks = sessions.get(&own).map(|session| session.disks(None));
        let disks = disks.transpose()?.unwrap_or_default();
        Ok::<_, io::Error>(disks.into_iter().find(|disk| places.is_held(disk)))
    };
    let held = node
        .ask(&about(record), looking)
        .await
        .map_err(|error| error.to_string())?;
    if let Some(disk) = &held {
        tracing::info!(
            iqn = record.iqn,
            portal,
            disk,
            "a session stays: something else on the node uses a disk of it"
        );
    }
    Ok(held.is_some())
}

/// Nothing to log out of, or to remove, is as good; so is a machine without the program, which is logged in to nothing.
fn gone(result: Result<Ran, Refusal>) -> Result<(), String> {
    match result {
        Ok(_) | Err(Refusal::NotRun(NotRun::Missing(_))) => Ok(()),
        Err(Refusal::Ended(ran))
            if ran
                .status
                .code()
                .is_some_and(|code| NOTHING_THERE.contains(&code)) =>
        {
            Ok(())
        }
        Err(refusal) => Err(refusal.text()),
    }
}

/// Why iscsiadm(8) has not done what it was asked.
enum Refusal {
    NotRun(NotRun),
    Ended(Ran),
}

impl Refusal {
    /// Without its arguments, which may be secret.
    fn text(self) -> String {
        match self {
            Refusal::NotRun(why) => why.why(),
            Refusal::Ended(ran) => format!("output: {}, err {}", ran.output, ran.how()),
        }
    }
}

async fn run(node: &Node<'_>, about: &str, record: &[&str], what: &[&str]) -> Result<Ran, Refusal> {
    let arguments = [record, what].concat();
    match node.run(about, (ISCSIADM, &arguments)).await {
        Ok(ran) if ran.status.success() => Ok(ran),
        Ok(ran) => Err(Refusal::Ended(ran)),
        Err(not_run) => Err(Refusal::NotRun(not_run)),
    }
}

/// What operations on files are about.
fn about(record: &IscsiRecord) -> String {
    let (_, disk) = record.directory();
    Path::new("iSCSI").join(disk).display().to_string()
}

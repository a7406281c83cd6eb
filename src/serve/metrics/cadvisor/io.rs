//! Reads and writes, file systems, and network interfaces.

use std::collections::BTreeMap;

use super::super::exposition::{Number, Page};
use super::subjects::Subject;
use crate::counters::Kind;
use crate::model::stats::{DiskSample, Interface};
use crate::model::usage::DeviceIo;

/// One family of a device: name, help, and the number.
type OfDevice = (&'static str, &'static str, fn(&DeviceIo) -> u64);

const BYTES: [OfDevice; 2] = [
    (
        "container_fs_reads_bytes_total",
        "Cumulative count of bytes read",
        |io| io.read_bytes,
    ),
    (
        "container_fs_writes_bytes_total",
        "Cumulative count of bytes written",
        |io| io.written_bytes,
    ),
];

/// A family of a device, and the number of a disk under the same name.
type OfDeviceAndDisk = (OfDevice, fn(&DiskSample) -> u64);

/// The machine's own are those of its disks.
const OPERATIONS: [OfDeviceAndDisk; 2] = [
    (
        (
            "container_fs_reads_total",
            "Cumulative count of reads completed",
            |io| io.reads,
        ),
        |disk| disk.counters.reads,
    ),
    (
        (
            "container_fs_writes_total",
            "Cumulative count of writes completed",
            |io| io.writes,
        ),
        |disk| disk.counters.writes,
    ),
];

/// One family of a disk: name, kind, help, and the number.
type OfDisk = (&'static str, Kind, &'static str, fn(&DiskSample) -> Number);

const DISKS: [OfDisk; 13] = [
    (
        "container_fs_inodes_free",
        Kind::Gauge,
        "Number of available Inodes",
        |disk| disk.filesystem.inodes_free.into(),
    ),
    (
        "container_fs_inodes_total",
        Kind::Gauge,
        "Number of Inodes",
        |disk| disk.filesystem.inodes.into(),
    ),
    (
        "container_fs_limit_bytes",
        Kind::Gauge,
        "Number of bytes that can be consumed by the container on this filesystem.",
        |disk| disk.filesystem.capacity.into(),
    ),
    (
        "container_fs_usage_bytes",
        Kind::Gauge,
        "Number of bytes that are consumed by the container on this filesystem.",
        |disk| disk.filesystem.used.into(),
    ),
    (
        "container_fs_sector_reads_total",
        Kind::Counter,
        "Cumulative count of sector reads completed",
        |disk| disk.counters.sectors_read.into(),
    ),
    (
        "container_fs_reads_merged_total",
        Kind::Counter,
        "Cumulative count of reads merged",
        |disk| disk.counters.reads_merged.into(),
    ),
    (
        "container_fs_read_seconds_total",
        Kind::Counter,
        "Cumulative count of seconds spent reading",
        |disk| seconds(disk.counters.read_millis),
    ),
    (
        "container_fs_sector_writes_total",
        Kind::Counter,
        "Cumulative count of sector writes completed",
        |disk| disk.counters.sectors_written.into(),
    ),
    (
        "container_fs_writes_merged_total",
        Kind::Counter,
        "Cumulative count of writes merged",
        |disk| disk.counters.writes_merged.into(),
    ),
    (
        "container_fs_write_seconds_total",
        Kind::Counter,
        "Cumulative count of seconds spent writing",
        |disk| seconds(disk.counters.write_millis),
    ),
    (
        "container_fs_io_current",
        Kind::Gauge,
        "Number of I/Os currently in progress",
        |disk| disk.counters.in_progress.into(),
    ),
    (
        "container_fs_io_time_seconds_total",
        Kind::Counter,
        "Cumulative count of seconds spent doing I/Os",
        |disk| seconds(disk.counters.io_millis),
    ),
    (
        "container_fs_io_time_weighted_seconds_total",
        Kind::Counter,
        "Cumulative weighted I/O time in seconds",
        |disk| seconds(disk.counters.weighted_io_millis),
    ),
];

/// One family of an interface: name, help, and the number.
type OfInterface = (&'static str, &'static str, fn(&Interface) -> u64);

const INTERFACES: [OfInterface; 8] = [
    (
        "container_network_receive_bytes_total",
        "Cumulative count of bytes received",
        |one| one.received.bytes,
    ),
    (
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        |one| one.received.errors,
    ),
    (
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        |one| one.received.dropped,
    ),
    (
        "container_network_receive_packets_total",
        "Cumulative count of packets received",
        |one| one.received.packets,
    ),
    (
        "container_network_transmit_bytes_total",
        "Cumulative count of bytes transmitted",
        |one| one.sent.bytes,
    ),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |one| one.sent.errors,
    ),
    (
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        |one| one.sent.dropped,
    ),
    (
        "container_network_transmit_packets_total",
        "Cumulative count of packets transmitted",
        |one| one.sent.packets,
    ),
];

/// What cgroups read and wrote, by device.
pub(super) fn put_devices(page: &mut Page, subjects: &[Subject<'_>], names: &BTreeMap<(u32, u32), String>) {
    for (name, help, count) in BYTES {
        let mut family = page.family(name, Kind::Counter, help);
        for (subject, io) in all(subjects) {
            let at = Some(subject.cgroup.at);
            family.measured(&subject.labels, &[("device", device(io, names))], count(io), at);
        }
    }
    let help = "Blkio Device bytes usage";
    let mut family = page.family("container_blkio_device_usage_total", Kind::Counter, help);
    for (subject, io) in all(subjects) {
        let (major, minor) = (io.device.0.to_string(), io.device.1.to_string());
        for (operation, bytes) in [("Read", io.read_bytes), ("Write", io.written_bytes)] {
            let more = [
                ("device", device(io, names)),
                ("major", &major),
                ("minor", &minor),
                ("operation", operation),
            ];
            family.measured(&subject.labels, &more, bytes, Some(subject.cgroup.at));
        }
    }
    drop(family);
}

fn all<'a, 'b>(subjects: &'b [Subject<'a>]) -> impl Iterator<Item = (&'b Subject<'a>, &'a DeviceIo)> {
    let of_one = |subject: &'b Subject<'a>| subject.cgroup.usage.io.iter().map(move |io| (subject, io));
    subjects.iter().flat_map(of_one)
}

/// A device that is gone has no name.
fn device<'a>(io: &DeviceIo, names: &'a BTreeMap<(u32, u32), String>) -> &'a str {
    names.get(&io.device).map_or("", String::as_str)
}

/// The operations of cgroups by device, and everything about the machine's disks.
pub(super) fn put_disks(
    page: &mut Page,
    subjects: &[Subject<'_>],
    (disks, names): (&[DiskSample], &BTreeMap<(u32, u32), String>),
) {
    for ((name, help, of_cgroup), of_disk) in OPERATIONS {
        let mut family = page.family(name, Kind::Counter, help);
        for (subject, io) in all(subjects).filter(|(subject, _)| !subject.is_machine) {
            let at = Some(subject.cgroup.at);
            family.measured(
                &subject.labels,
                &[("device", device(io, names))],
                of_cgroup(io),
                at,
            );
        }
        for machine in subjects.iter().filter(|subject| subject.is_machine) {
            for disk in disks {
                let at = Some(disk.filesystem.at);
                family.measured(&machine.labels, &[("device", &disk.device)], of_disk(disk), at);
            }
        }
    }
    for (name, kind, help, count) in DISKS {
        let mut family = page.family(name, kind, help);
        for machine in subjects.iter().filter(|subject| subject.is_machine) {
            for disk in disks {
                let at = Some(disk.filesystem.at);
                family.measured(&machine.labels, &[("device", &disk.device)], count(disk), at);
            }
        }
    }
}

/// The traffic of the machine and of pods.
pub(super) fn put_interfaces(page: &mut Page, subjects: &[Subject<'_>]) {
    for (name, help, count) in INTERFACES {
        let mut family = page.family(name, Kind::Counter, help);
        for subject in subjects {
            for interface in subject.interfaces {
                let more = [("interface", interface.name.as_str())];
                family.measured(&subject.labels, &more, count(interface), Some(subject.cgroup.at));
            }
        }
    }
}

fn seconds(millis: u64) -> Number {
    Number::Real(millis as f64 / 1e3)
}

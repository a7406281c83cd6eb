//! Block devices, and the file systems on them (`Documentation/admin-guide/iostats.rst` of the kernel).
//!
//! File systems of containers and of memory are not among them: there are several for each pod, and the first lie on a disk
//! that is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::directories;
use crate::model::stats::{DiskCounters, DiskSample};

/// A device's numbers.
pub(super) type Numbers = (u32, u32);

/// The names of all block devices, `/dev/vda`, with their counters.
#[derive(Debug, Default)]
pub(super) struct Devices(BTreeMap<Numbers, (String, DiskCounters)>);

impl Devices {
    pub(super) fn read(proc: &Path) -> Devices {
        Devices(parse(
            &fs::read_to_string(proc.join("diskstats")).unwrap_or_default(),
        ))
    }

    /// The names alone.
    pub(super) fn names(&self) -> BTreeMap<Numbers, String> {
        let names = self.0.iter().map(|(numbers, (name, _))| (*numbers, name.clone()));
        names.collect()
    }

    /// Those with a mounted file system, each once.
    pub(super) fn mounted(&self, points: &BTreeMap<Numbers, String>) -> Vec<DiskSample> {
        let disks = points.iter().filter_map(|(numbers, point)| {
            let (name, counters) = self.0.get(numbers)?;
            Some(DiskSample {
                device: name.clone(),
                filesystem: directories::filesystem(Path::new(point))?,
                counters: *counters,
            })
        });
        disks.collect()
    }
}

/// `254 0 vda reads merged sectors ms writes merged sectors ms in-progress ms weighted-ms …`
fn parse(text: &str) -> BTreeMap<Numbers, (String, DiskCounters)> {
    let device = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let numbers = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let name = format!("/dev/{}", fields.next()?);
        let mut next = || fields.next()?.parse().ok();
        let counters = DiskCounters {
            reads: next()?,
            reads_merged: next()?,
            sectors_read: next()?,
            read_millis: next()?,
            writes: next()?,
            writes_merged: next()?,
            sectors_written: next()?,
            write_millis: next()?,
            in_progress: next()?,
            io_millis: next()?,
            weighted_io_millis: next()?,
        };
        Some((numbers, (name, counters)))
    };
    text.lines().filter_map(device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_with_their_counters() {
        let text = " 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 0 0 0 0 0 0\n   7       0 loop0 1 2\n";
        let read = parse(text);
        assert_eq!(read.len(), 1);
        let (name, counters) = &read[&(254, 0)];
        assert_eq!(
            (name.as_str(), counters.reads, counters.weighted_io_millis),
            ("/dev/vda", 1, 11)
        );
    }
}

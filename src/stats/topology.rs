//! How the machine's processors are built (`Documentation/admin-guide/cputopology.rst` of the kernel).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::model::stats::Topology;

/// Reads it. What the kernel does not state has no number: there are no books but on mainframes.
pub fn topology(sys: &Path) -> Topology {
    let cpus = fs::read_dir(sys.join("devices/system/cpu"))
        .into_iter()
        .flatten()
        .flatten();
    let (mut cores, mut sockets) = (BTreeSet::new(), BTreeSet::new());
    let (mut books, mut drawers) = (BTreeSet::new(), BTreeSet::new());
    for cpu in cpus {
        let of = |file: &str| {
            let text = fs::read_to_string(cpu.path().join("topology").join(file)).ok()?;
            text.trim().parse::<i64>().ok()
        };
        let Some(socket) = of("physical_package_id") else {
            continue;
        };
        sockets.insert(socket);
        cores.extend(of("core_id").map(|core| (socket, core)));
        books.extend(of("book_id"));
        drawers.extend(of("drawer_id"));
    }
    Topology {
        physical_cores: cores.len() as u64,
        sockets: sockets.len() as u64,
        books: books.len() as u64,
        drawers: drawers.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_core_count_once_and_a_cpu_that_is_off_not_at_all() {
        let sys = tempfile::tempdir().unwrap();
        let cpu = |number: u32, socket: &str, core: &str| {
            let at = sys
                .path()
                .join(format!("devices/system/cpu/cpu{number}/topology"));
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("physical_package_id"), socket).unwrap();
            fs::write(at.join("core_id"), core).unwrap();
        };
        cpu(0, "0\n", "0\n");
        cpu(1, "0\n", "0\n");
        cpu(2, "0\n", "1\n");
        cpu(3, "1\n", "0\n");
        fs::create_dir_all(sys.path().join("devices/system/cpu/cpu4")).unwrap();
        fs::create_dir_all(sys.path().join("devices/system/cpu/cpufreq")).unwrap();
        let read = topology(sys.path());
        assert_eq!(
            (read.physical_cores, read.sockets, read.books, read.drawers),
            (3, 2, 0, 0)
        );
    }
}

//! The forms in which the kernel writes counters. Pure.

use crate::model::usage::{DeviceIo, Pressure, Stall};

/// Names with their numbers, one in each line.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, number) = line.split_once(' ')?;
        Some((name, number.parse().ok()?))
    })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same of `full`, which kernels before 5.13 lack for the CPU.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        stall(line)
    };
    Some(Pressure {
        some: line("some ")?,
        full: line("full ").unwrap_or_default(),
    })
}

fn stall(fields: &str) -> Option<Stall> {
    let mut stall = Stall::default();
    for field in fields.split_ascii_whitespace() {
        let (name, value) = field.split_once('=')?;
        match name {
            "avg10" => stall.avg10 = value.parse().ok()?,
            "avg60" => stall.avg60 = value.parse().ok()?,
            "avg300" => stall.avg300 = value.parse().ok()?,
            "total" => stall.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(stall)
}

/// `io.stat` of v2: `254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
pub(super) fn io_of_v2(text: &str) -> Vec<DeviceIo> {
    let device = |line: &str| {
        let (numbers, fields) = line.split_once(' ')?;
        let mut io = DeviceIo {
            device: device(numbers)?,
            ..DeviceIo::default()
        };
        for field in fields.split_ascii_whitespace() {
            let Some((name, Ok(value))) = field.split_once('=').map(|(name, value)| (name, value.parse()))
            else {
                continue;
            };
            match name {
                "rbytes" => io.read_bytes = value,
                "wbytes" => io.written_bytes = value,
                "rios" => io.reads = value,
                "wios" => io.writes = value,
                _ => {}
            }
        }
        Some(io)
    };
    text.lines().filter_map(device).collect()
}

/// `blkio.throttle.io_service_bytes_recursive` and `…io_serviced_recursive` of v1: `254:0 Read 1`, one line for each kind of
/// operation.
pub(super) fn io_of_v1(bytes: &str, operations: &str) -> Vec<DeviceIo> {
    let mut all: Vec<DeviceIo> = Vec::new();
    let mut add = |text: &str, put: fn(&mut DeviceIo, &str, u64)| {
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(numbers), Some(kind), Some(Ok(value))) = (
                fields.next().and_then(device),
                fields.next(),
                fields.next().map(str::parse),
            ) else {
                continue;
            };
            let at = match all.iter().position(|io| io.device == numbers) {
                Some(at) => at,
                None => {
                    all.push(DeviceIo {
                        device: numbers,
                        ..DeviceIo::default()
                    });
                    all.len() - 1
                }
            };
            put(&mut all[at], kind, value);
        }
    };
    add(bytes, |io, kind, value| match kind {
        "Read" => io.read_bytes = value,
        "Write" => io.written_bytes = value,
        _ => {}
    });
    add(operations, |io, kind, value| match kind {
        "Read" => io.reads = value,
        "Write" => io.writes = value,
        _ => {}
    });
    all
}

fn device(numbers: &str) -> Option<(u32, u32)> {
    let (major, minor) = numbers.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read_with_and_without_full() {
        let some = Stall {
            total: 28389,
            avg10: 38.55,
            avg60: 30.5,
            avg300: 0.0,
        };
        let line = "some avg10=38.55 avg60=30.50 avg300=0.00 total=28389\n";
        let both = format!("{line}full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
        let full = |total| Stall {
            total,
            ..Stall::default()
        };
        assert_eq!(pressure(&both), Some(Pressure { some, full: full(7) }));
        assert_eq!(pressure(line), Some(Pressure { some, full: full(0) }));
        for bad in ["", "some", "some avg10=x", "full total=1\n"] {
            assert_eq!(pressure(bad), None, "{bad}");
        }
    }

    #[test]
    fn devices_are_read_of_both_versions() {
        let io = |minor, read_bytes, written_bytes, reads, writes| DeviceIo {
            device: (254, minor),
            read_bytes,
            written_bytes,
            reads,
            writes,
        };
        let v2 =
            "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\nbroken\n254:16 rbytes=9 cost.usage=7\n";
        assert_eq!(io_of_v2(v2), [io(0, 1, 2, 3, 4), io(16, 9, 0, 0, 0)]);
        let bytes = "254:0 Read 1\n254:0 Write 2\n254:0 Sync 3\n254:0 Total 3\n254:16 Read 9\nTotal 12\n";
        let operations = "254:0 Read 3\n254:0 Write 4\n";
        assert_eq!(
            io_of_v1(bytes, operations),
            [io(0, 1, 2, 3, 4), io(16, 9, 0, 0, 0)]
        );
        assert_eq!(io_of_v1("Total 0\n", "Total 0\n"), []);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[a-z0-9=: .\n]{0,200}") {
            let _ = (pressure(&text), io_of_v1(&text, &text), io_of_v2(&text), pairs(&text).count());
        }
    }
}

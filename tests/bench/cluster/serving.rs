//! What it costs to be asked: pages of numbers with many pods, and streams with one.

use std::collections::BTreeMap;

use super::scrapes::{self, PAGES, Scrapes};
use super::side::{SIDES, Side};
use super::streams::{self, Streams};
use super::{LOTS, SETTLING, Sitting, names, rest};
use crate::report::{Report, median};

/// What was seen of one agent.
#[derive(Default)]
struct Seen {
    scrapes: BTreeMap<usize, Scrapes>,
    streams: Option<Streams>,
}

/// Measures both.
pub fn measure(report: &mut Report) {
    let mut sitting = Sitting::begin();
    let mut seen: BTreeMap<Side, Seen> = SIDES.map(|side| (side, Seen::default())).into();
    for side in SIDES {
        let measured = sitting.with(side, |sitting, running| {
            let pod = names("stream", 1);
            sitting.load.up(&pod);
            let measured = streams::measure(running.pid(&sitting.node), &pod[0]);
            sitting.load.down(&pod);
            measured
        });
        println!("streams, {}: {measured}", side.name());
        seen.get_mut(&side).expect("both are there").streams = Some(measured);
    }
    for lot in LOTS {
        for side in SIDES {
            let measured = sitting.with(side, |sitting, running| {
                let pods = names("lot", lot);
                sitting.load.up(&pods);
                rest(SETTLING);
                let measured = scrapes::measure(running.pid(&sitting.node));
                sitting.load.down(&pods);
                measured
            });
            println!("{lot} pods, {}: {measured}", side.name());
            let seen = seen.get_mut(&side).expect("both are there");
            seen.scrapes.insert(lot, measured);
        }
    }
    tell(report, &seen[&Side::Gantry], &seen[&Side::Kubelet]);
}

fn tell(report: &mut Report, ours: &Seen, theirs: &Seen) {
    for (count, scrapes) in &ours.scrapes {
        let other = &theirs.scrapes[count];
        let millis = |scrapes: &Scrapes| scrapes.cpu.as_secs_f64() * 1000.0;
        let what = |what: &str| format!("{count} pods: {what}");
        report.against(
            &what("CPU of a scrape of all pages"),
            millis(scrapes),
            millis(other),
            0.2,
            "ms",
        );
        let pages = u32::try_from(count * PAGES.len()).expect("a small number");
        let each = scrapes.cpu.as_secs_f64() * 1e6 / f64::from(pages);
        report.goal(&what("CPU of a container and page"), each, 50.0, "µs");
        report.beside(
            &what("answer of all pages"),
            median(scrapes.took.clone()),
            median(other.took.clone()),
        );
        report.note(format!(
            "{count} pods, asked every 15 s: the agent takes {:.1} ms/s, the kubelet {:.1} ms/s in all",
            scrapes.pace, other.pace
        ));
        report.note(format!(
            "{count} pods: a scrape of all pages is {} KiB, the kubelet's {} KiB",
            scrapes.bytes / 1024,
            other.bytes / 1024
        ));
    }
    let (Some(ours), Some(theirs)) = (&ours.streams, &theirs.streams) else {
        return;
    };
    for (what, measured, other) in ours.durations(theirs) {
        report.beside(what, measured, other);
    }
    report.goal("memory of a stream", ours.memory, 64.0, "KiB");
    report.note(format!(
        "memory of a stream: the kubelet's {:.1} KiB",
        theirs.memory
    ));
    report.note(
        "Streams: kubectl through the real API server, both agents alike; containerd's own share is not counted.".to_owned(),
    );
}

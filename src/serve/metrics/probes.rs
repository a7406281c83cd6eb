//! `/metrics/probes`: how often each probe of each container succeeded and failed, and how long it took. Pure.

use super::agent::process::{self, ProcessStats};
use super::exposition::{Format, Page};
use crate::counters::Probes;

/// The page.
pub(super) fn page(format: Format, probes: &Probes, process: Option<&ProcessStats>) -> Vec<u8> {
    let mut page = Page::new(format);
    for family in probes.sample() {
        page.counted(&family);
    }
    process::put_start(&mut page, process);
    page.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;

    use super::*;
    use crate::counters::{ProbeResult, Probed};
    use crate::model::pod::{PodName, PodUid};
    use crate::model::probe::ProbeKind;

    #[test]
    fn each_probe_has_its_results_and_its_durations() {
        let probes = Probes::default();
        let (pod, uid) = (PodName::new("ns", "web"), PodUid("u".to_owned()));
        for (kind, result) in [
            (ProbeKind::Liveness, ProbeResult::Failed),
            (ProbeKind::Readiness, ProbeResult::Successful),
        ] {
            let probe = Probed {
                pod: &pod,
                uid: &uid,
                container: "main",
                kind,
            };
            probes.ended(probe, result, Duration::from_secs(3));
        }
        let page = String::from_utf8(page(Format::Text, &probes, None)).unwrap();
        expect![[r#"
            # HELP prober_probe_total How often a probe of a container was run, by its result.
            # TYPE prober_probe_total counter
            prober_probe_total{probe_type="Liveness",result="failed",container="main",pod="web",namespace="ns",pod_uid="u"} 1
            prober_probe_total{probe_type="Readiness",result="successful",container="main",pod="web",namespace="ns",pod_uid="u"} 1
            # HELP prober_probe_duration_seconds How long successful probes of a container took in seconds.
            # TYPE prober_probe_duration_seconds histogram
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="0.005"} 0
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="0.01"} 0
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="0.025"} 0
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="0.05"} 0
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="0.1"} 0
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="0.25"} 0
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="0.5"} 0
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="1"} 0
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="2.5"} 0
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="5"} 1
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="10"} 1
            prober_probe_duration_seconds_bucket{probe_type="Readiness",container="main",pod="web",namespace="ns",le="+Inf"} 1
            prober_probe_duration_seconds_sum{probe_type="Readiness",container="main",pod="web",namespace="ns"} 3
            prober_probe_duration_seconds_count{probe_type="Readiness",container="main",pod="web",namespace="ns"} 1
        "#]].assert_eq(&page);
    }
}

//! The results of the health checks, and their page. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The results of the health checks since the agent started, or since they were reset. The checks are known, so nothing
/// that a caller makes up is counted.
#[derive(Debug, Default)]
pub(in crate::serve) struct Results(BTreeMap<&'static str, Counts>);

#[derive(Debug, Default)]
struct Counts {
    successes: u64,
    errors: u64,
    is_well: bool,
}

impl Results {
    /// Counts the result of a check, once for each time that all checks are made.
    pub(in crate::serve) fn count(&mut self, check: &'static str, is_well: bool) {
        let counts = self.0.entry(check).or_default();
        counts.is_well = is_well;
        match is_well {
            true => counts.successes += 1,
            false => counts.errors += 1,
        }
    }

    /// The page in Prometheus' text format; `started`: when the process was started, in seconds since 1970.
    pub(in crate::serve) fn page(&self, started: i64) -> String {
        let mut page = String::new();
        if !self.0.is_empty() {
            let help = "[STABLE] This metric records the result of a single healthcheck.";
            family(&mut page, "kubernetes_healthcheck", "gauge", help);
        }
        for (check, counts) in &self.0 {
            let value = u8::from(counts.is_well);
            let labels = format!("name=\"{check}\",type=\"healthz\"");
            put(
                &mut page,
                format_args!("kubernetes_healthcheck{{{labels}}} {value}\n"),
            );
        }
        if !self.0.is_empty() {
            let help = "[STABLE] This metric records the results of all healthcheck.";
            family(&mut page, "kubernetes_healthchecks_total", "counter", help);
        }
        for (check, counts) in &self.0 {
            for (status, count) in [("error", counts.errors), ("success", counts.successes)] {
                if count > 0 {
                    let labels = format!("name=\"{check}\",status=\"{status}\",type=\"healthz\"");
                    put(
                        &mut page,
                        format_args!("kubernetes_healthchecks_total{{{labels}}} {count}\n"),
                    );
                }
            }
        }
        let help = "Start time of the process since unix epoch in seconds.";
        family(&mut page, "process_start_time_seconds", "gauge", help);
        put(&mut page, format_args!("process_start_time_seconds {started}\n"));
        page
    }
}

fn family(page: &mut String, name: &str, kind: &str, help: &str) {
    put(page, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_check_has_its_last_result_and_its_counts() {
        let mut results = Results::default();
        results.count("ping", true);
        results.count("syncloop", true);
        results.count("syncloop", true);
        results.count("syncloop", false);
        expect![[r#"
            # HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.
            # TYPE kubernetes_healthcheck gauge
            kubernetes_healthcheck{name="ping",type="healthz"} 1
            kubernetes_healthcheck{name="syncloop",type="healthz"} 0
            # HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.
            # TYPE kubernetes_healthchecks_total counter
            kubernetes_healthchecks_total{name="ping",status="success",type="healthz"} 1
            kubernetes_healthchecks_total{name="syncloop",status="error",type="healthz"} 1
            kubernetes_healthchecks_total{name="syncloop",status="success",type="healthz"} 2
            # HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
            # TYPE process_start_time_seconds gauge
            process_start_time_seconds 1800000000
        "#]]
        .assert_eq(&results.page(1_800_000_000));
    }
}

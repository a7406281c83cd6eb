//! `gantry doctor`: inspects the machine before the first start and suggests a command for each failure.

pub mod verdict;
pub mod checks;
pub mod findings;
pub mod gather;
pub mod runtime;

use std::io::{self, Write};

use checks::judge;
use verdict::{Check, Verdict};

use crate::cli::Report;
use crate::config::Config;

/// Inspects, judges and prints. Returns whether the agent can be started.
pub async fn doctor(config: &Config, form: Report, out: &mut dyn Write) -> io::Result<bool> {
    let findings = gather::gather(config).await;
    let checks = judge(&findings, config);
    match form {
        Report::Text => text(&checks, out)?,
        Report::Json => json(&checks, out)?,
    }
    Ok(checks.iter().all(|check| check.verdict != Verdict::Failure))
}

fn text(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    for check in checks {
        let mark = match check.verdict {
            Verdict::Good => "ok  ",
            Verdict::Warning => "warn",
            Verdict::Failure => "FAIL",
        };
        writeln!(out, "{mark}  {:<15} {}", check.subject, check.found)?;
        if !check.remedy.is_empty() {
            writeln!(out, "      {:<15} -> {}", "", check.remedy)?;
        }
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (failures, warnings) = (count(Verdict::Failure), count(Verdict::Warning));
    match failures {
        0 => writeln!(out, "\nReady for `gantry run` ({warnings} warnings)."),
        _ => writeln!(out, "\nNot ready: {failures} failures, {warnings} warnings."),
    }
}

fn json(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    let rows: Vec<_> = checks
        .iter()
        .map(|check| {
            let verdict = match check.verdict {
                Verdict::Good => "good",
                Verdict::Warning => "warning",
                Verdict::Failure => "failure",
            };
            serde_json::json!({
                "subject": check.subject,
                "verdict": verdict,
                "found": check.found,
                "remedy": check.remedy,
            })
        })
        .collect();
    writeln!(out, "{:#}", serde_json::json!({ "checks": rows }))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn rows() -> [Check; 2] {
        let check = |subject, verdict, found: &str, remedy: &str| Check {
            subject,
            verdict,
            found: found.to_owned(),
            remedy: remedy.to_owned(),
        };
        [
            check("user", Verdict::Good, "root", ""),
            check("swap", Verdict::Failure, "on: /swapfile", "sudo swapoff -a"),
        ]
    }

    #[test]
    fn both_forms() {
        let mut out = Vec::new();
        text(&rows(), &mut out).unwrap();
        expect![[r#"
            ok    user            root
            FAIL  swap            on: /swapfile
                                  -> sudo swapoff -a

            Not ready: 1 failures, 0 warnings.
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
        let mut out = Vec::new();
        json(&rows(), &mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["checks"][1]["remedy"], "sudo swapoff -a");
    }
}

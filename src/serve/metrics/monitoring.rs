//! The rules and the dashboard for Prometheus (`packaging/monitoring/`) ask only for what is served.

use std::collections::BTreeSet;

use serde_json::Value;

use super::agent;
use super::exposition::Format;
use super::{cadvisor, probes, resource};
use crate::counters::Counters;
use crate::model::sample::stats::node;

const RULES: &str = include_str!("../../../packaging/monitoring/rules.yaml");
const DASHBOARD: &str = include_str!("../../../packaging/monitoring/dashboard.json");

/// How names of metrics begin. Anything else with an underscore in an expression is a mistake.
const PREFIXES: [&str; 6] = [
    "container_",
    "machine_",
    "kubelet_",
    "gantry_",
    "prober_",
    "process_",
];
/// Functions of Prometheus' language, and labels, with an underscore.
const OTHERS: [&str; 5] = [
    "histogram_quantile",
    "label_values",
    "operation_type",
    "probe_type",
    "container_state",
];

/// Every name that some page serves.
fn served() -> BTreeSet<String> {
    let sample = node();
    let now = sample.machine.at;
    let mut served: BTreeSet<String> = agent::served_names();
    for page in [
        cadvisor::page(Format::Text, Some(&sample), now),
        resource::page(Format::Text, Some(&sample)),
        probes::page(Format::Text, &Counters::default().probes, None),
    ] {
        let page = String::from_utf8(page).unwrap();
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        served.extend(types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())));
    }
    // A family without a sample yet.
    served.insert("prober_probe_total".to_owned());
    served
}

/// The texts below these keys, at any depth.
fn texts<'a>(value: &'a Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if keys.contains(&key.as_str()) => found.push(text),
                    value => texts(value, keys, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, keys, found)),
        _ => {}
    }
}

/// The names in an expression, without the texts in quotes.
fn names(expression: &str) -> Vec<String> {
    let unquoted: String = expression.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    let words = unquoted.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$')));
    let words = words.filter(|word| word.contains('_') && !word.starts_with('$') && !word.starts_with("__"));
    words
        .filter(|word| !OTHERS.contains(word))
        .map(str::to_owned)
        .collect()
}

/// A histogram's name without what its samples add.
fn family(name: &str) -> &str {
    let ends = ["_bucket", "_sum", "_count"];
    ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

#[test]
fn every_metric_that_rules_and_dashboard_name_is_served() {
    let rules: Value = serde_saphyr::from_str(RULES).unwrap();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let (mut expressions, mut recorded) = (Vec::new(), Vec::new());
    texts(&rules, &["expr"], &mut expressions);
    texts(&rules, &["record"], &mut recorded);
    let rules_count = expressions.len();
    texts(&dashboard, &["expr", "query"], &mut expressions);
    assert!(
        rules_count >= 8 && expressions.len() > rules_count + 15,
        "{}",
        expressions.len()
    );
    let served = served();
    let mut wrong = Vec::new();
    for expression in expressions {
        let names = names(expression);
        if names.is_empty() && expression != "prometheus" {
            wrong.push(format!("no metric in {expression}"));
        }
        for name in names {
            let is_ours = recorded.contains(&name.as_str())
                || (PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && served.contains(family(&name)));
            if !is_ours {
                wrong.push(format!("{name} is not served: {expression}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! The page of a small node.

use std::sync::Arc;

use super::*;
use crate::model::sample::stats::node;

fn lines(sample: Option<&NodeSample>) -> Vec<String> {
    let now = "2026-11-28T21:12:32Z".parse().unwrap();
    let page = page(Format::Text, sample, now);
    let text = String::from_utf8(page).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_subject_has_its_labels() {
    let sample = node();
    let lines = lines(Some(&sample));
    let container =
        r#"container="main",id="/kubepods/podu1/c1",image="demo:1",name="c1",namespace="default",pod="web""#;
    let sandbox =
        r#"container="",id="/kubepods/podu1/s1",image="pause:1",name="s1",namespace="default",pod="web""#;
    let pod = r#"container="",id="/kubepods/podu1",image="",name="",namespace="default",pod="web""#;
    let machine = r#"container="",id="/",image="",name="",namespace="",pod="""#;
    let at = sample.machine.at.as_millisecond();
    for expected in [
        format!("container_cpu_usage_seconds_total{{{container},cpu=\"total\"}} 2.5 {at}"),
        format!("container_cpu_usage_seconds_total{{{pod},cpu=\"total\"}} 2.5 {at}"),
        format!("container_cpu_usage_seconds_total{{{machine},cpu=\"total\"}} 2.5 {at}"),
        format!("container_cpu_cfs_throttled_seconds_total{{{container}}} 0.5 {at}"),
        format!("container_memory_working_set_bytes{{{container}}} 7500 {at}"),
        format!(
            "container_memory_failures_total{{{container},failure_type=\"pgfault\",scope=\"hierarchy\"}} 11 {at}"
        ),
        format!("container_spec_memory_limit_bytes{{{container}}} 20000"),
        format!("container_spec_memory_reservation_limit_bytes{{{container}}} 0"),
        format!("container_network_transmit_bytes_total{{{sandbox},interface=\"eth0\"}} 402 {at}"),
        format!("container_pressure_io_waiting_seconds_total{{{container}}} 0.000009 {at}"),
        format!("container_fs_writes_bytes_total{{{container},device=\"/dev/vda\"}} 2 {at}"),
        format!("container_fs_reads_total{{{machine},device=\"/dev/vda\"}} 70 {at}"),
        format!("container_fs_usage_bytes{{{machine},device=\"/dev/vda\"}} 600 {at}"),
        format!("container_file_descriptors{{{container}}} 6 {at}"),
        format!("container_ulimits_soft{{{container},ulimit=\"max_open_files\"}} 1024 {at}"),
        format!("container_last_seen{{{container}}} {} 1795900352000", at / 1000),
        "machine_memory_bytes{boot_id=\"boot\",machine_id=\"machine\",system_uuid=\"uuid\"} 4096".to_owned(),
        "container_scrape_error 0".to_owned(),
    ] {
        assert!(
            lines.contains(&expected),
            "{expected} is not in\n{}",
            lines.join("\n")
        );
    }
    assert_eq!(lines.iter().filter(|line| line.contains("network")).count(), 8);
}

#[test]
fn without_a_quota_nothing_is_throttled_and_without_counters_there_is_an_error() {
    let mut sample = node();
    let cgroup = sample.pods[0].containers[0].cgroup.as_mut().unwrap();
    cgroup.usage.cpu.as_mut().unwrap().limits.quota = None;
    let container = "container=\"main\"";
    let is_throttling = |line: &&String| line.contains("cfs") && line.contains(container);
    assert_eq!(lines(Some(&sample)).iter().filter(is_throttling).count(), 0);
    let facts = Arc::clone(&sample.facts);
    assert_eq!(facts.topology.sockets, 1);
    assert_eq!(
        lines(None),
        ["container_scrape_error 1", "machine_scrape_error 1"]
    );
}

#[test]
fn no_name_is_used_twice_or_listed_as_unserved() {
    let now = "2026-11-28T21:12:32Z".parse().unwrap();
    let text = String::from_utf8(page(Format::Text, Some(&node()), now)).unwrap();
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    for line in include_str!("../unserved.txt").lines() {
        let (name, reason) = line.split_once(": ").unwrap();
        assert!(!names.contains(&name) && reason.len() > 20, "{line}");
    }
}

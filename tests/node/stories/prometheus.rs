//! Debian's own Prometheus reads every page of numbers, in each format, and its promtool accepts each page.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::manifest;
use crate::node::{LONG, Node, SOON, here, http};
use crate::process::{logged, text};
use crate::wait::wait_for;
use crate::world::repository;

const AGENT: &str = "127.0.0.1:10255";
const PAGES: [&str; 5] = [
    "/metrics",
    "/metrics/cadvisor",
    "/metrics/probes",
    "/metrics/resource",
    "/metrics/slis",
];
/// How often each page is read at least.
const SCRAPES: u64 = 5;

const CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
readOnlyPort: 10255
";

/// What Prometheus counts of samples that it does not take.
const REFUSED: [&str; 7] = [
    "prometheus_target_scrapes_exceeded_body_size_limit_total",
    "prometheus_target_scrapes_exceeded_sample_limit_total",
    "prometheus_target_scrapes_sample_duplicate_timestamp_total",
    "prometheus_target_scrapes_sample_out_of_bounds_total",
    "prometheus_target_scrapes_sample_out_of_order_total",
    "prometheus_tsdb_out_of_order_samples_total",
    "prometheus_tsdb_out_of_bound_samples_total",
];

pub fn prometheus_reads_every_page_in_every_format(node: &mut Node) {
    std::fs::write(here("config.yaml"), CONFIG).expect("a private directory");
    node.flag("--config=/run/node/config.yaml");
    node.start_agent();
    let before = page("/metrics");
    let probe = "    readinessProbe: {exec: {command: [cat, /proc/self/stat]}, periodSeconds: 1}\n    \
                 livenessProbe: {exec: {command: [cat, /proc/self/stat]}, periodSeconds: 1}\n";
    node.manifest("web.yaml", &manifest::with("web", "exec sleep 1000000", probe));
    let pod = node.wait_running("web");
    let uid = pod["metadata"]["uid"]
        .as_str()
        .expect("a pod has a UID")
        .to_owned();
    the_numbers_have_moved(&before, &page("/metrics"));
    let successes = format!(
        "result=\"successful\",container=\"main\",pod=\"web-node-1\",namespace=\"default\",pod_uid=\"{uid}\""
    );
    wait_for("probes to be counted", SOON, || {
        let page = page("/metrics/probes");
        match page
            .lines()
            .any(|line| line.contains("Liveness") && line.contains(&successes))
        {
            true => Ok(()),
            false => Err(page),
        }
    });
    for path in PAGES {
        promtool_accepts(path, &page(path));
    }
    for (port, prometheus) in (9090..).zip(all_formats()) {
        prometheus.reads_every_page(port);
    }
    node.remove("web.yaml");
    node.wait_gone("web");
    wait_for("the probes of the pod to be gone", SOON, || {
        let page = page("/metrics/probes");
        match page.contains("web-node-1") {
            true => Err(page),
            false => Ok(()),
        }
    });
    node.assert_agent_lives();
}

/// The body of a page as text.
fn page(path: &str) -> String {
    let answer = wait_for("the page", SOON, || http(AGENT, path));
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .expect("an answer has a head and a body");
    assert!(head.contains(" 200 "), "{path}: {head}");
    body.to_owned()
}

/// The sum of all values of a name whose labels contain this.
fn sum(page: &str, name: &str, labels: &str) -> f64 {
    let lines = page.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels)
    });
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

fn the_numbers_have_moved(before: &str, after: &str) {
    for (name, labels) in [
        ("kubelet_started_pods_total", ""),
        ("kubelet_started_containers_total", "container_type=\"container\""),
        ("kubelet_containers_per_pod_count_count", ""),
        ("kubelet_pod_start_duration_seconds_count", ""),
        (
            "kubelet_pod_worker_duration_seconds_count",
            "operation_type=\"create\"",
        ),
        ("kubelet_pod_worker_start_duration_seconds_count", ""),
        (
            "kubelet_runtime_operations_total",
            "operation_type=\"run_podsandbox\"",
        ),
        (
            "kubelet_runtime_operations_total",
            "operation_type=\"start_container\"",
        ),
        ("kubelet_run_podsandbox_duration_seconds_count", ""),
        (
            "kubelet_image_manager_ensure_image_requests_total",
            "present_locally=\"true\"",
        ),
        (
            "kubelet_cgroup_manager_duration_seconds_count",
            "operation_type=\"create\"",
        ),
        ("kubelet_desired_pods", "static=\"true\""),
        ("kubelet_running_pods", ""),
        (
            "kubelet_http_requests_total",
            "path=\"metrics\",server_type=\"readonly\"",
        ),
    ] {
        let (was, is) = (sum(before, name, labels), sum(after, name, labels));
        assert!(is > was, "{name}{{{labels}}} was {was} and is {is}:\n{after}");
    }
    for name in [
        "kubelet_pleg_relist_duration_seconds_count",
        "kubelet_pleg_last_seen_seconds",
    ] {
        assert!(sum(after, name, "") > 0.0, "{name}:\n{after}");
    }
    assert_eq!(
        sum(after, "kubelet_started_pods_errors_total", ""),
        0.0,
        "{after}"
    );
}

fn program(name: &str) -> PathBuf {
    repository().join("target/prometheus/usr/bin").join(name)
}

/// `promtool check metrics` exits with 3 where it dislikes a name: those are the kubelet's.
fn promtool_accepts(path: &str, page: &str) {
    let mut child = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tests/setup/prometheus.sh has unpacked promtool");
    let mut input = child.stdin.take().expect("a pipe");
    input
        .write_all(page.as_bytes())
        .expect("promtool reads its input");
    drop(input);
    let output = child.wait_with_output().expect("promtool ends");
    let accepts = matches!(output.status.code(), Some(0 | 3));
    assert!(accepts, "{path}: {}", text(&output));
}

/// A Prometheus, and which formats it asks for.
struct Prometheus {
    /// `scrape_protocols`, or the name of what it asks for by itself.
    format: &'static str,
    /// A line of its configuration for each page.
    setting: String,
    /// Its further arguments.
    arguments: &'static [&'static str],
}

/// One for each format. Before 2.49 Prometheus cannot be told what to ask for: by itself it prefers OpenMetrics, with
/// native histograms protobuf, and only promtool reads the text.
fn all_formats() -> Vec<Prometheus> {
    let version = Command::new(program("prometheus")).arg("--version").output();
    let version = text(&version.expect("tests/setup/prometheus.sh has unpacked prometheus"));
    let number = version.split("version ").nth(1).expect("it shows its version");
    let mut parts = number
        .split(['.', '+', ' '])
        .filter_map(|part| part.parse::<u32>().ok());
    let is_old = (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (2, 49);
    if is_old {
        let by_itself = |format, arguments| Prometheus {
            format,
            setting: String::new(),
            arguments,
        };
        return vec![
            by_itself("openmetrics", &[]),
            by_itself("protobuf", &["--enable-feature=native-histograms"]),
        ];
    }
    let asking = |format| Prometheus {
        format,
        setting: format!("  scrape_protocols: [{format}]\n"),
        arguments: &[],
    };
    vec![
        asking("PrometheusText0.0.4"),
        asking("OpenMetricsText1.0.0"),
        asking("PrometheusProto"),
    ]
}

impl Prometheus {
    fn configuration(&self) -> String {
        let mut text = "global: {scrape_interval: 2s}\nscrape_configs:\n".to_owned();
        for path in PAGES {
            text.push_str(&format!(
                "- job_name: {path}\n  metrics_path: {path}\n{}  static_configs: [{{targets: ['{AGENT}']}}]\n",
                self.setting
            ));
        }
        text
    }

    /// Runs it until it has read each page several times, and all went well.
    fn reads_every_page(&self, port: u16) {
        let (config, data, log) = (
            here(&format!("{}.yaml", self.format)),
            here(&format!("{}.data", self.format)),
            format!("{}.log", self.format),
        );
        std::fs::write(&config, self.configuration()).expect("a private directory");
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(program("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .args(self.arguments);
        let mut prometheus = logged(&mut command, &log);
        let read_log = || std::fs::read_to_string(here(&log)).unwrap_or_default();
        let begun = Instant::now();
        wait_for(&format!("{} to be read", self.format), LONG, || {
            all_are_up(&address).map_err(|error| format!("{error}\n{}", read_log()))
        });
        assert!(
            begun.elapsed() > Duration::from_secs(SCRAPES - 1),
            "the pages were read once a second"
        );
        let own = http(&address, "/metrics").expect("Prometheus shows its own numbers");
        for name in REFUSED {
            assert_eq!(
                sum(&own, name, ""),
                0.0,
                "{}: {name}:\n{}",
                self.format,
                read_log()
            );
        }
        let log = read_log();
        let complaints: Vec<_> = log.lines().filter(|line| complains(line)).collect();
        assert!(
            complaints.is_empty(),
            "{}: {}",
            self.format,
            complaints.join("\n")
        );
        let _ = prometheus.kill();
        let _ = prometheus.wait();
    }
}

fn complains(line: &str) -> bool {
    ["level=warn", "level=error", "level=WARN", "level=ERROR"]
        .iter()
        .any(|level| line.contains(level))
}

/// Whether each page was read several times, each time with success.
fn all_are_up(address: &str) -> Result<(), String> {
    let targets = query(address, "/api/v1/targets?state=active")?;
    let targets = targets["activeTargets"].as_array().cloned().unwrap_or_default();
    let well = targets
        .iter()
        .filter(|target| target["health"] == "up" && target["lastError"] == "");
    if well.count() != PAGES.len() {
        return Err(format!("{targets:#?}"));
    }
    for (function, least) in [("min_over_time", 1), ("count_over_time", SCRAPES)] {
        let results = query(address, &format!("/api/v1/query?query={function}(up%5B1m%5D)"))?;
        let results = results["result"].as_array().cloned().unwrap_or_default();
        let value = |result: &Value| result["value"][1].as_str()?.parse::<u64>().ok();
        let enough = results
            .iter()
            .filter(|result| value(result).is_some_and(|value| value >= least));
        if enough.count() != PAGES.len() {
            return Err(format!("{function}: {results:#?}"));
        }
    }
    Ok(())
}

/// What an answer of Prometheus' API is about.
fn query(address: &str, path: &str) -> Result<Value, String> {
    let answer = http(address, path)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let answer: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))?;
    Ok(answer["data"].clone())
}

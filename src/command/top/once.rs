//! `gantry top --once`: the use of an interval, as a table or JSON.

use std::io::Write;

use super::amounts::{UNKNOWN, bytes, cpu, percent, share};
use super::answers::{self, Answers};
use super::options::Options;
use super::rates::{Measures, Traffic};
use super::rows::{NodeRow, PodRow, Rows};
use super::sort::{self, Order};
use super::state::Containers;
use crate::command::client::Client;
use crate::command::table::Table;
use crate::command::{CommandError, get, print};

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A table.
    Table,
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
}

/// Measures and writes the result.
pub async fn run(
    client: &Client,
    options: &Options,
    form: Form,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let namespace = options.namespace.as_deref();
    let mut history = Answers::new(answers::ask(client, namespace).await?);
    tokio::time::sleep(options.interval).await;
    history.add(answers::ask(client, namespace).await?);
    print(out, &text(&history.rows(), options, form)?)
}

fn text(rows: &Rows, options: &Options, form: Form) -> Result<String, CommandError> {
    let mut pods: Vec<&PodRow> = rows.pods.iter().collect();
    sort::sort(&mut pods, options.sort, Order::Usual);
    if form == Form::Json {
        let sorted = Rows {
            node: rows.node.clone(),
            pods: pods.into_iter().cloned().collect(),
        };
        let value = serde_json::to_value(sorted).map_err(|error| CommandError::Answer(error.into()))?;
        return get::json_text(&value);
    }
    let node = node_table(&rows.node, form);
    match pods.is_empty() {
        true => Ok(node),
        false => Ok(format!("{node}\n{}", pod_table(&pods, options.containers, form))),
    }
}

/// The headings of what is measured of the node, a pod and a container alike.
fn headings(form: Form) -> &'static [&'static str] {
    match form {
        Form::Wide => &[
            "CPU",
            "CPU-LIMIT",
            "CPU%",
            "THROTTLED",
            "MEMORY",
            "MEMORY-LIMIT",
            "MEMORY%",
            "PSI-CPU",
            "PSI-MEMORY",
            "PSI-IO",
        ],
        Form::Table | Form::Json => &["CPU", "CPU%", "THROTTLED", "MEMORY", "MEMORY%", "PSI"],
    }
}

fn cells(measures: &Measures, form: Form) -> Vec<String> {
    let (used, limit) = (measures.cpu_nano_cores, measures.cpu_limit_nano_cores);
    let (memory, memory_limit) = (measures.memory_bytes, measures.memory_limit_bytes);
    let pressure = measures.pressure;
    let cpu_share = percent(share(used, limit));
    let memory_share = percent(share(memory, memory_limit));
    let throttled = percent(measures.throttled_percent);
    match form {
        Form::Wide => vec![
            cpu(used),
            cpu(limit),
            cpu_share,
            throttled,
            bytes(memory),
            bytes(memory_limit),
            memory_share,
            percent(pressure.cpu),
            percent(pressure.memory),
            percent(pressure.io),
        ],
        Form::Table | Form::Json => vec![
            cpu(used),
            cpu_share,
            throttled,
            bytes(memory),
            memory_share,
            percent(pressure.greatest()),
        ],
    }
}

fn node_table(node: &NodeRow, form: Form) -> String {
    let mut table = Table::new(&[&["NODE"], headings(form)].concat());
    table.row([vec![node.name.clone()], cells(&node.measures, form)].concat());
    table.text("")
}

fn pod_table(pods: &[&PodRow], containers: Containers, form: Form) -> String {
    let with_namespace = pods.iter().any(|pod| pod.namespace != pods[0].namespace);
    let with_containers = containers == Containers::Shown;
    let mut first = vec!["NAME"];
    if with_namespace {
        first.insert(0, "NAMESPACE");
    }
    if with_containers {
        first.push("CONTAINER");
    }
    first.extend(["STATUS", "RESTARTS"]);
    let last: &[&str] = &["RX/S", "TX/S"];
    let mut table = Table::new(&[&first, headings(form), last].concat());
    for pod in pods {
        let mut row = |container: &str, status: &Option<String>, restarts: Option<i32>, measures, last| {
            let mut cells_of_row = vec![pod.name.clone()];
            if with_namespace {
                cells_of_row.insert(0, pod.namespace.clone());
            }
            if with_containers {
                cells_of_row.push(container.to_owned());
            }
            cells_of_row.push(or_unknown(status.clone()));
            cells_of_row.push(or_unknown(restarts.map(|count| count.to_string())));
            table.row([cells_of_row, cells(measures, form), last].concat());
        };
        let network = traffic(pod.network);
        row("(pod)", &pod.status, pod.restarts, &pod.measures, network);
        for container in pod.containers.iter().filter(|_| with_containers) {
            // The network is the pod's.
            let none = vec![UNKNOWN.to_owned(); 2];
            row(
                &container.name,
                &container.status,
                container.restarts,
                &container.measures,
                none,
            );
        }
    }
    table.text("")
}

fn traffic(network: Option<Traffic>) -> Vec<String> {
    vec![
        bytes(network.map(|traffic| traffic.received_bytes_per_second)),
        bytes(network.map(|traffic| traffic.sent_bytes_per_second)),
    ]
}

fn or_unknown(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::cli::top::SortKey;
    use crate::command::top::{rows, sample};

    fn check(change: impl FnOnce(&mut Rows, &mut Options, &mut Form), expected: Expect) {
        let now = "2026-11-29T00:00:00Z".parse().unwrap();
        let mut rows = rows::rows(Some(&sample::top(0)), &sample::top(1000), &sample::pods(), now);
        let mut options = Options {
            namespace: None,
            sort: SortKey::Cpu,
            containers: Containers::Hidden,
            interval: Duration::from_secs(1),
        };
        let mut form = Form::Table;
        change(&mut rows, &mut options, &mut form);
        expected.assert_eq(&text(&rows, &options, form).unwrap());
    }

    #[test]
    fn a_table_has_the_node_and_its_pods() {
        check(
            |_, _, _| {},
            expect![[r#"
            NODE   CPU    CPU%   THROTTLED   MEMORY   MEMORY%   PSI
            vm     900m   45%    -           3.0Gi    75%       12%

            NAME          STATUS             RESTARTS   CPU    CPU%   THROTTLED   MEMORY   MEMORY%   PSI   RX/S   TX/S
            web-vm        Running            3          250m   62%    50%         50Mi     25%       12%   1000   500
            crashing-vm   CrashLoopBackOff   12         -      -      -           -        -         -     -      -
        "#]],
        );
    }

    #[test]
    fn wide_has_limits_and_every_pressure() {
        check(
            |_, _, form| *form = Form::Wide,
            expect![[r#"
            NODE   CPU    CPU-LIMIT   CPU%   THROTTLED   MEMORY   MEMORY-LIMIT   MEMORY%   PSI-CPU   PSI-MEMORY   PSI-IO
            vm     900m   2000m       45%    -           3.0Gi    4.0Gi          75%       1.5%      0%           12%

            NAME          STATUS             RESTARTS   CPU    CPU-LIMIT   CPU%   THROTTLED   MEMORY   MEMORY-LIMIT   MEMORY%   PSI-CPU   PSI-MEMORY   PSI-IO   RX/S   TX/S
            web-vm        Running            3          250m   400m        62%    50%         50Mi     200Mi          25%       1.5%      0%           12%      1000   500
            crashing-vm   CrashLoopBackOff   12         -      -           -      -           -        -              -         -         -            -        -      -
        "#]],
        );
    }

    #[test]
    fn containers_follow_their_pod_and_namespaces_are_shown_if_there_are_several() {
        check(
            |rows, options, _| {
                options.containers = Containers::Shown;
                options.sort = SortKey::Restarts;
                rows.pods[0].namespace = "other".to_owned();
            },
            expect![[r#"
                NODE   CPU    CPU%   THROTTLED   MEMORY   MEMORY%   PSI
                vm     900m   45%    -           3.0Gi    75%       12%

                NAMESPACE   NAME          CONTAINER   STATUS             RESTARTS   CPU    CPU%   THROTTLED   MEMORY   MEMORY%   PSI   RX/S   TX/S
                other       crashing-vm   (pod)       CrashLoopBackOff   12         -      -      -           -        -         -     -      -
                other       crashing-vm   main        CrashLoopBackOff   12         -      -      -           -        -         -     -      -
                default     web-vm        (pod)       Running            3          250m   62%    50%         50Mi     25%       12%   1000   500
                default     web-vm        main        Running            3          200m   100%   50%         50Mi     25%       12%   -      -
                default     web-vm        proxy       Running            0          50m    25%    50%         50Mi     25%       12%   -      -
            "#]],
        );
    }

    #[test]
    fn no_pods() {
        check(
            |rows, _, _| rows.pods.clear(),
            expect![[r#"
            NODE   CPU    CPU%   THROTTLED   MEMORY   MEMORY%   PSI
            vm     900m   45%    -           3.0Gi    75%       12%
        "#]],
        );
    }

    #[test]
    fn json_has_null_for_what_is_not_known() {
        check(
            |rows, _, form| {
                *form = Form::Json;
                rows.pods[1].containers.truncate(1);
            },
            expect![[r#"
                {
                    "node": {
                        "cpuLimitNanoCores": 2000000000,
                        "cpuNanoCores": 900000000,
                        "memoryBytes": 3221225472,
                        "memoryLimitBytes": 4294967296,
                        "name": "vm",
                        "network": [
                            {
                                "name": "eth0",
                                "receivedBytesPerSecond": 1000000,
                                "sentBytesPerSecond": 500000
                            }
                        ],
                        "pressure": {
                            "cpu": 1.5,
                            "io": 12.25,
                            "memory": 0.0
                        },
                        "throttledPercent": null
                    },
                    "pods": [
                        {
                            "containers": [
                                {
                                    "cpuLimitNanoCores": 200000000,
                                    "cpuNanoCores": 200000000,
                                    "memoryBytes": 52428800,
                                    "memoryLimitBytes": 209715200,
                                    "name": "main",
                                    "pressure": {
                                        "cpu": 1.5,
                                        "io": 12.25,
                                        "memory": 0.0
                                    },
                                    "restarts": 3,
                                    "status": "Running",
                                    "throttledPercent": 50.0
                                }
                            ],
                            "cpuLimitNanoCores": 400000000,
                            "cpuNanoCores": 250000000,
                            "memoryBytes": 52428800,
                            "memoryLimitBytes": 209715200,
                            "name": "web-vm",
                            "namespace": "default",
                            "network": {
                                "receivedBytesPerSecond": 1000,
                                "sentBytesPerSecond": 500
                            },
                            "pressure": {
                                "cpu": 1.5,
                                "io": 12.25,
                                "memory": 0.0
                            },
                            "ready": "2/2",
                            "restarts": 3,
                            "status": "Running",
                            "throttledPercent": 50.0,
                            "uid": "u1"
                        },
                        {
                            "containers": [
                                {
                                    "cpuLimitNanoCores": null,
                                    "cpuNanoCores": null,
                                    "memoryBytes": null,
                                    "memoryLimitBytes": null,
                                    "name": "main",
                                    "pressure": {
                                        "cpu": null,
                                        "io": null,
                                        "memory": null
                                    },
                                    "restarts": 12,
                                    "status": "CrashLoopBackOff",
                                    "throttledPercent": null
                                }
                            ],
                            "cpuLimitNanoCores": null,
                            "cpuNanoCores": null,
                            "memoryBytes": null,
                            "memoryLimitBytes": null,
                            "name": "crashing-vm",
                            "namespace": "default",
                            "network": null,
                            "pressure": {
                                "cpu": null,
                                "io": null,
                                "memory": null
                            },
                            "ready": "0/1",
                            "restarts": 12,
                            "status": "CrashLoopBackOff",
                            "throttledPercent": null,
                            "uid": "u2"
                        }
                    ]
                }
            "#]],
        );
    }
}

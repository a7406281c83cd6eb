//! What went wrong in other node agents and node networks and got a number, and where it is seen that it does not go wrong
//! here. Each number has a file of its name in the least tier that can see it, and the tests in it begin with the number.
//! `overview` holds this table to the files.
//!
//! | number | what went wrong | tests, or why there are none |
//! |---|---|---|
//! | 2017-1002101 | a part of a volume was a link out of it | `src/act/tests/cve_2017_1002101.rs` |
//! | 2017-1002102 | a volume's removal followed links and mounts | `src/act/tests/cve_2017_1002102.rs` |
//! | 2018-1002105 | an upgraded connection was used for more | `tests/suite/cve/cve_2018_1002105.rs` |
//! | 2019-11245 | a restarted container ran as root | `tests/suite/cve/cve_2019_11245.rs` |
//! | 2019-11248 | profiling was open on the health port | `tests/suite/cve/cve_2019_11248.rs` |
//! | 2019-11253 | a small YAML text took all memory | `tests/suite/cve/cve_2019_11253.rs` |
//! | 2020-8551 | made-up requests were counted each by itself | `src/serve/node_api/tests/cve_2020_8551.rs` |
//! | 2020-8552 | requests of strangers filled memory | `tests/suite/cve/cve_2020_8552.rs` |
//! | 2020-8557 | a pod's /etc/hosts filled the disk | `tests/suite/cve/cve_2020_8557.rs` |
//! | 2020-8558 | neighbours reached the host's loopback | `cni-plugins/tests/cve_2020_8558.rs` |
//! | 2020-8559 | a redirect was followed to another host | `tests/suite/cve/cve_2020_8559.rs` |
//! | 2020-10749 | a pod's router advertisements moved routes | `cni-plugins/tests/cve_2020_10749.rs` |
//! | 2021-20206 | a plugin's name led to another program | `cni-plugins/tests/cve_2021_20206.rs` |
//! | 2021-25735 | fields of objects were trusted | `tests/suite/cve/cve_2021_25735.rs` |
//! | 2021-25736 | a port of the node led to local processes | does not apply: it is of kube-proxy on Windows. |
//! | 2021-25737 | endpoints led to loopback addresses | does not apply: no endpoints are read, as 2021-25740's test sees. |
//! | 2021-25738 | a YAML text made objects of any class | does not apply: it is of the Java client; YAML is data alone here. |
//! | 2021-25739 | not known | does not apply: we know of nothing that was published under this number. |
//! | 2021-25740 | endpoints led into other namespaces | `tests/suite/cve/cve_2021_25740.rs` |
//! | 2021-25741 | a part of a volume was swapped for a link | `src/act/tests/cve_2021_25741.rs`, `tests/node/stories/cve_2021_25741.rs` |
//! | 2021-25742 | snippets of an Ingress gave its controller's secrets | does not apply: no Ingress is read. |
//! | 2021-25743 | escapes in objects commanded the terminal | `tests/suite/cve/cve_2021_25743.rs` |
//! | 2022-3294 | addresses that a Node states were believed | `tests/suite/cve/cve_2022_3294.rs` |
//! | 2022-41723 | compressed headers of HTTP/2 took all time | `src/serve/node_api/tests/cve_2022_41723.rs` |
//! | 2023-2431 | an empty name of a profile meant no profile | `src/manifest/tests/cve/cve_2023_2431.rs` |
//! | 2023-2727 | ephemeral containers ran forbidden images | `src/manifest/tests/cve/cve_2023_2727.rs` |
//! | 2023-2728 | ephemeral containers got any secret | `src/manifest/tests/cve/cve_2023_2728.rs` |
//! | 2023-3676 | a part's path was run by a shell | `tests/suite/cve/cve_2023_3676.rs`, `src/act/tests/cve_2023_3676.rs` |
//! | 2023-5528 | a volume's path was run by a shell | `tests/suite/cve/cve_2023_5528.rs` |
//! | 2024-10220 | a gitRepo volume ran the repository's hooks | `src/manifest/tests/cve/cve_2024_10220.rs` |
//! | 2025-0426 | requests for checkpoints filled the disk | `src/serve/node_api/tests/cve_2025_0426.rs` |
//! | 2025-1767 | a gitRepo volume read other pods' files | `src/manifest/tests/cve/cve_2025_1767.rs` |
//! | 2025-4563 | a mirror pod got devices of a claim | `src/manifest/tests/cve/cve_2025_4563.rs` |
//! | none | exec by WebSocket asked for `get` alone | `src/serve/node_api/tests/exec_by_websocket.rs` |
//! | none | links in the log directory led to any file of the node | `src/serve/node_api/tests/system_logs.rs` |

mod cve_2018_1002105;
mod cve_2019_11245;
mod cve_2019_11248;
mod cve_2019_11253;
mod cve_2020_8552;
mod cve_2020_8557;
mod cve_2020_8559;
mod cve_2021_25735;
mod cve_2021_25740;
mod cve_2021_25743;
mod cve_2022_3294;
mod cve_2023_3676;
mod cve_2023_5528;
mod overview;

//! Which of the endpoints that the kubelet can disable are served. Pure.

use super::raw::KubeletConfiguration;

/// What the node's API offers besides pods and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// `/flagz` (the feature gate `ComponentFlagz`).
    pub flagz: bool,
    /// `/statusz` (the feature gate `ComponentStatusz`).
    pub statusz: bool,
    /// `/checkpoint/` (the feature gate `ContainerCheckpoint`).
    pub checkpoint: bool,
    /// `/logs/`
    pub system_logs: SystemLogs,
    /// `/debug/pprof/` (`enableProfilingHandler`).
    pub profiling: bool,
    /// `/debug/flags/v` (`enableDebugFlagsHandler`).
    pub debug_flags: bool,
}

/// What `/logs/` serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemLogs {
    /// Nothing (`enableSystemLogHandler: false`).
    Off,
    /// Files.
    Files,
    /// Files, and queries of the journal (`enableSystemLogQuery: true`).
    FilesAndQueries,
}

/// The configuration section of this name. All three gates are on by default in v1.36.
pub(super) fn offered(written: &KubeletConfiguration) -> Offered {
    let gates = written.feature_gates.as_ref();
    let is_on = |gate: &str| gates.and_then(|gates| gates.get(gate)) != Some(&false);
    Offered {
        flagz: is_on("ComponentFlagz"),
        statusz: is_on("ComponentStatusz"),
        checkpoint: is_on("ContainerCheckpoint"),
        system_logs: match (written.enable_system_log_handler, written.enable_system_log_query) {
            (Some(false), _) => SystemLogs::Off,
            (_, Some(true)) => SystemLogs::FilesAndQueries,
            (_, _) => SystemLogs::Files,
        },
        profiling: written.enable_profiling_handler != Some(false),
        debug_flags: written.enable_debug_flags_handler != Some(false),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_not_disabled_is_served_and_no_journal_unless_it_is_enabled() {
        let check = |written: Value, expected: Offered| {
            let configuration = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(offered(&configuration), expected, "{written}");
        };
        let usual = Offered {
            flagz: true,
            statusz: true,
            checkpoint: true,
            system_logs: SystemLogs::Files,
            profiling: true,
            debug_flags: true,
        };
        let logs = |system_logs| Offered { system_logs, ..usual };
        check(json!({}), usual);
        check(json!({"enableSystemLogHandler": false}), logs(SystemLogs::Off));
        let both = json!({"enableSystemLogHandler": true, "enableSystemLogQuery": true});
        check(both, logs(SystemLogs::FilesAndQueries));
        check(
            json!({"featureGates": {"ComponentFlagz": false}}),
            Offered {
                flagz: false,
                ..usual
            },
        );
        check(
            json!({"featureGates": {"ComponentStatusz": false}}),
            Offered {
                statusz: false,
                ..usual
            },
        );
        check(
            json!({"enableProfilingHandler": false}),
            Offered {
                profiling: false,
                ..usual
            },
        );
        check(
            json!({"enableDebugFlagsHandler": false, "enableProfilingHandler": true}),
            Offered {
                debug_flags: false,
                ..usual
            },
        );
        let gates = json!({"featureGates": {"ContainerCheckpoint": false, "ComponentFlagz": true}});
        check(
            gates,
            Offered {
                checkpoint: false,
                ..usual
            },
        );
    }
}

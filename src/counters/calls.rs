//! Calls of the container runtime (`pkg/kubelet/kuberuntime/instrumented_services.go`).

use std::time::Duration;

use super::buckets;
use super::family::{Counter, Distribution, Family, Head};

/// How the kubelet calls the operation that creates a sandbox.
const RUN_SANDBOX: &str = "run_podsandbox";

/// What was called, how long it took, and how often it failed.
#[derive(Debug)]
pub struct RuntimeCalls {
    total: Counter<1>,
    errors: Counter<1>,
    seconds: Distribution<1>,
    sandbox_seconds: Distribution<1>,
    sandbox_errors: Counter<1>,
}

impl Default for RuntimeCalls {
    fn default() -> Self {
        let labels = ["operation_type"];
        let handler = ["runtime_handler"];
        RuntimeCalls {
            total: Counter::new(Head {
                name: "kubelet_runtime_operations_total",
                help: "How many operations of the container runtime were called, by operation.",
                labels,
            }),
            errors: Counter::new(Head {
                name: "kubelet_runtime_operations_errors_total",
                help: "How many operations of the container runtime failed, by operation.",
                labels,
            }),
            seconds: Distribution::new(
                Head {
                    name: "kubelet_runtime_operations_duration_seconds",
                    help: "How long operations of the container runtime took in seconds, by operation.",
                    labels,
                },
                buckets::RUNTIME,
            ),
            sandbox_seconds: Distribution::new(
                Head {
                    name: "kubelet_run_podsandbox_duration_seconds",
                    help: "How long the creation of pod sandboxes took in seconds, by the handler of the RuntimeClass.",
                    labels: handler,
                },
                buckets::DEFAULT,
            ),
            sandbox_errors: Counter::new(Head {
                name: "kubelet_run_podsandbox_errors_total",
                help: "How many pod sandboxes could not be created, by the handler of the RuntimeClass.",
                labels: handler,
            }),
        }
    }
}

impl RuntimeCalls {
    /// A call has ended; `operation` is the kubelet's name for it.
    pub fn ended(&self, operation: &'static str, took: Duration, failed: bool) {
        self.total.count([operation.into()]);
        self.seconds.observe([operation.into()], took.as_secs_f64());
        if failed {
            self.errors.count([operation.into()]);
        }
    }

    /// A call that creates a sandbox has ended; `handler` is the RuntimeClass' one, empty for the default.
    pub fn ran_sandbox(&self, handler: &str, took: Duration, failed: bool) {
        self.ended(RUN_SANDBOX, took, failed);
        self.sandbox_seconds
            .observe([handler.to_owned().into()], took.as_secs_f64());
        if failed {
            self.sandbox_errors.count([handler.to_owned().into()]);
        }
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![
            &self.total,
            &self.errors,
            &self.seconds,
            &self.sandbox_seconds,
            &self.sandbox_errors,
        ]
    }
}

//! `/debug/`: the verbosity of the log (`/debug/flags/v`), and Go's profiles (`/debug/pprof/`), which there are none of.
//! Only the node's authenticated port has them (CVE-2019-11248).

pub(super) mod endpoint;
pub(super) mod verbosity;

//! The types that all modules share, and the contract between `plan` and `act`.
//!
//! Pure: nothing here performs I/O, reads a clock or knows another room. Values are parsed once, at the border
//! (`source`, `config`, `observe`), into the types of this room and are never parsed again.
//! Kubernetes' own data types appear where a value leaves us in exactly that form: a CRI message in a
//! [`step::Step`], the API object of a [`pod::Pod`] that is shown to people.

pub mod added;
pub mod age;
pub mod allocation;
pub mod api;
pub mod asking;
pub mod backoff;
pub mod bounds;
pub mod changes;
pub mod checkpoint;
pub mod credential_provider;
pub mod csi;
pub mod csi_request;
pub mod difference;
pub mod driver;
pub mod duration;
pub mod end;
pub mod error_chain;
pub mod env_file;
pub mod event;
pub(crate) mod expand;
pub mod expansion;
pub mod feature_gate;
pub mod foreign_status;
pub mod health;
pub mod host_path;
pub mod image_progress;
pub mod image_ref;
pub mod image_work;
pub mod labels;
pub mod last_logged;
pub mod manifest_edit;
pub mod memory;
pub mod mounted;
pub mod node;
pub(crate) mod node_row;
pub mod object;
pub mod outcome;
pub mod overlay;
pub mod persistent;
pub mod placement;
pub mod pod_name;
pub mod pod_restart;
pub(crate) mod pod_row;
pub mod pod;
pub mod pod_network;
pub mod port;
pub mod collector;
pub mod container;
pub mod security;
pub mod volume;
pub mod problem;
pub mod projects;
pub mod desired;
pub mod probe;
pub mod pull_policy;
pub mod pull_record;
pub mod quantity;
pub mod reason;
pub mod reference;
pub mod registry;
pub mod report;
pub mod request;
pub mod resources;
pub mod restart;
pub mod run_as;
pub mod runtime;
pub mod service;
pub mod shutdown;
pub mod span;
pub mod stated;
pub mod stats;
pub mod step;
pub mod stop_signal;
pub mod timeline;
pub mod tls;
pub mod usage;
pub mod value;
pub mod yaml;
#[cfg(test)]
pub(crate) mod sample;

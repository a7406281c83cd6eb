//! gantry, a node agent for Kubernetes. ARCHITECTURE.md is the map.

pub mod act;
pub mod agent;
pub mod ask;
pub mod bulkhead;
pub mod cgroup;
pub mod cli;
pub mod command;
pub mod config;
pub mod counters;
pub mod cri;
pub mod disk;
pub mod identity;
pub mod images;
pub mod manifest;
pub mod model;
pub mod network;
pub mod observe;
pub mod plan;
pub mod publish;
pub mod reconcile;
pub mod report;
pub mod serve;
pub mod source;
pub mod stats;
pub mod status;
pub mod trace;

//! Statuses as a whole: what a kubelet published of the same pods.

mod golden;

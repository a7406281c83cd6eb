//! Plans as a whole: that they converge in the [`world`] whatever happens, and that they send what a kubelet sent.

mod converge;
mod restart_all;
mod golden;
mod node;
mod world;

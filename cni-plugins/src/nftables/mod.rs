//! nf_tables without the `nft` program: tables as values, and transactions that bring them into the kernel
//! (linux/netfilter/nf_tables.h; man 8 nft shows the same objects as text).
//!
//! A change that depends on what is there carries the generation of the rule set it was computed from. The kernel
//! refuses it if anybody changed anything in between, and the caller looks again: no lock is needed, and nothing
//! that belongs to somebody else is ever deleted by mistake.

pub mod family;
pub mod expr;
pub mod ruleset;
pub mod transaction;

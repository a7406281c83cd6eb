//! nf_tables without the `nft` program: tables as values, and transactions that apply them to the kernel
//! (linux/netfilter/nf_tables.h; man 8 nft shows the same objects as text).
//!
//! A change that depends on the current rule set carries the generation that it was computed from. The kernel rejects
//! it if anything has changed since, and the caller computes it again: no lock is needed, and nothing that belongs to
//! another program is ever deleted by mistake.

pub mod family;
pub mod expr;
pub mod header;
pub mod ruleset;
pub mod chains;
pub mod transaction;

//! Stays in another namespace, against a real kernel.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gantry_cni::netns;
use support::{Netns, isolated};

#[test]
fn a_visit_ends_in_its_own_namespace_however_it_ends() {
    isolated("a_visit_ends_in_its_own_namespace_however_it_ends", |_| {
        let here = || std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        let (own, other) = (here(), Netns::new());
        let namespace = File::open(&other.path).unwrap();
        let there = netns::visit(&namespace, here).unwrap();
        assert_ne!(there, own);
        assert_eq!(here(), own);
        let failed: Result<u8, String> = netns::visit(&namespace, || Err("no".to_string())).unwrap();
        assert!(failed.is_err());
        assert_eq!(here(), own);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            netns::visit(&namespace, || panic!("on purpose"))
        }));
        assert!(panicked.is_err());
        assert_eq!(here(), own);
        // What is no namespace is not entered.
        assert!(netns::visit(&File::open("/dev/null").unwrap(), here).is_err());
        assert_eq!(here(), own);
    });
}

//! A runner that is asked to end (by Ctrl-C, by `timeout`, with its terminal) first takes away what it made outside its
//! own process: it ends its children, waits until their worlds are removed, and exits with 128 and the signal's number.

// No binary uses all of it.
#![allow(dead_code)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::wait::STEP;

/// The signals that end a runner.
pub const SIGNALS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

static ASKED: AtomicBool = AtomicBool::new(false);
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Begins to watch for these signals, except for those that `nohup`, or a shell in the background, had this process
/// ignore. The handlers are this process's own: programs that it starts have the default ones.
pub fn watch() {
    let ignored = ignored();
    let watched = SIGNALS
        .into_iter()
        .filter(move |signal| !ignored.contains(signal));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    // From here on no signal ends this process by itself.
    let watched: Vec<_> = runtime.block_on(async {
        let handler = |kind: Signal| signal(SignalKind::from_raw(kind as i32)).expect("a handler can be set");
        watched.map(|kind| (kind, handler(kind))).collect()
    });
    std::thread::spawn(move || {
        let asked = runtime.block_on(async {
            let waits = watched.into_iter().map(|(kind, mut handler)| async move {
                handler.recv().await;
                kind
            });
            waits.collect::<FuturesUnordered<_>>().next().await
        });
        let Some(asked) = asked else { return };
        ASKED.store(true, Ordering::SeqCst);
        while HELD.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(STEP);
        }
        std::process::exit(128 + asked as i32);
    });
}

/// Those of the signals that this process ignores.
fn ignored() -> Vec<Signal> {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel describes this process");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let mask = mask.expect("the kernel lists ignored signals");
    let is_ignored = |signal: &Signal| mask & (1 << (*signal as i32 - 1)) != 0;
    SIGNALS.into_iter().filter(is_ignored).collect()
}

/// Whether the runner was asked to end: whoever waits for a child then ends it.
pub fn is_asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Holds the end of the process up until it is dropped.
pub struct Hold(());

impl Hold {
    /// For what is made next. Does not return once the end was asked for: nothing new is begun.
    pub fn new() -> Hold {
        HELD.fetch_add(1, Ordering::SeqCst);
        let hold = Hold(());
        if is_asked() {
            drop(hold);
            unreachable!("the process has ended");
        }
        hold
    }
}

impl Drop for Hold {
    /// Does not return once the end was asked for: the process ends, and nothing is reported of what was cut short.
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::SeqCst);
        while is_asked() {
            std::thread::sleep(STEP);
        }
    }
}

//! The plugin binary: `bridge`, `host-local` or another plugin, selected by the name it is called by (a link in
//! `/opt/cni/bin`) or by its first argument. The only place that prints.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use gantry_cni::skel::{Output, Plugin, run};

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let called = arguments.next().unwrap_or_default();
    let called = Path::new(&called)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
        .to_string();
    let plugin = Plugin::by_name(&called).or_else(|| Plugin::by_name(&arguments.next()?));
    let output = match plugin {
        Some(plugin) => run(plugin, &|name| std::env::var(name).ok(), &mut std::io::stdin()),
        None => Output {
            stdout: String::new(),
            stderr: usage(),
            exit: 2,
        },
    };
    // If the caller has closed stdout or stderr, there is nothing to report to.
    let _ = std::io::stdout().write_all(output.stdout.as_bytes());
    let _ = std::io::stderr().write_all(output.stderr.as_bytes());
    ExitCode::from(output.exit)
}

fn usage() -> String {
    let names: Vec<_> = Plugin::ALL.iter().map(|plugin| plugin.name()).collect();
    format!(
        "gantry-cni {}: CNI plugins {}\nLink it under these names into /opt/cni/bin, or pass one of them as the \
         first argument.\n",
        env!("CARGO_PKG_VERSION"),
        names.join(", ")
    )
}

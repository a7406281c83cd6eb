//! The path of a volume became part of a command line, which a shell read. No shell reads anything here: these are the
//! programs that are started at all, each with a list of arguments.

use std::path::{Path, PathBuf};

/// Where a program is started: the file, the line, and which program that is. Only those that mount take something of an
/// object of the API server or of a pod: each as an argument of its own that cannot be an option.
const PROGRAMS: &[(&str, &str, &str)] = &[
    (
        "cni-plugins/src/delegate.rs",
        "let mut child = Command::new(&program)",
        "the IPAM plugin, or the delegate of flannel, that the administrator's CNI configuration names; no arguments",
    ),
    (
        "src/act/credential_provider.rs",
        "let mut program = tokio::process::Command::new(&provider.program);",
        "a credential provider of the node's configuration, with the arguments written there",
    ),
    (
        "src/act/mount_tools.rs",
        "let mut command = Command::new(program);",
        "mount, umount, blkid, fsck, or mkfs.TYPE of a checked name; paths begin with '/', and servers not with '-'",
    ),
    (
        "src/act/user_ranges.rs",
        "let mut command = Command::new(\"getsubids\");",
        "the program that knows subordinate IDs, with the name of a user that is a constant there",
    ),
    (
        "src/command/join/service.rs",
        "let mut command = Command::new(&self.program);",
        "systemctl, with verbs and names of services that are constants there",
    ),
    (
        "src/identity/exec.rs",
        "let mut program = tokio::process::Command::new(command);",
        "the program of the node's own kubeconfig, with the arguments written there",
    ),
    (
        "src/serve/system_logs/journal.rs",
        "let mut command = Command::new(journalctl);",
        "journalctl, for a caller that may read the node's logs; its checked values stand behind the names of options",
    ),
];

/// Ways to a program or to a shell beside these.
const NEVER: &[&str] = &[
    "/bin/sh",
    "/bin/bash",
    "/usr/bin/env",
    "CommandExt",
    "execve",
    "execvp",
    "fexecve",
    "posix_spawn",
    "fork(",
    "libc::system",
    "popen",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            _ if path.ends_with("tests") || path.ends_with("tests.rs") => {}
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

/// The lines of the product's files, without their tests and comments.
fn lines() -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&top.join("src"), &mut found);
    sources(&top.join("cni-plugins/src"), &mut found);
    found.sort();
    let mut lines = Vec::new();
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(top).unwrap().to_str().unwrap();
        let code = text.lines().map(str::trim);
        let code = code.take_while(|line| *line != "#[cfg(test)]");
        let code = code.filter(|line| !line.starts_with("//"));
        lines.extend(code.map(|line| (file.to_owned(), line.to_owned())));
    }
    assert!(lines.len() > 10_000, "{} lines were found", lines.len());
    lines
}

#[test]
fn cve_2023_5528_no_shell_is_run_and_each_program_stands_in_a_list() {
    let lines = lines();
    let starts = lines.iter().filter(|(_, line)| {
        // The command line's own description of itself has a type of that name.
        line.contains("Command::new(") && !line.contains("clap::Command::new(")
    });
    let started: Vec<(&str, &str)> = starts
        .map(|(file, line)| (file.as_str(), line.as_str()))
        .collect();
    let known: Vec<(&str, &str)> = PROGRAMS.iter().map(|(file, line, _)| (*file, *line)).collect();
    assert_eq!(started, known);
    for (file, line) in &lines {
        for word in NEVER {
            assert!(!line.contains(word), "{file}: {line}");
        }
    }
}

//! Completions and man pages, generated from the command line's definitions.

use std::io::{self, Write};
use std::path::Path;

use clap_complete::Shell;

use crate::cli;

/// Writes a shell's completions.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    // Buffered, because clap_complete panics when a write fails (a closed pipe).
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::definitions(), "gantry", &mut script);
    out.write_all(&script)
}

/// Writes `gantry.1` and a page for each subcommand to a directory, which is created if it does not exist.
pub fn man_pages(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut command = cli::definitions();
    command.build();
    page(&command, "gantry", directory)?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        page(verb, &format!("gantry-{}", verb.get_name()), directory)?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str, directory: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone().name(name.to_owned())).render(&mut text)?;
    std::fs::write(directory.join(format!("{name}.1")), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_completions_that_know_the_verbs() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::Elvish,
            Shell::PowerShell,
        ] {
            let mut script = Vec::new();
            completions(shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(
                script.contains("doctor") && script.contains("eviction-hard"),
                "{shell}"
            );
        }
    }

    #[test]
    fn every_verb_has_a_man_page() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("man1");
        man_pages(&target).unwrap();
        let page = |name: &str| std::fs::read_to_string(target.join(name)).unwrap();
        assert!(page("gantry.1").contains("gantry\\-doctor(1)"));
        assert!(page("gantry-run.1").contains("manifests"));
        assert!(page("gantry-kubelet.1").contains("eviction\\-hard"));
        let verbs = cli::definitions().get_subcommands().count();
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), verbs + 1);
    }
}

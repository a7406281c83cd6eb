//! The systemd service of a cluster node.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::error::JoinError;
use super::files::{Places, Written};
use crate::bulkhead::program::{self, Complaints, ProgramError};
use crate::identity::files::{self, FileError};

/// The unit as installed; `@PREFIX@/bin/gantry` stands for the program.
const UNIT: &str = include_str!("../../../packaging/gantry.service");
const NAME: &str = "gantry.service";
/// How long systemctl may take: it waits for the service's start or stop, which systemd gives 90 s each by default.
const PATIENCE: Duration = Duration::from_secs(300);

/// The drop-in for a cluster node, like kubeadm's own for the kubelet.
pub(super) fn drop_in(places: &Places, program: &Path) -> String {
    format!(
        "# Written by `gantry join`, removed by `gantry reset`.\n[Service]\nEnvironmentFile=-{}\nEnvironmentFile=-{}\n\
         ExecStart=\nExecStart={} kubelet {} $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS\n",
        places.flags().display(),
        places.extra_flags().display(),
        program.display(),
        places.arguments().join(" "),
    )
}

/// The flags that kubeadm and the administrator add, as systemd reads them from the drop-in's environment files.
pub(crate) fn added_flags(places: &Places) -> Vec<String> {
    let files = [
        (places.flags(), "KUBELET_KUBEADM_ARGS="),
        (places.extra_flags(), "KUBELET_EXTRA_ARGS="),
    ];
    let texts = files.map(|(path, variable)| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // The last assignment wins.
        let value = text
            .lines()
            .rev()
            .find_map(|line| line.trim().strip_prefix(variable));
        value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    });
    let words = texts.iter().flat_map(|text| text.split_whitespace());
    words.map(str::to_owned).collect()
}

/// Whether a unit is the one that [`Systemctl::install`] writes, apart from the program's path.
pub(crate) fn is_own(unit: &[u8]) -> bool {
    let without = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("ExecStart="));
        lines.collect::<Vec<_>>().join("\n")
    };
    without(&String::from_utf8_lossy(unit)) == without(UNIT)
}

/// Removes what [`Systemctl::install`] wrote. Returns whether there was anything.
pub(crate) fn remove(places: &Places) -> Result<bool, FileError> {
    let drop_in = places.drop_in();
    let was_there = files::remove(&drop_in)?;
    if let Some(directory) = drop_in.parent() {
        // Other drop-ins keep the directory.
        let _ = std::fs::remove_dir(directory);
    }
    Ok(was_there)
}

/// The way to systemd.
#[derive(Debug, Clone)]
pub struct Systemctl {
    program: PathBuf,
    /// How long one call may take.
    patience: Duration,
}

impl Systemctl {
    /// This machine's.
    pub fn here() -> Systemctl {
        Systemctl::at(PathBuf::from("systemctl"))
    }

    /// Another program that takes its place.
    pub fn at(program: PathBuf) -> Systemctl {
        Systemctl {
            program,
            patience: PATIENCE,
        }
    }

    /// Installs the unit and its drop-in.
    pub(super) async fn install(
        &self,
        places: &Places,
        program: &Path,
        written: &mut Written,
    ) -> Result<(), JoinError> {
        if self.does(&["cat", NAME]).await.is_err() {
            let unit = UNIT.replace("@PREFIX@/bin/gantry", &program.display().to_string());
            written.public(&places.unit(), &unit)?;
        }
        written.public(&places.drop_in(), &drop_in(places, program))?;
        self.reload().await
    }

    /// Starts the service, now and at every boot.
    pub(super) async fn start(&self) -> Result<(), JoinError> {
        self.does(&["enable", NAME]).await?;
        // It may already run standalone, with the manifests of this machine.
        self.does(&["restart", NAME]).await
    }

    /// Whether a service runs or is being started. A systemctl that does not answer is an error: joining or removing
    /// beside a service that may be running would be wrong. Without systemctl no service runs.
    pub(super) async fn is_active(&self, name: &str) -> Result<bool, JoinError> {
        // `systemctl is-active` succeeds only for a running unit; a unit that is still starting counts as active here
        // too.
        let arguments = ["is-active", name];
        match self.run(&arguments).await {
            Ok(output) => Ok(matches!(
                output.said.trim(),
                "active" | "activating" | "reloading"
            )),
            Err(ProgramError::Start(error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(unanswered(&arguments, error)),
        }
    }

    /// Whether gantry's service runs.
    pub(crate) async fn runs(&self) -> Result<bool, JoinError> {
        self.is_active(NAME).await
    }

    /// Stops and disables the service.
    pub(crate) async fn stop(&self) -> Result<(), JoinError> {
        self.does(&["disable", "--now", NAME]).await
    }

    /// Makes systemd reload its units.
    pub(crate) async fn reload(&self) -> Result<(), JoinError> {
        self.does(&["daemon-reload"]).await
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output, ProgramError> {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        let ended = program::end(&mut command, b"", Complaints::Returned, self.patience).await?;
        let said = [ended.printed, ended.complained].concat();
        Ok(Output {
            is_good: ended.status.success(),
            said: String::from_utf8_lossy(&said).into_owned(),
        })
    }

    async fn does(&self, arguments: &[&str]) -> Result<(), JoinError> {
        match self.run(arguments).await {
            Ok(output) if output.is_good => Ok(()),
            Ok(output) => Err(failed(arguments, output.said.trim().to_owned())),
            Err(error) => Err(unanswered(arguments, error)),
        }
    }
}

fn failed(arguments: &[&str], said: String) -> JoinError {
    JoinError::Systemd {
        command: format!("systemctl {}", arguments.join(" ")),
        said,
    }
}

fn unanswered(arguments: &[&str], error: ProgramError) -> JoinError {
    let said = match error {
        ProgramError::Start(error) => error.to_string(),
        error => error.to_string(),
    };
    failed(arguments, said)
}

struct Output {
    is_good: bool,
    said: String,
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::{Machine, check_machine};
    use super::*;
    use crate::command::reset::stop_service;
    use crate::config::files::here;

    /// A systemctl of these lines of shell.
    fn systemctl(directory: &Path, script: &str, patience: Duration) -> Systemctl {
        let program = directory.join("systemctl");
        // Made by a shell, for no other thread may hold it open for writing when it is run.
        let made = std::process::Command::new("/bin/sh")
            .args([
                "-c",
                "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$2\" && chmod 755 \"$2\"",
                "sh",
                script,
            ])
            .arg(&program)
            .status();
        assert!(made.unwrap().success());
        Systemctl { program, patience }
    }

    #[tokio::test]
    async fn a_service_is_active_or_not_only_where_systemctl_says_so_or_there_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let check = async |script: &str| {
            let systemctl = systemctl(directory.path(), script, Duration::from_secs(60));
            systemctl.runs().await.unwrap()
        };
        assert!(check("echo active").await);
        assert!(check("echo activating; exit 3").await);
        assert!(!check("echo inactive; exit 3").await);
        let none = Systemctl::at(directory.path().join("none"));
        assert!(!none.runs().await.unwrap());
        let not_a_program = Systemctl::at(directory.path().to_owned());
        let error = not_a_program.runs().await.unwrap_err().to_string();
        assert!(error.contains("Permission denied"), "{error}");
    }

    #[tokio::test]
    async fn where_systemctl_does_not_answer_nothing_is_joined_and_nothing_removed() {
        let directory = tempfile::tempdir().unwrap();
        let silent = systemctl(directory.path(), "exec sleep 600", Duration::from_millis(50));
        let places = Places {
            root: directory.path().to_owned(),
        };
        std::fs::create_dir_all(places.systemd()).unwrap();
        let machine = Machine {
            places: places.clone(),
            context: here().unwrap(),
            program: PathBuf::from("/usr/bin/gantry"),
            systemctl: silent.clone(),
            patience: Duration::ZERO,
        };
        let error = check_machine(&machine).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`systemctl is-active kubelet.service` failed: it did not answer within 0 s"
        );
        let mut written = Written::default();
        written.public(&places.unit(), UNIT).unwrap();
        written.public(&places.drop_in(), "").unwrap();
        let mut out = Vec::new();
        let error = stop_service(&places, &silent, &mut out).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`systemctl is-active gantry.service` failed: it did not answer within 0 s"
        );
        assert!(places.unit().exists() && places.drop_in().exists());
        assert!(out.is_empty());
    }

    #[test]
    fn the_drop_in() {
        expect![[r#"
            # Written by `gantry join`, removed by `gantry reset`.
            [Service]
            EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
            EnvironmentFile=-/etc/default/kubelet
            ExecStart=
            ExecStart=/usr/local/bin/gantry kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml --cert-dir=/var/lib/kubelet/pki $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
        "#]]
        .assert_eq(&drop_in(&Places::here(), Path::new("/usr/local/bin/gantry")));
    }

    #[test]
    fn the_flags_of_both_files_are_those_in_force() {
        let root = tempfile::tempdir().unwrap();
        let places = Places {
            root: root.path().to_owned(),
        };
        assert!(added_flags(&places).is_empty());
        let write = |path: PathBuf, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            places.flags(),
            "KUBELET_KUBEADM_ARGS=\"--node-ip=192.0.2.1  --v=2\"\n",
        );
        write(
            places.extra_flags(),
            "# mine\nKUBELET_EXTRA_ARGS=--root-dir=/old\nKUBELET_EXTRA_ARGS='--root-dir=/data'\n",
        );
        assert_eq!(
            added_flags(&places),
            ["--node-ip=192.0.2.1", "--v=2", "--root-dir=/data"]
        );
    }

    #[test]
    fn the_unit_starts_a_program_that_can_be_named() {
        assert!(UNIT.contains("ExecStart=@PREFIX@/bin/gantry run"));
    }
}

//! The programs that mount: mount(8) and umount(8), and those that look at a device and make a file system on it.
//!
//! The kernel needs none of them for a bind mount, but only mount(8) knows what options are called, and finds the helpers of
//! network file systems (`mount.nfs`). Errors have the kubelet's words (`mount_linux.go` in `k8s.io/mount-utils`).
//!
//! A program may hang for as long as a server or a device does not answer. So it has a slot of its pod's, like an operation
//! on files, until it has ended; one that mounts, unmounts or looks is killed with all that it has started when it takes too
//! long or its pod goes. One that makes or repairs a file system goes on. None is put into a scope of
//! systemd's, as the kubelet does for devices: what helpers leave running is not ended with the agent, whose unit ends the
//! agent's process alone (`KillMode=process`).

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;

use super::files::FilePlaces;
use crate::bulkhead::Stuck;
use crate::bulkhead::program::{Fate, ProgramError};
use crate::model::error_chain::chain;
use crate::model::pod::PodUid;

/// How long mount(8) may take: `mount.nfs` itself tries for two minutes (nfs(5), `retry`) before it says why it fails.
pub(super) const MOUNT_PATIENCE: Duration = Duration::from_secs(180);
/// How long a file system may take to be looked at, repaired or made: who attaches a device chooses its size. The kubelet
/// sets no limit.
pub(super) const FORMAT_PATIENCE: Duration = Duration::from_secs(3600);
/// How long umount(8) may take before it is forced (`unMountTimeout` in `pkg/volume/nfs`).
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(60);
/// How much of a program's output is shown.
const MOST_SHOWN: usize = 2048;

/// The programs that mount.
#[derive(Debug, Clone)]
pub struct MountTools {
    /// Where they are looked for before the agent's own path.
    dir: Option<PathBuf>,
    unmount_patience: Duration,
}

impl Default for MountTools {
    fn default() -> MountTools {
        MountTools {
            dir: None,
            unmount_patience: UNMOUNT_PATIENCE,
        }
    }
}

/// How a program has ended.
pub(super) struct Ran {
    pub(super) status: ExitStatus,
    /// Its output and its errors.
    pub(super) output: String,
}

impl Ran {
    /// How it ended, in the words of the Go library, which are part of the kubelet's messages.
    pub(super) fn how(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(9)) => "signal: killed".to_owned(),
            (None, signal) => format!("signal: {}", signal.unwrap_or_default()),
        }
    }
}

/// Why a program has no end of its own.
pub(super) enum NotRun {
    /// It took too long, or the one before it still does.
    Late(String),
    /// There is no such program.
    Missing(String),
    /// It could not be run.
    Failed(String),
}

impl NotRun {
    pub(super) fn why(self) -> String {
        match self {
            NotRun::Late(why) | NotRun::Missing(why) | NotRun::Failed(why) => why,
        }
    }
}

/// What mount(8) is asked for.
pub(super) struct Mounting<'a> {
    /// The type of file system; `None`: there is one already.
    pub(super) kind: Option<&'a str>,
    pub(super) options: Vec<String>,
    pub(super) source: &'a OsStr,
    pub(super) target: &'a Path,
}

impl MountTools {
    /// For tests: programs in a directory stand for those of their names.
    pub fn beside(dir: PathBuf, unmount_patience: Duration) -> MountTools {
        MountTools {
            dir: Some(dir),
            unmount_patience,
        }
    }

    /// Runs a program to its end in a slot of the pod; `subject` is what it is about.
    pub(super) async fn run(
        &self,
        (files, pod): (&FilePlaces, &PodUid),
        subject: &Path,
        (name, arguments, fate): (&str, &[OsString], Fate),
        patience: Duration,
    ) -> Result<Ran, NotRun> {
        let replaced = self.dir.as_ref().map(|dir| dir.join(name));
        let replaced = replaced.filter(|program| program.exists());
        let program = replaced.map_or_else(|| OsString::from(name), PathBuf::into_os_string);
        let mut command = Command::new(program);
        command.args(arguments);
        match files.run_program(pod, subject, patience, (command, fate)).await {
            Ok(Ok(ended)) => Ok(Ran {
                status: ended.status,
                output: shown(&ended.printed, &ended.complained),
            }),
            Ok(Err(ProgramError::Start(error))) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(NotRun::Missing(format!(
                    "exec: {name:?}: executable file not found in $PATH: install it on the node"
                )))
            }
            Ok(Err(error)) => Err(NotRun::Failed(format!("{name}: {}", chain(&error)))),
            Err(late @ (Stuck::Late { .. } | Stuck::Same { .. })) => {
                Err(NotRun::Late(format!("{name}: {late}")))
            }
            Err(stuck) => Err(NotRun::Failed(format!("{name}: {stuck}"))),
        }
    }

    /// Mounts.
    pub(super) async fn mount(
        &self,
        of: (&FilePlaces, &PodUid),
        mounting: &Mounting<'_>,
    ) -> Result<(), String> {
        let arguments = mounting.arguments();
        let ran = self
            .run(
                of,
                mounting.target,
                ("mount", &arguments, Fate::Killed),
                MOUNT_PATIENCE,
            )
            .await;
        let (how, output) = match ran {
            Ok(ran) if ran.status.success() => return Ok(()),
            Ok(ran) => (ran.how(), ran.output),
            Err(not_run) => (not_run.why(), String::new()),
        };
        let arguments = text(&arguments);
        Err(format!(
            "mount failed: {how}\nMounting command: mount\nMounting arguments: {arguments}\nOutput: {output}\n"
        ))
    }

    /// Unmounts what is mounted from a server. The server may be gone: then umount(8) is forced after a while, as the
    /// kubelet does (`UnmountWithForce`). Nothing is looked at in the mounted directory (`-c`).
    pub(super) async fn unmount(&self, of: (&FilePlaces, &PodUid), path: &Path) -> Result<(), String> {
        let gently: Vec<OsString> = vec!["-c".into(), path.into()];
        match self.unmount_with(of, &gently).await {
            Err(NotRun::Late(_)) => {
                tracing::warn!(path = %path.display(), "umount(8) does not return: it is forced");
                let forced: Vec<OsString> = vec!["-c".into(), "-f".into(), path.into()];
                self.unmount_with(of, &forced).await.map_err(NotRun::why)
            }
            result => result.map_err(NotRun::why),
        }
    }

    async fn unmount_with(&self, of: (&FilePlaces, &PodUid), arguments: &[OsString]) -> Result<(), NotRun> {
        // Not the path: one that hangs, also when it is killed, must not keep the forced one from being run.
        let subject = format!("umount {}", text(arguments));
        let program = ("umount", arguments, Fate::Killed);
        let ran = self
            .run(of, Path::new(&subject), program, self.unmount_patience)
            .await?;
        if ran.status.success() {
            return Ok(());
        }
        let (how, arguments, output) = (ran.how(), text(arguments), ran.output);
        Err(NotRun::Failed(format!(
            "unmount failed: {how}\nUnmounting arguments: {arguments}\nOutput: {output}\n"
        )))
    }
}

impl Mounting<'_> {
    fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = Vec::new();
        if let Some(kind) = self.kind {
            all.extend(["-t".into(), kind.into()]);
        }
        if !self.options.is_empty() {
            all.extend(["-o".into(), self.options.join(",").into()]);
        }
        all.extend([self.source.to_owned(), self.target.as_os_str().to_owned()]);
        all
    }
}

/// Arguments for people.
pub(super) fn text(arguments: &[OsString]) -> String {
    let texts: Vec<_> = arguments
        .iter()
        .map(|argument| argument.to_string_lossy())
        .collect();
    texts.join(" ")
}

/// The beginning of what a program has said.
fn shown(printed: &[u8], complained: &[u8]) -> String {
    let all = [printed, complained].concat();
    let first = &all[..all.len().min(MOST_SHOWN)];
    String::from_utf8_lossy(first).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mount_is_given() {
        let check = |kind, options: &[&str], want: &str| {
            let mounting = Mounting {
                kind,
                options: options.iter().map(|&option| option.to_owned()).collect(),
                source: OsStr::new("nas:/a"),
                target: Path::new("/t"),
            };
            assert_eq!(text(&mounting.arguments()), want);
        };
        check(Some("nfs"), &[], "-t nfs nas:/a /t");
        check(Some("nfs"), &["hard", "ro"], "-t nfs -o hard,ro nas:/a /t");
        check(None, &["bind", "remount"], "-o bind,remount nas:/a /t");
    }

    #[test]
    fn output_is_shown_up_to_a_bound() {
        assert_eq!(shown(b"a\n", b"b\n"), "a\nb");
        assert_eq!(shown(&[b'x'; 5000], b"y").len(), MOST_SHOWN);
    }
}

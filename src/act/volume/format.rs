//! Mounts a device for the node, and makes a file system on one that has none (`formatAndMountSensitive` in
//! `k8s.io/mount-utils`).

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::act::context::Work;
use crate::act::files::Whose;
use crate::act::mount;
use crate::act::mount_tools::{FORMAT_PATIENCE, Mounting, NotRun, Ran};
use crate::act::off_thread::off_thread;
use crate::bulkhead::program::Fate;
use crate::model::access::Access;
use crate::model::local_volume::LocalVolume;
use crate::model::reason::pod::FAILED_MOUNT;

/// What blkid(8) says of a device that has nothing on it.
const NOTHING_FOUND: i32 = 2;
/// What fsck(8) says of errors that it could not correct.
const ERRORS_LEFT: i32 = 4;
/// How many bytes at the beginning and at the end of a device have the marks of file systems and partitions.
const MARKS: u64 = 64 << 10;

/// Mounts it unless it is mounted. The error is the kubelet's, without what its plugin says before.
pub(super) async fn mount(work: &Work<'_>, volume: &LocalVolume) -> Result<(), String> {
    let global = volume.global.clone();
    let prepare = move || {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&global)?;
        mount::is_mount_point(&global)
    };
    let is_mounted = off_thread(prepare).await.map_err(|error| error.to_string())?;
    if is_mounted {
        return Ok(());
    }
    let result = formatted_and_mounted(work, volume).await;
    let Err(why) = result else { return Ok(()) };
    let global = volume.global.clone();
    let _ = off_thread(move || fs::remove_dir(&global)).await;
    Err(why)
}

async fn formatted_and_mounted(work: &Work<'_>, volume: &LocalVolume) -> Result<(), String> {
    let mut options = volume.options.clone();
    if volume.access == Access::ReadOnly && !options.iter().any(|option| option == "ro") {
        options.push("ro".to_owned());
    }
    let writes = !options.iter().any(|option| option == "ro");
    let device = volume.source.display();
    let found = format_of(work, &volume.source).await;
    let found = found.map_err(|why| format!("failed to get disk format of disk {device}: {why}"))?;
    match (found.as_str(), writes) {
        ("", false) => {
            return Err(format!(
                "cannot mount unformatted disk {device} as we are manipulating it in read-only mode"
            ));
        }
        ("", true) => {
            let readable = is_readable(work, &volume.source).await;
            readable.map_err(|why| format!("cannot format disk {device}, which cannot be read: {why}"))?;
            make(work, volume, &options).await?;
        }
        (found, writes) => {
            if found != volume.fs_type {
                tracing::warn!(
                    %device,
                    found,
                    wanted = volume.fs_type,
                    "the device has another file system than its volume says: it keeps the one that it has"
                );
            }
            if writes {
                check(work, &volume.source).await?;
            }
        }
    }
    options.push("defaults".to_owned());
    let mounting = Mounting {
        kind: Some(&volume.fs_type),
        options,
        source: volume.source.as_os_str(),
        target: &volume.global,
    };
    work.context
        .mounts
        .mount((&work.context.files, work.uid), &mounting)
        .await
}

/// The type of the file system on a device; empty: it has none, and no partitions either.
async fn format_of(work: &Work<'_>, device: &Path) -> Result<String, String> {
    let asked = ["-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export"];
    let ran = run(work, ("blkid", Fate::Killed), &asked, device).await;
    let ran = ran.map_err(NotRun::why)?;
    match ran.status.code() {
        Some(0) => format_in(&ran.output),
        Some(NOTHING_FOUND) => Ok(String::new()),
        _ => Err(format!("{}: {}", ran.how(), ran.output)),
    }
}

/// Whether the device can be read where file systems have their marks, and nobody else has it (open(2), `O_EXCL`): blkid(8)
/// says of a device that it cannot read what it says of an empty one.
async fn is_readable(work: &Work<'_>, device: &Path) -> Result<(), String> {
    let path = device.to_owned();
    let reading = move || {
        let mut options = fs::OpenOptions::new();
        let mut device = options.read(true).custom_flags(OFlag::O_EXCL.bits()).open(path)?;
        let size = device.seek(SeekFrom::End(0))?;
        let part = size.min(MARKS);
        for at in [0, size - part] {
            device.seek(SeekFrom::Start(at))?;
            io::copy(&mut device.by_ref().take(part), &mut io::sink())?;
        }
        Ok(())
    };
    let read = work
        .in_place(Whose::Host, device, work.context.files.patience, reading)
        .await;
    read.map_err(|error| error.of_step(FAILED_MOUNT, |error| error.to_string()).message)
}

/// What blkid(8) has printed. A device with partitions is not to be formatted, either.
fn format_in(printed: &str) -> Result<String, String> {
    let mut format = String::new();
    for line in printed.lines().filter(|line| !line.is_empty()) {
        match line.split('=').collect::<Vec<_>>()[..] {
            ["PTTYPE", _] => return Ok("unknown data, probably partitions".to_owned()),
            ["TYPE", own] => own.clone_into(&mut format),
            [_, _] => {}
            _ => return Err(format!("blkid returns invalid output: {printed}")),
        }
    }
    Ok(format)
}

async fn make(work: &Work<'_>, volume: &LocalVolume, options: &[String]) -> Result<(), String> {
    let (device, fs_type) = (&volume.source, volume.fs_type.as_str());
    let arguments: &[&str] = match fs_type {
        "ext3" | "ext4" => &["-F", "-m0"],
        "xfs" => &["-f"],
        _ => &[],
    };
    tracing::info!(device = %device.display(), fs_type, "the device has no file system: making one");
    let program = format!("mkfs.{fs_type}");
    let ran = run(work, (&program, Fate::GoesOn), arguments, device).await;
    let (how, output) = match ran {
        Ok(ran) if ran.status.success() => return Ok(()),
        Ok(ran) => (ran.how(), ran.output),
        Err(not_run) => (not_run.why(), String::new()),
    };
    let (device, target) = (device.display().to_string(), volume.global.display().to_string());
    let options = options.join(",");
    Err(format!(
        "format of disk {device:?} failed: type:({fs_type:?}) target:({target:?}) options:({options:?}) errcode:({how}) \
         output:({output}) "
    ))
}

/// Repairs what can be repaired without asking. Errors that are left, and a check that has not come to its end, keep the
/// device from being mounted: the latter is stricter than the kubelet.
async fn check(work: &Work<'_>, device: &Path) -> Result<(), String> {
    let path = device.display();
    match run(work, ("fsck", Fate::GoesOn), &["-a"], device).await {
        Ok(ran) if ran.status.code() == Some(ERRORS_LEFT) => Err(format!(
            "'fsck' found errors on device {path} but could not correct them: {}",
            ran.output
        )),
        Ok(ran) if ran.status.code().is_none() => Err(format!(
            "'fsck' of device {path} was interrupted: {}: {}",
            ran.how(),
            ran.output
        )),
        Ok(ran) => {
            if !ran.status.success() {
                tracing::warn!(device = %path, "fsck(8) ended with {}: {}", ran.how(), ran.output);
            }
            Ok(())
        }
        Err(NotRun::Missing(why)) => {
            tracing::warn!(device = %path, "a device is mounted without being checked: {why}");
            Ok(())
        }
        Err(not_run) => Err(format!("'fsck' of device {path} failed: {}", not_run.why())),
    }
}

/// Runs a program about a device, which is its last argument.
async fn run(
    work: &Work<'_>,
    (name, fate): (&str, Fate),
    arguments: &[&str],
    device: &Path,
) -> Result<Ran, NotRun> {
    let mut all: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    all.push(device.into());
    let of = (&work.context.files, work.uid);
    let tools = &work.context.mounts;
    tools.run(of, device, (name, &all, fate), FORMAT_PATIENCE).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_device_with_nothing_on_it_has_no_format() {
        let check = |printed: &str, want: Result<&str, &str>| {
            let got = format_in(printed);
            assert_eq!(got.as_deref().map_err(String::as_str), want);
        };
        check("DEVNAME=/dev/x\nTYPE=ext4\n", Ok("ext4"));
        check("\nDEVNAME=/dev/x\nTYPE=xfs", Ok("xfs"));
        check(
            "DEVNAME=/dev/x\nPTTYPE=gpt\n",
            Ok("unknown data, probably partitions"),
        );
        check(
            "DEVNAME=/dev/x\nTYPE=vfat\nPTTYPE=dos\n",
            Ok("unknown data, probably partitions"),
        );
        check("", Ok(""));
        check("what?", Err("blkid returns invalid output: what?"));
    }
}

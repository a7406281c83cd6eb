//! Steps about containers.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_cri::v1;
use tokio::time::Instant;

use super::context::Work;
use super::effect::{Effect, Fact, ImageFound, Made};
use super::endings::Ended;
use super::failure::{abandoned, call_failure, failure, gone};
use super::files::Whose;
use super::{env_file, hook, image_mount, sub_path, symbol, user_mapping};
use crate::cri::{NewerFields, Runtime};
use crate::disk::write::remove_if_there;
use crate::model::error_chain::chain;
use crate::model::image_mount::ImageMount;
use crate::model::outcome::{Done, SlowAction, StepError};
use crate::model::reason;
use crate::model::request::{ContainerRef, ContainerRequest, HookCall, SandboxRef, SubPathMount};
use crate::model::run_as::ImageUser;
use crate::model::stop_signal::StopSignal;

/// The least grace period that remains for a container after its hook, however long that took.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// The most bytes of the name of a link to a log, without its `.log`: a file name on ext4 and all other common file systems
/// has 255 at most. What is longer is cut.
pub(super) const LONGEST_LINK: usize = 255 - ".log".len();

/// A container to stop.
pub(super) struct Stop<'a> {
    /// Its name in the pod.
    pub(super) container: &'a str,
    /// The runtime's ID.
    pub(super) id: &'a str,
    /// How long hook and stop together may take.
    pub(super) grace: Duration,
    /// The message of the event.
    pub(super) what: SlowAction,
    /// The hook to run before.
    pub(super) before: Option<&'a HookCall>,
    /// The containers that must end first.
    pub(super) turn: Vec<Ended>,
}

/// Stops a container after its hook, and after the containers that must end first. When the grace period is over, it
/// waits for nothing any more (`killContainer` in `kuberuntime_container.go`).
pub(super) async fn stop(work: &Work<'_>, stop: Stop<'_>, made: &Made) -> Result<Effect, StepError> {
    let runtime = &work.context.runtime;
    let Stop {
        container,
        id,
        grace,
        what,
        before,
        mut turn,
    } = stop;
    work.begins(Some(container), what);
    let stop = async {
        let began = Instant::now();
        let hook = hook::pre_stop(work, id, before, grace, made).await;
        let others = async {
            for other in &mut turn {
                other.wait().await;
            }
        };
        // Containers that have not ended by then are killed now. A grace period may be longer than the clock reaches.
        let left = grace.saturating_sub(began.elapsed());
        let _in_time = tokio::time::timeout(left, others).await;
        // In whole seconds, as the kubelet counts what a hook has taken.
        let taken = Duration::from_secs(began.elapsed().as_secs());
        let rest = grace.saturating_sub(taken).max(LEAST_GRACE.min(grace));
        // The call continues even if this task is canceled: if a call is aborted in its first moment, containerd
        // believes that it has sent the signal although it has not, and does not send it for the next call either.
        let (runtime, id) = (runtime.clone(), id.to_owned());
        let call = tokio::spawn(async move { runtime.stop_container(&id, rest).await });
        (hook, call.await)
    };
    let (hook, result) = tokio::select! {
        // The next caller stops it again, with its own grace period, and waits.
        () = work.cancel.cancelled() => return Err(abandoned(reason::pod::FAILED_KILL_POD)),
        result = stop => result,
    };
    // The task of a call ends before its answer only with the agent.
    let Ok(result) = result else {
        return Err(abandoned(reason::pod::FAILED_KILL_POD));
    };
    match gone(result) {
        Ok(()) => Ok(Effect {
            done: Done::Stopped { hook },
            fact: None,
        }),
        Err(error) => Err(call_failure(
            reason::pod::FAILED_KILL_POD,
            format!("error killing pod: KillContainerError: {}", error.grpc_text()),
            &error,
        )),
    }
}

/// Removes a container. Its logs go first, as in the kubelet: while the container exists, a failure is noticed and
/// retried.
pub(super) async fn remove(
    runtime: &Runtime,
    id: &str,
    log: &Path,
    link: Option<&Path>,
) -> Result<Effect, StepError> {
    let files = remove_logs(log).and_then(|()| link.map_or(Ok(()), remove_file));
    if let Err((path, error)) = files {
        let message = format!("failed to remove container {id:?} log {path:?}: {error}");
        return Err(failure(reason::pod::FAILED_KILL_POD, message));
    }
    match gone(runtime.remove_container(id).await) {
        Ok(()) => Ok(Effect::PLAIN),
        Err(error) => Err(call_failure(
            reason::pod::FAILED_KILL_POD,
            format!("RemoveContainerError: {}", error.grpc_text()),
            &error,
        )),
    }
}

/// Creates a container, with the file for its termination message and the directory for its log.
pub(super) async fn create(
    work: &Work<'_>,
    request: ContainerRequest,
    made: &Made,
) -> Result<Effect, StepError> {
    let runtime = &work.context.runtime;
    let ContainerRequest {
        container,
        sandbox,
        sandbox_config,
        mut config,
        env_files,
        stop_signal,
        termination_file,
        mut sub_paths,
        mut image_mounts,
        refusal,
    } = request;
    let misconfigured = |message| failure(reason::waiting::CREATE_CONTAINER_CONFIG_ERROR, message);
    if let Some(refusal) = refusal {
        return Err(misconfigured(refusal));
    }
    let sandbox = match sandbox {
        SandboxRef::Id(id) => id,
        SandboxRef::Made => made.sandbox().map_err(misconfigured)?,
    };
    image_mount::fill_in(&mut config, &image_mounts, made)?;
    if let Some(found) = made.images.get(&container) {
        fill_in_image(&mut config, found).map_err(misconfigured)?;
    }
    let mut paths = paths(&mut sub_paths, &mut image_mounts);
    env_file::resolve(work, &container, &env_files, &mut config, &mut paths).await?;
    symbol::resolve(runtime, &sandbox, &mut config, &mut paths).await?;
    let mut sandbox_config = Arc::unwrap_or_clone(sandbox_config);
    let mapped = user_mapping::fill_in_container(work, &mut config, &mut sandbox_config).await;
    mapped.map_err(misconfigured)?;
    for part in sub_paths {
        mount_part(work, &container, part).await?;
    }
    let log = Path::new(&sandbox_config.log_directory).join(&config.log_path);
    make_files(&container, &log, termination_file.as_deref()).map_err(misconfigured)?;
    let newer = newer(stop_signal, image_mounts);
    match runtime
        .create_container(sandbox, config, sandbox_config, newer)
        .await
    {
        Ok(id) => Ok(Effect {
            done: Done::Container { id: id.clone() },
            fact: Some(Fact::Container(container, id)),
        }),
        Err(error) => Err(call_failure(
            reason::waiting::CREATE_CONTAINER_ERROR,
            error.message.clone(),
            &error,
        )),
    }
}

fn newer(stop_signal: Option<StopSignal>, images: Vec<ImageMount>) -> NewerFields {
    let parts = images.into_iter().map(|mount| (mount.index, mount.sub_path));
    NewerFields {
        stop_signal,
        image_sub_paths: parts.collect(),
    }
}

/// The paths of the parts of volumes that the container mounts, which may have placeholders.
fn paths<'a>(sub_paths: &'a mut [SubPathMount], images: &'a mut [ImageMount]) -> Vec<&'a mut String> {
    let of_volumes = sub_paths.iter_mut().map(|part| &mut part.path);
    of_volumes
        .chain(images.iter_mut().map(|mount| &mut mount.sub_path))
        .collect()
}

/// The files that must be there before the container is created.
fn make_files(container: &str, log: &Path, termination: Option<&Path>) -> Result<(), String> {
    make_log_dir(log).map_err(|error| {
        format!("create container log directory for container {container} failed: {error}")
    })?;
    if let Some(path) = termination {
        make_termination_file(path)
            .map_err(|error| format!("error on creating termination-log file {path:?}: {error}"))?;
    }
    Ok(())
}

/// Mounts a part of a volume for a container. It may be on a network file system that hangs.
async fn mount_part(work: &Work<'_>, container: &str, part: SubPathMount) -> Result<(), StepError> {
    let (name, volume) = (container.to_owned(), part.volume.clone());
    let path = part.root.join(&part.path);
    let mounting = move || {
        // The inner result is that of the mount, the outer one that of the bulkhead.
        Ok(sub_path::prepare(&part, &name))
    };
    let mounted = work
        .in_place(Whose::Host, &path, work.context.files.patience, mounting)
        .await;
    let reason = reason::waiting::CREATE_CONTAINER_CONFIG_ERROR;
    let mounted = mounted.map_err(|error| {
        error.of_step(reason, |error| {
            format!(
                "failed to prepare subPath for volumeMount {volume:?} of container {container:?}: {error}"
            )
        })
    })?;
    mounted.map_err(|error| {
        // A status contains the kubelet's message, without the cause.
        tracing::warn!(container, "{}", chain(&error));
        failure(reason, error.to_string())
    })
}

/// Starts a container and creates the link to its log.
pub(super) async fn start(
    runtime: &Runtime,
    container: String,
    which: ContainerRef,
    link: Option<(PathBuf, PathBuf)>,
    made: &Made,
) -> Result<Effect, StepError> {
    let id = match which {
        ContainerRef::Id(id) => id,
        ContainerRef::Made => made.containers.get(&container).cloned().ok_or_else(|| {
            failure(
                reason::waiting::RUN_CONTAINER_ERROR,
                "the container was not created".to_owned(),
            )
        })?,
    };
    if let Err(error) = runtime.start_container(&id).await {
        return Err(call_failure(
            reason::waiting::RUN_CONTAINER_ERROR,
            error.message.clone(),
            &error,
        ));
    }
    if let Some((prefix, log)) = link {
        let link = link_path(&prefix, &id);
        // As in the kubelet, the container runs whether or not log shippers see it.
        if let Err(error) = make_link(&log, &link) {
            tracing::warn!(%error, link = %link.display(), "cannot create the symbolic link to the container log");
        }
    }
    Ok(Effect {
        done: Done::Container { id },
        fact: None,
    })
}

/// The image reference from the runtime, and the image's own user if the manifest sets none (kuberuntime
/// `determineEffectiveSecurityContext`).
fn fill_in_image(config: &mut v1::ContainerConfig, found: &ImageFound) -> Result<(), String> {
    if let Some(refusal) = &found.refusal {
        return Err(refusal.clone());
    }
    let spec = config.image.get_or_insert_default();
    if spec.user_specified_image.is_empty() {
        spec.user_specified_image = std::mem::take(&mut spec.image);
    }
    spec.image.clone_from(&found.reference);
    let context = config
        .linux
        .as_mut()
        .and_then(|linux| linux.security_context.as_mut());
    if let Some(context) = context
        && context.run_as_user.is_none()
    {
        match &found.user {
            ImageUser::Uid(uid) => context.run_as_user = Some(v1::Int64Value { value: *uid }),
            ImageUser::Name(name) => context.run_as_username.clone_from(name),
        }
    }
    Ok(())
}

fn make_log_dir(log: &Path) -> io::Result<()> {
    let dir = log.parent().expect("a log path has a parent directory");
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

/// Creates the file empty and writable for any user that the container runs as, independent of the umask.
fn make_termination_file(path: &Path) -> io::Result<()> {
    let dir = path.parent().expect("a file path has a parent directory");
    fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o666)
        // A FIFO in its place is an error, and does not block.
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o666))
}

/// `<prefix>-<id>.log`, shortened as the kubelet shortens it (kuberuntime `logSymlink`).
fn link_path(prefix: &Path, id: &str) -> PathBuf {
    let name = prefix.file_name().unwrap_or_default().to_string_lossy();
    let mut name = format!("{name}-{id}");
    name.truncate(LONGEST_LINK);
    prefix.with_file_name(name + ".log")
}

fn make_link(log: &Path, link: &Path) -> io::Result<()> {
    if !log.exists() {
        return Ok(());
    }
    match std::os::unix::fs::symlink(log, link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let dir = link.parent().expect("a link path has a parent directory");
            fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
            std::os::unix::fs::symlink(log, link)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::read_link(link)? == log {
                return Ok(());
            }
            fs::remove_file(link)?;
            std::os::unix::fs::symlink(log, link)
        }
        result => result,
    }
}

/// The log and its rotated files: `0.log`, `0.log.20261121-001122`, `0.log.20261121-001122.gz`.
fn remove_logs(log: &Path) -> Result<(), (PathBuf, io::Error)> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else {
        return Ok(());
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err((dir.to_owned(), error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| (dir.to_owned(), error))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(name.as_encoded_bytes())
        {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<(), (PathBuf, io::Error)> {
    remove_if_there(path).map_err(|error| (path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_link_to_a_log() {
        let check = |prefix: &str, id: &str, want: &str| {
            assert_eq!(link_path(Path::new(prefix), id), Path::new(want));
        };
        check(
            "/var/log/containers/web-node1_default_c",
            "abc",
            "/var/log/containers/web-node1_default_c-abc.log",
        );
        let long = "p".repeat(250);
        let want = format!("/l/{}.log", "p".repeat(250) + "-");
        check(&format!("/l/{long}"), "abcdef", &want);
        // A dot in the pod's name does not start a file extension.
        check("/l/a.b_default_c", "abc", "/l/a.b_default_c-abc.log");
    }

    #[test]
    fn the_logs_of_one_attempt_go_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "0.log",
            "0.log.20261121-001122",
            "0.log.20261121-001122.gz",
            "1.log",
            "10.log",
        ] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        remove_logs(&dir.path().join("0.log")).unwrap();
        let mut left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["1.log", "10.log"]);
        remove_logs(&dir.path().join("0.log")).unwrap();
        remove_logs(&dir.path().join("gone/0.log")).unwrap();
        remove_logs(Path::new("")).unwrap();
    }

    #[test]
    fn a_termination_file_is_writable_by_all_and_never_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("containers/c/0a1b2c3d");
        make_termination_file(&path).unwrap();
        fs::write(&path, "old").unwrap();
        make_termination_file(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o666);
        let target = dir.path().join("target");
        fs::write(&target, "kept").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(make_termination_file(&link).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"kept");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(make_termination_file(&fifo).is_err(), "nobody reads it");
    }

    #[test]
    fn a_link_is_made_anew_where_it_points_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        let link = dir.path().join("links/web.log");
        make_link(&log, &link).unwrap();
        assert!(
            fs::symlink_metadata(&link).is_err(),
            "no link to a log that is not there"
        );
        fs::write(&log, "").unwrap();
        for _ in 0..2 {
            make_link(&log, &link).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), log);
        }
        let other = dir.path().join("1.log");
        fs::write(&other, "").unwrap();
        make_link(&other, &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), other);
    }

    fn config(user: Option<i64>) -> v1::ContainerConfig {
        let context = v1::LinuxContainerSecurityContext {
            run_as_user: user.map(|value| v1::Int64Value { value }),
            ..Default::default()
        };
        v1::ContainerConfig {
            image: Some(v1::ImageSpec {
                image: "busybox".into(),
                ..Default::default()
            }),
            linux: Some(v1::LinuxContainerConfig {
                security_context: Some(context),
                resources: None,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn the_image_fills_in_reference_and_user() {
        let check = |stated: Option<i64>, user: ImageUser, uid: Option<i64>, name: &str| {
            let mut config = config(stated);
            let found = ImageFound {
                reference: "sha256:1".into(),
                user,
                refusal: None,
            };
            fill_in_image(&mut config, &found).unwrap();
            let image = config.image.unwrap();
            assert_eq!(
                (&*image.image, &*image.user_specified_image),
                ("sha256:1", "busybox")
            );
            let context = config.linux.unwrap().security_context.unwrap();
            assert_eq!(context.run_as_user.map(|v| v.value), uid);
            assert_eq!(context.run_as_username, name);
        };
        check(None, ImageUser::Uid(0), Some(0), "");
        check(None, ImageUser::Uid(7), Some(7), "");
        check(None, ImageUser::Name("nobody".into()), None, "nobody");
        check(Some(5), ImageUser::Uid(7), Some(5), "");
        check(Some(5), ImageUser::Name("nobody".into()), Some(5), "");
    }
}

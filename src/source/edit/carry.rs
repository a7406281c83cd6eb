//! Carries out a change: reads the directory, decides, writes. It blocks.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::decide::{Decision, Given, Root, Step, decide};
use super::manifests::Manifest;
use crate::disk::write::{Durability, Writing, create, rewrite, sync};
use crate::manifest::ManifestContext;
use crate::model::manifest_edit::{Edit, EditOptions, Edited, Mode, NotEdited, Target};
use crate::source::files::{Unlisted, contents};

/// The manifests directory.
pub(super) struct Directory {
    path: Option<PathBuf>,
    context: ManifestContext,
}

impl Directory {
    pub(super) fn new(path: Option<PathBuf>, context: ManifestContext) -> Directory {
        Directory { path, context }
    }

    /// Carries out one change.
    pub(super) fn edit(&self, target: Target, edit: Edit, options: EditOptions) -> Result<Edited, NotEdited> {
        let path = self.path.as_deref().ok_or_else(|| {
            let text = "no manifests directory is configured: set `staticPodPath` (or --pod-manifest-path)";
            NotEdited::Refused(text.to_owned())
        })?;
        let named = format!("{} {}/{}", target.kind.as_str(), target.namespace, target.name);
        let manifests = self.manifests(path, &target, &edit)?;
        let given = Given {
            directory: match path.is_file() {
                true => Root::File,
                false => Root::Directory(path),
            },
            manifests: &manifests,
            context: &self.context,
            now: Timestamp::now(),
            options: &options,
        };
        let Decision { step, answer } = decide(&given, target, edit)?;
        match options.mode {
            Mode::Write => carry(&step, &named)?,
            Mode::DryRun => {}
        }
        Ok(answer)
    }

    fn manifests(&self, path: &Path, target: &Target, edit: &Edit) -> Result<Vec<Manifest>, NotEdited> {
        let failed = |why: &str| NotEdited::Failed(format!("cannot read {}: {why}", path.display()));
        match contents(path) {
            Ok(files) => {
                let manifest = |file: crate::source::files::FileContents| {
                    Manifest::new(file.path, file.is_link, file.bytes)
                };
                Ok(files.into_iter().map(manifest).collect())
            }
            Err(Unlisted::Missing) => match edit {
                Edit::Create(_) => Err(NotEdited::Refused(format!(
                    "the manifests directory {} does not exist: create it with `mkdir -p`",
                    path.display()
                ))),
                _ => Err(NotEdited::NotFound(target.clone())),
            },
            Err(Unlisted::Unreadable(why)) => Err(failed(&why)),
        }
    }
}

fn carry(step: &Step, object: &str) -> Result<(), NotEdited> {
    let (path, doing, done) = match step {
        Step::Nothing => return Ok(()),
        Step::Create(path, text) => {
            // As kubeadm's manifests: root's own.
            let writing = Writing::private(Durability::PowerFailure);
            (path, "written", create(path, text.as_bytes(), writing))
        }
        Step::Rewrite(path, text) => {
            let done = rewrite(path, text.as_bytes(), Durability::PowerFailure);
            (path, "written", done)
        }
        Step::Remove(path) => (path, "removed", remove(path)),
    };
    match done {
        Ok(()) => {
            let file = path.display();
            tracing::info!(object, %file, what = doing, "manifest changed, as asked through the endpoint for kubectl");
            Ok(())
        }
        Err(error) => Err(NotEdited::Failed(format!(
            "{} cannot be {doing}: {}",
            path.display(),
            reason(&error)
        ))),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)?;
    sync(path.parent().unwrap_or(Path::new("/")))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only: change it where it comes from".to_owned()
        }
        io::ErrorKind::AlreadyExists => {
            "it exists, and does not have this object: rename it, or write the object into it".to_owned()
        }
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        _ => error.to_string(),
    }
}

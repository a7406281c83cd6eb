//! `gantry images prune`: removes the images that nothing uses, after it was shown which those are.

use std::io::{BufRead, Write};

use jiff::Timestamp;

use super::client::Client;
use super::images::{last_used, names, short_id};
use super::table::{Table, in_line};
use super::top::amounts;
use super::{CommandError, print};
use crate::model::collection::WhyKept;
use crate::serve::images::wire::{ImageList, ListedImage, Pruned, PrunedImage};

/// Whether the images are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are only shown.
    DryRun,
    /// They are, once somebody has typed yes.
    Ask,
    /// They are.
    Remove,
}

/// What becomes of the containers of pods that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedPods {
    /// They stay, with their logs and images.
    Kept,
    /// Those of the API server's pods are removed; images that only they use are unused then.
    Cleared,
}

/// What is removed, and how.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether it is.
    pub mode: Mode,
    /// Whether only images are.
    pub ended_pods: EndedPods,
}

/// Removes the images that the agent finds unused then. Returns the exit code: failure if some could not be removed, or if
/// nobody agreed.
pub async fn run(
    client: &Client,
    options: Options,
    now: Timestamp,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> Result<u32, CommandError> {
    let list: ImageList = client.object("/images").await?;
    let is_known = |image: &ListedImage| image.goes_after.is_some() || image.kept.is_some();
    if !list.items.is_empty() && !list.items.iter().any(is_known) {
        let why = "gantry does not know yet which images are unused: it begins to work on pods when the container runtime \
                   answers; `gantry doctor` checks it";
        return Err(CommandError::Choice(why.to_owned()));
    }
    let unused = unused(&list);
    let (path, ended) = match options.ended_pods {
        EndedPods::Kept => ("/images/prune", ""),
        EndedPods::Cleared => (
            "/images/prune?ended=true",
            ", and the containers of ended pods with the images that only they use",
        ),
    };
    if unused.is_empty() && options.ended_pods == EndedPods::Kept {
        print(out, &format!("No image can be removed.\n{}", too_new(&list)))?;
        return Ok(0);
    }
    let summary = counted(unused.len(), unused.iter().map(|image| image.size));
    match options.mode {
        Mode::DryRun => {
            let text = format!(
                "{}{summary} would be removed{ended}.\n{}",
                table(&unused, now),
                too_new(&list)
            );
            print(out, &text)?;
            return Ok(0);
        }
        Mode::Ask => {
            let question = format!("This removes {summary}{ended}. Type yes to continue: ");
            print(out, &format!("{}{question}", table(&unused, now)))?;
            out.flush().map_err(CommandError::Output)?;
            if !agrees(input)? {
                return Ok(1);
            }
        }
        Mode::Remove => {}
    }
    let pruned: Pruned = client.result(path).await?;
    print(out, &report(&pruned))?;
    Ok(u32::from(!pruned.failed.is_empty()))
}

fn agrees(input: &mut impl BufRead) -> Result<bool, CommandError> {
    let mut answer = String::new();
    let read = input.read_line(&mut answer);
    read.map_err(|source| CommandError::File {
        what: "cannot read the answer".to_owned(),
        source,
    })?;
    Ok(answer.trim() == "yes")
}

/// Those that go, in their order.
fn unused(list: &ImageList) -> Vec<&ListedImage> {
    let mut unused: Vec<_> = list
        .items
        .iter()
        .filter(|image| image.goes_after.is_some())
        .collect();
    unused.sort_by_key(|image| image.goes_after);
    unused
}

fn table(unused: &[&ListedImage], now: Timestamp) -> String {
    let mut table = Table::new(&["IMAGE", "IMAGE ID", "SIZE", "LAST USED"]);
    for image in unused {
        table.row([
            in_line(&names(image).join(",")),
            short_id(&image.id),
            amounts::bytes(Some(image.size)),
            last_used(image, now),
        ]);
    }
    table.text("")
}

/// What people may miss among those that go.
fn too_new(list: &ImageList) -> String {
    let new = list.items.iter().filter(|image| image.kept == Some(WhyKept::New));
    match new.count() {
        0 => String::new(),
        number => format!(
            "{} unused too, but gantry has not known {} for as long as imageMinimumGCAge says.\n",
            if number == 1 {
                "1 image is".to_owned()
            } else {
                format!("{number} images are")
            },
            if number == 1 { "it" } else { "them" },
        ),
    }
}

fn counted(number: usize, sizes: impl Iterator<Item = u64>) -> String {
    let bytes = amounts::bytes(Some(sizes.fold(0, u64::saturating_add)));
    match number {
        1 => format!("1 image ({bytes})"),
        number => format!("{number} images ({bytes})"),
    }
}

fn report(pruned: &Pruned) -> String {
    let name = |image: &PrunedImage| match image.names.first() {
        Some(name) => in_line(name),
        None => short_id(&image.id),
    };
    let removed = pruned.removed.iter().map(|image| {
        let bytes = amounts::bytes(Some(image.size));
        format!("removed {} ({bytes})\n", name(image))
    });
    let failed = pruned
        .failed
        .iter()
        .map(|failed| format!("left {}: {}\n", name(&failed.image), in_line(&failed.why)));
    let mut text: String = removed.chain(failed).collect();
    let sizes = pruned.removed.iter().map(|image| image.size);
    text += &format!("{} removed.\n", counted(pruned.removed.len(), sizes));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::images::wire::NotPruned;

    #[test]
    fn the_report_has_what_went_what_is_left_and_the_bytes() {
        let image = |name: Option<&str>, size| PrunedImage {
            id: "sha256:0123456789abcdef".to_owned(),
            names: name.into_iter().map(str::to_owned).collect(),
            size,
        };
        let pruned = Pruned {
            removed: vec![image(Some("a:1"), 4096), image(None, 1024)],
            bytes: 5120,
            failed: vec![NotPruned {
                image: image(Some("b:1"), 1),
                why: "read-only\nfile system".to_owned(),
            }],
        };
        let expected = "removed a:1 (4.0Ki)\nremoved 0123456789ab (1.0Ki)\n";
        let said = report(&pruned);
        assert!(said.starts_with(expected), "{said}");
        assert!(said.contains("left b:1: read-only"), "{said}");
        assert!(said.ends_with("2 images (5.0Ki) removed.\n"), "{said}");
    }
}

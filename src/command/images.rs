//! `gantry images`: the images that the runtime has, and the pods that use them.

use std::io::Write;

use jiff::Timestamp;

use super::client::Client;
use super::table::{Table, in_line};
use super::top::amounts;
use super::{CommandError, print};
use crate::model::age;
use crate::model::collection::WhyKept;
use crate::serve::images::wire::{ImageList, ListedImage};

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A table: a row for each name of an image.
    Table,
    /// The same, with when an image was last used, and when it is removed or why it is not.
    Wide,
    /// The agent's answer, indented.
    Json,
}

/// How many pods of an image a table names.
const MOST_PODS: usize = 3;
/// How many characters of an ID tell images apart, as in other programs' tables.
const SHORT_ID: usize = 12;

/// Prints the images, sorted by name.
pub async fn run(
    client: &Client,
    form: Form,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let list: ImageList = client.object("/images").await?;
    match form {
        Form::Json => {
            let text =
                serde_json::to_string_pretty(&list).map_err(|error| CommandError::Answer(error.into()))?;
            print(out, &(text + "\n"))
        }
        Form::Table | Form::Wide if list.items.is_empty() => print(out, "No images found.\n"),
        Form::Table => print(out, &table(&list, None)),
        Form::Wide => print(out, &table(&list, Some(now))),
    }
}

/// A wide one says how long before `now` images were used.
fn table(list: &ImageList, wide: Option<Timestamp>) -> String {
    let more: &[&str] = wide.map_or(&[], |_| &["LAST USED", "COLLECTED"]);
    let mut table = Table::new(&[&["IMAGE", "IMAGE ID", "SIZE"], more, &["PODS"]].concat());
    for image in &list.items {
        let more = wide.map(|now| [last_used(image, now), collected(image)]);
        for name in names(image) {
            let first = [
                in_line(&name),
                short_id(&image.id),
                amounts::bytes(Some(image.size)),
            ];
            let more = more.iter().flatten().cloned();
            table.row(first.into_iter().chain(more).chain([pods(image)]));
        }
    }
    table.text("")
}

/// How long ago a container used the image.
pub(super) fn last_used(image: &ListedImage, now: Timestamp) -> String {
    match (image.last_used, image.detected) {
        (Some(at), _) => age::since(at, now),
        (None, Some(_)) => "<never>".to_owned(),
        (None, None) => amounts::UNKNOWN.to_owned(),
    }
}

/// The place of the image among those that are removed, or why it stays.
fn collected(image: &ListedImage) -> String {
    let why = match (image.goes_after, image.kept) {
        (Some(others), _) => return (u64::from(others) + 1).to_string(),
        (None, Some(why)) => why,
        (None, None) => return amounts::UNKNOWN.to_owned(),
    };
    let why = match why {
        WhyKept::InUse => "in use",
        WhyKept::Named => "named by a pod",
        WhyKept::Pinned => "pinned",
        WhyKept::Sandbox => "sandbox image",
        WhyKept::Archive => "of an archive",
        WhyKept::New => "too new",
    };
    format!("no: {why}")
}

/// What the image is called; one without a tag by its repository.
pub(super) fn names(image: &ListedImage) -> Vec<String> {
    if !image.names.is_empty() {
        return image.names.clone();
    }
    let repository = image.digests.first().and_then(|name| name.split('@').next());
    vec![format!("{}:<none>", repository.unwrap_or("<none>"))]
}

pub(super) fn short_id(id: &str) -> String {
    let hexadecimal = id.strip_prefix("sha256:").unwrap_or(id);
    in_line(hexadecimal).chars().take(SHORT_ID).collect()
}

fn pods(image: &ListedImage) -> String {
    let named = image.pods.iter().take(MOST_PODS).cloned().collect::<Vec<_>>();
    match image.pods.len().saturating_sub(MOST_PODS) {
        _ if image.pods.is_empty() => "<none>".to_owned(),
        0 => named.join(","),
        more => format!("{} and {more} more", named.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn image(names: &[&str], digests: &[&str], pods: &[&str]) -> ListedImage {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        ListedImage {
            id: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned(),
            names: owned(names),
            digests: owned(digests),
            size: 4_404_019,
            pinned: false,
            pods: owned(pods),
            detected: None,
            last_used: None,
            goes_after: None,
            kept: None,
        }
    }

    #[test]
    fn the_wide_table_says_what_goes_first_and_why_the_rest_stays() {
        let at = |second| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let known = |name: &str, last_used: Option<i64>, goes_after, kept| ListedImage {
            detected: Some(at(0)),
            last_used: last_used.map(at),
            goes_after,
            kept,
            ..image(&[name], &[], &[])
        };
        let list = ImageList {
            items: vec![
                known("a:1", Some(100), Some(1), None),
                known("b:1", None, Some(0), None),
                known("c:1", Some(300), None, Some(WhyKept::InUse)),
                known("d:1", None, None, Some(WhyKept::Archive)),
                image(&["e:1"], &[], &[]),
            ],
        };
        expect![[r#"
            IMAGE   IMAGE ID       SIZE    LAST USED   COLLECTED           PODS
            a:1     0123456789ab   4.2Mi   3m20s       2                   <none>
            b:1     0123456789ab   4.2Mi   <never>     1                   <none>
            c:1     0123456789ab   4.2Mi   0s          no: in use          <none>
            d:1     0123456789ab   4.2Mi   <never>     no: of an archive   <none>
            e:1     0123456789ab   4.2Mi   -           -                   <none>
        "#]]
        .assert_eq(&table(&list, Some(at(300))));
    }

    #[test]
    fn a_row_for_each_name_and_the_pods_that_use_it() {
        let list = ImageList {
            items: vec![
                image(&[], &["quay.io/x@sha256:ab"], &[]),
                image(&[], &[], &["ns/a"]),
                image(
                    &["docker.io/library/demo:1", "gantry.local/demo:2"],
                    &[],
                    &["ns/a", "ns/b", "ns/c", "ns/d", "ns/e"],
                ),
            ],
        };
        expect![[r#"
            IMAGE                      IMAGE ID       SIZE    PODS
            quay.io/x:<none>           0123456789ab   4.2Mi   <none>
            <none>:<none>              0123456789ab   4.2Mi   ns/a
            docker.io/library/demo:1   0123456789ab   4.2Mi   ns/a,ns/b,ns/c and 2 more
            gantry.local/demo:2        0123456789ab   4.2Mi   ns/a,ns/b,ns/c and 2 more
        "#]]
        .assert_eq(&table(&list, None));
    }
}

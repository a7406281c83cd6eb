//! The records of image pulls on disk, where the kubelet has them: `image_manager/pulling` and `image_manager/pulled`
//! below the root directory, a file for each image (`pkg/kubelet/images/pullmanager/fs_pullrecords.go`). Agent and
//! kubelet can continue with each other's records. The rules are in [`crate::model::pull_record`].

mod files;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use k8s_cri::v1;

use super::off_thread::off_thread;
use crate::counters::{Counters, Images};
use crate::cri::Runtime;
use crate::disk::write::remove_if_there;
use crate::model::image_ref::full_name;
use crate::model::pull_policy::Verification;
use crate::model::pull_record::{
    Access, PullCredentials, PullSecret, PulledRecord, Trace, access, decode_intent, encode_intent,
};
use files::{MAX_RECORD, contents, file_name, number_of, read, write};

/// How often the records of removed images are looked for: the period of the kubelet's image garbage collection.
const PRUNE: Duration = Duration::from_secs(300);

/// The records.
#[derive(Debug, Clone)]
pub struct PullRecords(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    /// `None`: pods may use any image that is present, and nothing is recorded (the feature gate
    /// `KubeletEnsureSecretPulledImages` is off).
    policy: Option<Verification>,
    /// The number of pulls in progress by image. The lock also protects reading and writing records.
    under_way: Mutex<BTreeMap<String, usize>>,
}

/// A pull in progress. Dropping it does not end the pull: the runtime may still get the image, so its intent stays.
#[derive(Debug)]
pub(super) struct Intent {
    records: PullRecords,
    image: String,
    is_counted: bool,
}

impl PullRecords {
    /// Below the root directory.
    pub fn new(root_dir: &Path, policy: Option<Verification>) -> PullRecords {
        PullRecords(Arc::new(Inner {
            directory: root_dir.join("image_manager"),
            policy,
            under_way: Mutex::default(),
        }))
    }

    /// Whether a pod may use an image that is present; `reference` is the runtime's reference, `own` are the
    /// credentials from the pod's Secrets, or why they cannot be parsed.
    pub(super) async fn may_use(
        &self,
        image: &str,
        reference: &str,
        own: Result<Vec<PullSecret>, String>,
        counters: &Images,
    ) -> Result<bool, String> {
        let (records, image, reference) = (self.clone(), image.to_owned(), reference.to_owned());
        let looked = off_thread(move || Ok(records.0.may_use(&image, &reference, own))).await;
        let looked = looked.unwrap_or_else(|died| Err(died.to_string()));
        counters.checked(match &looked {
            Ok(Access::NotRequired) => "credentialPolicyAllowed",
            Ok(Access::Granted | Access::GrantedBy(_)) => "credentialRecordFound",
            Ok(Access::MustPull) => "mustAuthenticate",
            Err(_) => "error",
        });
        Ok(looked? != Access::MustPull)
    }

    /// Records that an image is about to be pulled; `None`: nothing is recorded here.
    pub(super) async fn begin(&self, image: &str) -> io::Result<Option<Intent>> {
        if self.0.policy.is_none() {
            return Ok(None);
        }
        let (records, image) = (self.clone(), image.to_owned());
        off_thread(move || {
            let mut under_way = records.0.lock();
            write(&records.0.intent(&image), &encode_intent(&image))?;
            *under_way.entry(image.clone()).or_default() += 1;
            drop(under_way);
            Ok(Some(Intent {
                records,
                image,
                is_counted: true,
            }))
        })
        .await
    }

    /// Counts the records on disk.
    pub(super) async fn count(&self, counters: &Images) {
        if self.0.policy.is_none() {
            return;
        }
        let records = self.clone();
        let counted = off_thread(move || {
            let directory = |name: &str| number_of(&records.0.directory.join(name));
            Ok((directory("pulling")?, directory("pulled")?))
        });
        match counted.await {
            Ok((intents, pulled)) => counters.recorded(intents, pulled),
            Err(error) => tracing::debug!(%error, "cannot count the image pull records"),
        }
    }

    /// Completes the work of an earlier agent or kubelet, and removes the records of images that are gone, until
    /// dropped.
    pub async fn tend(self, runtime: Runtime, counters: Arc<Counters>) {
        if self.0.policy.is_none() {
            return std::future::pending().await;
        }
        let mut finished = false;
        let mut absent = Vec::new();
        loop {
            let before = Timestamp::now();
            match runtime.list_images().await {
                Ok(images) => {
                    let (records, was_absent) = (self.clone(), std::mem::take(&mut absent));
                    let done = off_thread(move || {
                        if !finished {
                            records.0.finish(&images)?;
                        }
                        records.0.prune(&images, before, &was_absent)
                    });
                    match done.await {
                        Ok(now_absent) => (finished, absent) = (true, now_absent),
                        Err(error) => {
                            tracing::warn!(%error, "cannot clean up the image pull records; retrying")
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cleanup of the image pull records waits for the container runtime")
                }
            }
            self.count(&counters.images).await;
            tokio::time::sleep(PRUNE).await;
        }
    }
}

impl Intent {
    /// The image was pulled. If that cannot be recorded, the intent stays, so that the image does not count as
    /// preloaded.
    pub(super) async fn succeeded(mut self, reference: &str, with: PullCredentials) {
        self.is_counted = false;
        let (records, image, reference) = (self.records.clone(), self.image.clone(), reference.to_owned());
        let done = off_thread(move || {
            let mut under_way = records.0.lock();
            records.0.note(&image, &reference, Some(with))?;
            records.0.end(&mut under_way, &image)
        });
        if let Err(error) = done.await {
            tracing::warn!(image = self.image, %error, "cannot record which pods may use the image; they will pull \
             it again");
        }
    }

    /// The pull failed.
    pub(super) async fn failed(mut self) {
        self.is_counted = false;
        let (records, image) = (self.records.clone(), self.image.clone());
        let done = off_thread(move || {
            let mut under_way = records.0.lock();
            records.0.end(&mut under_way, &image)
        });
        if let Err(error) = done.await {
            tracing::warn!(image = self.image, %error, "cannot remove the intent of a failed image pull");
        }
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if self.is_counted {
            uncount(&mut self.records.0.lock(), &self.image);
        }
    }
}

/// Counts a pull as ended; returns how many are left.
fn uncount(under_way: &mut BTreeMap<String, usize>, image: &str) -> usize {
    let left = under_way.get(image).map_or(0, |count| count.saturating_sub(1));
    match left {
        0 => drop(under_way.remove(image)),
        left => drop(under_way.insert(image.to_owned(), left)),
    }
    left
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.under_way.lock().expect("no holder of this lock can panic")
    }

    fn intent(&self, image: &str) -> PathBuf {
        self.directory.join("pulling").join(file_name(image))
    }

    fn pulled(&self, reference: &str) -> PathBuf {
        self.directory.join("pulled").join(file_name(reference))
    }

    fn may_use(
        &self,
        image: &str,
        reference: &str,
        own: Result<Vec<PullSecret>, String>,
    ) -> Result<Access, String> {
        let Some(policy) = &self.policy else {
            return Ok(Access::NotRequired);
        };
        let under_way = self.lock();
        let trace = self.trace(image, reference, &under_way).unwrap_or_else(|error| {
            tracing::warn!(image, %error, "cannot read an image pull record; the image will be pulled again");
            Trace::Unreadable
        });
        let access = access(policy, image, &trace, || own)?;
        if let Access::GrantedBy(secret) = &access {
            let with = PullCredentials {
                kubernetes_secrets: vec![secret.clone()],
                ..PullCredentials::default()
            };
            if let Err(error) = self.note(image, reference, Some(with)) {
                tracing::warn!(image, %error, "cannot record that a Secret grants access to the image");
            }
        }
        Ok(access)
    }

    fn trace(&self, image: &str, reference: &str, under_way: &BTreeMap<String, usize>) -> io::Result<Trace> {
        if let Some(record) = self.record(reference)? {
            return Ok(Trace::Pulled(record));
        }
        // The runtime may have the image before its pull is recorded, and a pod may use another form of its name.
        let full = full_name(image);
        if under_way.keys().any(|pulled| full_name(pulled) == full) {
            return Ok(Trace::Begun);
        }
        match read(&self.intent(image))? {
            None => Ok(Trace::None),
            Some(bytes) => match decode_intent(&bytes).map_err(io::Error::other)? == image {
                true => Ok(Trace::Begun),
                false => Ok(Trace::None),
            },
        }
    }

    /// The record of an image; a record of another image under its name counts as none.
    fn record(&self, reference: &str) -> io::Result<Option<PulledRecord>> {
        let Some(bytes) = read(&self.pulled(reference))? else {
            return Ok(None);
        };
        let record = PulledRecord::decode(&bytes).map_err(io::Error::other)?;
        Ok((record.reference == reference).then_some(record))
    }

    /// Records a pull, if it is new. An unreadable record is replaced.
    fn note(&self, image: &str, reference: &str, with: Option<PullCredentials>) -> io::Result<()> {
        let now = Timestamp::now();
        let changed = match self.record(reference) {
            Ok(Some(record)) => match record.with(image, with.as_ref(), now) {
                Some(changed) => changed,
                None => return Ok(()),
            },
            Ok(None) | Err(_) => PulledRecord::new(reference, image, with.clone(), now),
        };
        let mut bytes = changed.encode();
        if bytes.len() as u64 > MAX_RECORD {
            bytes = PulledRecord::new(reference, image, with, now).encode();
        }
        write(&self.pulled(reference), &bytes)
    }

    fn end(&self, under_way: &mut BTreeMap<String, usize>, image: &str) -> io::Result<()> {
        match uncount(under_way, image) {
            0 => remove_if_there(&self.intent(image)),
            _ => Ok(()),
        }
    }

    /// Completes pulls that began before this start and whose image is present: their credentials are unknown. Rewrites
    /// records of an older version.
    fn finish(&self, images: &[v1::Image]) -> io::Result<()> {
        let names = images.iter().flat_map(|image| {
            let names = image.repo_tags.iter().chain(&image.repo_digests);
            names.map(|name| (full_name(name), image.id.as_str()))
        });
        let there: BTreeMap<String, &str> = names.collect();
        let under_way = self.lock();
        for bytes in contents(&self.directory.join("pulling"))? {
            let image = match decode_intent(&bytes) {
                Ok(image) if !under_way.contains_key(&image) => image,
                _ => continue,
            };
            match there.get(&full_name(&image)) {
                Some(reference) => {
                    self.note(&image, reference, None)?;
                    remove_if_there(&self.intent(&image))?;
                }
                None if encode_intent(&image) != bytes => {
                    write(&self.intent(&image), &encode_intent(&image))?
                }
                None => {}
            }
        }
        for bytes in contents(&self.directory.join("pulled"))? {
            if let Ok(record) = PulledRecord::decode(&bytes)
                && record.encode() != bytes
            {
                write(&self.pulled(&record.reference), &record.encode())?;
            }
        }
        Ok(())
    }

    /// Removes the records of images that were absent both at the last check and at this one; returns those that are
    /// absent now. A runtime that lists no images at all has not loaded its store yet. `before` is a time before the
    /// images were listed.
    fn prune(
        &self,
        images: &[v1::Image],
        before: Timestamp,
        was_absent: &[String],
    ) -> io::Result<Vec<String>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let there: std::collections::BTreeSet<&str> = images.iter().map(|image| image.id.as_str()).collect();
        let _under_way = self.lock();
        let mut absent = Vec::new();
        for bytes in contents(&self.directory.join("pulled"))? {
            let Ok(record) = PulledRecord::decode(&bytes) else {
                continue;
            };
            if there.contains(record.reference.as_str()) || record.updated >= before {
                continue;
            }
            match was_absent.contains(&record.reference) {
                true => remove_if_there(&self.pulled(&record.reference))?,
                false => absent.push(record.reference),
            }
        }
        Ok(absent)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const IMAGE: &str = "example.com/app:1";

    fn records(root: &Path) -> PullRecords {
        PullRecords::new(root, Some(Verification::Pulled))
    }

    fn secret(hash: &str) -> PullSecret {
        PullSecret {
            uid: format!("uid of {hash}"),
            namespace: "ns".to_owned(),
            name: "s".to_owned(),
            credential_hash: hash.to_owned(),
        }
    }

    fn of(secret: PullSecret) -> PullCredentials {
        PullCredentials {
            kubernetes_secrets: vec![secret],
            ..PullCredentials::default()
        }
    }

    fn image(reference: &str, tags: &[&str]) -> v1::Image {
        v1::Image {
            id: reference.to_owned(),
            repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..v1::Image::default()
        }
    }

    async fn may_use(records: &PullRecords, image: &str, own: &[PullSecret]) -> bool {
        let own = Ok(own.to_vec());
        records
            .may_use(image, "id", own, &Images::default())
            .await
            .unwrap()
    }

    fn files(root: &Path, directory: &str) -> usize {
        contents(&root.join("image_manager").join(directory))
            .unwrap()
            .count()
    }

    #[tokio::test]
    async fn who_pulled_an_image_may_use_it_and_nobody_else() {
        let root = tempfile::tempdir().unwrap();
        let records = records(root.path());
        assert!(may_use(&records, IMAGE, &[]).await, "preloaded");
        let intent = records.begin(IMAGE).await.unwrap().unwrap();
        assert!(
            !may_use(&records, IMAGE, &[]).await,
            "the runtime has it before that is written down"
        );
        intent.succeeded("id", of(secret("a"))).await;
        assert!(may_use(&records, IMAGE, &[secret("a")]).await);
        assert!(!may_use(&records, IMAGE, &[]).await);
        assert!(!may_use(&records, IMAGE, &[secret("b")]).await);
        let again = super::tests::records(root.path());
        assert!(!may_use(&again, IMAGE, &[]).await, "after a restart too");
        assert_eq!(
            [files(root.path(), "pulling"), files(root.path(), "pulled")],
            [0, 1]
        );
        let mode = |path: &str| {
            let about = fs::metadata(root.path().join("image_manager").join(path)).unwrap();
            about.permissions().mode() & 0o777
        };
        assert_eq!(mode("pulled"), 0o700);
        // The kubelet's name for it: the hash of the reference.
        let name = "pulled/sha256-a56145270ce6b3bebd1dd012b73948677dd618d496488bc608a3cb43ce3547dd";
        assert_eq!(mode(name), 0o600);
    }

    #[tokio::test]
    async fn the_intent_goes_with_the_last_pull_of_its_image() {
        let root = tempfile::tempdir().unwrap();
        let records = records(root.path());
        let one = records.begin(IMAGE).await.unwrap().unwrap();
        let two = records.begin(IMAGE).await.unwrap().unwrap();
        one.failed().await;
        assert_eq!(files(root.path(), "pulling"), 1);
        two.failed().await;
        assert_eq!(files(root.path(), "pulling"), 0);
        assert!(may_use(&records, IMAGE, &[]).await, "never pulled");
        // Abandoned midway: the runtime may or may not continue the pull.
        drop(records.begin(IMAGE).await.unwrap());
        assert_eq!(files(root.path(), "pulling"), 1);
        assert!(!may_use(&records, IMAGE, &[]).await);
        let next = records.begin(IMAGE).await.unwrap().unwrap();
        next.failed().await;
        assert_eq!(files(root.path(), "pulling"), 0);
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_opens_nothing_and_begins_anew() {
        let root = tempfile::tempdir().unwrap();
        let records = records(root.path());
        let pull = async |with| {
            let intent = records.begin(IMAGE).await.unwrap().unwrap();
            intent.succeeded("id", with).await;
        };
        pull(PullCredentials::of(None)).await;
        assert!(may_use(&records, IMAGE, &[]).await);
        let path = records.0.pulled("id");
        for broken in [b"broken".to_vec(), vec![b' '; 2 << 20]] {
            fs::write(&path, broken).unwrap();
            assert!(!may_use(&records, IMAGE, &[]).await);
        }
        pull(of(secret("a"))).await;
        assert!(may_use(&records, IMAGE, &[secret("a")]).await);
        // A record of another image under this one's name does not count.
        fs::write(
            &path,
            PulledRecord::new("other", IMAGE, None, Timestamp::now()).encode(),
        )
        .unwrap();
        assert!(may_use(&records, IMAGE, &[]).await);
    }

    #[tokio::test]
    async fn a_record_stays_within_its_bound() {
        let root = tempfile::tempdir().unwrap();
        let records = records(root.path());
        let long = "a".repeat(200);
        let mut record = PulledRecord::new("id", IMAGE, None, Timestamp::UNIX_EPOCH);
        for number in 0..2500 {
            let name = format!("{long}/{number}");
            record.credentials.insert(name, of(secret(&long)));
        }
        fs::create_dir_all(records.0.pulled("id").parent().unwrap()).unwrap();
        fs::write(records.0.pulled("id"), record.encode()).unwrap();
        assert!(record.encode().len() as u64 > MAX_RECORD);
        let intent = records.begin(IMAGE).await.unwrap().unwrap();
        intent.succeeded("id", of(secret("a"))).await;
        let found = records.0.record("id").unwrap().unwrap();
        assert_eq!(found.credentials.len(), 1);
        assert!(may_use(&records, IMAGE, &[secret("a")]).await);
    }

    #[tokio::test]
    async fn a_pull_that_nobody_saw_the_end_of_is_nobodys() {
        let root = tempfile::tempdir().unwrap();
        // Two pulls of an agent that was killed: one image is present, and the runtime lists it by its full name.
        for image in ["app:1", "example.com/gone:1"] {
            let intent = records(root.path()).begin(image).await.unwrap();
            drop(intent);
        }
        let records = records(root.path());
        let under_way = records.begin("example.com/new:1").await.unwrap();
        let there = [
            image("id", &["docker.io/library/app:1"]),
            image("new", &["example.com/new:1"]),
        ];
        records.0.finish(&there).unwrap();
        assert_eq!(
            [files(root.path(), "pulling"), files(root.path(), "pulled")],
            [2, 1]
        );
        assert!(!may_use(&records, "app:1", &[secret("a")]).await);
        assert!(!may_use(&records, "docker.io/library/app:1", &[]).await);
        drop(under_way);
    }

    #[tokio::test]
    async fn records_of_older_kubelets_are_written_anew() {
        let root = tempfile::tempdir().unwrap();
        let records = records(root.path());
        let older = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace("v1beta1", "v1alpha1");
        let record = PulledRecord::new("id", IMAGE, Some(of(secret("a"))), Timestamp::UNIX_EPOCH);
        write(&records.0.pulled("id"), older(record.encode()).as_bytes()).unwrap();
        write(&records.0.intent(IMAGE), older(encode_intent(IMAGE)).as_bytes()).unwrap();
        assert!(may_use(&records, IMAGE, &[secret("a")]).await);
        records.0.finish(&[]).unwrap();
        assert_eq!(fs::read(records.0.pulled("id")).unwrap(), record.encode());
        assert_eq!(fs::read(records.0.intent(IMAGE)).unwrap(), encode_intent(IMAGE));
    }

    #[tokio::test]
    async fn a_record_goes_when_its_image_was_absent_twice() {
        let root = tempfile::tempdir().unwrap();
        let records = records(root.path());
        let before = Timestamp::now() + jiff::SignedDuration::from_secs(5);
        let intent = records.begin(IMAGE).await.unwrap().unwrap();
        intent.succeeded("id", of(secret("a"))).await;
        let (own, other) = (image("id", &[]), image("other", &[]));
        let prune = |images: &[v1::Image], before, was_absent: &[String]| {
            let absent = records.0.prune(images, before, was_absent).unwrap();
            (absent, files(root.path(), "pulled"))
        };
        let id = || vec!["id".to_owned()];
        assert_eq!(prune(std::slice::from_ref(&own), before, &[]), (vec![], 1));
        assert_eq!(prune(&[], before, &id()), (vec![], 1), "nothing is listed yet");
        let others = std::slice::from_ref(&other);
        assert_eq!(prune(others, before, &[]), (id(), 1));
        // Pulled after the images were listed.
        assert_eq!(prune(others, Timestamp::UNIX_EPOCH, &id()), (vec![], 1));
        assert_eq!(prune(others, before, &id()), (vec![], 0));
        assert!(
            may_use(&records, IMAGE, &[]).await,
            "whoever brings it now preloads it"
        );
    }

    #[tokio::test]
    async fn without_the_feature_nothing_is_written_down() {
        let root = tempfile::tempdir().unwrap();
        let records = PullRecords::new(root.path(), None);
        assert!(records.begin(IMAGE).await.unwrap().is_none());
        assert!(may_use(&records, IMAGE, &[]).await);
        assert!(!root.path().join("image_manager").exists());
    }
}

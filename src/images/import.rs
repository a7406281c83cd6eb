//! Sends an image to containerd: blobs to its content store, then the names that point to them.
//!
//! CRI has no import, so this uses containerd's own services. A lease keeps the blobs from being garbage-collected
//! until a name refers to them; afterwards the labels of the manifest do (containerd: *Garbage Collection*).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{
    CreateImageRequest, CreateRequest, DeleteImageRequest, DeleteRequest, GetImageRequest, Image,
    ListImagesRequest, UpdateImageRequest, WriteAction, WriteContentRequest,
};
use containerd_client::types::Descriptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::blob::{ArchiveImage, Blob};
use crate::cri::{Runtime, in_namespace};

/// The label of names that an import has set.
const OURS: &str = "gantry.dev/imported";
/// The size of one message to the content store, in bytes.
const CHUNK: usize = 1 << 20;
/// How often to check whether CRI lists a name: there is no event for it.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How many times.
const LOOKS: u32 = 200;
/// A lease that an interrupted import leaves behind expires after this time.
const LEASE_LIFE: Duration = Duration::from_secs(3600);

/// Why an image was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A containerd call failed.
    #[error("containerd failed to {doing} ({})", .source.message())]
    Refused {
        /// The operation that failed.
        doing: String,
        /// Its answer.
        source: Box<Status>,
    },
    /// CRI does not list a name.
    #[error("containerd has the image {0}, but its CRI plugin does not list it")]
    Unknown(String),
    /// The archive became unreadable.
    #[error("cannot read the archive")]
    Read(#[from] std::io::Error),
}

fn refused(doing: impl Into<String>) -> impl FnOnce(Status) -> ImportError {
    let doing = doing.into();
    move |source| ImportError::Refused {
        doing,
        source: Box::new(source),
    }
}

/// A request within CRI's namespace, and within a lease if given.
fn request<T>(message: T, lease: Option<&str>) -> Request<T> {
    let mut request = in_namespace(message);
    if let Some(lease) = lease.and_then(|id| MetadataValue::try_from(id).ok()) {
        request.metadata_mut().insert("containerd-lease", lease);
    }
    request
}

/// The result of an import for one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// The name already pointed to this image.
    AlreadyThere,
    /// The name is new, or pointed to another image before.
    New,
}

/// Is called with how many more bytes of an image the runtime has.
pub type OnSent = Arc<dyn Fn(u64) + Send + Sync>;

/// Sends one image and sets its names. `pinned` excludes it from the runtime's image garbage collection.
pub async fn import(
    channel: &Channel,
    image: &ArchiveImage,
    pinned: bool,
    on_sent: &OnSent,
) -> Result<Imported, ImportError> {
    if names_point_to(channel, image).await? {
        on_sent(image.size());
        return Ok(Imported::AlreadyThere);
    }
    let lease = create_lease(channel).await?;
    let sent = send(channel, image, pinned, &lease, on_sent).await;
    let released = LeasesClient::new(channel.clone())
        .delete(request(
            DeleteRequest {
                id: lease,
                sync: false,
            },
            None,
        ))
        .await
        .map_err(refused("delete a lease"));
    sent?;
    released?;
    Ok(Imported::New)
}

/// Removes a name; containerd collects an image without names. A missing name is not an error.
pub async fn remove(channel: &Channel, name: &str) -> Result<(), ImportError> {
    let message = DeleteImageRequest {
        name: name.to_owned(),
        sync: true,
        ..Default::default()
    };
    match ImagesClient::new(channel.clone())
        .delete(request(message, None))
        .await
    {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::NotFound => Ok(()),
        Err(status) => Err(refused(format!("delete the image {name}"))(status)),
    }
}

/// Waits until CRI lists an image by this name. CRI learns names from events, which a containerd that is killed at the
/// wrong moment loses; then the name is updated once more.
pub async fn until_known(channel: &Channel, runtime: &Runtime, name: &str) -> Result<(), ImportError> {
    let known = async || matches!(runtime.image_status(name).await, Ok(Some(_)));
    let mut look = tokio::time::interval(LOOK_EVERY);
    for round in 1..=LOOKS {
        look.tick().await;
        if known().await {
            return Ok(());
        }
        if round == LOOKS / 2 {
            update_again(channel, name).await?;
        }
    }
    Err(ImportError::Unknown(name.to_owned()))
}

/// Sets a name to its current value, so that containerd sends an event for it.
async fn update_again(channel: &Channel, name: &str) -> Result<(), ImportError> {
    let mut images = ImagesClient::new(channel.clone());
    let message = GetImageRequest {
        name: name.to_owned(),
    };
    let found = images
        .get(request(message, None))
        .await
        .map_err(refused(format!("look up the image {name}")))?;
    let update = UpdateImageRequest {
        image: found.into_inner().image,
        update_mask: None,
        source_date_epoch: None,
    };
    images
        .update(request(update, None))
        .await
        .map_err(refused(format!("update the image {name} again")))?;
    Ok(())
}

/// The names that imports have set.
pub async fn imported(channel: &Channel) -> Result<Vec<String>, ImportError> {
    let message = ListImagesRequest {
        filters: vec![format!("labels.\"{OURS}\"==true")],
    };
    let answer = ImagesClient::new(channel.clone())
        .list(request(message, None))
        .await;
    let images = answer.map_err(refused("list the images"))?.into_inner().images;
    Ok(images.into_iter().map(|image| image.name).collect())
}

/// The digest that a name points to; `None` if the name does not exist.
pub async fn target_of(channel: &Channel, name: &str) -> Result<Option<String>, ImportError> {
    let message = GetImageRequest {
        name: name.to_owned(),
    };
    match ImagesClient::new(channel.clone())
        .get(request(message, None))
        .await
    {
        Ok(answer) => Ok(answer
            .into_inner()
            .image
            .and_then(|image| image.target)
            .map(|target| target.digest)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(refused(format!("look up the image {name}"))(status)),
    }
}

async fn names_point_to(channel: &Channel, image: &ArchiveImage) -> Result<bool, ImportError> {
    for name in &image.names {
        if target_of(channel, name).await?.as_deref() != Some(&image.manifest.digest) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn create_lease(channel: &Channel) -> Result<String, ImportError> {
    let expires = jiff::Timestamp::now() + LEASE_LIFE;
    let labels = HashMap::from([("containerd.io/gc.expire".to_owned(), expires.to_string())]);
    let message = CreateRequest {
        id: format!("gantry-import-{}", expires.as_nanosecond()),
        labels,
    };
    let answer = LeasesClient::new(channel.clone())
        .create(request(message, None))
        .await
        .map_err(refused("create a lease"))?;
    Ok(answer
        .into_inner()
        .lease
        .map(|lease| lease.id)
        .unwrap_or_default())
}

async fn send(
    channel: &Channel,
    image: &ArchiveImage,
    pinned: bool,
    lease: &str,
    on_sent: &OnSent,
) -> Result<(), ImportError> {
    for blob in image.layers.iter().chain([&image.config]) {
        write(channel, blob, HashMap::new(), lease, on_sent).await?;
    }
    write(channel, &image.manifest, references(image), lease, on_sent).await?;
    let mut labels = HashMap::from([(OURS.to_owned(), "true".to_owned())]);
    if pinned {
        labels.insert("io.cri-containerd.pinned".to_owned(), "pinned".to_owned());
    }
    for name in &image.names {
        set_name(channel, name, image, labels.clone(), lease).await?;
    }
    Ok(())
}

/// The labels by which the garbage collector finds what a manifest refers to.
fn references(image: &ArchiveImage) -> HashMap<String, String> {
    let layers = image
        .layers
        .iter()
        .enumerate()
        .map(|(n, layer)| (format!("containerd.io/gc.ref.content.l.{n}"), layer));
    let config = [("containerd.io/gc.ref.content.config".to_owned(), &image.config)];
    layers
        .chain(config)
        .map(|(label, blob)| (label, blob.digest.clone()))
        .collect()
}

async fn write(
    channel: &Channel,
    blob: &Blob,
    labels: HashMap<String, String>,
    lease: &str,
    on_sent: &OnSent,
) -> Result<(), ImportError> {
    let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
    let template = WriteContentRequest {
        r#ref: format!("gantry-import-{}", blob.digest),
        total: size,
        expected: blob.digest.clone(),
        ..Default::default()
    };
    let (to_store, messages) = tokio::sync::mpsc::channel(2);
    let (reading, sent) = (blob.clone(), on_sent.clone());
    let reader = tokio::task::spawn_blocking(move || -> std::io::Result<u64> {
        let mut offset = 0;
        while offset < reading.size {
            let data = reading.read_at(offset, CHUNK)?;
            let next = offset + data.len() as u64;
            let at = i64::try_from(offset).unwrap_or(i64::MAX);
            let message = WriteContentRequest {
                action: WriteAction::Write.into(),
                offset: at,
                data,
                ..template.clone()
            };
            if to_store.blocking_send(message).is_err() {
                return Ok(offset); // The store ended the stream; its answer tells why.
            }
            sent(next - offset);
            offset = next;
        }
        let action = WriteAction::Commit.into();
        let _ = to_store.blocking_send(WriteContentRequest {
            action,
            offset: size,
            labels,
            ..template
        });
        Ok(offset)
    });
    let stream = request(ReceiverStream::new(messages), Some(lease));
    let answered = drain(ContentClient::new(channel.clone()).write(stream).await).await;
    let sent = reader.await.map_err(std::io::Error::other)??;
    match answered {
        Err(status) if status.code() != Code::AlreadyExists => {
            Err(refused(format!("store the blob {}", blob.digest))(status))
        }
        // The rest was there before.
        _ => {
            on_sent(blob.size.saturating_sub(sent));
            Ok(())
        }
    }
}

async fn drain<T>(answer: Result<tonic::Response<tonic::Streaming<T>>, Status>) -> Result<(), Status> {
    let mut answers = answer?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

async fn set_name(
    channel: &Channel,
    name: &str,
    image: &ArchiveImage,
    labels: HashMap<String, String>,
    lease: &str,
) -> Result<(), ImportError> {
    let target = Descriptor {
        media_type: image.manifest.media_type.clone(),
        digest: image.manifest.digest.clone(),
        size: i64::try_from(image.manifest.size).unwrap_or(i64::MAX),
        annotations: HashMap::new(),
    };
    let record = Image {
        name: name.to_owned(),
        labels,
        target: Some(target),
        created_at: None,
        updated_at: None,
    };
    let mut images = ImagesClient::new(channel.clone());
    let create = CreateImageRequest {
        image: Some(record.clone()),
        source_date_epoch: None,
    };
    match images.create(request(create, Some(lease))).await {
        Err(status) if status.code() == Code::AlreadyExists => {
            let update = UpdateImageRequest {
                image: Some(record),
                update_mask: None,
                source_date_epoch: None,
            };
            images
                .update(request(update, Some(lease)))
                .await
                .map_err(refused(format!("point the name {name} at the image")))?;
            Ok(())
        }
        Err(status) => Err(refused(format!("name the image {name}"))(status)),
        Ok(_) => Ok(()),
    }
}

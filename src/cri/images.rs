//! The calls about images (CRI's ImageService).

use std::path::PathBuf;

use k8s_cri::v1;

use super::{CriError, Runtime};

fn spec(name: &str) -> v1::ImageSpec {
    v1::ImageSpec {
        image: name.to_owned(),
        ..Default::default()
    }
}

impl Runtime {
    /// The image with that name or id; `None` if the runtime does not have it.
    pub async fn image_status(&self, name: &str) -> Result<Option<v1::Image>, CriError> {
        let request = v1::ImageStatusRequest {
            image: Some(spec(name)),
            verbose: false,
        };
        let answer = self
            .within(
                "ImageStatus",
                self.timeout,
                self.images.clone().image_status(request),
            )
            .await?;
        // An image without an id, or with neither name nor digest, counts as none (cri-client, remote_image.go, reports
        // the first as an error; containerd never returns it).
        Ok(answer.image.filter(|image| !image.id.is_empty()))
    }

    /// Every image.
    pub async fn list_images(&self) -> Result<Vec<v1::Image>, CriError> {
        let request = v1::ListImagesRequest { filter: None };
        let answer = self
            .within(
                "ListImages",
                self.timeout,
                self.images.clone().list_images(request),
            )
            .await?;
        Ok(answer.images)
    }

    /// Pulls an image and returns its reference. It has no deadline, as in the kubelet: an image takes as
    /// long as the network needs, and the runtime gives up where nothing moves. Dropping the future ends it.
    pub async fn pull_image(&self, name: &str, auth: Option<v1::AuthConfig>) -> Result<String, CriError> {
        let request = v1::PullImageRequest {
            image: Some(spec(name)),
            auth,
            sandbox_config: None,
        };
        let answer = async {
            match self.images.clone().pull_image(request).await {
                Ok(response) => Ok(response.into_inner().image_ref),
                Err(status) => Err(CriError::from_status("PullImage", &status)),
            }
        };
        self.counted("PullImage", answer).await
    }

    /// Removes an image.
    pub async fn remove_image(&self, name: &str) -> Result<(), CriError> {
        let request = v1::RemoveImageRequest {
            image: Some(spec(name)),
        };
        self.within(
            "RemoveImage",
            self.timeout,
            self.images.clone().remove_image(request),
        )
        .await?;
        Ok(())
    }

    /// The file systems that hold images, with their use.
    pub async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse, CriError> {
        let request = v1::ImageFsInfoRequest {};
        self.within(
            "ImageFsInfo",
            self.timeout,
            self.images.clone().image_fs_info(request),
        )
        .await
    }

    /// The directory of images, and that of containers' own files where it is another one, as far as the runtime reports
    /// them.
    pub async fn disk_dirs(&self) -> (Option<PathBuf>, Option<PathBuf>) {
        let Ok(info) = self.image_fs_info().await else {
            return (None, None);
        };
        let first = |all: Vec<v1::FilesystemUsage>| {
            let id = all.into_iter().next()?.fs_id?;
            Some(PathBuf::from(id.mountpoint))
        };
        let images = first(info.image_filesystems);
        let containers = first(info.container_filesystems);
        let others = containers.filter(|containers| Some(containers) != images.as_ref());
        (images, others)
    }
}

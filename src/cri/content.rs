//! containerd's content store: what it receives and what it has. CRI has no such calls; a runtime that is not containerd
//! answers `Unimplemented`.

use std::collections::HashMap;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::{
    Info, InfoRequest, ListContentRequest, ListStatusesRequest, ReadContentRequest,
};
use tonic::Code;
use tonic::transport::Channel;

use super::{CriError, Runtime, in_namespace};

/// The most blobs that are looked at in one list: a store with more is not searched to its end.
const MOST_BLOBS: usize = 20_000;

impl Runtime {
    fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone())
    }

    /// How many bytes of each unfinished blob have arrived, by the name of its ingest (`layer-sha256:…`).
    pub async fn ingests(&self) -> Result<HashMap<String, u64>, CriError> {
        let request = in_namespace(ListStatusesRequest::default());
        let mut content = self.content();
        let answer = self
            .within("ListStatuses", self.timeout, content.list_statuses(request))
            .await?;
        let size = |offset: i64| u64::try_from(offset).unwrap_or_default();
        let statuses = answer.statuses.into_iter();
        Ok(statuses
            .map(|status| (status.r#ref, size(status.offset)))
            .collect())
    }

    /// The blobs that have a label of this key, at most twenty thousand.
    pub async fn labeled_blobs(&self, label: &str) -> Result<Vec<Info>, CriError> {
        let request = in_namespace(ListContentRequest {
            filters: vec![format!("labels.{label:?}")],
        });
        self.content_call("ListContent", async {
            let mut stream = self.content().list(request).await?.into_inner();
            let mut found = Vec::new();
            while let Some(answer) = stream.message().await? {
                found.extend(answer.info);
                if found.len() >= MOST_BLOBS {
                    break;
                }
            }
            Ok(found)
        })
        .await
    }

    /// Whether the store has a blob as a whole.
    pub async fn has_blob(&self, digest: &str) -> Result<bool, CriError> {
        let request = in_namespace(InfoRequest {
            digest: digest.to_owned(),
        });
        let mut content = self.content();
        match self
            .within("ContentInfo", self.timeout, content.info(request))
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.code == Code::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The content of a blob, of which at most `most` bytes are read.
    pub async fn read_blob(&self, digest: &str, most: usize) -> Result<Vec<u8>, CriError> {
        let request = in_namespace(ReadContentRequest {
            digest: digest.to_owned(),
            offset: 0,
            // All of it: containerd 1.6 refuses a size beyond the blob's end.
            size: 0,
        });
        self.content_call("ReadContent", async {
            let mut stream = self.content().read(request).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(answer) = stream.message().await? {
                bytes.extend_from_slice(&answer.data);
                if bytes.len() >= most {
                    bytes.truncate(most);
                    break;
                }
            }
            Ok(bytes)
        })
        .await
    }

    /// A call with a streamed answer, within the deadline as a whole.
    async fn content_call<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T, tonic::Status>>,
    ) -> Result<T, CriError> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(status)) => Err(CriError::from_status(call, &status)),
            Err(_) => Err(CriError::deadline(call, self.timeout)),
        }
    }
}

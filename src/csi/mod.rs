//! The wire to storage drivers: the node side of the Container Storage Interface and the registration of plugins, over
//! unix sockets, with a deadline on every call.
//!
//! Knows neither pods nor policy. Nothing is retried here: a failed call is returned as it failed, and the owner of the
//! operation decides. Each call connects anew, as the kubelet does: a driver may be replaced at any time.

pub mod messages;

#[cfg(test)]
#[path = "../../tests/support/plugin.rs"]
pub(crate) mod plugin;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use self::messages as m;
use crate::counters::Counters;
use crate::cri::connect_lazily;

/// How long a call about a volume may take (`csiTimeout` in `pkg/volume/csi`).
pub const VOLUME_PATIENCE: Duration = Duration::from_secs(120);

/// Why a call failed.
#[derive(Debug, Clone)]
pub struct CsiError(Status);

impl CsiError {
    /// Whether it is certain that the call has done nothing and does nothing any more: any other may still take effect
    /// (`isFinalError` in `pkg/volume/csi`).
    pub fn is_final(&self) -> bool {
        !matches!(
            self.0.code(),
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Unavailable
                | Code::ResourceExhausted
                | Code::Aborted
        )
    }

    /// The code of gRPC.
    pub fn code(&self) -> Code {
        self.0.code()
    }
}

impl fmt::Display for CsiError {
    /// As Go's gRPC prints it, which the kubelet's messages contain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rpc error: code = {:?} desc = {}",
            self.0.code(),
            self.0.message()
        )
    }
}

impl std::error::Error for CsiError {}

/// A socket of a plugin.
#[derive(Debug, Clone)]
pub struct Socket {
    path: PathBuf,
    /// The driver, and where its calls are counted.
    counted: Option<(String, Arc<Counters>)>,
}

impl Socket {
    /// The socket at a path.
    pub fn at(path: &Path) -> Socket {
        Socket {
            path: path.to_owned(),
            counted: None,
        }
    }

    /// The same, counting its calls as this driver's.
    pub fn counting(self, driver: &str, counters: &Arc<Counters>) -> Socket {
        Socket {
            counted: Some((driver.to_owned(), counters.clone())),
            ..self
        }
    }

    /// `pluginregistration.Registration/GetInfo`
    pub async fn plugin_info(&self, within: Duration) -> Result<m::PluginInfo, CsiError> {
        self.call("/pluginregistration.Registration/GetInfo", m::Empty {}, within)
            .await
    }

    /// `pluginregistration.Registration/NotifyRegistrationStatus`
    pub async fn notify(&self, status: m::RegistrationStatus, within: Duration) -> Result<(), CsiError> {
        let path = "/pluginregistration.Registration/NotifyRegistrationStatus";
        self.call(path, status, within).await.map(|m::Empty {}| ())
    }

    /// `csi.v1.Node/NodeGetInfo`
    pub async fn node_info(&self, within: Duration) -> Result<m::NodeInfo, CsiError> {
        self.call("/csi.v1.Node/NodeGetInfo", m::Empty {}, within).await
    }

    /// `csi.v1.Node/NodeGetCapabilities`
    pub async fn capabilities(&self, within: Duration) -> Result<m::NodeCapabilities, CsiError> {
        self.call("/csi.v1.Node/NodeGetCapabilities", m::Empty {}, within)
            .await
    }

    /// `csi.v1.Node/NodeStageVolume`
    pub async fn stage(&self, request: m::StageRequest) -> Result<(), CsiError> {
        let path = "/csi.v1.Node/NodeStageVolume";
        self.call(path, request, VOLUME_PATIENCE)
            .await
            .map(|m::Empty {}| ())
    }

    /// `csi.v1.Node/NodeUnstageVolume`
    pub async fn unstage(&self, request: m::UndoRequest) -> Result<(), CsiError> {
        let path = "/csi.v1.Node/NodeUnstageVolume";
        self.call(path, request, VOLUME_PATIENCE)
            .await
            .map(|m::Empty {}| ())
    }

    /// `csi.v1.Node/NodePublishVolume`
    pub async fn publish(&self, request: m::PublishRequest) -> Result<(), CsiError> {
        let path = "/csi.v1.Node/NodePublishVolume";
        self.call(path, request, VOLUME_PATIENCE)
            .await
            .map(|m::Empty {}| ())
    }

    /// `csi.v1.Node/NodeUnpublishVolume`
    pub async fn unpublish(&self, request: m::UndoRequest) -> Result<(), CsiError> {
        let path = "/csi.v1.Node/NodeUnpublishVolume";
        self.call(path, request, VOLUME_PATIENCE)
            .await
            .map(|m::Empty {}| ())
    }

    /// `csi.v1.Node/NodeExpandVolume`
    pub async fn expand(&self, request: m::ExpandRequest) -> Result<m::ExpandResponse, CsiError> {
        self.call("/csi.v1.Node/NodeExpandVolume", request, VOLUME_PATIENCE)
            .await
    }

    /// `csi.v1.Node/NodeGetVolumeStats`
    pub async fn stats(&self, request: m::StatsRequest) -> Result<m::StatsResponse, CsiError> {
        self.call("/csi.v1.Node/NodeGetVolumeStats", request, VOLUME_PATIENCE)
            .await
    }

    /// Dropping the call at its deadline resets the stream, which shows the plugin that the caller no longer waits.
    async fn call<Q, A>(&self, path: &'static str, request: Q, within: Duration) -> Result<A, CsiError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(connect_lazily(&self.path));
        let call = async {
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            let answer = grpc
                .unary(Request::new(request), PathAndQuery::from_static(path), codec)
                .await?;
            Ok(answer.into_inner())
        };
        let begun = Instant::now();
        let answer: Result<A, Status> = timeout(within, call)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded")));
        if let Some((driver, counters)) = &self.counted {
            let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
            let code = format!("{code:?}").into();
            counters.volumes.called(driver, path, code, begun.elapsed());
        }
        answer.map_err(CsiError)
    }
}

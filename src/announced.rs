//! What the kernel announces of its links, addresses and routes (rtnetlink), for those who look again whenever something of
//! concern has changed.

use std::io;

use futures::StreamExt as _;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The announcements since [`Announced::listen`].
#[derive(Debug)]
pub struct Announced {
    /// At most one waits: that something changed says all of them.
    waiting: mpsc::Receiver<()>,
    reader: JoinHandle<()>,
}

impl Announced {
    /// Begins to listen to these groups, in the network namespace of this process, for messages that are of concern.
    pub fn listen(
        groups: &[MulticastGroup],
        concerns: fn(&RouteNetlinkMessage) -> bool,
    ) -> io::Result<Announced> {
        let (connection, _, mut messages) = rtnetlink::new_multicast_connection(groups)?;
        let (announce, waiting) = mpsc::channel(1);
        let reader = tokio::spawn(async move {
            let sift = async {
                while let Some((message, _)) = messages.next().await {
                    if let NetlinkPayload::InnerMessage(message) = message.payload
                        && concerns(&message)
                    {
                        // If one waits already, that one serves for both.
                        let _ = announce.try_send(());
                    }
                }
            };
            // The connection ends when the kernel had to drop announcements.
            tokio::select! {
                () = connection => {}
                () = sift => {}
            }
        });
        Ok(Announced { waiting, reader })
    }

    /// Waits for the next one. `None`: some were lost, and no more follow. Cancel-safe.
    pub async fn next(&mut self) -> Option<()> {
        self.waiting.recv().await
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

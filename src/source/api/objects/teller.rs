//! How a watch of one object says what became of it.

use tokio::sync::mpsc;

use crate::model::object::{Known, Reference};

/// A new value of an object.
pub(super) struct News {
    pub(super) key: Reference,
    /// The watch that reports it: a former watch of this name may have left something in the channel.
    pub(super) life: u64,
    /// `None`: it does not exist.
    pub(super) known: Option<Known>,
}

/// Where one watch sends its results.
pub(super) struct ValueSender {
    pub(super) key: Reference,
    pub(super) life: u64,
    pub(super) news: mpsc::UnboundedSender<News>,
}

impl ValueSender {
    /// Sends it; `Err`: the receiver is gone.
    pub(super) fn send_value(&self, known: Option<Known>) -> Result<(), Ended> {
        let (key, life) = (self.key.clone(), self.life);
        self.news.send(News { key, life, known }).map_err(|_closed| Ended)
    }
}

/// The receiver is gone.
pub(super) struct Ended;

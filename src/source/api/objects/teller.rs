//! How a watch of one object says what became of it.

use tokio::sync::mpsc;

use crate::model::object::Known;
use crate::model::object::Reference;

/// What became of an object.
pub(super) struct News {
    pub(super) key: Reference,
    /// Which watch of this name tells it: one that has ended may have left something behind.
    pub(super) life: u64,
    /// `None`: there is none, or none any more.
    pub(super) known: Option<Known>,
}

/// Where one watch tells what it learns.
pub(super) struct Teller {
    pub(super) key: Reference,
    pub(super) life: u64,
    pub(super) news: mpsc::UnboundedSender<News>,
}

impl Teller {
    /// Tells it; `Err`: nobody wants to know any more.
    pub(super) fn tell(&self, known: Option<Known>) -> Result<(), Ended> {
        let (key, life) = (self.key.clone(), self.life);
        self.news.send(News { key, life, known }).map_err(|_closed| Ended)
    }
}

/// Nobody listens any more.
pub(super) struct Ended;

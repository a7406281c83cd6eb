//! Who waits for the collection of images, and what for.

use std::collections::BTreeSet;

use crate::model::asking::Answer;
use crate::model::collection::{Collected, CollectionCause, SurveyedImage};
use crate::model::image_work::{CollectRequest, NotDone};
use crate::model::pod::PodName;

/// Who waits for what.
#[derive(Default)]
pub(super) struct Collecting {
    /// The pods whose containers are being removed.
    pub(super) pods: BTreeSet<PodName>,
    /// Those who want to know what the agent knows of images.
    pub(super) surveys: Vec<Answer<Vec<SurveyedImage>, NotDone>>,
    /// Those who want unused images removed, and for which cause.
    pub(super) prunes: Vec<(CollectionCause, Answer<Collected, NotDone>)>,
    /// Those for whom the present removal is made.
    pub(super) served: Vec<Answer<Collected, NotDone>>,
}

impl Collecting {
    /// A removal of images begins: whoever has asked for one like it gets its answer from it, and who asks later from
    /// another one.
    pub(super) fn begin(&mut self, why: CollectionCause) {
        let of_it = self.prunes.extract_if(.., |(wanted, _)| *wanted == why);
        self.served.extend(of_it.map(|(_, answer)| answer));
    }
}

/// What a worker says about images.
pub(super) enum ImageMessage {
    /// Images were removed.
    Collected(Collected),
    /// Somebody asks.
    Asked(CollectRequest),
}

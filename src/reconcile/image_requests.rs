//! Who waits for the collection of images, and what for.

use std::collections::BTreeSet;

use jiff::Timestamp;

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
    /// Those who want unused images removed, for which cause and since when.
    pub(super) prunes: Vec<(CollectionCause, Timestamp, Answer<Collected, NotDone>)>,
}

/// What a worker says about images.
pub(super) enum ImageMessage {
    /// Images were removed.
    Collected(Collected),
    /// Somebody asks.
    Asked(CollectRequest),
}

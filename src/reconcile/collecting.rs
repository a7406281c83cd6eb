//! The collection of images, carried out: a worker of its own removes one image after the other, so that the loop never
//! waits for it, and reports when the images have been listed again. The containers of ended pods are removed by plans
//! under the keys of their pods. Requests of people are answered here, too.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::image_requests::ImageMessage;
use super::{Key, Loop, Message};
use crate::act::ActContext;
use crate::act::collect::{self, Removal};
use crate::model::asking::Answer;
use crate::model::collection::{Collected, Collection, CollectionCause, CollectionNews};
use crate::model::image_work::{CollectRequest, NotDone};
use crate::model::pod::Desired;
use crate::model::step::Plan;
use crate::plan::node::{self, NodePlan};

impl Loop {
    /// Has the images listed again before a request is answered: they may have changed a moment ago.
    pub(super) fn take_request(&mut self, request: CollectRequest, stopping: &CancellationToken) {
        let (observe, to_loop, stopping) =
            (self.rooms.observe.clone(), self.to_loop.clone(), stopping.clone());
        self.workers.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => return,
                read = observe.refresh_images() => if read.is_err() { return },
            }
            // The loop may have ended; then the one who asks hears that.
            let _ = to_loop.send(Message::Images(ImageMessage::Asked(request)));
        });
    }

    /// Takes in what a worker says.
    pub(super) fn take_of_images(&mut self, message: ImageMessage) {
        match message {
            ImageMessage::Collected(collected) => self.take_collected(collected),
            ImageMessage::Asked(request) => self.note_request(request),
        }
    }

    /// Takes a request in; it is answered by the node's next plan, or when that is carried out.
    fn note_request(&mut self, request: CollectRequest) {
        match request {
            CollectRequest::Survey(answer) => self.collecting.surveys.push(answer),
            CollectRequest::Prune(answer) => self.want(CollectionCause::Asked, answer),
            CollectRequest::Reclaim(answer) => self.want(CollectionCause::Pressure, answer),
        }
        self.dirty.insert(Key::Node);
    }

    fn want(&mut self, why: CollectionCause, answer: Answer<Collected, NotDone>) {
        if self.provided.is_none() {
            let why = "the archives of the images directory are not imported yet; try again in a moment";
            // The one who asks may have left.
            let _ = answer.send(Err(NotDone::Failed(why.to_owned())));
            return;
        }
        let now = Timestamp::now();
        match why {
            CollectionCause::Pressure => self.decisions.reclaim_wanted = Some(now),
            _ => self.decisions.prune_wanted = Some(now),
        }
        self.collecting.prunes.push((why, answer));
    }

    /// Begins what the node's plan says about images, and answers who waits for it.
    pub(super) fn carry_out_images(
        &mut self,
        plan: &mut NodePlan,
        now: Timestamp,
        stopping: &CancellationToken,
    ) {
        self.decisions.images = std::mem::take(&mut plan.images);
        self.tell(std::mem::take(&mut plan.image_news));
        let surveys = std::mem::take(&mut self.collecting.surveys);
        if !surveys.is_empty() {
            let api_node = self.node.borrow().clone();
            let survey = node::survey(self.view(&api_node), now);
            for answer in surveys {
                // The one who asks may have left.
                let _ = answer.send(Ok(survey.clone()));
            }
        }
        let Some(collection) = plan.collect.take().map(Arc::new) else {
            return;
        };
        self.decisions.collecting = Some(collection.clone());
        match collection.containers.is_empty() {
            true => {
                self.collecting.begin(collection.why);
                self.remove_images(collection, stopping);
            }
            false => self.remove_ended(&collection, stopping),
        }
    }

    fn remove_images(&mut self, collection: Arc<Collection>, stopping: &CancellationToken) {
        let (images, wanted) = (
            collection.images.len(),
            collection.wanted.map(|wanted| wanted.bytes),
        );
        if images > 0 {
            tracing::info!(why = ?collection.why, images, wanted, "removing unused images");
        }
        let (rooms, desired) = (self.rooms.clone(), self.desired_now.clone());
        let (to_loop, stopping) = (self.to_loop.clone(), stopping.clone());
        self.workers.spawn(async move {
            let removal = AssertUnwindSafe(remove(&rooms.act, &desired, &collection, &stopping));
            let collected = removal.catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!("the removal of images panicked; this is a bug in gantry, please report it");
                Collected::at(Timestamp::now())
            });
            if !collected.images.is_empty() {
                // What is gone is not decided on again.
                tokio::select! {
                    () = stopping.cancelled() => return,
                    read = rooms.observe.refresh_images() => if read.is_err() { return },
                }
            }
            let _ = to_loop.send(Message::Images(ImageMessage::Collected(collected)));
        });
    }

    /// A pod that is being worked on has its containers left: whatever that work is, it is about them.
    fn remove_ended(&mut self, collection: &Collection, stopping: &CancellationToken) {
        for ended in &collection.containers {
            let key = Key::Pod(ended.pod.clone());
            if self.busy.contains_key(&key) {
                continue;
            }
            tracing::info!(pod = %ended.pod, "removing the containers of an ended pod to make room");
            let plan = Plan {
                stages: ended.stages.clone(),
                ..Plan::default()
            };
            self.start(key, ended.uid.clone(), plan, stopping);
            self.collecting.pods.insert(ended.pod.clone());
        }
        if self.collecting.pods.is_empty() {
            let nothing = Collected::at(Timestamp::now());
            // Not at once: the node's plan is being carried out.
            let _ = self
                .to_loop
                .send(Message::Images(ImageMessage::Collected(nothing)));
        }
    }

    /// The work on a pod is over; the collection is, too, with that on the last one.
    pub(super) fn note_settled(&mut self, key: &Key) {
        let Key::Pod(name) = key else { return };
        if self.collecting.pods.remove(name) && self.collecting.pods.is_empty() {
            self.take_collected(Collected::at(Timestamp::now()));
        }
    }

    /// Takes in what a collection brought.
    fn take_collected(&mut self, collected: Collected) {
        let Some(collection) = self.decisions.collecting.take() else {
            return;
        };
        let news = node::finish(&mut self.decisions, &collection, &collected);
        self.tell(news);
        // The containers of ended pods are only the first half.
        if collection.containers.is_empty() {
            for answer in std::mem::take(&mut self.collecting.served) {
                // The one who asked may have left.
                let _ = answer.send(Ok(collected.clone()));
            }
        }
        self.dirty.insert(Key::Node);
    }

    fn tell(&self, news: Vec<CollectionNews>) {
        for one in news {
            // Reporting may end first at shutdown.
            let _ = self.image_news.send(one);
        }
    }
}

/// Removes the images in their order, until there is as much room as is wanted.
async fn remove(
    act: &ActContext,
    desired: &watch::Receiver<Arc<Desired>>,
    collection: &Collection,
    stopping: &CancellationToken,
) -> Collected {
    let mut collected = Collected::at(Timestamp::now());
    for image in &collection.images {
        let is_enough = collection
            .wanted
            .is_some_and(|wanted| collected.bytes >= wanted.bytes);
        if is_enough || stopping.is_cancelled() {
            break;
        }
        // A pod may have come since the decision.
        if node::is_named(&desired.borrow(), image) {
            continue;
        }
        let (id, names, bytes) = (&image.id, &image.names, image.size);
        match collect::remove_image(act, image, collection.why).await {
            Ok(Removal::Done) => {
                tracing::info!(id, ?names, bytes, why = ?collection.why, "unused image removed");
                collected.bytes = collected.bytes.saturating_add(bytes);
                collected.images.push(image.clone());
            }
            Ok(Removal::NotUnused) => {
                tracing::debug!(id, ?names, "an image that was to be removed is in use after all");
            }
            Err(error) => {
                tracing::warn!(id, ?names, %error, "cannot remove an unused image; it stays until the next collection");
                let is_final = error.is_final();
                collected.failures.push((image.clone(), error.to_string()));
                if is_final {
                    break;
                }
            }
        }
    }
    collected.at = Timestamp::now();
    collected
}

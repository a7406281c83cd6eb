//! How far a pull or an import of an image has come. Pure.

use serde::{Deserialize, Serialize};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Phase {
    /// The request waits until it is its turn.
    #[default]
    Waiting,
    /// The runtime fetches the image from the registry.
    Downloading,
    /// The image has been fetched, and the runtime unpacks its layers.
    Unpacking,
    /// The archive is being received.
    Receiving,
    /// The received archive is being read.
    Reading,
    /// The images of the archive are being sent to the runtime.
    Storing,
}

/// A part of a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Share {
    /// How much is done.
    pub done: u64,
    /// How much there is; absent while it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl Share {
    /// In mebibytes: `12.5 of 80.0 MiB`.
    pub fn in_mebibytes(self) -> String {
        let tenths = |bytes: u64| {
            let tenths = (u128::from(bytes) * 10 + (1 << 19)) >> 20;
            format!("{}.{}", tenths / 10, tenths % 10)
        };
        match self.total {
            Some(total) => format!("{} of {} MiB", tenths(self.done), tenths(total)),
            None => format!("{} MiB", tenths(self.done)),
        }
    }
}

/// How far a pull or an import has come. What the runtime does not report is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of this phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Share>,
    /// Layers of this phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Share>,
}

impl Progress {
    /// The beginning of a phase.
    pub fn begin(phase: Phase) -> Progress {
        Progress {
            phase,
            ..Progress::default()
        }
    }

    /// How far it is: `12.5 of 80.0 MiB`.
    pub fn text(&self) -> String {
        let bytes = self.bytes.map(Share::in_mebibytes);
        match (self.phase, bytes) {
            (Phase::Waiting, _) => "waiting for other pulls".to_owned(),
            (Phase::Unpacking, _) => "unpacking".to_owned(),
            (_, Some(bytes)) => bytes,
            (Phase::Downloading, None) => "downloading".to_owned(),
            (Phase::Receiving, None) => "receiving".to_owned(),
            (Phase::Reading, None) => "reading".to_owned(),
            (Phase::Storing, None) => "storing".to_owned(),
        }
    }

    /// So many bytes of a phase.
    pub fn of_bytes(phase: Phase, done: u64, total: Option<u64>) -> Progress {
        Progress {
            bytes: Some(Share { done, total }),
            ..Progress::begin(phase)
        }
    }
}

/// A layer of an image that is being pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDownload {
    /// Its size in bytes.
    pub size: u64,
    /// How much of it the runtime has; at most its size.
    pub done: u64,
}

/// How far a pull has come whose layers are known; without layers nothing is known but that it is under way.
pub fn of_layers(layers: &[LayerDownload]) -> Progress {
    if layers.is_empty() {
        return Progress::begin(Phase::Downloading);
    }
    let done = layers.iter().map(|layer| layer.done.min(layer.size));
    let bytes = Share {
        done: done.fold(0, u64::saturating_add),
        total: Some(layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add)),
    };
    let complete = layers.iter().filter(|layer| layer.done >= layer.size).count();
    let phase = match complete == layers.len() {
        true => Phase::Unpacking,
        false => Phase::Downloading,
    };
    Progress {
        phase,
        bytes: Some(bytes),
        layers: Some(Share {
            done: complete as u64,
            total: Some(layers.len() as u64),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(done: u64, size: u64) -> LayerDownload {
        LayerDownload { size, done }
    }

    #[test]
    fn layers_add_up_and_all_of_them_are_unpacked() {
        let check = |layers: &[LayerDownload], phase, bytes, complete| {
            let progress = of_layers(layers);
            assert_eq!(progress.phase, phase, "{layers:?}");
            let share = |share: Option<Share>| share.map(|share| (share.done, share.total.unwrap()));
            assert_eq!(share(progress.bytes), bytes, "{layers:?}");
            assert_eq!(share(progress.layers), complete, "{layers:?}");
        };
        check(&[], Phase::Downloading, None, None);
        check(
            &[layer(5, 10), layer(0, 20), layer(30, 30)],
            Phase::Downloading,
            Some((35, 60)),
            Some((1, 3)),
        );
        // A store that reports more than it was promised does not make more than all.
        check(&[layer(11, 10)], Phase::Unpacking, Some((10, 10)), Some((1, 1)));
    }

    #[test]
    fn how_far_it_is_is_one_text() {
        let halves = |phase, done: u64, total| Progress::of_bytes(phase, done << 19, total);
        for (progress, expected) in [
            (Progress::default(), "waiting for other pulls"),
            (Progress::begin(Phase::Downloading), "downloading"),
            (halves(Phase::Downloading, 3, Some(160 << 20)), "1.5 of 160.0 MiB"),
            (halves(Phase::Receiving, 0, None), "0.0 MiB"),
            (halves(Phase::Unpacking, 3, Some(3 << 19)), "unpacking"),
            (
                Progress::of_bytes(Phase::Downloading, u64::MAX, None),
                "17592186044416.0 MiB",
            ),
        ] {
            assert_eq!(progress.text(), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let text = serde_json::to_string(&Progress::begin(Phase::Waiting)).unwrap();
        assert_eq!(text, r#"{"phase":"Waiting"}"#);
        let text = serde_json::to_string(&Progress::of_bytes(Phase::Receiving, 5, None)).unwrap();
        assert_eq!(text, r#"{"phase":"Receiving","bytes":{"done":5}}"#);
    }
}

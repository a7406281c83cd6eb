//! From a manifest renamed into place to its container running, beside sandbox, create and start asked of containerd
//! directly. Both ends are seen the same way: containerd's own events, as they arrive.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::tonic::transport::Channel;
use tokio::sync::mpsc;

use crate::manifest;
use crate::node::Node;
use crate::raw::Raw;
use crate::report::{Report, median, ms};
use crate::runtime::SOCKET;

/// How many pods each side starts.
const PODS: usize = 40;
/// What the issue allows over containerd's own time.
const GOAL_MS: f64 = 15.0;

/// When each thing of one start was seen, from its beginning on.
struct Split {
    sandbox: Duration,
    created: Duration,
    running: Duration,
}

/// Measures both sides in turns, so that neither has the quieter machine.
pub fn measure(node: &mut Node, report: &mut Report) {
    node.start_agent(); // writes the network's configuration and imports the images
    node.manifest("warm.yaml", &manifest::idle("warm"));
    node.wait_running("warm");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime in a bench");
    let (mut raw, mut ours) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let channel = containerd_client::connect(SOCKET)
            .await
            .expect("containerd answers");
        let mut events = subscribe(channel.clone()).await;
        let mut asker = Raw::new(channel).await;
        asker.ask_for_the_same("warm-node-1").await;
        for number in 0..PODS {
            raw.push(raw_start(&mut asker, &mut events, number).await);
            ours.push(our_start(node, &mut events, number).await);
        }
    });
    node.remove("warm.yaml");
    node.wait_gone("warm");

    let middle = |all: &[Split], part: fn(&Split) -> Duration| median(all.iter().map(part).collect());
    let (their, own) = (middle(&raw, |s| s.running), middle(&ours, |s| s.running));
    report.beside("manifest in place → running, beside CRI alone", own, their);
    report.goal(
        "  so much over CRI alone",
        (own.as_secs_f64() - their.as_secs_f64()) * 1000.0,
        GOAL_MS,
        "ms",
    );
    for (name, all) in [("CRI alone", &raw), ("gantry", &ours)] {
        report.note(format!(
            "{name}: sandbox's process started at {}, container created at {}, running at {} (medians of {PODS})",
            ms(middle(all, |s| s.sandbox)),
            ms(middle(all, |s| s.created)),
            ms(middle(all, |s| s.running)),
        ));
    }
}

/// Something that containerd told, when it arrived.
struct Seen {
    topic: String,
    at: Instant,
}

async fn subscribe(channel: Channel) -> mpsc::UnboundedReceiver<Seen> {
    let filters = ["/tasks/start", "/containers/create"]
        .map(|topic| format!("topic==\"{topic}\""))
        .to_vec();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        // containerd answers a subscription with its first event, not before.
        let mut stream = EventsClient::new(channel)
            .subscribe(SubscribeRequest { filters })
            .await
            .expect("containerd tells events")
            .into_inner();
        while let Ok(Some(envelope)) = stream.message().await {
            let _ = sender.send(Seen {
                topic: envelope.topic,
                at: Instant::now(),
            });
        }
    });
    receiver
}

/// Waits for the four events of one start: sandbox created and started, container created and started.
async fn split(events: &mut mpsc::UnboundedReceiver<Seen>, begun: Instant) -> Split {
    let mut times: HashMap<String, Vec<Duration>> = HashMap::new();
    while times.get("/tasks/start").is_none_or(|starts| starts.len() < 2) {
        let seen = tokio::time::timeout(Duration::from_secs(30), events.recv()).await;
        let seen = seen
            .expect("a pod starts within 30 s")
            .expect("the stream goes on");
        times
            .entry(seen.topic)
            .or_default()
            .push(seen.at.saturating_duration_since(begun));
    }
    Split {
        sandbox: times["/tasks/start"][0],
        created: times
            .get("/containers/create")
            .and_then(|all| all.get(1))
            .copied()
            .unwrap_or_default(),
        running: times["/tasks/start"][1],
    }
}

/// Events of the pod before, which are not this one's.
fn drain(events: &mut mpsc::UnboundedReceiver<Seen>) {
    while events.try_recv().is_ok() {}
}

/// A manifest renamed into place, and taken away again.
async fn our_start(node: &Node, events: &mut mpsc::UnboundedReceiver<Seen>, number: usize) -> Split {
    let name = format!("bench{number}");
    let file = format!("{name}.yaml");
    drain(events);
    let begun = Instant::now();
    node.manifest(&file, &manifest::idle(&name));
    let split = split(events, begun).await;
    tokio::task::block_in_place(|| {
        node.remove(&file);
        node.wait_gone(&name);
    });
    split
}

/// The same pod asked of containerd, and taken away again.
async fn raw_start(raw: &mut Raw, events: &mut mpsc::UnboundedReceiver<Seen>, number: usize) -> Split {
    drain(events);
    let begun = Instant::now();
    let sandbox = raw.start(&format!("raw{number}")).await;
    let split = split(events, begun).await;
    raw.remove(sandbox).await;
    split
}

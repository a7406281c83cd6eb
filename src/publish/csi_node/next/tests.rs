use proptest::prelude::*;

use super::*;
use crate::model::driver::Publication;

/// What the API server has, and what this agent knows.
struct World {
    node: Node,
    csi_node: Option<CSINode>,
    drivers: Drivers,
    publications: Publications,
    told: Told,
    former: BTreeSet<String>,
}

fn driver(node_id: &str, topology: &[(&str, &str)], max_volumes: Option<i64>) -> Arc<Driver> {
    let topology = topology
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Arc::new(Driver {
        node_id: node_id.to_owned(),
        topology: topology.collect(),
        max_volumes,
        ..Driver::default()
    })
}

fn node(metadata: Value) -> Node {
    let mut node: Node = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
    node.metadata.name = Some("n".to_owned());
    node.metadata.uid = Some("u1".to_owned());
    node
}

impl World {
    fn with(drivers: &[(&str, Arc<Driver>)], metadata: Value) -> World {
        let by_name = drivers
            .iter()
            .map(|(name, driver)| ((*name).to_owned(), driver.clone()));
        World {
            node: node(metadata),
            csi_node: None,
            drivers: Drivers {
                are_known: true,
                unregistered: 0,
                by_name: by_name.collect(),
            },
            publications: Publications::new(),
            told: Told::new(),
            former: BTreeSet::new(),
        }
    }

    /// Carries out what is next, as the API server would, until nothing is. Returns what was done.
    fn settle(&mut self) -> Vec<String> {
        self.former.extend(self.drivers.by_name.keys().cloned());
        let mut done = Vec::new();
        loop {
            let known = Known {
                node: &self.node,
                csi_node: self.csi_node.as_ref(),
                drivers: &self.drivers,
                told: &self.told,
                publications: &self.publications,
                former: &self.former,
            };
            let next = known.next();
            let about = |what: &str, about: &About| match about {
                Some(name) => format!("{what} for {name}"),
                None => what.to_owned(),
            };
            done.push(match &next {
                Next::Nothing | Next::Read => return done,
                Next::Create(_) => "create".to_owned(),
                Next::Delete { .. } => "delete".to_owned(),
                Next::Replace(_, name) => about("replace", name),
                Next::Patch(_, name) => about("patch", name),
                Next::Publish(name, result) => format!("{name}: {result:?}"),
            });
            assert!(done.len() < 60, "it does not settle: {done:?}");
            match next {
                Next::Nothing | Next::Read => {}
                Next::Create(csi_node) => self.csi_node = Some(*csi_node),
                Next::Delete { .. } => self.csi_node = None,
                Next::Replace(csi_node, _) => self.csi_node = Some(*csi_node),
                Next::Patch(patch, _) => self.patch(&patch),
                Next::Publish(name, result) => {
                    let driver = self.drivers.by_name[&name].clone();
                    self.publications.insert(name, Publication { driver, result });
                }
            }
        }
    }

    fn patch(&mut self, patch: &Value) {
        for (of, values) in patch["metadata"].as_object().unwrap() {
            let theirs = match of.as_str() {
                "labels" => self.node.metadata.labels.get_or_insert_default(),
                _ => self.node.metadata.annotations.get_or_insert_default(),
            };
            for (key, value) in values.as_object().unwrap() {
                match value.as_str() {
                    Some(value) => theirs.insert(key.clone(), value.to_owned()),
                    None => theirs.remove(key),
                };
            }
        }
    }

    fn entries(&self) -> Value {
        json!(self.csi_node.as_ref().unwrap().spec.drivers)
    }

    fn metadata(&self) -> Value {
        json!({"labels": self.node.metadata.labels, "annotations": self.node.metadata.annotations})
    }
}

#[test]
fn the_object_is_made_without_drivers_and_belongs_to_the_node() {
    let mut world = World::with(&[], json!({}));
    assert_eq!(world.settle(), ["create"]);
    assert_eq!(
        json!(world.csi_node),
        json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {
                "name": "n",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u1"}],
                "annotations": {
                    "storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/aws-ebs,kubernetes.io/azure-disk,\
                     kubernetes.io/azure-file,kubernetes.io/cinder,kubernetes.io/gce-pd,kubernetes.io/portworx-volume,\
                     kubernetes.io/vsphere-volume"
                },
            },
            "spec": {"drivers": []},
        })
    );
}

#[test]
fn a_driver_is_on_the_node_first_and_then_in_the_object() {
    let one = driver("i-1", &[("b/zone", "z"), ("a/rack", "r")], Some(7));
    let mut world = World::with(&[("one", one)], json!({"labels": {"b/zone": "z", "other": "x"}}));
    let done = world.settle();
    assert_eq!(
        done,
        ["create", "patch for one", "replace for one", "one: Ok(())"]
    );
    assert_eq!(
        world.entries(),
        json!([{"name": "one", "nodeID": "i-1", "topologyKeys": ["a/rack", "b/zone"], "allocatable": {"count": 7}}])
    );
    assert_eq!(
        world.metadata(),
        json!({
            "labels": {"a/rack": "r", "b/zone": "z", "other": "x"},
            "annotations": {"csi.volume.kubernetes.io/nodeid": "{\"one\":\"i-1\"}"},
        })
    );
    // A second one, without topology and with a limit that the object has no room for.
    world
        .drivers
        .by_name
        .insert("two".to_owned(), driver("i-2", &[], Some(i64::MAX)));
    world.settle();
    assert_eq!(
        world.entries()[1],
        json!({"name": "two", "nodeID": "i-2", "allocatable": {"count": i32::MAX}})
    );
    // The first is gone: its labels stay true.
    world.drivers.by_name.remove("one");
    assert_eq!(world.settle(), ["replace", "patch"]);
    assert_eq!(world.entries()[0]["name"], "two");
    world.drivers.by_name.remove("two");
    world.settle();
    assert_eq!(world.entries(), json!([]));
    let labels = json!({"a/rack": "r", "b/zone": "z", "other": "x"});
    assert_eq!(world.metadata(), json!({"labels": labels, "annotations": {}}));
}

#[test]
fn a_driver_that_contradicts_a_label_is_refused_and_leaves_no_trace() {
    let one = driver("i-1", &[("zone", "z2")], None);
    let two = driver("i-2", &[("zone", "z1")], None);
    let mut world = World::with(&[("one", one), ("two", two)], json!({"labels": {"zone": "z1"}}));
    let done = world.settle();
    let refused = "one: Err(\"error updating Node object with CSI driver node info: error updating node: detected topology \
                   value collision: driver reported \\\"zone\\\":\\\"z2\\\" but existing label is \
                   \\\"zone\\\":\\\"z1\\\"\")";
    assert_eq!(done[1], refused);
    assert_eq!(
        world.entries(),
        json!([{"name": "two", "nodeID": "i-2", "topologyKeys": ["zone"]}])
    );
    // Registered anew, it is looked at again.
    world
        .drivers
        .by_name
        .insert("one".to_owned(), driver("i-1", &[("zone", "z1")], None));
    assert_eq!(world.settle().last().unwrap(), "one: Ok(())");
}

#[test]
fn an_object_of_a_node_that_is_gone_is_made_anew() {
    let mut world = World::with(&[("one", driver("i-1", &[], None))], json!({}));
    world.settle();
    world.node.metadata.uid = Some("u2".to_owned());
    assert_eq!(world.settle(), ["delete", "create", "replace for one"]);
    world.csi_node.as_mut().unwrap().metadata.annotations = None;
    assert_eq!(world.settle(), ["replace"]);
}

#[test]
fn what_another_life_has_written_stays_while_its_driver_may_come_back() {
    let check = |are_known: bool, unregistered: usize, stays: bool| {
        let ids = json!({"annotations": {NODE_IDS: "{\"old\":\"i-0\"}"}});
        let mut world = World::with(&[], ids);
        world.drivers.are_known = false;
        world.settle();
        let entry = entry("old", &driver("i-0", &[], None));
        world.csi_node.as_mut().unwrap().spec.drivers.push(entry);
        world.drivers.are_known = are_known;
        world.drivers.unregistered = unregistered;
        world.settle();
        let left = node_ids(&world.node).len();
        assert_eq!(world.entries().as_array().unwrap().len(), left);
        assert_eq!(left == 1, stays, "{are_known} {unregistered}");
    };
    check(false, 0, true);
    check(true, 1, true);
    check(true, 0, false);
}

#[test]
fn an_annotation_that_nobody_can_read_is_written_anew() {
    let metadata = json!({"annotations": {NODE_IDS: "nonsense"}});
    let mut world = World::with(&[("one", driver("i-1", &[], None))], metadata);
    world.settle();
    assert_eq!(
        node_ids(&world.node),
        BTreeMap::from([("one".to_owned(), "i-1".to_owned())])
    );
}

proptest! {
    /// Drivers come, go and change in any order: afterwards exactly those that are registered and accepted are written.
    #[test]
    fn what_is_written_is_what_is_registered(
        changes in proptest::collection::vec((0u8..4, proptest::option::of((0u8..3, 0u8..2))), 0..12)
    ) {
        let mut world = World::with(&[], json!({}));
        for (name, change) in changes {
            let name = format!("d{name}");
            match change {
                Some((id, zone)) => {
                    let zone = format!("z{zone}");
                    world.drivers.by_name.insert(name, driver(&format!("i-{id}"), &[("zone", &zone)], None));
                }
                None => {
                    world.drivers.by_name.remove(&name);
                }
            }
            world.settle();
            let accepted: BTreeMap<String, String> = world.drivers.by_name.iter()
                .filter(|(name, _)| world.publications[*name].result.is_ok())
                .map(|(name, driver)| (name.clone(), driver.node_id.clone()))
                .collect();
            let entries = &world.csi_node.as_ref().unwrap().spec.drivers;
            // One that was accepted before and contradicts now keeps its entry until it is deregistered.
            let ids = node_ids(&world.node);
            for (name, id) in &accepted {
                prop_assert_eq!(entries.iter().filter(|entry| entry.name == *name && entry.node_id == *id).count(), 1);
                prop_assert_eq!(ids.get(name), Some(id));
            }
            for entry in entries {
                prop_assert!(world.drivers.by_name.contains_key(&entry.name));
            }
            prop_assert_eq!(entries.len(), ids.len());
        }
    }
}

#[test]
fn what_a_driver_says_later_is_in_the_object_for_as_long_as_it_is_registered() {
    let one = driver("i-1", &[], Some(7));
    let mut world = World::with(&[("one", one.clone())], json!({}));
    world.settle();
    let fewer = Driver {
        max_volumes: Some(3),
        ..(*one).clone()
    };
    world.told.insert("one".to_owned(), (one, fewer));
    assert_eq!(world.settle(), ["replace for one"]);
    assert_eq!(
        world.entries(),
        json!([{"name": "one", "nodeID": "i-1", "allocatable": {"count": 3}}])
    );
    // Registered anew, it has said something newer.
    world
        .drivers
        .by_name
        .insert("one".to_owned(), driver("i-1", &[], Some(9)));
    assert_eq!(world.settle(), ["replace for one", "one: Ok(())"]);
    assert_eq!(world.entries()[0]["allocatable"], json!({"count": 9}));
}

use super::*;

fn source() -> IscsiSource {
    IscsiSource {
        portal: "192.0.2.7".to_owned(),
        more_portals: vec!["[2001:db8::7]:3261".to_owned()],
        iqn: "iqn.2001-04.com.example:disk".to_owned(),
        lun: 3,
        interface: DEFAULT_INTERFACE.to_owned(),
        ..IscsiSource::default()
    }
}

#[test]
fn names_are_those_of_the_api_server() {
    for right in [
        "iqn.2001-04.com.example:storage.disk1",
        "iqn.2001-04.c:a:b/c",
        "iqnXiqn.2001-04.c:a",
        "eui.0123456789abcdef",
        "naa.62004567BA64678D0123456789ABCDEF",
    ] {
        assert_eq!(format_complaint(right), None, "{right}");
    }
    for wrong in [
        "",
        "iqn",
        "é",
        "Iqn.2001-04.c:a",
        "iqn.2001-4.c:a",
        "iqn.2001-04.:a",
        "iqn.2001-04.c:",
        "iqn.2001-04.c:a b",
        "iqn.2001-04.c:a,b",
        "iqn.2001-04.c_d:a",
        "eui.0123456789abcde",
        "eui.0123456789abcdeé",
        "naa.0123456789abcdef",
    ] {
        assert!(format_complaint(wrong).is_some(), "{wrong}");
    }
}

#[test]
fn what_becomes_part_of_a_path_or_an_argument_is_one_plain_word() {
    assert_eq!(source().complaint(), None);
    for wrong in [
        IscsiSource {
            portal: "-p".to_owned(),
            ..source()
        },
        IscsiSource {
            more_portals: vec!["a/../b".to_owned()],
            ..source()
        },
        IscsiSource {
            more_portals: vec![String::new()],
            ..source()
        },
        IscsiSource {
            iqn: "iqn.2001-04.c:a/../../b".to_owned(),
            ..source()
        },
        IscsiSource {
            iqn: "a".to_owned(),
            ..source()
        },
        IscsiSource {
            initiator: Some("b".to_owned()),
            ..source()
        },
        IscsiSource {
            interface: "../x".to_owned(),
            ..source()
        },
    ] {
        assert!(wrong.complaint().is_some(), "{wrong:?}");
    }
}

#[test]
fn a_record_is_the_kubelets_and_its_directory_says_the_same() {
    let record = IscsiRecord::new("pv", &source());
    let want = r#"{"VolName":"pv","Portals":["192.0.2.7:3260","[2001:db8::7]:3261"],"Iqn":"iqn.2001-04.com.example:disk","Lun":"3","InitIface":"default","Iface":"default","InitiatorName":"","MetricsProvider":null}"#;
    assert_eq!(serde_json::to_string(&record).unwrap(), want);
    assert_eq!(serde_json::from_str::<IscsiRecord>(want).unwrap(), record);
    let (interface, disk) = record.directory();
    assert_eq!(
        (interface.as_str(), disk.as_str()),
        (
            "iface-default",
            "192.0.2.7:3260-iqn.2001-04.com.example:disk-lun-3"
        )
    );
    let read = IscsiRecord::of_directory(&interface, &disk).unwrap();
    assert_eq!(read.directory(), (interface, disk));
    assert_eq!(read.portals, ["192.0.2.7:3260"]);
    assert_eq!(
        read.handles(),
        [
            "192.0.2.7:3260:iqn.2001-04.com.example:disk:3",
            "192.0.2.7:iqn.2001-04.com.example:disk:3"
        ]
    );
    assert!(read.handles().contains(&source().handle()));
    for (interface, disk) in [
        ("volumeDevices", "a:1-iqn.2001-04.c:a-lun-0"),
        ("iface-a", "a"),
        ("iface-a", "a:1-lun-0"),
        ("iface-a", "a:1-iqn.2001-04.c:a-lun-x"),
    ] {
        assert_eq!(
            IscsiRecord::of_directory(interface, disk),
            None,
            "{interface}/{disk}"
        );
    }
}

#[test]
fn a_volume_with_an_initiator_of_its_own_has_an_interface_of_its_own() {
    let own = IscsiSource {
        initiator: Some("iqn.2001-04.com.example:node".to_owned()),
        ..source()
    };
    let record = IscsiRecord::new("pv", &own);
    assert_eq!(
        (record.init_iface.as_str(), record.iface.as_str()),
        ("default", "192.0.2.7:3260:pv")
    );
    assert!(record.owns_interface());
    assert!(!IscsiRecord::new("pv", &source()).owns_interface());
}

#[test]
fn links_are_those_of_udev() {
    let record = IscsiRecord::new("pv", &source());
    let link = |portal, transport| record.link(portal, transport);
    assert_eq!(
        link("192.0.2.7:3260", TCP),
        "ip-192.0.2.7:3260-iscsi-iqn.2001-04.com.example:disk-lun-3"
    );
    assert_eq!(
        link("[2001:db8::7]:3261", "bnx2i"),
        "-ip-2001:db8::7:3261-iscsi-iqn.2001-04.com.example:disk-lun-3"
    );
    assert_eq!(portal_of("2001:db8::7", "3261"), "[2001:db8::7]:3261");
    assert_eq!(portal_of("192.0.2.7", "3260"), "192.0.2.7:3260");
}

#[test]
fn what_iscsiadm_shows_is_read() {
    let shown = "# BEGIN RECORD 2.1.8\niface.iscsi_ifacename = default\niface.net_ifacename = <empty>\n\
                 iface.transport_name = tcp\niface.mtu = 0\n# END RECORD\n";
    assert_eq!(
        settings_in(shown),
        Ok(vec![("iface.transport_name", "tcp"), ("iface.mtu", "0")])
    );
    assert_eq!(transport_in(shown), Some("tcp"));
    assert_eq!(transport_in("iface.transport_name = <empty>\n"), Some("tcp"));
    assert_eq!(transport_in("iface.mtu = 0\n"), None);
    assert!(settings_in("iface.a b\n").is_err());
}

#[test]
fn two_ways_are_enough_after_two_passes() {
    assert!(has_ways_enough(1, 1, 1));
    assert!(!has_ways_enough(2, 3, 1));
    assert!(has_ways_enough(2, 3, 2));
    assert!(!has_ways_enough(1, 2, 4));
}

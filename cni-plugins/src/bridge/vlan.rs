//! The VLANs of a pod's port (`vlan`, `vlanTrunk`, `preserveDefaultVlan`): pure.

use std::ops::RangeInclusive;

use serde::Deserialize;

use crate::netlink::bridge::{Membership, NUMBERS};
use crate::types::Error;

/// What frames without a tag are in if only `vlanTrunk` is there.
const DEFAULT: u16 = 1;

/// The VLANs of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vlans {
    /// What the pod's port is in.
    pub port: Membership,
    /// What becomes of the VLANs that the bridge has put the port into by itself.
    pub default: DefaultVlan,
    /// The VLAN that the gateway is in; otherwise the bridge itself is the gateway.
    pub gateway: Option<u16>,
}

/// What becomes of the VLANs that a bridge puts each port into by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultVlan {
    /// The port stays in them.
    Kept,
    /// The port is in those only that the configuration names.
    Removed,
}

/// An element of `vlanTrunk`, as written.
#[derive(Debug, Clone, Copy, Deserialize, Default)]
#[serde(default)]
pub(super) struct WrittenTrunk {
    #[serde(rename = "minID")]
    min: Option<i64>,
    #[serde(rename = "maxID")]
    max: Option<i64>,
    id: Option<i64>,
}

/// Reads `vlan` and `vlanTrunk`; `None` if the bridge need not know of VLANs.
pub(super) fn read(
    vlan: i64,
    trunk: Option<&[WrittenTrunk]>,
    default: DefaultVlan,
) -> Result<Option<Vlans>, Error> {
    let vlan = match vlan {
        0 => None,
        written => Some(number("vlan", written, "0 or ")?),
    };
    let mut is_in = vec![false; usize::from(*NUMBERS.end()) + 1];
    for (place, one) in trunk.unwrap_or_default().iter().enumerate() {
        for number in read_trunk(place, one)?.into_iter().flatten().flatten() {
            is_in[usize::from(number)] = true;
        }
    }
    let Some(native) = vlan.or(is_in.contains(&true).then_some(DEFAULT)) else {
        return Ok(None);
    };
    // Were it both, frames without a tag would be in no VLAN.
    is_in[usize::from(native)] = false;
    let mut tagged: Vec<RangeInclusive<u16>> = Vec::new();
    for number in NUMBERS.filter(|number| is_in[usize::from(*number)]) {
        match tagged.last_mut() {
            Some(last) if *last.end() + 1 == number => *last = *last.start()..=number,
            _ => tagged.push(number..=number),
        }
    }
    Ok(Some(Vlans {
        port: Membership { native, tagged },
        default,
        gateway: vlan,
    }))
}

fn read_trunk(place: usize, one: &WrittenTrunk) -> Result<[Option<RangeInclusive<u16>>; 2], Error> {
    let field = |name: &str| format!("vlanTrunk[{place}].{name}");
    let range = match (one.min, one.max) {
        (None, None) => None,
        (Some(min), Some(max)) => {
            let (min, max) = (
                number(&field("minID"), min, "")?,
                number(&field("maxID"), max, "")?,
            );
            if min > max {
                return Err(Error::invalid(format!(
                    "vlanTrunk[{place}]: minID {min} is greater than maxID {max}"
                )));
            }
            Some(min..=max)
        }
        (Some(_), None) => {
            return Err(Error::invalid(format!(
                "{} is missing beside minID",
                field("maxID")
            )));
        }
        (None, Some(_)) => {
            return Err(Error::invalid(format!(
                "{} is missing beside maxID",
                field("minID")
            )));
        }
    };
    let single = one.id.map(|id| number(&field("id"), id, "")).transpose()?;
    Ok([range, single.map(|id| id..=id)])
}

fn number(field: &str, written: i64, other: &str) -> Result<u16, Error> {
    let number = u16::try_from(written)
        .ok()
        .filter(|number| NUMBERS.contains(number));
    number.ok_or_else(|| {
        let (first, last) = (NUMBERS.start(), NUMBERS.end());
        Error::invalid(format!(
            "{field} {written} must be {other}between {first} and {last}"
        ))
    })
}

/// The name of the gateway in a VLAN.
pub fn gateway_name(bridge: &str, vlan: u16) -> String {
    format!("{bridge}.{vlan}")
}

/// Whether an interface of this name is the gateway in a VLAN of the bridge.
pub fn is_gateway_of(bridge: &str, name: &str) -> bool {
    let number = name.strip_prefix(bridge).and_then(|rest| rest.strip_prefix('.'));
    let number = number.and_then(|number| number.parse().ok());
    number.is_some_and(|number: u16| NUMBERS.contains(&number) && gateway_name(bridge, number) == name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read_json(vlan: i64, trunk: &Value) -> Result<Option<Vlans>, Error> {
        let trunk: Vec<WrittenTrunk> = serde_json::from_value(trunk.clone()).unwrap();
        read(vlan, Some(&trunk), DefaultVlan::Removed)
    }

    #[test]
    fn the_native_vlan_is_never_tagged_and_neighbours_are_one_range() {
        let check = |vlan, trunk: Value, native: u16, tagged: &[RangeInclusive<u16>]| {
            let vlans = read_json(vlan, &trunk).unwrap().unwrap();
            assert_eq!(
                (vlans.port.native, &vlans.port.tagged[..]),
                (native, tagged),
                "{vlan} {trunk}"
            );
            assert_eq!(vlans.gateway, (vlan != 0).then_some(native));
        };
        check(100, json!([]), 100, &[]);
        check(0, json!([{"id": 7}]), 1, &[7..=7]);
        check(0, json!([{"minID": 1, "maxID": 4094}]), 1, &[2..=4094]);
        check(
            5,
            json!([{"minID": 4, "maxID": 6, "id": 9}, {"id": 7}, {}]),
            5,
            &[4..=4, 6..=7, 9..=9],
        );
        assert_eq!(read_json(0, &json!([])), Ok(None));
        assert_eq!(read_json(0, &json!([{}])), Ok(None));
    }

    #[test]
    fn a_number_that_no_vlan_has_is_refused_by_its_field() {
        let check = |vlan, trunk: Value, field: &str| {
            let message = read_json(vlan, &trunk).unwrap_err().msg;
            assert!(message.starts_with(field), "{message}");
        };
        check(-1, json!([]), "vlan -1");
        check(4095, json!([]), "vlan 4095");
        check(0, json!([{"id": 5}, {"id": 0}]), "vlanTrunk[1].id 0");
        check(0, json!([{"minID": 5}]), "vlanTrunk[0].maxID");
        check(0, json!([{"maxID": 5}]), "vlanTrunk[0].minID");
        check(0, json!([{"minID": 0, "maxID": 5}]), "vlanTrunk[0].minID 0");
        check(0, json!([{"minID": 1, "maxID": 4095}]), "vlanTrunk[0].maxID 4095");
        check(0, json!([{"minID": 9, "maxID": 5}]), "vlanTrunk[0]: minID 9");
    }

    #[test]
    fn only_a_gateway_s_own_name_is_one() {
        assert!(is_gateway_of("cni0", &gateway_name("cni0", 4094)));
        for other in [
            "cni0.",
            "cni0.0",
            "cni0.4095",
            "cni0.07",
            "cni0.+7",
            "cni01.7",
            "cni0",
        ] {
            assert!(!is_gateway_of("cni0", other), "{other}");
        }
    }
}

//! A list of CPUs, as the kernel writes one ("List Formats" in cpuset(7)): `0-3,8`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The largest number of CPUs that a kernel can be built for (`NR_CPUS`); bounds what a range may contain.
const MOST: u32 = 8192;

/// CPUs by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuList(BTreeSet<u32>);

/// A text that is no list of CPUs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a list of CPUs like 0-3,8")]
pub struct NoCpuList(String);

impl CpuList {
    /// How many there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("CPUs are numbered below 8192")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each is in the other list too.
    pub fn is_subset(&self, of: &CpuList) -> bool {
        self.0.is_subset(&of.0)
    }
}

impl FromStr for CpuList {
    type Err = NoCpuList;

    fn from_str(text: &str) -> Result<CpuList, NoCpuList> {
        let wrong = || NoCpuList(text.to_owned());
        let number = |digits: &str| {
            let digits = digits.trim();
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = plain.then(|| digits.parse::<u32>().ok()).flatten();
            number.filter(|&number| number < MOST).ok_or_else(wrong)
        };
        let mut cpus = BTreeSet::new();
        for range in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            cpus.extend(first..=last);
        }
        Ok(CpuList(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for &cpu in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => ranges.push((cpu, cpu)),
            }
        }
        let texts: Vec<String> = ranges
            .into_iter()
            .map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            })
            .collect();
        out.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_written_in_its_shortest_form() {
        let check = |text: &str, count: u32, shown: &str| {
            let list: CpuList = text.parse().unwrap();
            assert_eq!((list.len(), list.to_string().as_str()), (count, shown), "{text}");
        };
        check("0-3,8\n", 5, "0-3,8");
        check("8,2,1,0", 4, "0-2,8");
        check("0-1,1-2", 3, "0-2");
        check("", 0, "");
        for text in ["1-0", "-1", "a", "0,,1", "0-", "+1", "0-8192", "99999999999"] {
            assert!(text.parse::<CpuList>().is_err(), "{text}");
        }
        let list = |text: &str| text.parse::<CpuList>().unwrap();
        assert!(list("1,3").is_subset(&list("0-3")) && !list("3-4").is_subset(&list("0-3")));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[-+, 0-9]{0,16}") {
            if let Ok(list) = text.parse::<CpuList>() {
                proptest::prop_assert_eq!(list.to_string().parse::<CpuList>(), Ok(list));
            }
        }
    }
}

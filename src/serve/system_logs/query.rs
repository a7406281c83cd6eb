//! A query for the logs of services (KEP 2258; `newNodeLogQuery` in `pkg/kubelet/kubelet_server_journal.go`). Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The most services of one query.
const MOST_SERVICES: usize = 4;
/// The longest name of a service.
const LONGEST_NAME: usize = 256;
/// The most lines from the end.
const MOST_LINES: u32 = 100_000;
/// The longest pattern. The journal's reader may try it for as long as a query lasts.
const LONGEST_PATTERN: usize = 1024;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Query {
    /// One file, by its path below the log directory.
    File(String),
    /// Services, by their names without `.service`, and what to show of them.
    Services(Vec<String>, Options),
}

/// What to show of the services' logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    lines: Option<u32>,
    pattern: Option<String>,
    /// 0: this boot, -1: the one before.
    boot: Option<i32>,
}

/// Why a query is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A value cannot be read.
    Unreadable(String),
    /// A value is out of its bounds, or does not go with the others.
    Unacceptable(String),
}

/// Reads the query of a URL; `None`: it is not a query for logs.
pub(super) fn parse(text: &str) -> Result<Option<Query>, Wrong> {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let first = |name: &str| {
        let mut values = pairs.iter().filter(|(key, _)| key == name);
        values
            .next()
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    };
    let options = Options {
        since: first("sinceTime")
            .map(|value| time("sinceTime", value))
            .transpose()?,
        until: first("untilTime")
            .map(|value| time("untilTime", value))
            .transpose()?,
        lines: first("tailLines").map(lines).transpose()?,
        pattern: first("pattern").map(pattern).transpose()?,
        boot: first("boot").map(boot).transpose()?,
    };
    let named: Vec<&str> = pairs
        .iter()
        .filter(|(key, _)| key == "query")
        .map(|(_, value)| value.as_str())
        .collect();
    // A slash is the sign of a file.
    let (files, services): (Vec<&str>, Vec<&str>) = named
        .iter()
        .filter(|name| !name.trim().is_empty())
        .partition(|name| name.contains(['/', '\\']));
    let unacceptable = |why: &str| Err(Wrong::Unacceptable(format!("query: {why}")));
    match (&files[..], &services[..]) {
        ([], []) if !named.is_empty() => {
            let why = "query: Invalid value: \"\": query cannot be empty";
            Err(Wrong::Unreadable(why.to_owned()))
        }
        ([], []) if options == Options::default() => Ok(None),
        ([], []) => unacceptable("Required value: options need the name of a service"),
        ([_], []) if options != Options::default() => unacceptable("cannot specify file with options"),
        ([file], []) => Ok(Some(Query::File((*file).to_owned()))),
        (_, []) => unacceptable("cannot specify more than one file"),
        ([], services) => {
            check_services(services)?;
            let late = options
                .since
                .zip(options.until)
                .is_some_and(|(since, until)| since > until);
            if late {
                let why = "untilTime: Invalid value: must be after `sinceTime`";
                return Err(Wrong::Unacceptable(why.to_owned()));
            }
            let services = services.iter().map(|service| (*service).to_owned());
            Ok(Some(Query::Services(services.collect(), options)))
        }
        (_, _) => unacceptable("cannot specify a file and service"),
    }
}

fn time(name: &str, value: &str) -> Result<Timestamp, Wrong> {
    let why = || Wrong::Unreadable(format!("{name}: Invalid value: {value:?}: invalid time format"));
    value.parse().map_err(|_| why())
}

fn lines(value: &str) -> Result<u32, Wrong> {
    let number: i64 = value
        .parse()
        .map_err(|_| Wrong::Unreadable(format!("tailLines: Invalid value: {value:?}: not a number")))?;
    let lines = u32::try_from(number).ok().filter(|lines| *lines <= MOST_LINES);
    lines.ok_or_else(|| {
        let why =
            format!("tailLines: Invalid value: {number}: must be between 0 and {MOST_LINES}, inclusive");
        Wrong::Unacceptable(why)
    })
}

fn pattern(value: &str) -> Result<String, Wrong> {
    match value.len() > LONGEST_PATTERN || value.contains('\0') {
        true => Err(Wrong::Unacceptable(format!(
            "pattern: Invalid value: longer than {LONGEST_PATTERN} bytes, or with a NUL"
        ))),
        false => Ok(value.to_owned()),
    }
}

fn boot(value: &str) -> Result<i32, Wrong> {
    let number: i32 = value
        .parse()
        .map_err(|_| Wrong::Unreadable(format!("boot: Invalid value: {value:?}: not a number")))?;
    match number > 0 {
        true => Err(Wrong::Unacceptable(format!(
            "boot: Invalid value: {number}: must be less than 1"
        ))),
        false => Ok(number),
    }
}

/// The names become arguments of a program and names of files.
fn check_services(services: &[&str]) -> Result<(), Wrong> {
    let is_safe = |name: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
        name.len() <= LONGEST_NAME && name.bytes().all(known) && !name.contains("..")
    };
    if let Some(name) = services.iter().find(|name| !is_safe(name)) {
        let why =
            format!("query: Invalid value: {name:?}: input contains unsupported characters or is too long");
        return Err(Wrong::Unacceptable(why));
    }
    match services.len() > MOST_SERVICES {
        true => {
            let count = services.len();
            let why = format!("query: Too many: {count}: must have at most {MOST_SERVICES} items");
            Err(Wrong::Unacceptable(why))
        }
        false => Ok(()),
    }
}

impl Options {
    /// Whether nothing is asked for but the log.
    pub(super) fn are_default(&self) -> bool {
        *self == Options::default()
    }

    /// The arguments of journalctl for these services.
    pub(super) fn arguments(&self, services: &[String]) -> Vec<String> {
        let time = |time: &Timestamp| {
            time.to_zoned(TimeZone::UTC)
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        };
        let mut arguments = vec![
            "--utc".to_owned(),
            "--no-pager".to_owned(),
            "--output=short-precise".to_owned(),
        ];
        arguments.extend(self.since.iter().map(|since| format!("--since={}", time(since))));
        arguments.extend(self.until.iter().map(|until| format!("--until={}", time(until))));
        arguments.extend(self.lines.iter().map(|lines| format!("--lines={lines}")));
        arguments.extend(services.iter().map(|service| format!("--unit={service}")));
        arguments.extend(self.pattern.iter().map(|pattern| format!("--grep={pattern}")));
        arguments.extend(self.boot.iter().map(|boot| format!("--boot={boot}")));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(text: &str) -> (Vec<String>, Vec<String>) {
        match parse(text) {
            Ok(Some(Query::Services(services, options))) => {
                let arguments = options.arguments(&services);
                (services, arguments)
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn services_and_options_become_arguments() {
        let (names, arguments) = services("query=kubelet&query=containerd");
        assert_eq!(names, ["kubelet", "containerd"]);
        let usual = ["--utc", "--no-pager", "--output=short-precise"];
        assert_eq!(
            arguments,
            [&usual[..], &["--unit=kubelet", "--unit=containerd"]].concat()
        );
        let text = "query=kubelet&sinceTime=2026-11-28T20:51:05%2B01:00&untilTime=2026-11-28T20:00:00Z&tailLines=10&\
                    pattern=a%20b;rm&boot=-1";
        let options = [
            "--since=2026-11-28 19:51:05",
            "--until=2026-11-28 20:00:00",
            "--lines=10",
            "--unit=kubelet",
            "--grep=a b;rm",
            "--boot=-1",
        ];
        assert_eq!(services(text).1, [&usual[..], &options].concat());
    }

    #[test]
    fn what_is_no_query_is_a_path() {
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("other=1"), Ok(None));
        assert_eq!(parse("query=/a.log"), Ok(Some(Query::File("/a.log".to_owned()))));
    }

    #[test]
    fn a_query_with_an_unsafe_or_a_contradictory_value_is_refused() {
        let unreadable = |text: &str| assert!(matches!(parse(text), Err(Wrong::Unreadable(_))), "{text}");
        unreadable("query=");
        unreadable("query=%20%20");
        unreadable("query=a&sinceTime=yesterday");
        unreadable("query=a&tailLines=x");
        unreadable("query=a&boot=x");
        let unacceptable = |text: &str| assert!(matches!(parse(text), Err(Wrong::Unacceptable(_))), "{text}");
        unacceptable("tailLines=5");
        unacceptable("query=a;b");
        unacceptable("query=a%20b");
        unacceptable("query=a%00");
        unacceptable("query=..");
        unacceptable(&format!("query={}", "a".repeat(LONGEST_NAME + 1)));
        unacceptable("query=a&query=b&query=c&query=d&query=e");
        unacceptable("query=/a&query=b");
        unacceptable("query=/a&query=/b");
        unacceptable("query=/a&tailLines=5");
        unacceptable("query=a&tailLines=-1");
        unacceptable("query=a&tailLines=100001");
        unacceptable("query=a&boot=1");
        unacceptable("query=a&pattern=%00");
        unacceptable(&format!("query=a&pattern={}", "a".repeat(LONGEST_PATTERN + 1)));
        unacceptable("query=a&sinceTime=2026-11-28T21:00:00Z&untilTime=2026-11-28T20:00:00Z");
    }
}

//! Which columns fit into the terminal, and their cells. Pure.

use super::amounts::{UNKNOWN, bytes, cpu, percent, share};
use super::rates::{Measures, Traffic};
use super::state::Line;
use crate::cli::top::SortKey;
use crate::command::table::in_line;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Namespace,
    Name,
    Status,
    Restarts,
    Cpu,
    CpuShare,
    Throttled,
    Memory,
    MemoryShare,
    /// For what is waited most.
    Pressure,
    CpuPressure,
    MemoryPressure,
    IoPressure,
    /// Both directions.
    Network,
    Received,
    Sent,
}

use Column::{
    Cpu, CpuPressure, CpuShare, IoPressure, Memory, MemoryPressure, MemoryShare, Name, Namespace, Network,
    Pressure, Received, Restarts, Sent, Status, Throttled,
};

/// Columns for terminals of at least this width, the widest first. `Name` takes what the others leave.
const LAYOUTS: &[(usize, &[Column])] = &[
    (
        120,
        &[
            Namespace,
            Name,
            Status,
            Restarts,
            Cpu,
            CpuShare,
            Throttled,
            Memory,
            MemoryShare,
            CpuPressure,
            MemoryPressure,
            IoPressure,
            Received,
            Sent,
        ],
    ),
    (
        78,
        &[
            Name,
            Status,
            Restarts,
            Cpu,
            CpuShare,
            Throttled,
            Memory,
            MemoryShare,
            Pressure,
            Network,
        ],
    ),
    (60, &[Name, Status, Restarts, Cpu, CpuShare, Memory, MemoryShare]),
    (44, &[Name, Status, Cpu, Memory]),
    (0, &[Name, Cpu, Memory]),
];

/// The columns of a terminal of this width, with their widths.
pub(super) fn columns(width: usize) -> Vec<(Column, usize)> {
    let chosen = LAYOUTS.iter().find(|(least, _)| *least <= width);
    let chosen = chosen.map(|(_, columns)| *columns).unwrap_or_default();
    let others: usize = chosen.iter().map(|column| column.width() + 1).sum();
    let name = width.saturating_sub(others);
    chosen
        .iter()
        .map(|column| match column {
            Name => (Name, name),
            other => (*other, other.width()),
        })
        .collect()
}

impl Column {
    fn width(self) -> usize {
        match self {
            Name => 0,
            Namespace => 12,
            Status => 12,
            Restarts | Pressure | CpuPressure | MemoryPressure | IoPressure => 4,
            CpuShare | MemoryShare | Throttled => 5,
            Cpu | Memory | Network | Received | Sent => 6,
        }
    }

    pub(super) fn heading(self) -> &'static str {
        match self {
            Namespace => "NAMESPACE",
            Name => "NAME",
            Status => "STATUS",
            Restarts => "RST",
            Cpu => "CPU",
            CpuShare => "CPU%",
            Throttled => "THR%",
            Memory => "MEM",
            MemoryShare => "MEM%",
            Pressure => "PSI",
            CpuPressure => "PSIc",
            MemoryPressure => "PSIm",
            IoPressure => "PSIi",
            Network => "NET/s",
            Received => "RX/s",
            Sent => "TX/s",
        }
    }

    pub(super) fn is_text(self) -> bool {
        matches!(self, Namespace | Name | Status)
    }

    /// Whether the pods are sorted by it.
    pub(super) fn is_sorted_by(self, key: SortKey) -> bool {
        match key {
            SortKey::Cpu => self == Cpu,
            SortKey::Memory => self == Memory,
            SortKey::Throttling => self == Throttled,
            SortKey::Restarts => self == Restarts,
            SortKey::Pressure => matches!(self, Pressure | CpuPressure | MemoryPressure | IoPressure),
            SortKey::Network => matches!(self, Network | Received | Sent),
            SortKey::Name => matches!(self, Namespace | Name),
        }
    }
}

/// How much a cell deserves attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Usual,
    High,
    Critical,
}

impl Level {
    /// Of a share of what may be used.
    pub(super) fn of_share(percent: Option<f64>) -> Level {
        Level::of(percent, 80.0, 95.0)
    }

    fn of(percent: Option<f64>, high: f64, critical: f64) -> Level {
        match percent {
            Some(percent) if percent >= critical => Level::Critical,
            Some(percent) if percent >= high => Level::High,
            _ => Level::Usual,
        }
    }
}

/// A cell's text and level. Names are indented by their place in the tree.
pub(super) fn cell(line: &Line<'_>, column: Column, is_open: bool) -> (String, Level) {
    let (measures, network, status, restarts) = match line {
        Line::Pod(pod) => (&pod.measures, pod.network, &pod.status, pod.restarts),
        Line::Container(_, container) => (&container.measures, None, &container.status, container.restarts),
    };
    match column {
        Namespace => match line {
            Line::Pod(pod) => (in_line(&pod.namespace), Level::Usual),
            Line::Container(..) => (String::new(), Level::Usual),
        },
        Name => (name(line, is_open), Level::Usual),
        Status => {
            let level = match status.as_deref() {
                None | Some("Running" | "Completed" | "Succeeded") => Level::Usual,
                Some(_) => Level::High,
            };
            (or_unknown(status.as_deref().map(in_line)), level)
        }
        Restarts => (or_unknown(restarts.map(|count| count.to_string())), Level::Usual),
        Network | Received | Sent => traffic(network, column, line),
        _ => measured(measures, column),
    }
}

fn name(line: &Line<'_>, is_open: bool) -> String {
    match line {
        Line::Pod(pod) if pod.containers.is_empty() => format!("  {}", in_line(&pod.name)),
        Line::Pod(pod) if is_open => format!("- {}", in_line(&pod.name)),
        Line::Pod(pod) => format!("+ {}", in_line(&pod.name)),
        Line::Container(_, container) => format!("    {}", in_line(&container.name)),
    }
}

/// Containers share the network of their pod.
fn traffic(network: Option<Traffic>, column: Column, line: &Line<'_>) -> (String, Level) {
    if let Line::Container(..) = line {
        return (String::new(), Level::Usual);
    }
    let amount = network.map(|traffic| {
        let (received, sent) = (traffic.received_bytes_per_second, traffic.sent_bytes_per_second);
        match column {
            Received => received,
            Sent => sent,
            _ => received.saturating_add(sent),
        }
    });
    (bytes(amount), Level::Usual)
}

fn measured(measures: &Measures, column: Column) -> (String, Level) {
    let pressure = measures.pressure;
    let waited = |percent| (short(percent), Level::of(percent, 10.0, 40.0));
    let used = |part, whole| {
        let percentage = share(part, whole);
        (percent(percentage), Level::of_share(percentage))
    };
    match column {
        Cpu => (cpu(measures.cpu_nano_cores), Level::Usual),
        CpuShare => used(measures.cpu_nano_cores, measures.cpu_limit_nano_cores),
        Throttled => {
            let throttled = measures.throttled_percent;
            (percent(throttled), Level::of(throttled, 10.0, 50.0))
        }
        Memory => (bytes(measures.memory_bytes), Level::Usual),
        MemoryShare => used(measures.memory_bytes, measures.memory_limit_bytes),
        Pressure => waited(pressure.greatest()),
        CpuPressure => waited(pressure.cpu),
        MemoryPressure => waited(pressure.memory),
        IoPressure => waited(pressure.io),
        _ => (String::new(), Level::Usual),
    }
}

/// Without the sign, which the column has no room for.
fn short(amount: Option<f64>) -> String {
    percent(amount).trim_end_matches('%').to_owned()
}

fn or_unknown(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_fits_and_leaves_room_for_names() {
        for width in [20, 40, 44, 59, 60, 77, 78, 80, 100, 119, 120, 200] {
            let columns = columns(width);
            let all: usize = columns.iter().map(|(_, width)| width + 1).sum();
            assert!(all <= width + 1, "{width}: {columns:?}");
            let name = columns.iter().find(|(column, _)| *column == Name).unwrap().1;
            assert!(name >= 12 || width < 30, "{width}: {name} for names");
        }
    }
}

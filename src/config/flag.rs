//! What a flag is: its name, how its text is read, and what it sets.

/// How a flag's text becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `--x`, `--x=true`, `--x=false`.
    Bool,
    /// A whole number.
    Int,
    /// Text, or a duration, which is read with the file's rules.
    Text,
    /// `a,b`; repeated flags accumulate.
    List,
    /// `a=1,b=2`; repeated flags accumulate.
    Map,
    /// `a<1,b<2`; repeated flags accumulate.
    LessMap,
    /// `a=true,b=false`, merged with the value from the file.
    BoolMap,
    /// `a:1,b:2`, where one name may have several values.
    MultiMap,
}

/// What a flag sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A key of KubeletConfiguration.
    Kubelet(&'static str),
    /// A key of GantryConfiguration.
    Own(&'static str),
    /// Where configuration is read from, or whether it is read at all.
    Source,
    /// Accepted because the kubelet accepts it; has no effect in this version.
    Unused,
}

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// The name, without its dashes.
    pub name: &'static str,
    /// How its text is read.
    pub kind: Kind,
    /// What it sets.
    pub target: Target,
    /// One line for `--help`; empty if the key's name is explanation enough.
    pub help: &'static str,
}

/// Sets a key of KubeletConfiguration.
pub(super) const fn kubelet(name: &'static str, kind: Kind, key: &'static str) -> Flag {
    let target = Target::Kubelet(key);
    Flag {
        name,
        kind,
        target,
        help: "",
    }
}

/// The same, with a line for `--help`.
pub(super) const fn described(name: &'static str, kind: Kind, key: &'static str, help: &'static str) -> Flag {
    let target = Target::Kubelet(key);
    Flag {
        name,
        kind,
        target,
        help,
    }
}

/// Sets a key of GantryConfiguration.
pub(super) const fn own(name: &'static str, kind: Kind, key: &'static str, help: &'static str) -> Flag {
    let target = Target::Own(key);
    Flag {
        name,
        kind,
        target,
        help,
    }
}

/// Says where configuration is read from.
pub(super) const fn source(name: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        kind: Kind::Text,
        target: Target::Source,
        help,
    }
}

/// Sets a key of GantryConfiguration whose name is explanation enough.
pub(super) const fn quiet(name: &'static str, kind: Kind, key: &'static str) -> Flag {
    let target = Target::Own(key);
    Flag {
        name,
        kind,
        target,
        help: "",
    }
}

/// Is accepted and has no effect.
pub(super) const fn unused(name: &'static str, kind: Kind) -> Flag {
    let (target, help) = (Target::Unused, "Accepted for compatibility; has no effect");
    Flag {
        name,
        kind,
        target,
        help,
    }
}

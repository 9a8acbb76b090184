//! What a directive is: its name, the shape of its value, whether it may change while the server runs, and how
//! Ramkeep treats it.
//!
//! Lives here: the types of the table's rows, lookup by name and the closest name to a misspelt one.
//! Not here: the rows (`table`), reading and printing values (`value`).
//!
//! Invariant: a name or alias belongs to exactly one directive, in lower case (tested in `table`).

use super::table::DIRECTIVES;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Directive {
    pub name: &'static str,
    /// Other names for the same value; CONFIG GET lists them beside the first.
    pub aliases: &'static [&'static str],
    pub kind: Kind,
    /// In the form of a configuration line's arguments.
    pub default: &'static str,
    pub change: Change,
    /// Not shown by patterns, only by its exact name.
    pub hidden: bool,
    /// A secret: never printed by anything but CONFIG GET and CONFIG REWRITE.
    pub sensitive: bool,
    /// A secret between nodes: CONFIG GET gives an empty text, only CONFIG REWRITE prints it.
    pub masked: bool,
    pub treatment: Treatment,
}

/// How Ramkeep treats a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Does what Redis's documentation says, or Ramkeep's own for its own directives.
    Honoured,
    /// Kept and read back, without effect: the reason says why that does no harm.
    Harmless(&'static str),
    /// Only its default is taken: any other value would promise something that Ramkeep does not do.
    Refused(&'static str),
}

/// When a directive may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// By CONFIG SET at any time.
    Anytime,
    /// Only at start; CONFIG SET answers an error even to the same value, as Redis does.
    Never,
    /// Only at start; CONFIG SET takes the value that holds already. Ramkeep's own directives use this, so that
    /// tools which read all names and set them again work.
    Fixed,
    /// By CONFIG SET if `enable-protected-configs` allows it to this client.
    Protected,
}

/// The shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `yes` or `no`.
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    /// An integer that is moved to the nearer bound when outside.
    Clamped {
        min: i64,
        max: i64,
        read_max: i64,
    },
    /// File permissions, base 8.
    Octal {
        max: i64,
    },
    /// Bytes, with the units b, k, kb, m, mb, g, gb.
    Memory {
        min: u64,
        max: u64,
    },
    /// Bytes, or a percentage of `maxmemory`.
    MemoryOrPercent,
    /// One of these words.
    Word(&'static [&'static str]),
    /// What to do at a signal: `default` or some of `save`, `nosave`, `now`, `force`.
    ShutdownFlags,
    Text(TextRule),
    /// Several words, kept joined by single spaces.
    Joined,
    OutputLimits,
    SavePoints,
    Addresses,
    /// Members of the cluster, five words each; lines add up.
    Members,
    Events,
    Percentiles,
    OomScores,
}

/// What a text must look like beyond being bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextRule {
    Any,
    /// A file name without a folder.
    FileName,
    Hostname,
    /// The template of the process title: known variables in braces.
    Title,
    /// Where members are reached from here: `NAME=HOST:PORT`, separated by commas.
    Routes,
}

impl Kind {
    /// Whether one CONFIG SET argument holds several words, split at single spaces.
    pub fn takes_several(self) -> bool {
        match self {
            Kind::ShutdownFlags
            | Kind::Joined
            | Kind::OutputLimits
            | Kind::SavePoints
            | Kind::Addresses
            | Kind::Members
            | Kind::Percentiles
            | Kind::OomScores => true,
            Kind::Boolean
            | Kind::Integer { .. }
            | Kind::Clamped { .. }
            | Kind::Octal { .. }
            | Kind::Memory { .. }
            | Kind::MemoryOrPercent
            | Kind::Word(_)
            | Kind::Text(_)
            | Kind::Events => false,
        }
    }
}

impl Directive {
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        treatment: Treatment,
    ) -> Self {
        Directive {
            name,
            aliases: &[],
            kind,
            default,
            change: Change::Anytime,
            hidden: false,
            sensitive: false,
            masked: false,
            treatment,
        }
    }

    pub(super) const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn never(mut self) -> Self {
        self.change = Change::Never;
        self
    }

    pub(super) const fn fixed(mut self) -> Self {
        self.change = Change::Fixed;
        self
    }

    pub(super) const fn protected(mut self) -> Self {
        self.change = Change::Protected;
        self
    }

    pub(super) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    pub(super) const fn masked(mut self) -> Self {
        self.masked = true;
        self
    }

    pub(super) const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// The first name, then the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// The row of a name or alias, in any case of letters; its index stays the same for the life of the program.
pub fn find(name: &[u8]) -> Option<(usize, &'static Directive)> {
    DIRECTIVES
        .iter()
        .enumerate()
        .find(|(_, directive)| directive.names().any(|known| known.as_bytes().eq_ignore_ascii_case(name)))
}

/// The known name most like a misspelt one, if any is close enough to be meant.
///
/// At most three edits (insert, drop, replace, swap two neighbours), and fewer than half of the name.
pub fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LENGTH_MAX: usize = 64;
    if name.len() > LENGTH_MAX {
        return None;
    }
    let wanted = name.to_ascii_lowercase();
    let edits_max = 3.min(wanted.len() / 2);
    known
        .map(|candidate| (edits(wanted.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The known directive most like a misspelt one.
pub fn closest_directive(name: &str) -> Option<&'static str> {
    closest(name, DIRECTIVES.iter().filter(|directive| !directive.hidden).flat_map(Directive::names))
}

/// Number of edits between two names (optimal string alignment).
fn edits(left: &[u8], right: &[u8]) -> usize {
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in right.iter().enumerate() {
            let mut best = (last[j] + usize::from(from != to)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from == &right[j - 1] && &left[i - 1] == to {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_one_meant() {
        for (typed, meant) in [
            ("prot", Some("port")),
            ("maxmemroy", Some("maxmemory")),
            ("Max-Clients", Some("maxclients")),
            ("hash-max-listpack-entry", Some("hash-max-listpack-entries")),
            ("colour-of-the-logo", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest_directive(typed), meant, "{typed}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_by_alias() {
        assert_eq!(find(b"MaxMemory").expect("known").1.name, "maxmemory");
        assert_eq!(find(b"slave-read-only").expect("known").1.name, "replica-read-only");
        assert!(find(b"no-such").is_none());
        assert!(find(b"\xff").is_none());
    }
}

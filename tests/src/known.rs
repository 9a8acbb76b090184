//! The table of known differences from Redis and Valkey (`tests/differential/known.md`).
//!
//! Lives here: reading the table, and finding the row that explains a difference.
//! Not here: running the scripts.
//!
//! Invariant: a row explains only what its patterns say, and a row that explains nothing any more is
//! an error: the table stays true in both directions.

use std::cell::Cell;

use crate::resp::Value;

/// One row of the table. All fields but the reason are patterns in which `*` stands for anything.
#[derive(Debug)]
pub struct Known {
    /// `redis`, `valkey` or `any`.
    oracle: String,
    /// Name of the script without its ending.
    pub script: String,
    command: String,
    theirs: String,
    ours: String,
    pub line: usize,
    hits: Cell<u64>,
}

/// A difference that was seen.
#[derive(Debug)]
pub struct Seen<'a> {
    pub oracle: &'a str,
    pub command: &'a str,
    pub theirs: &'a Value,
    pub ours: &'a Value,
}

/// Reads every table row that begins with an oracle's name.
pub fn parse(table: &str) -> Vec<Known> {
    let mut rows = Vec::new();
    for (index, line) in table.lines().enumerate() {
        let cells = cells(line);
        let [oracle, script, command, theirs, ours, reason] = cells.as_slice() else { continue };
        if !["redis", "valkey", "any"].contains(&oracle.as_str()) {
            continue;
        }
        assert!(!reason.is_empty(), "known.md line {}: a difference needs its reason", index + 1);
        rows.push(Known {
            oracle: oracle.clone(),
            script: script.clone(),
            command: command.clone(),
            theirs: theirs.clone(),
            ours: ours.clone(),
            line: index + 1,
            hits: Cell::new(0),
        });
    }
    rows
}

/// The cells of a table row; `\|` is a bar inside a cell, backquotes around a cell fall away.
fn cells(line: &str) -> Vec<String> {
    let Some(inner) = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
        return Vec::new();
    };
    let inner = inner.replace("\\|", "\u{1}");
    let clean = |cell: &str| cell.trim().trim_matches('`').replace('\u{1}', "|");
    inner.split('|').map(clean).collect()
}

impl Known {
    pub fn applies_to(&self, oracle: &str) -> bool {
        self.oracle == "any" || self.oracle == oracle
    }

    /// Whether this row explains the difference; counts it if so.
    pub fn explains(&self, seen: &Seen<'_>) -> bool {
        let explains = self.applies_to(seen.oracle)
            && matches(&self.command, seen.command)
            && matches(&self.theirs, &one_line(seen.theirs))
            && matches(&self.ours, &one_line(seen.ours));
        if explains {
            self.hits.set(self.hits.get() + 1);
        }
        explains
    }

    pub fn hits(&self) -> u64 {
        self.hits.get()
    }
}

/// A reply as it stands in the table: one line, null replies told apart by kind.
pub fn one_line(value: &Value) -> String {
    if value.is_null() { format!("({})", value.kind()) } else { value.to_string().replace('\n', " / ") }
}

/// A row to paste into the table.
pub fn row(script: &str, seen: &Seen<'_>) -> String {
    let cell = |text: String| format!("`{}`", text.replace('|', "\\|"));
    format!(
        "| {} | {script} | {} | {} | {} | why? |",
        seen.oracle,
        cell(seen.command.to_owned()),
        cell(one_line(seen.theirs)),
        cell(one_line(seen.ours))
    )
}

/// Whether `text` has the form of `pattern`, where `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{Seen, matches, parse};
    use crate::resp::Value;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches("GET *", "GET a b"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "a--b--c"));
        assert!(!matches("a*b*c", "a--c--b"));
        assert!(!matches("GET", "GET k"));
    }

    #[test]
    fn a_row_explains_what_it_says_and_nothing_else() {
        let table = "| oracle | script | command | theirs | ours | reason |\n|---|---|---|---|---|---|\n\
                     | redis | string | `LCS *` | `(error) *` | `a\\|b` | because |";
        let rows = parse(table);
        assert_eq!(rows.len(), 1);
        let (theirs, ours) = (Value::Error("ERR x".to_owned()), Value::Status("a|b".to_owned()));
        let mut seen = Seen { oracle: "redis", command: "LCS a b", theirs: &theirs, ours: &ours };
        assert!(rows[0].explains(&seen));
        seen.oracle = "valkey";
        assert!(!rows[0].explains(&seen));
        assert_eq!(rows[0].hits(), 1);
    }
}

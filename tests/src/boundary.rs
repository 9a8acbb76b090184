//! The language of the boundary matrix (`tests/differential/boundary.txt`).
//!
//! Lives here: reading a line and making all its variants; which edges there are; what is prepared before each variant
//! and asked after it. Not here: the servers, and the ways to compare (`script`).
//!
//! ```text
//! # a comment
//! SETRANGE <n> {1} x        `<n>` stands for each kind of key in turn, `{1}` for each edge of an argument
//! SETBIT <n> (7) {1}        `(7)` leaves the edges out that would make both servers hold gigabytes
//! ~errors CLIENT LIST       how to compare, as in the scripts
//! !quit: why it is not here
//! ```
//!
//! One argument at a time leaves what the line says; then arguments are left out from the end, and put on.

use std::collections::BTreeMap;

use crate::resp::quoted;
use crate::script::{Action, Compare, Step, compare, split};

/// Numbers and their neighbours, texts that are almost numbers, and none at all.
const EDGES: [&[u8]; 30] = [
    b"0",
    b"-0",
    b"1",
    b"-1",
    b"2",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551615",
    b"18446744073709551616",
    b"99999999999999999999999",
    b"9223372036854775",
    b"",
    b" 1",
    b"1 ",
    b"01",
    b"+1",
    b"1.5",
    b"1e3",
    b"1e400",
    b"1e5000",
    b"inf",
    b"-inf",
    b"nan",
    b"0x10",
    b"junk",
    b"\0",
    b"1\0",
    b"*",
];
/// Edges that are a size or a count where they are accepted.
const LARGE_EDGES: [&[u8]; 4] = [b"2147483647", b"2147483648", b"-2147483649", b"4294967296"];
/// What stands at each key; see `PREPARED`.
const KEYS: [&[u8]; 7] = [b"n", b"t", b"e", b"h", b"x", b"none", b""];

/// Before each variant.
const PREPARED: [&str; 8] = [
    "SELECT 0",
    "FLUSHALL",
    "SET n 10",
    "SET t \"some text\"",
    "SET e \"\"",
    "HSET h f 1 g text",
    "SET x 5 PXAT 99999999999999",
    "CONFIG SET maxmemory 0",
];
/// After each variant: what became of the data.
const ASKED: [(Compare, &str); 6] = [
    (Compare::Exact, "MGET n t e x none c d"),
    (Compare::Pairs, "HGETALL h"),
    (Compare::Near(2000), "PEXPIRETIME x"),
    (Compare::Near(2000), "PTTL n"),
    (Compare::Exact, "EXISTS \"\" n t e h x none c d"),
    (Compare::Exact, "DBSIZE"),
];

/// A whole matrix.
pub struct Matrix {
    pub steps: Vec<Step>,
    /// Names as COMMAND LIST gives them, of commands that have a line or a reason why not.
    covered: BTreeMap<String, usize>,
}

/// One argument of a line.
enum Argument {
    Fixed(Vec<u8>),
    Key(Vec<u8>),
    Edge { usual: Vec<u8>, may_be_large: bool },
}

impl Argument {
    fn read(word: Vec<u8>) -> Argument {
        match (word.first(), word.last()) {
            (Some(b'<'), Some(b'>')) => Argument::Key(word[1..word.len() - 1].to_vec()),
            (Some(b'{'), Some(b'}')) => {
                Argument::Edge { usual: word[1..word.len() - 1].to_vec(), may_be_large: true }
            }
            (Some(b'('), Some(b')')) => {
                Argument::Edge { usual: word[1..word.len() - 1].to_vec(), may_be_large: false }
            }
            _ => Argument::Fixed(word),
        }
    }

    fn usual(&self) -> &[u8] {
        match self {
            Argument::Fixed(word) | Argument::Key(word) | Argument::Edge { usual: word, .. } => word,
        }
    }

    /// What stands in its place, one after the other.
    fn others(&self) -> Vec<&'static [u8]> {
        match self {
            Argument::Fixed(_) => vec![b"junk", b""],
            Argument::Key(_) => KEYS.to_vec(),
            Argument::Edge { may_be_large: true, .. } => [&EDGES[..], &LARGE_EDGES].concat(),
            Argument::Edge { may_be_large: false, .. } => EDGES.to_vec(),
        }
    }
}

impl Matrix {
    /// Reads a whole file. A mistake in it is the author's, so it fails with the line number.
    pub fn parse(text: &str) -> Matrix {
        let mut matrix = Matrix { steps: Vec::new(), covered: BTreeMap::new() };
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(left_out) = line.strip_prefix('!') {
                let (name, reason) =
                    left_out.split_once(": ").unwrap_or_else(|| panic!("line {number}: no reason"));
                assert!(!reason.is_empty(), "line {number}: no reason");
                matrix.covered.insert(name.to_owned(), number);
            } else {
                matrix.line(line, number);
            }
        }
        matrix
    }

    /// Of the names that COMMAND LIST gives, those that have neither a line nor a reason.
    pub fn missing<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
        let is_covered = |name: &str| {
            let container = name.split('|').next().unwrap_or(name);
            self.covered.contains_key(name)
                || self.covered.contains_key(container)
                || self.covered.keys().any(|covered| covered.split('|').next() == Some(name))
        };
        names.filter(|name| !is_covered(name)).collect()
    }

    fn line(&mut self, line: &str, number: usize) {
        let (how, command) = match line.strip_prefix('~').and_then(|rest| rest.split_once(' ')) {
            Some((word, rest)) => (compare(word, number), rest),
            None => (Compare::Exact, line),
        };
        let words = split(command).unwrap_or_else(|| panic!("line {number}: unbalanced quotes"));
        let arguments: Vec<Argument> = words.into_iter().map(Argument::read).collect();
        let usual: Vec<Vec<u8>> = arguments.iter().map(|argument| argument.usual().to_vec()).collect();
        let name = |index: usize| String::from_utf8_lossy(&usual[index]).to_ascii_lowercase();
        self.covered.insert(name(0), number);
        if usual.len() > 1 {
            self.covered.insert(format!("{}|{}", name(0), name(1)), number);
        }
        self.variant(&how, usual.clone(), number);
        for (index, argument) in arguments.iter().enumerate().skip(1) {
            for other in argument.others() {
                let mut changed = usual.clone();
                changed[index] = other.to_vec();
                self.variant(&how, changed, number);
            }
        }
        for length in 1..usual.len() {
            // The name alone of a command with subcommands may be a command of another kind.
            let how = if length == 1 { &Compare::Errors } else { &how };
            self.variant(how, usual[..length].to_vec(), number);
        }
        for extra in [&["extra"][..], &["extra", "extra"], &["n", "1", "n"]] {
            let more = extra.iter().map(|word| word.as_bytes().to_vec());
            self.variant(&how, usual.iter().cloned().chain(more).collect(), number);
        }
    }

    fn variant(&mut self, how: &Compare, arguments: Vec<Vec<u8>>, line: usize) {
        let text: Vec<String> = arguments.iter().map(|argument| printed(argument)).collect();
        let text = text.join(" ");
        let step = |compare: Compare, text: String, arguments: Vec<Vec<u8>>| Step {
            line,
            text,
            action: Action::Command { connection: 1, compare, arguments },
        };
        let words = |command: &str| split(command).expect("these stand above");
        for command in PREPARED {
            self.steps.push(step(Compare::Ignore, command.to_owned(), words(command)));
        }
        for (compare, command) in ASKED {
            self.steps.push(step(compare, format!("{text} -> {command}"), words(command)));
        }
        let at = self.steps.len() - ASKED.len();
        self.steps.insert(at, step(how.clone(), text, arguments));
        // What the variant selected ends before the data are asked for.
        self.steps.insert(at + 1, step(Compare::Ignore, "SELECT 0".to_owned(), words("SELECT 0")));
    }
}

/// An argument as it would be typed.
pub fn printed(argument: &[u8]) -> String {
    let plain = !argument.is_empty() && argument.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"');
    if plain { String::from_utf8_lossy(argument).into_owned() } else { quoted(argument) }
}

#[cfg(test)]
mod tests {
    use super::{ASKED, Matrix, PREPARED};

    #[test]
    fn one_argument_at_a_time_leaves_what_the_line_says() {
        let matrix = Matrix::parse("APPEND <n> (v)\n!quit: it ends the connection");
        let variants: Vec<&str> = matrix
            .steps
            .chunks(PREPARED.len() + 2 + ASKED.len())
            .map(|steps| steps[PREPARED.len()].text.as_str())
            .collect();
        assert_eq!(variants[..3], ["APPEND n v", "APPEND n v", "APPEND t v"]);
        for variant in
            ["APPEND none v", "APPEND n \"\"", "APPEND n nan", "APPEND n", "APPEND", "APPEND n v extra"]
        {
            assert!(variants.contains(&variant), "{variant}");
        }
        let missing = matrix.missing(["append", "quit", "get", "client|id"].into_iter());
        assert_eq!(missing, ["get", "client|id"]);
    }
}

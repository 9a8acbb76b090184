//! The language of the differential scripts (`tests/differential/*.txt`).
//!
//! Lives here: reading a script, expanding its lists, splitting a command as redis-cli does, and the
//! ways in which two replies may be compared.
//! Not here: the servers, and the table of known differences (`known`).
//!
//! ```text
//! # a comment
//! == a section: both servers are emptied and all connections are new
//! ${INT} = 0 | -1 | 9223372036854775807     a list; it lasts to the end of the script
//! SET k ${INT} ;; INCRBY k ${INT:2}         every combination; `;;` ties commands together
//! 2> GET k                                  on a second connection
//! ~sorted KEYS *                            how to compare, see `Compare`
//! SET k ${*100:x}                           a hundred times "x"
//! @sleep 20                                 milliseconds
//! @raw 1 "PING\r\n"                         bytes as they are, then so many replies
//! @closed                                   the server must have closed the connection
//! ```
//!
//! Invariant: a script gives the same steps every time it is read.

use std::collections::BTreeMap;

use crate::resp::Value;

/// How the replies of the two servers to one command are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Type and content.
    Exact,
    /// The kind of reply only, for what is random or belongs to the process.
    Kind,
    /// Errors word by word, everything else by its kind: for what differs from node to node.
    Errors,
    /// The first word only, for texts that name the product.
    Code,
    /// Elements or pairs in any order.
    Sorted,
    /// A flat array of pairs, the pairs in any order.
    Pairs,
    /// A SCAN reply that was asked for all at once: the cursor, and the elements in any order.
    Scan,
    /// As `Scan`, with the elements as flat pairs.
    ScanPairs,
    /// Integers at most so far apart.
    Near(i64),
    /// The number of elements or bytes.
    Length,
    /// The named `field:value` lines of a text such as INFO's.
    Lines(Vec<String>),
    /// A reply of COMMAND DOCS, without its prose.
    Docs,
    /// Run for its effect.
    Ignore,
}

/// One thing to do to both servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Section(String),
    Command { connection: usize, compare: Compare, arguments: Vec<Vec<u8>> },
    Raw { connection: usize, replies: usize, bytes: Vec<u8> },
    Closed { connection: usize },
    Sleep { milliseconds: u64 },
}

/// An action with the line it came from, lists filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub line: usize,
    pub text: String,
    pub action: Action,
}

/// Reads a whole script. A mistake in it is the author's, so it fails with the line number.
pub fn parse(script: &str) -> Vec<Step> {
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut steps = Vec::new();
    for (index, line) in script.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("==") {
            let text = name.trim().to_owned();
            steps.push(Step { line: number, text: text.clone(), action: Action::Section(text) });
        } else if let Some((name, values)) = list_definition(line) {
            lists.insert(name, values);
        } else {
            for combination in expand(line, &lists, number) {
                for command in combination.split(";;") {
                    let text = command.trim().to_owned();
                    steps.push(Step { line: number, action: action(&text, number), text });
                }
            }
        }
    }
    steps
}

/// `${NAME} = one | two`; a bar inside a value is written `\|`.
fn list_definition(line: &str) -> Option<(String, Vec<String>)> {
    let (name, values) = line.strip_prefix("${")?.split_once("} =")?;
    let values = values.replace("\\|", "\u{1}");
    let clean = |value: &str| value.trim().replace('\u{1}', "|");
    Some((name.to_owned(), values.split('|').map(clean).collect()))
}

/// All lines that come of filling in the lists of `line`, the last list turning fastest.
fn expand(line: &str, lists: &BTreeMap<String, Vec<String>>, number: usize) -> Vec<String> {
    let Some(start) = line.find("${") else { return vec![line.to_owned()] };
    let length = line[start..].find('}').unwrap_or_else(|| panic!("line {number}: a list without its end"));
    let whole = &line[start..=start + length];
    let name = &whole[2..whole.len() - 1];
    if let Some((count, text)) = name.strip_prefix('*').and_then(|rest| rest.split_once(':')) {
        let count = count.parse().unwrap_or_else(|_| panic!("line {number}: not a count: {count}"));
        return expand(&line.replace(whole, &text.repeat(count)), lists, number);
    }
    let list = name.split(':').next().unwrap_or(name);
    let values = lists.get(list).unwrap_or_else(|| panic!("line {number}: no list {list}"));
    values.iter().flat_map(|value| expand(&line.replace(whole, value), lists, number)).collect()
}

fn action(text: &str, number: usize) -> Action {
    let (connection, text) = match text.split_once("> ") {
        Some((head, rest)) if head.len() == 1 && head.as_bytes()[0].is_ascii_digit() => {
            (usize::from(head.as_bytes()[0] - b'0'), rest)
        }
        _ => (1, text),
    };
    if let Some(rest) = text.strip_prefix("@sleep ") {
        let milliseconds =
            rest.trim().parse().unwrap_or_else(|_| panic!("line {number}: not a time: {rest}"));
        return Action::Sleep { milliseconds };
    }
    if let Some(rest) = text.strip_prefix("@raw ") {
        let parts = split(rest).unwrap_or_else(|| panic!("line {number}: unbalanced quotes"));
        let [replies, bytes] = parts.as_slice() else { panic!("line {number}: @raw COUNT \"bytes\"") };
        let replies = String::from_utf8_lossy(replies).parse();
        let replies = replies.unwrap_or_else(|_| panic!("line {number}: not a count"));
        return Action::Raw { connection, replies, bytes: bytes.clone() };
    }
    if text == "@closed" {
        return Action::Closed { connection };
    }
    let (compare, command) = match text.strip_prefix('~').and_then(|rest| rest.split_once(' ')) {
        Some((word, rest)) => (compare(word, number), rest),
        None => (Compare::Exact, text),
    };
    let arguments = split(command).unwrap_or_else(|| panic!("line {number}: unbalanced quotes"));
    Action::Command { connection, compare, arguments }
}

pub(crate) fn compare(word: &str, number: usize) -> Compare {
    let (name, value) = word.split_once(':').unwrap_or((word, ""));
    match name {
        "kind" => Compare::Kind,
        "errors" => Compare::Errors,
        "code" => Compare::Code,
        "docs" => Compare::Docs,
        "sorted" => Compare::Sorted,
        "pairs" => Compare::Pairs,
        "scan" => Compare::Scan,
        "scanpairs" => Compare::ScanPairs,
        "near" => Compare::Near(value.parse().unwrap_or_else(|_| panic!("line {number}: ~near:NUMBER"))),
        "length" => Compare::Length,
        "lines" => Compare::Lines(value.split(',').map(str::to_owned).collect()),
        "ignore" => Compare::Ignore,
        _ => panic!("line {number}: unknown way to compare: {name}"),
    }
}

/// Splits as redis-cli does: spaces, double quotes with escapes, single quotes. `None` if unbalanced.
pub fn split(line: &str) -> Option<Vec<Vec<u8>>> {
    let (bytes, mut at, mut arguments) = (line.as_bytes(), 0, Vec::new());
    loop {
        while bytes.get(at) == Some(&b' ') {
            at += 1;
        }
        let Some(&first) = bytes.get(at) else { return Some(arguments) };
        let mut argument = Vec::new();
        if first == b'"' || first == b'\'' {
            at += 1;
            loop {
                let &byte = bytes.get(at)?;
                at += 1;
                if byte == first {
                    break;
                }
                if byte == b'\\' && first == b'"' {
                    at = unescape(bytes, at, &mut argument)?;
                } else {
                    argument.push(byte);
                }
            }
        } else {
            while let Some(&byte) = bytes.get(at).filter(|&&byte| byte != b' ') {
                argument.push(byte);
                at += 1;
            }
        }
        arguments.push(argument);
    }
}

/// One escape that starts after its backslash at `at`; the place after it.
fn unescape(bytes: &[u8], at: usize, argument: &mut Vec<u8>) -> Option<usize> {
    let &byte = bytes.get(at)?;
    if byte == b'x'
        && let Some(digits) = bytes.get(at + 1..at + 3)
        && let Ok(value) = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16)
    {
        argument.push(value);
        return Some(at + 3);
    }
    argument.push(match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    });
    Some(at + 1)
}

impl Compare {
    /// Whether the two replies say the same.
    pub fn agree(&self, theirs: &Value, ours: &Value) -> bool {
        match self {
            Compare::Ignore => true,
            Compare::Near(distance) => match (theirs.integer(), ours.integer()) {
                // A negative answer (no such key, no expiry) is a word, not a measure.
                (Some(a), Some(b)) if a >= 0 && b >= 0 => a.abs_diff(b) <= distance.unsigned_abs(),
                _ => theirs == ours,
            },
            Compare::Kind => theirs.kind() == ours.kind(),
            Compare::Errors if theirs.is_error() || ours.is_error() => theirs == ours,
            Compare::Errors => theirs.kind() == ours.kind(),
            _ => self.reduce(theirs) == self.reduce(ours),
        }
    }

    /// What of a reply is compared.
    fn reduce(&self, value: &Value) -> Value {
        match (self, value) {
            (Compare::Code, Value::Error(text)) => {
                Value::Error(text.split(' ').next().unwrap_or_default().to_owned())
            }
            (Compare::Docs, _) => without_prose(value),
            (Compare::Sorted, _) => sorted(value),
            (Compare::Pairs, Value::Array(elements)) => {
                let mut pairs: Vec<_> = elements.chunks(2).map(|pair| Value::Array(pair.to_vec())).collect();
                pairs.sort_by_key(Value::to_string);
                Value::Array(pairs)
            }
            (Compare::Pairs, _) => sorted(value),
            (Compare::Scan | Compare::ScanPairs, Value::Array(parts)) if parts.len() == 2 => {
                let inner = if *self == Compare::Scan { Compare::Sorted } else { Compare::Pairs };
                Value::Array(vec![parts[0].clone(), inner.reduce(&parts[1])])
            }
            (Compare::Length, Value::Bulk(bytes)) => Value::Integer(bytes.len() as i64),
            (Compare::Length, Value::Map(pairs)) => Value::Integer(pairs.len() as i64),
            (Compare::Length, _) => match value.elements() {
                Some(elements) => Value::Integer(elements.len() as i64),
                None => value.clone(),
            },
            (Compare::Lines(names), _) => match value.text() {
                Some(text) => Value::Array(names.iter().map(|name| line_of(&text, name)).collect()),
                None => value.clone(),
            },
            _ => value.clone(),
        }
    }
}

/// Fields of COMMAND DOCS that everybody puts in words of their own.
const PROSE: [&str; 3] = ["summary", "complexity", "history"];

fn without_prose(value: &Value) -> Value {
    let is_prose = |name: &Value| name.text().is_some_and(|name| PROSE.contains(&name.as_str()));
    match value {
        Value::Map(pairs) => {
            let told = pairs.iter().filter(|(name, _)| !is_prose(name));
            Value::Map(told.map(|(name, value)| (name.clone(), without_prose(value))).collect())
        }
        Value::Array(elements) if elements.iter().step_by(2).any(is_prose) => {
            let told = elements.chunks(2).filter(|pair| !is_prose(&pair[0]));
            Value::Array(told.flatten().map(without_prose).collect())
        }
        Value::Array(elements) => Value::Array(elements.iter().map(without_prose).collect()),
        _ => value.clone(),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(elements) => Value::Array(in_order(elements)),
        Value::Set(elements) => Value::Set(in_order(elements)),
        Value::Map(pairs) => {
            let mut pairs = pairs.clone();
            pairs.sort_by_key(|(key, _)| key.to_string());
            Value::Map(pairs)
        }
        _ => value.clone(),
    }
}

fn in_order(elements: &[Value]) -> Vec<Value> {
    let mut elements = elements.to_vec();
    elements.sort_by_key(Value::to_string);
    elements
}

/// The line `name:…` of a text, or nothing where it is absent.
fn line_of(text: &str, name: &str) -> Value {
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    line.map_or(Value::Null, |line| Value::Status(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Action, Compare, parse, split};
    use crate::resp::Value;

    #[test]
    fn lists_combine_and_commands_stay_tied() {
        let steps = parse("${A} = 1 | 2\n${B} = x | y\nSET k ${A} ;; APPEND k ${B}");
        let texts: Vec<_> = steps.iter().map(|step| step.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "SET k 1",
                "APPEND k x",
                "SET k 1",
                "APPEND k y",
                "SET k 2",
                "APPEND k x",
                "SET k 2",
                "APPEND k y"
            ]
        );
    }

    #[test]
    fn a_line_says_where_and_how() {
        let steps = parse("2> ~near:5 PTTL \"a b\\x00\"");
        assert_eq!(
            steps[0].action,
            Action::Command {
                connection: 2,
                compare: Compare::Near(5),
                arguments: vec![b"PTTL".to_vec(), b"a b\0".to_vec()],
            }
        );
        assert_eq!(split("a \"b"), None);
    }

    #[test]
    fn comparing_looks_at_what_it_should() {
        let array = |texts: &[&str]| {
            Value::Array(texts.iter().map(|text| Value::Bulk(text.as_bytes().to_vec())).collect())
        };
        assert!(Compare::Sorted.agree(&array(&["a", "b"]), &array(&["b", "a"])));
        assert!(!Compare::Exact.agree(&array(&["a", "b"]), &array(&["b", "a"])));
        assert!(Compare::Pairs.agree(&array(&["a", "1", "b", "2"]), &array(&["b", "2", "a", "1"])));
        assert!(!Compare::Pairs.agree(&array(&["a", "1", "b", "2"]), &array(&["b", "1", "a", "2"])));
        assert!(!Compare::Near(5).agree(&Value::Integer(-1), &Value::Integer(-2)));
        assert!(!Compare::Exact.agree(&Value::NullBulk, &Value::NullArray));
    }
}

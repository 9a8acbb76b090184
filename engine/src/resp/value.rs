//! Replies read back, for clients of ours: the simulator's, the tests', the command line's.
//!
//! Lives here: one reply out of bytes, RESP2 and RESP3, and its text as redis-cli shows it.
//! Not here: requests (`decode`) and writing replies (`reply`).
//!
//! Invariant: memory follows what has arrived, and depth is bounded, whatever the bytes say.

use crate::number::integer;
use std::fmt;
use thiserror::Error;

/// Replies inside replies.
const DEPTH_MAX: usize = 32;
const BULK_BYTES_MAX: usize = 512 << 20;
/// A line that is not a byte string: errors, numbers, lengths.
const LINE_BYTES_MAX: usize = 64 << 10;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    /// Text with its kind, `txt` or `mkd`.
    Verbatim([u8; 3], Vec<u8>),
    Null,
    Boolean(bool),
    /// As it was written: doubles have more than one text.
    Double(Vec<u8>),
    BigNumber(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    /// Said about the reply behind it.
    Attributed(Vec<(Value, Value)>, Box<Value>),
}

/// Bytes that no server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed reply at byte {at}")]
pub struct Malformed {
    pub at: usize,
}

impl Value {
    /// Reads one reply from the front; gives it with its length. `None`: it is not complete.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, Malformed> {
        let mut reader = Reader { bytes, at: 0 };
        match reader.value(0) {
            Ok(value) => Ok(Some((value, reader.at))),
            Err(Stop::Incomplete) => Ok(None),
            Err(Stop::Malformed) => Err(Malformed { at: reader.at }),
        }
    }
}

enum Stop {
    Incomplete,
    Malformed,
}

/// Bytes with the place of the next unread one.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        if depth > DEPTH_MAX {
            return Err(Stop::Malformed);
        }
        let kind = *self.bytes.get(self.at).ok_or(Stop::Incomplete)?;
        if !b"+-:$=_#,(*%~>|!".contains(&kind) {
            return Err(Stop::Malformed);
        }
        let line = self.line()?;
        Ok(match kind {
            b'+' => Value::Simple(line.to_vec()),
            b'-' => Value::Error(line.to_vec()),
            b':' => Value::Integer(integer::parse(line).ok_or(Stop::Malformed)?),
            b'_' if line.is_empty() => Value::Null,
            b'#' => Value::Boolean(match line {
                b"t" => true,
                b"f" => false,
                _ => return Err(Stop::Malformed),
            }),
            b',' => Value::Double(line.to_vec()),
            b'(' => Value::BigNumber(line.to_vec()),
            b'$' | b'*' if line == b"-1" => Value::Null,
            b'$' => Value::Bulk(self.bulk(line)?.to_vec()),
            b'!' => Value::Error(self.bulk(line)?.to_vec()),
            b'=' => match self.bulk(line)? {
                [a, b, c, b':', text @ ..] => Value::Verbatim([*a, *b, *c], text.to_vec()),
                _ => return Err(Stop::Malformed),
            },
            b'*' => Value::Array(self.elements(line, depth)?),
            b'~' => Value::Set(self.elements(line, depth)?),
            b'>' => Value::Push(self.elements(line, depth)?),
            b'%' => Value::Map(self.pairs(line, depth)?),
            b'|' => {
                let attributes = self.pairs(line, depth)?;
                Value::Attributed(attributes, Box::new(self.value(depth + 1)?))
            }
            _ => return Err(Stop::Malformed),
        })
    }

    /// What stands between the kind and CRLF.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at + 1..];
        let searched = &rest[..rest.len().min(LINE_BYTES_MAX)];
        let Some(length) = searched.iter().position(|byte| *byte == b'\r') else {
            return Err(if searched.len() == LINE_BYTES_MAX { Stop::Malformed } else { Stop::Incomplete });
        };
        match rest.get(length + 1) {
            None => Err(Stop::Incomplete),
            Some(b'\n') => {
                self.at += length + 3;
                Ok(&rest[..length])
            }
            Some(_) => Err(Stop::Malformed),
        }
    }

    fn length(line: &[u8]) -> Result<usize, Stop> {
        integer::parse(line).and_then(|length| usize::try_from(length).ok()).ok_or(Stop::Malformed)
    }

    fn bulk(&mut self, line: &[u8]) -> Result<&'a [u8], Stop> {
        let length = Self::length(line)?;
        if length > BULK_BYTES_MAX {
            return Err(Stop::Malformed);
        }
        let rest = &self.bytes[self.at..];
        let end = rest.get(length..length + 2).ok_or(Stop::Incomplete)?;
        if end != b"\r\n" {
            return Err(Stop::Malformed);
        }
        self.at += length + 2;
        Ok(&rest[..length])
    }

    fn elements(&mut self, line: &[u8], depth: usize) -> Result<Vec<Value>, Stop> {
        let mut elements = Vec::new();
        for _ in 0..Self::length(line)? {
            elements.push(self.value(depth + 1)?);
        }
        Ok(elements)
    }

    fn pairs(&mut self, line: &[u8], depth: usize) -> Result<Vec<(Value, Value)>, Stop> {
        let mut pairs = Vec::new();
        for _ in 0..Self::length(line)? {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(pairs)
    }
}

/// As redis-cli shows it on a terminal, without a line end behind it.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(formatter, 0)
    }
}

impl Value {
    fn show(&self, out: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Value::Simple(line) => out.write_str(&text(line)),
            Value::Error(line) => write!(out, "(error) {}", text(line)),
            Value::Integer(value) => write!(out, "(integer) {value}"),
            Value::Bulk(bytes) => show_quoted(out, bytes),
            Value::Verbatim(_, bytes) => out.write_str(&text(bytes)),
            Value::Null => out.write_str("(nil)"),
            Value::Boolean(value) => write!(out, "({value})"),
            Value::Double(line) => write!(out, "(double) {}", text(line)),
            Value::BigNumber(line) => write!(out, "(big number) {}", text(line)),
            Value::Array(elements) => show_elements(out, elements, indent, ("array", ')')),
            Value::Set(elements) => show_elements(out, elements, indent, ("set", '~')),
            Value::Push(elements) => show_elements(out, elements, indent, ("push", ')')),
            Value::Map(pairs) => show_pairs(out, pairs, indent, ("hash", '#')),
            Value::Attributed(pairs, value) => {
                show_pairs(out, pairs, indent, ("attribute", '|'))?;
                write!(out, "\n{:indent$}", "")?;
                value.show(out, indent)
            }
        }
    }
}

/// In double quotes, what cannot be printed escaped.
fn show_quoted(out: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    out.write_str("\"")?;
    for byte in bytes {
        match byte {
            b'\\' | b'"' => write!(out, "\\{}", char::from(*byte)),
            b'\n' => out.write_str("\\n"),
            b'\r' => out.write_str("\\r"),
            b'\t' => out.write_str("\\t"),
            0x07 => out.write_str("\\a"),
            0x08 => out.write_str("\\b"),
            b' '..=b'~' => write!(out, "{}", char::from(*byte)),
            _ => write!(out, "\\x{byte:02x}"),
        }?;
    }
    out.write_str("\"")
}

fn show_elements(
    out: &mut fmt::Formatter<'_>,
    elements: &[Value],
    indent: usize,
    (name, mark): (&str, char),
) -> fmt::Result {
    if elements.is_empty() {
        return write!(out, "(empty {name})");
    }
    let width = elements.len().to_string().len();
    for (index, element) in elements.iter().enumerate() {
        show_label(out, index, width, indent, mark)?;
        element.show(out, indent + width + 2)?;
    }
    Ok(())
}

fn show_pairs(
    out: &mut fmt::Formatter<'_>,
    pairs: &[(Value, Value)],
    indent: usize,
    (name, mark): (&str, char),
) -> fmt::Result {
    if pairs.is_empty() {
        return write!(out, "(empty {name})");
    }
    let width = pairs.len().to_string().len();
    for (index, (key, value)) in pairs.iter().enumerate() {
        show_label(out, index, width, indent, mark)?;
        key.show(out, indent + width + 2)?;
        out.write_str(" => ")?;
        value.show(out, indent + width + 2)?;
    }
    Ok(())
}

/// The number before an element; all but the first begin a line of their own.
fn show_label(
    out: &mut fmt::Formatter<'_>,
    index: usize,
    width: usize,
    indent: usize,
    mark: char,
) -> fmt::Result {
    if index > 0 {
        write!(out, "\n{:indent$}", "")?;
    }
    write!(out, "{:>width$}{mark} ", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(bytes: &[u8], text: &str) {
        let (value, length) = Value::parse(bytes).expect("well-formed").expect("complete");
        assert_eq!(length, bytes.len());
        assert_eq!(value.to_string(), text);
    }

    #[test]
    fn replies_show_as_redis_cli_shows_them() {
        check(b"+OK\r\n", "OK");
        check(b"-ERR no\r\n", "(error) ERR no");
        check(b"!6\r\nERR no\r\n", "(error) ERR no");
        check(b":-5\r\n", "(integer) -5");
        check(b"$5\r\na\"\\\n\xff\r\n", "\"a\\\"\\\\\\n\\xff\"");
        check(b"$0\r\n\r\n", "\"\"");
        check(b"$-1\r\n", "(nil)");
        check(b"*-1\r\n", "(nil)");
        check(b"_\r\n", "(nil)");
        check(b"#t\r\n", "(true)");
        check(b",1.5\r\n", "(double) 1.5");
        check(b"=9\r\ntxt:a\r\nb.\r\n", "a\r\nb.");
        check(b"*0\r\n", "(empty array)");
        check(b"%0\r\n", "(empty hash)");
        check(b"~0\r\n", "(empty set)");
        check(b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n*0\r\n", "1) (integer) 1\n2) 1) \"a\"\n   2) (empty array)");
        check(
            b"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:2\r\n:3\r\n",
            "1# a => (integer) 1\n2# b => 1) (integer) 2\n   2) (integer) 3",
        );
        check(b"~2\r\n:1\r\n:2\r\n", "1~ (integer) 1\n2~ (integer) 2");
        check(b"|1\r\n+ttl\r\n:3\r\n:7\r\n", "1| ttl => (integer) 3\n(integer) 7");
        let ten: Vec<u8> = [&b"*10\r\n"[..], &b":0\r\n".repeat(10)].concat();
        assert!(Value::parse(&ten).unwrap().unwrap().0.to_string().starts_with(" 1) (integer) 0\n 2) "));
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        for bytes in [
            &b"x\r\n"[..],
            b":\r\n",
            b":01\r\n",
            b"#x\r\n",
            b"_x\r\n",
            b"$-2\r\n",
            b"$x\r\n",
            b"$1\r\nabc\r\n",
            b"%-1\r\n",
            b"=3\r\ntxt\r\n",
            b"+a\rb\r\n",
            b"$536870913\r\n",
            b"$99999999999999999999\r\n",
        ] {
            assert!(Value::parse(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        assert!(Value::parse(&b"*1\r\n".repeat(DEPTH_MAX + 1)).is_err());
        assert_eq!(Value::parse(&b"*1\r\n".repeat(DEPTH_MAX)), Ok(None));
        assert_eq!(Value::parse(b"*9223372036854775807\r\n"), Ok(None));
        assert!(Value::parse(&[b'+'; LINE_BYTES_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in "[-+:$*%~>|_#,(=!0-9a\r\n]{0,60}") {
            if let Ok(Some((value, length))) = Value::parse(bytes.as_bytes()) {
                prop_assert!(length <= bytes.len());
                let _ = value.to_string();
            }
        }
    }
}

//! A blocking RESP client and the replies it reads.
//!
//! Lives here: encoding of requests, decoding of RESP2 and RESP3 replies into [`Value`], and its
//! printed form, which is that of redis-cli.
//! Not here: the server's own codec (`engine::resp`). This one shares no code with it on purpose:
//! a mistake made twice in one place would look like agreement.
//!
//! Invariant: two replies are equal only if their bytes on the wire mean the same in the same
//! protocol: a null array is not a null bulk, a status is not a bulk.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One reply, exactly as its type stood on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1` of RESP2.
    NullBulk,
    /// `*-1` of RESP2.
    NullArray,
    /// `_` of RESP3.
    Null,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    /// Kept as text: its digits are part of the answer.
    Double(String),
    Boolean(bool),
    BigNumber(String),
    Verbatim(String, Vec<u8>),
}

impl Value {
    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::NullBulk | Value::NullArray | Value::Null)
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The text of a status, bulk or verbatim reply.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Status(text) => Some(text.clone()),
            Value::Bulk(bytes) | Value::Verbatim(_, bytes) => {
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            _ => None,
        }
    }

    pub fn elements(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => Some(elements),
            _ => None,
        }
    }

    /// Which kind of reply this is, without its content.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Status(_) => "status",
            Value::Error(_) => "error",
            Value::Integer(_) => "integer",
            Value::Bulk(_) => "bulk",
            Value::NullBulk => "null bulk",
            Value::NullArray => "null array",
            Value::Null => "null",
            Value::Array(_) => "array",
            Value::Map(_) => "map",
            Value::Set(_) => "set",
            Value::Push(_) => "push",
            Value::Double(_) => "double",
            Value::Boolean(_) => "boolean",
            Value::BigNumber(_) => "big number",
            Value::Verbatim(..) => "verbatim",
        }
    }

    fn print(&self, out: &mut String, indent: usize) {
        match self {
            Value::Status(text) => out.push_str(text),
            Value::Error(text) => out.push_str(&format!("(error) {text}")),
            Value::Integer(number) => out.push_str(&format!("(integer) {number}")),
            Value::Bulk(bytes) => out.push_str(&quoted(bytes)),
            Value::NullBulk | Value::NullArray | Value::Null => out.push_str("(nil)"),
            Value::Double(text) => out.push_str(&format!("(double) {text}")),
            Value::Boolean(yes) => out.push_str(if *yes { "(true)" } else { "(false)" }),
            Value::BigNumber(text) => out.push_str(&format!("(big number) {text}")),
            Value::Verbatim(_, bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
            Value::Array(elements) => print_elements(elements, ")", "array", out, indent),
            Value::Set(elements) => print_elements(elements, "~", "set", out, indent),
            Value::Push(elements) => print_elements(elements, ")", "push", out, indent),
            Value::Map(pairs) => print_map(pairs, out, indent),
        }
    }
}

fn print_elements(elements: &[Value], mark: &str, name: &str, out: &mut String, indent: usize) {
    if elements.is_empty() {
        out.push_str(&format!("(empty {name})"));
        return;
    }
    let width = elements.len().to_string().len();
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&format!("{:>width$}{mark} ", index + 1));
        element.print(out, indent + width + 2);
    }
}

fn print_map(pairs: &[(Value, Value)], out: &mut String, indent: usize) {
    if pairs.is_empty() {
        out.push_str("(empty hash)");
        return;
    }
    let width = pairs.len().to_string().len();
    for (index, (key, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&format!("{:>width$}# ", index + 1));
        key.print(out, indent + width + 2);
        out.push_str(" => ");
        value.print(out, indent + width + 2);
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.print(&mut out, 0);
        formatter.write_str(&out)
    }
}

/// Bytes in double quotes, as redis-cli prints them.
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend(['\\', char::from(byte)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// One command in the multi-bulk form.
pub fn encode<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// One connection. Every read has a time limit, so a hanging server fails a test and does not stop it.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Longest wait for one reply.
    pub const PATIENCE: Duration = Duration::from_secs(60);

    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Self::PATIENCE))?;
        stream.set_write_timeout(Some(Self::PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream) })
    }

    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience))
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn send<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<()> {
        self.send_raw(&encode(arguments))
    }

    /// One command, one reply. Pushes that come first are passed over.
    pub fn call<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<Value> {
        self.send(arguments)?;
        self.reply()
    }

    /// The next reply that is not a push.
    pub fn reply(&mut self) -> io::Result<Value> {
        loop {
            match self.read()? {
                Value::Push(_) => {}
                value => return Ok(value),
            }
        }
    }

    /// The next thing on the wire, pushes included.
    pub fn read(&mut self) -> io::Result<Value> {
        let line = self.line()?;
        let Some((&mark, rest)) = line.split_first() else {
            return Err(broken("an empty line where a reply should begin"));
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        match mark {
            b'+' => Ok(Value::Status(text())),
            b'-' => Ok(Value::Error(text())),
            b':' => Ok(Value::Integer(number(rest)?)),
            b',' => Ok(Value::Double(text())),
            b'(' => Ok(Value::BigNumber(text())),
            b'_' => Ok(Value::Null),
            b'#' => Ok(Value::Boolean(rest == b"t")),
            b'$' => match number(rest)? {
                -1 => Ok(Value::NullBulk),
                length => Ok(Value::Bulk(self.bytes(length)?)),
            },
            b'=' => {
                let length = number(rest)?;
                let bytes = self.bytes(length)?;
                let (kind, content) = bytes.split_at_checked(4).ok_or_else(|| broken("short verbatim"))?;
                let kind = String::from_utf8_lossy(&kind[..3]).into_owned();
                Ok(Value::Verbatim(kind, content.to_vec()))
            }
            b'*' => match number(rest)? {
                -1 => Ok(Value::NullArray),
                count => Ok(Value::Array(self.values(count)?)),
            },
            b'~' => Ok(Value::Set(self.values(number(rest)?)?)),
            b'>' => Ok(Value::Push(self.values(number(rest)?)?)),
            b'%' => {
                let count = number(rest)?;
                (0..count)
                    .map(|_| Ok((self.read()?, self.read()?)))
                    .collect::<io::Result<_>>()
                    .map(Value::Map)
            }
            b'|' => {
                // An attribute stands before the reply it belongs to; no test here asks for one.
                for _ in 0..number(rest)? {
                    self.read()?;
                    self.read()?;
                }
                self.read()
            }
            _ => Err(broken(&format!("unknown reply type in {}", quoted(&line)))),
        }
    }

    fn values(&mut self, count: i64) -> io::Result<Vec<Value>> {
        (0..count).map(|_| self.read()).collect()
    }

    fn bytes(&mut self, length: i64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(length).map_err(|_| broken("negative length"))?;
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        if !bytes.ends_with(b"\r\n") {
            return Err(broken("a bulk without its line end"));
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
            if line.ends_with(b"\r\n") {
                line.truncate(line.len() - 2);
                return Ok(line);
            }
        }
    }
}

fn number(text: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| broken(&format!("not a number: {}", quoted(text))))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn replies_print_as_redis_cli_prints_them() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let nested = Value::Array(vec![
            Value::Integer(1),
            Value::Array(vec![bulk("a\n"), Value::NullBulk]),
            Value::Error("ERR no".to_owned()),
        ]);
        assert_eq!(nested.to_string(), "1) (integer) 1\n2) 1) \"a\\n\"\n   2) (nil)\n3) (error) ERR no");
        assert_eq!(Value::Array(vec![]).to_string(), "(empty array)");
        assert_eq!(Value::Map(vec![(bulk("f"), bulk("\u{1}"))]).to_string(), "1# \"f\" => \"\\x01\"");
    }
}

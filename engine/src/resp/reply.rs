//! Replies, written straight into the session's buffer.

use crate::number::{double, integer};

/// Version of the protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Resp2,
    Resp3,
}

/// A run of replies in one buffer.
#[derive(Debug)]
pub struct Reply {
    bytes: Vec<u8>,
    pub protocol: Protocol,
}

impl Reply {
    pub fn new(protocol: Protocol) -> Reply {
        Reply { bytes: Vec::new(), protocol }
    }

    fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.bytes.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; line ends in it become spaces.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error; line ends in it become spaces.
    pub fn error(&mut self, text: &[u8]) {
        self.line(b'-', text);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.bytes.push(kind);
        let one_line = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
        self.bytes.extend(text.iter().map(one_line));
        self.bytes.extend_from_slice(b"\r\n");
    }

    #[inline]
    pub fn integer(&mut self, value: i64) {
        match value {
            0 => self.bytes.extend_from_slice(b":0\r\n"),
            1 => self.bytes.extend_from_slice(b":1\r\n"),
            _ => self.head(b':', value),
        }
    }

    #[inline]
    fn head(&mut self, kind: u8, value: i64) {
        let mut digits = [0; 20];
        self.bytes.push(kind);
        self.bytes.extend_from_slice(integer::format(value, &mut digits));
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A byte string.
    #[inline]
    pub fn bulk(&mut self, value: &[u8]) {
        self.bulk_head(value.len());
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// The head of a byte string whose parts follow by `raw`, then `bulk_end`.
    #[inline]
    pub fn bulk_head(&mut self, length: usize) {
        self.bytes.reserve(length + 32);
        if length < 10 {
            self.bytes.extend_from_slice(&[b'$', b'0' + length as u8, b'\r', b'\n']);
        } else {
            self.head(b'$', length as i64);
        }
    }

    pub fn raw(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
    }

    pub fn bulk_end(&mut self) {
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// An integer as a byte string.
    pub fn bulk_integer(&mut self, value: i64) {
        let mut digits = [0; 20];
        self.bulk(integer::format(value, &mut digits));
    }

    pub fn null(&mut self) {
        self.bytes.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// What RESP2 calls a null array.
    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    pub fn array(&mut self, length: usize) {
        self.head(b'*', length as i64);
    }

    /// A map of so many pairs; in RESP2 an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        if self.is_resp3() { self.head(b'%', pairs as i64) } else { self.array(pairs * 2) }
    }

    /// A set; in RESP2 an array.
    pub fn set(&mut self, length: usize) {
        self.head(if self.is_resp3() { b'~' } else { b'*' }, length as i64);
    }

    /// An out-of-band message; in RESP2 an array.
    pub fn push(&mut self, length: usize) {
        self.head(if self.is_resp3() { b'>' } else { b'*' }, length as i64);
    }

    /// A double; in RESP2 a byte string.
    pub fn double(&mut self, value: f64) {
        let mut text = Vec::with_capacity(32);
        double::format(value, &mut text);
        if self.is_resp3() { self.line(b',', &text) } else { self.bulk(&text) }
    }

    /// True or false; in RESP2 the integers 1 and 0.
    pub fn boolean(&mut self, value: bool) {
        if self.is_resp3() {
            self.bytes.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" });
        } else {
            self.integer(i64::from(value));
        }
    }

    /// A number of any length in decimal digits; in RESP2 a byte string.
    pub fn big_number(&mut self, digits: &[u8]) {
        if self.is_resp3() { self.line(b'(', digits) } else { self.bulk(digits) }
    }

    /// Text with its kind (`txt`, `mkd`); in RESP2 a byte string.
    pub fn verbatim(&mut self, kind: [u8; 3], text: &[u8]) {
        if !self.is_resp3() {
            return self.bulk(text);
        }
        self.head(b'=', text.len() as i64 + 4);
        self.bytes.extend_from_slice(&kind);
        self.bytes.push(b':');
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Starts an array whose length is not known yet.
    pub fn begin_array(&mut self) -> usize {
        self.bytes.len()
    }

    /// Puts the head of the array begun at `mark` before its elements.
    pub fn end_array(&mut self, mark: usize, length: usize) {
        self.insert_head(mark, b'*', length);
    }

    /// The same for a map of so many pairs.
    pub fn end_map(&mut self, mark: usize, pairs: usize) {
        if self.is_resp3() { self.insert_head(mark, b'%', pairs) } else { self.end_array(mark, pairs * 2) }
    }

    fn insert_head(&mut self, mark: usize, kind: u8, length: usize) {
        let elements_end = self.bytes.len();
        self.head(kind, length as i64);
        let head_length = self.bytes.len() - elements_end;
        self.bytes[mark..].rotate_right(head_length);
    }

    #[allow(clippy::len_without_is_empty, reason = "callers compare lengths, none asks for emptiness")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Empties the buffer, giving back what it holds above `kept_bytes_max`.
    pub fn clear(&mut self, kept_bytes_max: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(kept_bytes_max);
    }

    /// Drops so many bytes from the front.
    pub fn discard_front(&mut self, count: usize) {
        self.bytes.drain(..count);
    }
}

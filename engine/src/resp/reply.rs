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

    /// A line of one integer, put together before it is copied.
    #[inline]
    fn head(&mut self, kind: u8, value: i64) {
        const DIGITS_END: usize = 1 + integer::TEXT_BYTES_MAX;
        let mut line = [0; DIGITS_END + 2];
        let digits = line[1..].first_chunk_mut().expect("the line has room for all digits");
        let start = DIGITS_END - integer::format(value, digits).len() - 1;
        line[DIGITS_END..].copy_from_slice(b"\r\n");
        line[start] = kind;
        self.bytes.extend_from_slice(&line[start..]);
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

    /// So many pairs about the reply that follows. Only RESP3 has them.
    pub fn attribute(&mut self, pairs: usize) {
        assert!(self.is_resp3(), "attributes are left out in RESP2");
        self.head(b'|', pairs as i64);
    }

    /// A double; in RESP2 a byte string.
    pub fn double(&mut self, value: f64) {
        let mark = self.bytes.len();
        if self.is_resp3() {
            self.bytes.push(b',');
            double::format(value, &mut self.bytes);
        } else {
            double::format(value, &mut self.bytes);
            let length = self.bytes.len() - mark;
            self.insert_head(mark, b'$', length);
        }
        self.bytes.extend_from_slice(b"\r\n");
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

#[cfg(test)]
mod tests {
    use super::super::value::Value;
    use super::*;
    use proptest::prelude::*;

    fn written(protocol: Protocol, write: impl Fn(&mut Reply)) -> String {
        let mut reply = Reply::new(protocol);
        write(&mut reply);
        let (_, length) = Value::parse(reply.as_slice()).expect("well-formed").expect("complete");
        assert_eq!(length, reply.len(), "one reply is written");
        reply.as_slice().escape_ascii().to_string().replace("\\r\\n", " ")
    }

    #[test]
    fn each_kind_has_its_form_in_both_protocols() {
        type Write = fn(&mut Reply);
        let cases: &[(Write, &str, &str)] = &[
            (|reply| reply.ok(), "+OK ", "+OK "),
            (|reply| reply.simple("a"), "+a ", "+a "),
            (|reply| reply.integer(0), ":0 ", ":0 "),
            (|reply| reply.integer(i64::MIN), ":-9223372036854775808 ", ":-9223372036854775808 "),
            (|reply| reply.bulk(b""), "$0  ", "$0  "),
            (|reply| reply.bulk(b"0123456789"), "$10 0123456789 ", "$10 0123456789 "),
            (|reply| reply.bulk_integer(-12), "$3 -12 ", "$3 -12 "),
            (|reply| reply.null(), "$-1 ", "_ "),
            (|reply| reply.null_array(), "*-1 ", "_ "),
            (|reply| reply.array(0), "*0 ", "*0 "),
            (|reply| reply.map(0), "*0 ", "%0 "),
            (|reply| reply.set(0), "*0 ", "~0 "),
            (|reply| reply.push(0), "*0 ", ">0 "),
            (|reply| reply.double(0.1), "$3 0.1 ", ",0.1 "),
            (|reply| reply.double(-12345678901.5), "$14 -12345678901.5 ", ",-12345678901.5 "),
            (|reply| reply.double(f64::INFINITY), "$3 inf ", ",inf "),
            (|reply| reply.boolean(true), ":1 ", "#t "),
            (|reply| reply.boolean(false), ":0 ", "#f "),
            (|reply| reply.big_number(b"123"), "$3 123 ", "(123 "),
            (|reply| reply.verbatim(*b"txt", b"a"), "$1 a ", "=5 txt:a "),
        ];
        for (write, resp2, resp3) in cases {
            assert_eq!(written(Protocol::Resp2, write), *resp2);
            assert_eq!(written(Protocol::Resp3, write), *resp3);
        }
    }

    #[test]
    fn a_length_known_late_stands_in_front() {
        let write = |reply: &mut Reply| {
            let outer = reply.begin_array();
            for index in 0..12 {
                let inner = reply.begin_array();
                reply.integer(index);
                reply.integer(index);
                reply.end_map(inner, 1);
            }
            reply.end_array(outer, 12);
        };
        assert!(written(Protocol::Resp2, write).starts_with("*12 *2 :0 :0 *2 :1 :1 *2 "));
        assert!(written(Protocol::Resp3, write).starts_with("*12 %1 :0 :0 %1 :1 :1 %1 "));
    }

    proptest! {
        #[test]
        fn no_text_of_an_error_makes_a_second_reply(text: Vec<u8>) {
            let mut reply = Reply::new(Protocol::Resp2);
            reply.error(&text);
            let line = &reply.as_slice()[1..reply.len() - 2];
            prop_assert_eq!(line.len(), text.len());
            prop_assert!(!line.iter().any(|byte| matches!(byte, b'\r' | b'\n')));
        }

        #[test]
        fn bytes_come_back_as_they_were(bytes: Vec<u8>, value: i64) {
            let mut reply = Reply::new(Protocol::Resp3);
            reply.bulk(&bytes);
            let mark = reply.len();
            reply.integer(value);
            let (bulk, length) = Value::parse(reply.as_slice()).unwrap().unwrap();
            prop_assert_eq!((bulk, length), (Value::Bulk(bytes), mark));
            prop_assert_eq!(Value::parse(&reply.as_slice()[mark..]).unwrap().unwrap().0, Value::Integer(value));
        }
    }
}

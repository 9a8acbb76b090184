//! Requests out of a stream of bytes.
//!
//! Lives here: framing of RESP arrays and inline requests, with limits on every length. It keeps
//! the progress of one incomplete request, so that a slow one with a million arguments is read
//! once, and allocates by what has arrived, never by what was announced.
//! Not here: the buffer (the caller's) and what requests mean.

use super::args::Args;
use super::inline;
use crate::number::integer;
use thiserror::Error;

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`.
    pub bulk_bytes_max: u64,
    pub arguments_max: u64,
    pub inline_bytes_max: usize,
    /// Before AUTH, ten arguments of 16 KiB or a line of 16 KiB are the most.
    pub is_authenticated: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bulk_bytes_max: 512 << 20,
            arguments_max: i32::MAX as u64,
            inline_bytes_max: 64 << 10,
            is_authenticated: true,
        }
    }
}

const UNAUTHENTICATED_ARGUMENTS_MAX: u64 = 10;
const UNAUTHENTICATED_BULK_BYTES_MAX: u64 = 16 << 10;
/// A line that announces a length; longer ones are refused even before their end has arrived.
const LENGTH_LINE_BYTES_MAX: usize = 64 << 10;
/// Places in a buffer are 32 bits wide.
const BULK_BYTES_MAX: u64 = i32::MAX as u64;
const SMALL_BUFFER_BYTES: usize = 16 << 10;
/// Spans for which memory is kept after a long request that came in parts.
const KEPT_SPANS_MAX: usize = 1024;

/// Malformed bytes; the connection closes after this reply. The text comes after `ERR `.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    #[error("Protocol error: too big mbulk count string")]
    ArrayLineTooLong,
    #[error("Protocol error: too big bulk count string")]
    BulkLineTooLong,
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    #[error("Protocol error: invalid multibulk length")]
    ArrayLength,
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedArray,
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulk,
    #[error("Protocol error: expected '$', got '{}'", printable(.0))]
    ExpectedBulk(u8),
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

fn printable(byte: &u8) -> char {
    if byte.is_ascii_graphic() || *byte == b' ' { *byte as char } else { ' ' }
}

/// One request of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Index of its first span.
    pub first: u32,
    /// Number of arguments, at least one.
    pub count: u32,
    /// Offset in the buffer just behind it.
    pub end: u32,
    /// Its arguments stand in the batch: those of inline requests may have had escapes.
    is_inline: bool,
}

/// Requests found in one pass over a buffer; reused between passes.
#[derive(Debug, Default)]
pub struct Batch {
    pub requests: Vec<Request>,
    pub spans: Vec<(u32, u32)>,
    /// Arguments of inline requests.
    unescaped: Vec<u8>,
}

impl Batch {
    /// Adds the request whose spans stand from `first` on.
    #[inline]
    fn push(&mut self, first: usize, end: usize, is_inline: bool) {
        let count = (self.spans.len() - first) as u32;
        self.requests.push(Request { first: first as u32, count, end: end as u32, is_inline });
    }

    pub fn clear(&mut self) {
        self.requests.clear();
        self.spans.clear();
        self.unescaped.clear();
    }

    /// The arguments of a request found in `buffer`.
    #[inline]
    pub fn args<'a>(&'a self, buffer: &'a [u8], request: Request) -> Args<'a> {
        let spans = &self.spans[request.first as usize..(request.first + request.count) as usize];
        Args::new(if request.is_inline { &self.unescaped } else { buffer }, spans)
    }
}

/// Outcome of one pass.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Where in the buffer the last complete request ends, empty lines behind it included.
    pub consumed: usize,
    /// Stands behind the last complete request; nothing after it is read.
    pub error: Option<ProtocolError>,
    /// Room to make for the argument being received: what is missing of it, but no more than has
    /// arrived already or a small buffer, so that nobody reserves memory by announcing.
    pub bytes_wanted: usize,
}

/// Progress of the request that is not complete yet, in offsets from its first byte.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Arguments still to come; 0 between requests.
    missing: u64,
    /// Arguments found so far.
    spans: Vec<(u32, u32)>,
    /// Where the next unread byte stands.
    at: usize,
    /// Bytes behind `at` that hold no end of the line begun there.
    scanned: usize,
    /// Length of the argument whose bytes are arriving.
    bulk: Option<usize>,
}

enum Step {
    Complete,
    NeedsMore { wanted: usize },
}

impl Decoder {
    /// Reads complete requests from the front of `buffer` into `batch`, at most `requests_max`.
    /// The caller drops the consumed bytes, and calls again with the rest and what has arrived.
    /// Of a buffer beyond 4 GiB the end is not looked at.
    pub fn decode(
        &mut self,
        buffer: &[u8],
        batch: &mut Batch,
        requests_max: usize,
        limits: &Limits,
    ) -> Decoded {
        self.decode_from(buffer, 0, batch, requests_max, limits)
    }

    /// As `decode`, of a buffer in which this stream's bytes begin at `from`. What `batch` holds stays.
    pub fn decode_from(
        &mut self,
        buffer: &[u8],
        from: usize,
        batch: &mut Batch,
        requests_max: usize,
        limits: &Limits,
    ) -> Decoded {
        let buffer = &buffer[..buffer.len().min(u32::MAX as usize)];
        let mut decoded = Decoded { consumed: from, error: None, bytes_wanted: 0 };
        let requests_max = batch.requests.len() + requests_max;
        while batch.requests.len() < requests_max && decoded.consumed < buffer.len() {
            let start = decoded.consumed;
            let step = if self.missing > 0 {
                self.resume(buffer, start, batch, limits)
            } else if buffer[start] == b'*' {
                self.begin(buffer, start, batch, limits)
            } else {
                self.inline(buffer, start, batch, limits)
            };
            match step {
                Ok(Step::Complete) => decoded.consumed = start + std::mem::take(&mut self.at),
                Ok(Step::NeedsMore { wanted }) => {
                    decoded.bytes_wanted = wanted.min((buffer.len() - from).max(SMALL_BUFFER_BYTES));
                    break;
                }
                Err(error) => {
                    decoded.error = Some(error);
                    break;
                }
            }
        }
        decoded
    }

    /// Reads an array from its head. Its arguments go straight to the batch; only when it turns out
    /// to be incomplete they are kept here.
    fn begin(
        &mut self,
        buffer: &[u8],
        start: usize,
        batch: &mut Batch,
        limits: &Limits,
    ) -> Result<Step, ProtocolError> {
        let bytes = &buffer[start..];
        let Some(count) = self.length_line(bytes, ProtocolError::ArrayLineTooLong)? else {
            return Ok(Step::NeedsMore { wanted: 0 });
        };
        let count = count.ok_or(ProtocolError::ArrayLength)?;
        let Ok(count @ 1..) = u64::try_from(count) else {
            return Ok(Step::Complete);
        };
        if count > limits.arguments_max {
            return Err(ProtocolError::ArrayLength);
        }
        if !limits.is_authenticated && count > UNAUTHENTICATED_ARGUMENTS_MAX {
            return Err(ProtocolError::UnauthenticatedArray);
        }
        self.missing = count;
        let first = batch.spans.len();
        let step = self.arguments(bytes, start, &mut batch.spans, limits);
        match step {
            Ok(Step::Complete) => batch.push(first, start + self.at, false),
            Ok(Step::NeedsMore { .. }) => {
                let base = start as u32;
                self.spans.extend(batch.spans.drain(first..).map(|(at, length)| (at - base, length)));
            }
            Err(_) => batch.spans.truncate(first),
        }
        step
    }

    /// Reads on in the array that starts at `start`, of which a part was read before.
    #[cold]
    fn resume(
        &mut self,
        buffer: &[u8],
        start: usize,
        batch: &mut Batch,
        limits: &Limits,
    ) -> Result<Step, ProtocolError> {
        let mut spans = std::mem::take(&mut self.spans);
        let step = self.arguments(&buffer[start..], 0, &mut spans, limits)?;
        if let Step::Complete = step {
            let first = batch.spans.len();
            let base = start as u32;
            batch.spans.extend(spans.drain(..).map(|(at, length)| (at + base, length)));
            batch.push(first, start + self.at, false);
            spans.shrink_to(KEPT_SPANS_MAX);
        }
        self.spans = spans;
        Ok(step)
    }

    /// Reads the missing arguments; their places, plus `base`, go to `spans`.
    #[inline]
    fn arguments(
        &mut self,
        bytes: &[u8],
        base: usize,
        spans: &mut Vec<(u32, u32)>,
        limits: &Limits,
    ) -> Result<Step, ProtocolError> {
        while self.missing > 0 {
            let length = match self.bulk {
                Some(length) => length,
                None => match self.bulk_head(bytes, limits)? {
                    Some(length) => length,
                    None => return Ok(Step::NeedsMore { wanted: 0 }),
                },
            };
            let end = self.at + length + 2;
            if bytes.len() < end {
                self.bulk = Some(length);
                return Ok(Step::NeedsMore { wanted: end - bytes.len() });
            }
            self.bulk = None;
            spans.push(((base + self.at) as u32, length as u32));
            self.at = end;
            self.missing -= 1;
        }
        Ok(Step::Complete)
    }

    /// Reads `$<length>\r\n` at the next unread byte.
    #[inline]
    fn bulk_head(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        match bytes.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::ExpectedBulk(*other)),
        }
        let Some(length) = self.length_line(bytes, ProtocolError::BulkLineTooLong)? else {
            return Ok(None);
        };
        let length = length.and_then(|length| u64::try_from(length).ok()).ok_or(ProtocolError::BulkLength)?;
        if length > limits.bulk_bytes_max.min(BULK_BYTES_MAX) {
            return Err(ProtocolError::BulkLength);
        }
        if !limits.is_authenticated && length > UNAUTHENTICATED_BULK_BYTES_MAX {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        Ok(Some(length as usize))
    }

    /// Reads the line at the next unread byte: a byte for its kind, a number, CRLF. The outer `None`:
    /// the line is not complete; the inner one: it holds no number.
    #[inline]
    fn length_line(
        &mut self,
        bytes: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<Option<i64>>, ProtocolError> {
        let line = &bytes[self.at..];
        // Nearly all lengths have one digit or two.
        match *line {
            [_, one @ b'0'..=b'9', b'\r', _, ..] => {
                (self.at, self.scanned) = (self.at + 4, 0);
                return Ok(Some(Some(i64::from(one - b'0'))));
            }
            [_, ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', _, ..] => {
                (self.at, self.scanned) = (self.at + 5, 0);
                return Ok(Some(Some(i64::from(ten - b'0') * 10 + i64::from(one - b'0'))));
            }
            _ => {}
        }
        self.any_length_line(line, too_long)
    }

    fn any_length_line(
        &mut self,
        line: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<Option<i64>>, ProtocolError> {
        let Some(end) = self.find(line, |byte| byte == b'\r') else {
            return if line.len() > LENGTH_LINE_BYTES_MAX { Err(too_long) } else { Ok(None) };
        };
        if end > LENGTH_LINE_BYTES_MAX {
            return Err(too_long);
        }
        // As in Redis, the byte behind CR is not looked at.
        if end + 1 == line.len() {
            return Ok(None);
        }
        self.at += end + 2;
        self.scanned = 0;
        Ok(Some(integer::parse(&line[1..end])))
    }

    /// Where such a byte stands in a line; what was looked through is not looked through again.
    #[inline]
    fn find(&mut self, line: &[u8], is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
        let found = line[self.scanned..].iter().position(|byte| is_wanted(*byte));
        match found {
            Some(index) => {
                self.scanned += index;
                Some(self.scanned)
            }
            None => {
                self.scanned = line.len();
                None
            }
        }
    }

    fn inline(
        &mut self,
        buffer: &[u8],
        start: usize,
        batch: &mut Batch,
        limits: &Limits,
    ) -> Result<Step, ProtocolError> {
        let bytes = &buffer[start..];
        // As in Redis, a NUL hides the end of its line: what comes after it counts towards the limit, no more.
        let end = self.find(bytes, |byte| byte == b'\n' || byte == 0).filter(|at| bytes[*at] == b'\n');
        let bytes_max = match limits.is_authenticated {
            true => limits.inline_bytes_max,
            false => limits.inline_bytes_max.min(UNAUTHENTICATED_BULK_BYTES_MAX as usize),
        };
        if end.unwrap_or(bytes.len()) > bytes_max {
            return Err(ProtocolError::InlineTooLong);
        }
        let Some(end) = end else {
            return Ok(Step::NeedsMore { wanted: 0 });
        };
        self.scanned = 0;
        self.at = end + 1;
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        let first = batch.spans.len();
        if let Err(inline::Unbalanced) = inline::split(line, &mut batch.unescaped, &mut batch.spans) {
            batch.spans.truncate(first);
            return Err(ProtocolError::UnbalancedQuotes);
        }
        if batch.spans.len() > first {
            batch.push(first, start + self.at, true);
        }
        Ok(Step::Complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Words = Vec<Vec<u8>>;

    /// Feeds the parts one after another, as a connection would.
    fn feed<'a>(
        parts: impl Iterator<Item = &'a [u8]>,
        requests_max: usize,
        limits: &Limits,
    ) -> (Vec<Words>, Option<ProtocolError>, usize) {
        let (mut decoder, mut batch, mut buffer) = (Decoder::default(), Batch::default(), Vec::new());
        let mut requests = Vec::new();
        for part in parts {
            buffer.extend_from_slice(part);
            loop {
                batch.clear();
                let decoded = decoder.decode(&buffer, &mut batch, requests_max, limits);
                for request in &batch.requests {
                    assert!(request.end as usize <= decoded.consumed);
                    requests.push(batch.args(&buffer, *request).iter().map(<[u8]>::to_vec).collect());
                }
                buffer.drain(..decoded.consumed);
                assert!(decoded.bytes_wanted <= buffer.len().max(SMALL_BUFFER_BYTES));
                if decoded.error.is_some() {
                    return (requests, decoded.error, buffer.len());
                }
                if decoded.consumed == 0 || buffer.is_empty() {
                    break;
                }
            }
        }
        (requests, None, buffer.len())
    }

    /// What the bytes mean: words joined by `|`, one request behind another, the error, what is left.
    fn read(bytes: &[u8], limits: &Limits) -> String {
        let (requests, error, rest) = feed(std::iter::once(bytes), usize::MAX, limits);
        let mut text = String::new();
        for request in requests {
            let words: Vec<String> = request.iter().map(|word| word.escape_ascii().to_string()).collect();
            text += &format!("[{}]", words.join("|"));
        }
        if let Some(error) = error {
            text += error.to_string().strip_prefix("Protocol error: ").expect("all errors begin so");
        } else if rest > 0 {
            text += &format!("+{rest}");
        }
        text
    }

    #[track_caller]
    fn check(cases: &[(&str, &str)], limits: Limits) {
        for (bytes, meaning) in cases {
            assert_eq!(read(bytes.as_bytes(), &limits), *meaning, "{bytes:?}");
        }
    }

    #[test]
    fn arrays_are_requests() {
        check(
            &[
                ("*1\r\n$4\r\nPING\r\n", "[PING]"),
                ("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n", "[GET|k][PING]"),
                ("*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "[GET|]"),
                ("*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n", "[ECHO|\\r\\n\\r\\n]"),
                ("*0\r\n*-1\r\n*-99\r\n*1\r\n$4\r\nPING\r\n", "[PING]"),
                ("*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI", "[PING]+10"),
                ("*1\rX$4\rXPINGab*1\r\n$4\r\nPING\r\n", "[PING][PING]"),
                ("*2147483647\r\n", "+13"),
                ("*1\r\n$536870912\r\n", "+16"),
            ],
            Limits::default(),
        );
    }

    #[test]
    fn lines_are_requests() {
        check(
            &[
                ("PING\r\n\r\n\n \r\nPING\n", "[PING][PING]"),
                ("  SET\t k   v \r\n", "[SET|k|v]"),
                (
                    "ECHO \"a\\x41\\n\\r\\t\\b\\a\\\\\\\"\\q\" x\r\n",
                    "[ECHO|aA\\n\\r\\t\\x08\\x07\\\\\\\"q|x]",
                ),
                ("ECHO \"\\x4\" \"\\xfF\"\r\n", "[ECHO|x4|\\xff]"),
                ("ECHO 'a\\'b\\n\"'\r\n", "[ECHO|a\\'b\\\\n\\\"]"),
                ("ECHO a\"b\"\r\n", "[ECHO|ab]"),
                ("ECHO a\x0bb \x0bc\r\n", "[ECHO|a\\x0bb|c]"),
                ("ECHO \"\"\r\n\"\"\r\n", "[ECHO|][]"),
                ("ECHO \"a\"b\r\n", "unbalanced quotes in request"),
                ("ECHO \"a\r\n", "unbalanced quotes in request"),
                ("ECHO 'a\r\n", "unbalanced quotes in request"),
                ("ECHO \"\\\r\n", "unbalanced quotes in request"),
                ("PING\r\nECHO '\r\n", "[PING]unbalanced quotes in request"),
                ("PING", "+4"),
            ],
            Limits::default(),
        );
    }

    #[test]
    fn a_nul_hides_the_end_of_its_line() {
        let ones = "1".repeat(64 << 10);
        check(
            &[
                ("\0PING\r\n", "+7"),
                ("PING\0\r\nPING\r\n", "+13"),
                ("PING\0a\r\n", "+8"),
                ("ECHO \"a\0b\"\r\n", "+12"),
                ("PING\r\n\0\r\nPING\r\n", "[PING]+9"),
                ("ECHO \"a\\x00b\"\r\n", "[ECHO|a\\x00b]"),
                (&format!("\0\n{ones}"), "too big inline request"),
                (&format!("PING {ones}\0\n"), "too big inline request"),
            ],
            Limits::default(),
        );
    }

    #[test]
    fn malformed_arrays_are_refused_in_the_words_of_redis() {
        check(
            &[
                ("*\r\n", "invalid multibulk length"),
                ("*01\r\n", "invalid multibulk length"),
                ("*+1\r\n", "invalid multibulk length"),
                ("*1x\r\n", "invalid multibulk length"),
                ("*2147483648\r\n", "invalid multibulk length"),
                ("*99999999999999999999999\r\n", "invalid multibulk length"),
                ("*1\r\n$-1\r\n", "invalid bulk length"),
                ("*1\r\n$\r\n", "invalid bulk length"),
                ("*1\r\n$+4\r\nPING\r\n", "invalid bulk length"),
                ("*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
                ("*1\r\n$536870913\r\n", "invalid bulk length"),
                ("*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
                ("*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "expected '$', got 'f'"),
                ("*1\r\nPING\r\n", "expected '$', got 'P'"),
                ("*1\r\n\r\n", "expected '$', got ' '"),
                ("*1\r\n$4\r\nPING\r\n*x\r\n", "[PING]invalid multibulk length"),
            ],
            Limits::default(),
        );
    }

    #[test]
    fn lines_without_end_are_refused() {
        let ones = "1".repeat(LENGTH_LINE_BYTES_MAX);
        check(
            &[
                (&format!("*{ones}"), "too big mbulk count string"),
                (&format!("*{ones}\r\n"), "too big mbulk count string"),
                (&format!("*{}\r\n", &ones[1..]), "invalid multibulk length"),
                (&format!("*1\r\n${ones}"), "too big bulk count string"),
                (&format!("1{ones}"), "too big inline request"),
                (&format!("1{ones}\n"), "too big inline request"),
                (&format!("{ones}\n"), &format!("[{ones}]")),
            ],
            Limits::default(),
        );
    }

    #[test]
    fn before_auth_little_is_taken() {
        let line = "1".repeat(16 << 10);
        check(
            &[
                ("*10\r\n", "+5"),
                ("*11\r\n", "unauthenticated multibulk length"),
                ("*1\r\n$16384\r\n", "+12"),
                ("*1\r\n$16385\r\n", "unauthenticated bulk length"),
                (&line, "+16384"),
                (&format!("{line}\n"), &format!("[{line}]")),
                (&format!("1{line}"), "too big inline request"),
                (&format!("1{line}\n"), "too big inline request"),
            ],
            Limits { is_authenticated: false, ..Limits::default() },
        );
    }

    #[test]
    fn memory_follows_what_arrived_not_what_was_announced() {
        let (mut decoder, mut batch) = (Decoder::default(), Batch::default());
        let bytes = b"*2147483647\r\n$3\r\nSET\r\n$536870912\r\nx";
        let decoded = decoder.decode(bytes, &mut batch, 1, &Limits::default());
        assert_eq!((decoded.consumed, decoded.error), (0, None));
        assert!(decoded.bytes_wanted <= SMALL_BUFFER_BYTES);
        assert!(decoder.spans.capacity() < 16 && batch.spans.capacity() < 16);
    }

    #[test]
    fn as_many_requests_are_read_as_asked_for() {
        let bytes = b"PING\r\n".repeat(5);
        let (mut decoder, mut batch) = (Decoder::default(), Batch::default());
        let decoded = decoder.decode(&bytes, &mut batch, 2, &Limits::default());
        assert_eq!((decoded.consumed, batch.requests.len()), (12, 2));
    }

    /// Requests as a client may write them, with some that are malformed.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let word = vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'*'), Just(b'$'), any::<u8>()], 0..30);
        let array = vec(word, 1..6).prop_map(|words| {
            let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
            for word in words {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(&word);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes
        });
        prop_oneof![
            8 => array,
            4 => "[a-z '\"\\\\x0-9]{0,20}\r?\n".prop_map(String::into_bytes),
            1 => "\\*-?[0-9]{0,3}\r\n".prop_map(String::into_bytes),
            1 => vec(any::<u8>(), 0..10),
        ]
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_requests(
            pieces in vec(piece(), 0..8),
            cuts in vec(1usize..40, 1..20),
            requests_max in 1usize..4,
        ) {
            let bytes = pieces.concat();
            let mut rest = &bytes[..];
            let mut sizes = cuts.iter().cycle();
            let parts = std::iter::from_fn(|| {
                let (part, after) = rest.split_at(rest.len().min(*sizes.next()?));
                rest = after;
                (!part.is_empty()).then_some(part)
            });
            let limits = Limits { inline_bytes_max: 25, ..Limits::default() };
            let (requests, error, _) = feed(parts, requests_max, &limits);
            let (expected, expected_error, _) = feed(std::iter::once(&bytes[..]), usize::MAX, &limits);
            prop_assert_eq!(requests, expected);
            prop_assert_eq!(error, expected_error);
        }

        #[test]
        fn what_a_client_writes_is_what_is_read(requests in vec(vec(vec(any::<u8>(), 0..40), 1..8), 0..8)) {
            let mut bytes = Vec::new();
            for words in &requests {
                bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
                for word in words {
                    bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                    bytes.extend_from_slice(word);
                    bytes.extend_from_slice(b"\r\n");
                }
            }
            let (read, error, rest) = feed(std::iter::once(&bytes[..]), usize::MAX, &Limits::default());
            prop_assert_eq!(read, requests);
            prop_assert_eq!((error, rest), (None, 0));
        }

        #[test]
        fn damaged_bytes_are_read_or_refused(
            pieces in vec(piece(), 1..8),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in 1usize..100,
        ) {
            let mut bytes = pieces.concat();
            for (place, byte) in changes {
                if !bytes.is_empty() {
                    let index = place.index(bytes.len());
                    bytes[index] = byte;
                }
            }
            feed(bytes.chunks(cut), usize::MAX, &Limits::default());
        }
    }
}

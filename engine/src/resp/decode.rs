//! Requests out of a stream of bytes.
//!
//! Lives here: framing of RESP arrays and inline requests, with limits on every length. It keeps
//! the progress of one incomplete request, so that a slow one with a million arguments is read
//! once, and allocates by what has arrived, never by what was announced.
//! Not here: the buffer (the caller's) and what requests mean.

use super::args::Args;
use super::inline;
use thiserror::Error;

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`.
    pub bulk_bytes_max: u64,
    pub arguments_max: u64,
    pub inline_bytes_max: usize,
    /// Before AUTH, ten arguments of 16 KiB are the most.
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
}

/// Requests found in one pass over a buffer; reused between passes.
#[derive(Debug, Default)]
pub struct Batch {
    pub requests: Vec<Request>,
    pub spans: Vec<(u32, u32)>,
    /// Arguments of inline requests with escapes, which do not stand in the buffer as they are.
    unescaped: Vec<u8>,
}

impl Batch {
    pub fn clear(&mut self) {
        self.requests.clear();
        self.spans.clear();
        self.unescaped.clear();
    }

    /// The arguments of a request found in `buffer`.
    #[inline]
    pub fn args<'a>(&'a self, buffer: &'a [u8], request: Request) -> Args<'a> {
        let spans = &self.spans[request.first as usize..(request.first + request.count) as usize];
        let is_inline = self.inline_from(request);
        Args::new(if is_inline { &self.unescaped } else { buffer }, spans)
    }

    /// Inline requests are marked by a span list that ends with a marker behind them.
    fn inline_from(&self, request: Request) -> bool {
        let behind = (request.first + request.count) as usize;
        self.spans.get(behind) == Some(&INLINE_MARKER)
    }
}

/// Stands behind the spans of an inline request; no argument has this place and length.
const INLINE_MARKER: (u32, u32) = (u32::MAX, u32::MAX);

/// Outcome of one pass.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the buffer that complete requests took, empty lines between them included.
    pub consumed: usize,
    /// Stands behind the last complete request; nothing after it is read.
    pub error: Option<ProtocolError>,
    /// Bytes still missing for the argument being received, as far as announced.
    pub bytes_wanted: usize,
}

/// Progress of the request that is not complete yet, in offsets from its first byte.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Arguments still to come; `None` before the array's head was read.
    missing: Option<u64>,
    /// Arguments found so far.
    spans: Vec<(u32, u32)>,
    /// Where the next unread byte stands.
    at: usize,
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
    pub fn decode(
        &mut self,
        buffer: &[u8],
        batch: &mut Batch,
        requests_max: usize,
        limits: &Limits,
    ) -> Decoded {
        let mut decoded = Decoded { consumed: 0, error: None, bytes_wanted: 0 };
        while batch.requests.len() < requests_max && decoded.consumed < buffer.len() {
            let start = decoded.consumed;
            let is_array = self.missing.is_some() || buffer[start] == b'*';
            let step = if is_array {
                self.array(buffer, start, batch, limits)
            } else {
                self.inline(buffer, start, batch, limits)
            };
            match step {
                Ok(Step::Complete) => decoded.consumed = start + std::mem::take(&mut self.at),
                Ok(Step::NeedsMore { wanted }) => {
                    decoded.bytes_wanted = wanted;
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

    /// Reads on in the array that starts at `start`.
    fn array(
        &mut self,
        buffer: &[u8],
        start: usize,
        batch: &mut Batch,
        limits: &Limits,
    ) -> Result<Step, ProtocolError> {
        let bytes = &buffer[start..];
        if self.missing.is_none() {
            let Some((count, end)) = length_line(bytes, 1, ProtocolError::ArrayLineTooLong)? else {
                return Ok(Step::NeedsMore { wanted: 0 });
            };
            let count = count.ok_or(ProtocolError::ArrayLength)?;
            if count > limits.arguments_max.cast_signed() {
                return Err(ProtocolError::ArrayLength);
            }
            self.at = end;
            if count <= 0 {
                return Ok(Step::Complete);
            }
            if !limits.is_authenticated && count.cast_unsigned() > UNAUTHENTICATED_ARGUMENTS_MAX {
                return Err(ProtocolError::UnauthenticatedArray);
            }
            self.missing = Some(count.cast_unsigned());
        }
        let mut missing = self.missing.expect("set above or in an earlier pass");
        while missing > 0 {
            let length = match self.bulk {
                Some(length) => length,
                None => match self.bulk_head(bytes, limits)? {
                    Some(length) => length,
                    None => {
                        self.missing = Some(missing);
                        return Ok(Step::NeedsMore { wanted: 0 });
                    }
                },
            };
            if bytes.len() < self.at + length + 2 {
                self.bulk = Some(length);
                self.missing = Some(missing);
                return Ok(Step::NeedsMore { wanted: self.at + length + 2 - bytes.len() });
            }
            self.bulk = None;
            self.spans.push((self.at as u32, length as u32));
            self.at += length + 2;
            missing -= 1;
        }
        self.missing = None;
        let first = batch.spans.len() as u32;
        let offset = start as u32;
        batch.spans.extend(self.spans.drain(..).map(|(at, length)| (at + offset, length)));
        let count = batch.spans.len() as u32 - first;
        batch.requests.push(Request { first, count, end: offset + self.at as u32 });
        Ok(Step::Complete)
    }

    /// Reads `$<length>\r\n` at the next unread byte.
    fn bulk_head(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let rest = &bytes[self.at.min(bytes.len())..];
        let Some(first) = rest.first() else { return Ok(None) };
        if *first != b'$' {
            return Err(ProtocolError::ExpectedBulk(*first));
        }
        let Some((length, end)) = length_line(rest, 1, ProtocolError::BulkLineTooLong)? else {
            return Ok(None);
        };
        let length = length.filter(|length| *length >= 0).ok_or(ProtocolError::BulkLength)?.cast_unsigned();
        if length > limits.bulk_bytes_max.min(u64::from(u32::MAX) / 2) {
            return Err(ProtocolError::BulkLength);
        }
        if !limits.is_authenticated && length > UNAUTHENTICATED_BULK_BYTES_MAX {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        self.at += end;
        Ok(Some(length as usize))
    }

    fn inline(
        &mut self,
        buffer: &[u8],
        start: usize,
        batch: &mut Batch,
        limits: &Limits,
    ) -> Result<Step, ProtocolError> {
        let bytes = &buffer[start..];
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            if bytes.len() > limits.inline_bytes_max {
                return Err(ProtocolError::InlineTooLong);
            }
            return Ok(Step::NeedsMore { wanted: 0 });
        };
        if end > limits.inline_bytes_max {
            return Err(ProtocolError::InlineTooLong);
        }
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        self.at = end + 1;
        let first = batch.spans.len() as u32;
        inline::split(line, &mut batch.unescaped, &mut batch.spans)
            .map_err(|inline::Unbalanced| ProtocolError::UnbalancedQuotes)?;
        let count = batch.spans.len() as u32 - first;
        if count > 0 {
            batch.spans.push(INLINE_MARKER);
            batch.requests.push(Request { first, count, end: (start + self.at) as u32 });
        }
        Ok(Step::Complete)
    }
}

/// Reads digits up to CRLF, after `skip` bytes. `None`: the line is not complete. The number is
/// `None` when it is none; the end is just behind the CRLF.
#[inline]
fn length_line(
    bytes: &[u8],
    skip: usize,
    too_long: ProtocolError,
) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
    // Nearly all lengths: a few digits and CRLF.
    let mut value = 0i64;
    for (index, byte) in bytes.iter().enumerate().skip(skip).take(10) {
        match byte {
            b'0'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
            b'\r' if index > skip && bytes.get(index + 1) == Some(&b'\n') => {
                let has_leading_zero = bytes[skip] == b'0' && index > skip + 1;
                return Ok(Some(((!has_leading_zero).then_some(value), index + 2)));
            }
            _ => break,
        }
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\r') else {
        return if bytes.len() > LENGTH_LINE_BYTES_MAX { Err(too_long) } else { Ok(None) };
    };
    if end + 1 >= bytes.len() {
        return Ok(None);
    }
    Ok(Some((crate::number::integer::parse(&bytes[skip.min(end)..end]), end + 2)))
}

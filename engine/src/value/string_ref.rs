//! A string as it stands in its entry, read without caring how it is stored.
//!
//! Lives here: the view and what strings of all storages can answer.
//! Not here: changing a string (`keyspace::place`).
//!
//! Invariant: all storages of equal bytes answer equally.

use super::ChunkedBytes;
use std::ops::Range;

/// View of a string value.
#[derive(Clone, Copy, Debug)]
pub enum StringRef<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    Chunks(&'a ChunkedBytes),
}

impl StringRef<'_> {
    /// Length in bytes of the string (of an integer: of its decimal form).
    pub fn len(&self) -> usize {
        match self {
            StringRef::Integer(value) => Decimal::new(*value).as_slice().len(),
            StringRef::Bytes(bytes) => bytes.len(),
            StringRef::Chunks(chunks) => chunks.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.append_to(&mut bytes);
        bytes
    }

    /// Appends the whole string to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            StringRef::Integer(value) => out.extend_from_slice(Decimal::new(*value).as_slice()),
            StringRef::Bytes(bytes) => out.extend_from_slice(bytes),
            StringRef::Chunks(chunks) => chunks.chunks().for_each(|chunk| out.extend_from_slice(chunk)),
        }
    }

    /// Calls `part` with the string's pieces in order.
    pub fn for_each_part(&self, mut part: impl FnMut(&[u8])) {
        match self {
            StringRef::Integer(value) => part(Decimal::new(*value).as_slice()),
            StringRef::Bytes(bytes) => part(bytes),
            StringRef::Chunks(chunks) => chunks.chunks().for_each(part),
        }
    }

    /// Appends the bytes of `range` to `out`; what lies beyond the end is left out.
    pub fn copy_range(&self, range: Range<usize>, out: &mut Vec<u8>) {
        match self {
            StringRef::Integer(value) => copy_clamped(Decimal::new(*value).as_slice(), range, out),
            StringRef::Bytes(bytes) => copy_clamped(bytes, range, out),
            StringRef::Chunks(chunks) => chunks.copy_range(range, out),
        }
    }

    /// The byte at `index`, `None` beyond the end.
    pub fn byte_at(&self, index: usize) -> Option<u8> {
        match self {
            StringRef::Integer(value) => Decimal::new(*value).as_slice().get(index).copied(),
            StringRef::Bytes(bytes) => bytes.get(index).copied(),
            StringRef::Chunks(chunks) => chunks.byte_at(index),
        }
    }

    /// The integer this string is in its canonical decimal form, as INCR reads it.
    pub fn parse_integer(&self) -> Option<i64> {
        match self {
            StringRef::Integer(value) => Some(*value),
            StringRef::Bytes(bytes) => canonical_integer(bytes),
            StringRef::Chunks(chunks) if chunks.len() <= Decimal::BYTES_MAX => {
                let mut bytes = Vec::with_capacity(Decimal::BYTES_MAX);
                chunks.copy_range(0..chunks.len(), &mut bytes);
                canonical_integer(&bytes)
            }
            StringRef::Chunks(_) => None,
        }
    }

    /// Whether the string has exactly these bytes.
    pub fn equals(&self, other: &[u8]) -> bool {
        match self {
            StringRef::Integer(value) => Decimal::new(*value).as_slice() == other,
            StringRef::Bytes(bytes) => *bytes == other,
            StringRef::Chunks(chunks) => {
                let mut rest = other;
                chunks.len() == other.len()
                    && chunks.chunks().all(|chunk| {
                        let (head, tail) = rest.split_at(chunk.len());
                        rest = tail;
                        head == chunk
                    })
            }
        }
    }
}

fn copy_clamped(bytes: &[u8], range: Range<usize>, out: &mut Vec<u8>) {
    let end = range.end.min(bytes.len());
    if range.start < end {
        out.extend_from_slice(&bytes[range.start..end]);
    }
}

/// The one text that each integer has: no sign but `-`, no leading zero, within `i64`.
pub(crate) fn canonical_integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() < Decimal::BYTES_MAX => {}
        _ => return None,
    }
    let mut value = 0i64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Counted downwards, because i64 reaches one further below zero than above.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// Decimal form of an integer without an allocation.
struct Decimal {
    buffer: [u8; Decimal::BYTES_MAX],
    start: usize,
}

impl Decimal {
    /// Length of `i64::MIN` in decimal.
    const BYTES_MAX: usize = 20;

    fn new(value: i64) -> Decimal {
        let mut decimal = Decimal { buffer: [0; Decimal::BYTES_MAX], start: Decimal::BYTES_MAX };
        let mut rest = value.unsigned_abs();
        loop {
            decimal.push_front(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            decimal.push_front(b'-');
        }
        decimal
    }

    fn push_front(&mut self, byte: u8) {
        self.start -= 1;
        self.buffer[self.start] = byte;
    }

    fn as_slice(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_canonical_integers_are_integers() {
        for text in
            ["", "-", "-0", "01", "+1", " 1", "1 ", "1.0", "9223372036854775808", "-9223372036854775809"]
        {
            assert_eq!(canonical_integer(text.as_bytes()), None, "{text:?}");
        }
        for value in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(canonical_integer(value.to_string().as_bytes()), Some(value));
        }
    }

    proptest! {
        #[test]
        fn integers_have_one_text(value: i64, bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            prop_assert_eq!(StringRef::Integer(value).to_vec(), value.to_string().into_bytes());
            prop_assert_eq!(canonical_integer(value.to_string().as_bytes()), Some(value));
            if let Some(value) = canonical_integer(&bytes) {
                prop_assert_eq!(value.to_string().into_bytes(), bytes);
            }
        }
    }
}

//! LZF, the compression of long strings in RDB files.
//!
//! Lives here: both directions of the format. Not here: when a string is compressed (`writer`).
//!
//! The format, a run of commands, by the first byte:
//!
//! | first byte | then | meaning |
//! |------------|------|---------|
//! | `000lllll` | l + 1 bytes | literal bytes |
//! | `lllooooo`, l in 1..=6 | 1 byte: low 8 bits of o | l + 2 bytes from o + 1 back |
//! | `111ooooo` | 1 byte l, 1 byte: low 8 bits of o | l + 9 bytes from o + 1 back |
//!
//! Invariant: `decompress` never makes more than it was told, and reads nothing before the start.

/// Farthest that a reference reaches back.
const OFFSET_MAX: usize = 1 << 13;
/// Longest reference.
const REFERENCE_MAX: usize = 255 + 9;
const LITERAL_MAX: usize = 32;
const TABLE_BITS: u32 = 14;
/// Bytes that three bytes of commands can become at most, rounded up.
const GROWTH_MAX: u64 = REFERENCE_MAX as u64 / 3 + 1;

/// The table of a compressor, to be used again: clearing one would cost more than a short string.
pub struct Table {
    /// Places of three bytes each, counted from `base`; what is not above `base` is of an earlier string.
    places: Vec<u32>,
    base: u32,
}

impl Default for Table {
    fn default() -> Table {
        Table { places: vec![0; 1 << TABLE_BITS], base: 0 }
    }
}

impl Table {
    /// Forgets what is there; room for the places of a string of `length`.
    fn begin(&mut self, length: u32) {
        if self.base.checked_add(length).is_none_or(|end| end == u32::MAX) {
            *self = Table::default();
        }
    }

    /// Puts `at` at its place; gives what stood there.
    fn exchange(&mut self, slot: usize, at: usize) -> Option<usize> {
        let before = std::mem::replace(&mut self.places[slot], self.base + at as u32 + 1);
        before.checked_sub(self.base)?.checked_sub(1).map(|from| from as usize)
    }
}

/// Appends the compressed form of `bytes` to `out`. False, with `out` as before, if that would not be shorter
/// by at least four bytes.
pub fn compress(bytes: &[u8], table: &mut Table, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let Some(limit) = bytes.len().checked_sub(4) else { return false };
    if bytes.len() > u32::MAX as usize / 2 {
        return false;
    }
    table.begin(bytes.len() as u32);
    let is_shorter = compress_with(bytes, limit, table, out);
    table.base += bytes.len() as u32;
    if !is_shorter {
        out.truncate(start);
    }
    is_shorter
}

fn compress_with(bytes: &[u8], limit: usize, table: &mut Table, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let (mut at, mut literal) = (0, 0);
    while at + 2 < bytes.len() {
        let candidate = table.exchange(slot_of(&bytes[at..]), at);
        let found =
            candidate.filter(|from| at - from <= OFFSET_MAX && bytes[*from..from + 3] == bytes[at..at + 3]);
        let Some(from) = found else {
            at += 1;
            // What does not compress is given up early.
            if out.len() - start + (at - literal) > limit {
                return false;
            }
            continue;
        };
        let length_max = REFERENCE_MAX.min(bytes.len() - at);
        let length = 3 + bytes[at + 3..at + length_max]
            .iter()
            .zip(&bytes[from + 3..])
            .take_while(|(left, right)| left == right)
            .count();
        put_literals(&bytes[literal..at], out);
        let back = at - from - 1;
        match length - 2 {
            short @ 1..=6 => out.push((short << 5 | back >> 8) as u8),
            long => out.extend_from_slice(&[(7 << 5 | back >> 8) as u8, (long - 7) as u8]),
        }
        out.push(back as u8);
        for passed in at + 1..(at + length).min(bytes.len() - 2) {
            table.exchange(slot_of(&bytes[passed..]), passed);
        }
        at += length;
        literal = at;
        if out.len() - start > limit {
            return false;
        }
    }
    put_literals(&bytes[literal..], out);
    out.len() - start <= limit
}

fn slot_of(bytes: &[u8]) -> usize {
    let three = u32::from(bytes[0]) | u32::from(bytes[1]) << 8 | u32::from(bytes[2]) << 16;
    (three.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize
}

fn put_literals(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(LITERAL_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

/// Whether `compressed_bytes` of commands can become so many bytes at all: to be asked before room is made.
pub fn is_possible(compressed_bytes: u64, length: u64) -> bool {
    length <= compressed_bytes.saturating_mul(GROWTH_MAX)
}

/// The bytes that were compressed, exactly `length` of them; `None` if the commands give anything else.
pub fn decompress(commands: &[u8], length: usize) -> Option<Vec<u8>> {
    if !is_possible(commands.len() as u64, length as u64) {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    let mut rest = commands;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let first = usize::from(first);
        if first < LITERAL_MAX {
            let (literals, after) = rest.split_at_checked(first + 1)?;
            rest = after;
            if out.len() + literals.len() > length {
                return None;
            }
            out.extend_from_slice(literals);
            continue;
        }
        let mut count = first >> 5;
        if count == 7 {
            let (&more, after) = rest.split_first()?;
            count += usize::from(more);
            rest = after;
        }
        count += 2;
        let (&low, after) = rest.split_first()?;
        rest = after;
        let from = out.len().checked_sub((first & 0x1f) << 8 | usize::from(low))?.checked_sub(1)?;
        if out.len() + count > length {
            return None;
        }
        let mut left = count;
        // What is copied may reach into what is being written: a short run repeats.
        while left > 0 {
            let piece = left.min(out.len() - from);
            out.extend_from_within(from..from + piece);
            left -= piece;
        }
    }
    (out.len() == length).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn repetitive() -> impl Strategy<Value = Vec<u8>> {
        let run = (vec(0..4u8, 1..12), 1..60usize).prop_map(|(piece, count)| piece.repeat(count));
        vec(prop_oneof![3 => run, 1 => vec(any::<u8>(), 0..50)], 0..20).prop_map(|runs| runs.concat())
    }

    #[test]
    fn known_commands_become_known_bytes() {
        assert_eq!(decompress(b"\x02abc\x20\x02", 6).as_deref(), Some(&b"abcabc"[..]));
        assert_eq!(decompress(b"\x00a\xe0\x00\x00", 10).as_deref(), Some(&b"aaaaaaaaaa"[..]));
        assert_eq!(decompress(b"\x02abc", 4), None);
        assert_eq!(decompress(b"\x00a\x20\x05", 4), None, "nothing stands before the start");
        assert_eq!(decompress(b"\x00a\x20", 4), None);
        assert_eq!(decompress(b"\x00", 1), None);
        assert_eq!(decompress(b"", 1 << 40), None, "no room is made for what cannot be");
    }

    #[test]
    fn a_long_run_becomes_short() {
        let bytes = vec![b'x'; 100_000];
        let mut out = Vec::new();
        assert!(compress(&bytes, &mut Table::default(), &mut out));
        assert!(out.len() < 1300, "{}", out.len());
        assert_eq!(decompress(&out, bytes.len()), Some(bytes));
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(bytes in repetitive(), before: Vec<u8>) {
            let mut out = before.clone();
            if compress(&bytes, &mut Table::default(), &mut out) {
                prop_assert!(out.len() - before.len() + 4 <= bytes.len());
                prop_assert_eq!(decompress(&out[before.len()..], bytes.len()), Some(bytes));
            }
            prop_assert_eq!(&out[..before.len()], &before[..]);
        }

        #[test]
        fn any_commands_are_safe(commands: Vec<u8>, length in 0..5000usize) {
            if let Some(bytes) = decompress(&commands, length) {
                prop_assert_eq!(bytes.len(), length);
            }
        }
    }
}

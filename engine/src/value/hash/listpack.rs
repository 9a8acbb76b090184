//! A small hash as one run of bytes.
//!
//! Lives here: the compact form, searched from its start.
//! Not here: the limits that end it.
//!
//! | bytes | field |
//! |------:|-------|
//! | 4 | number of fields, little-endian |
//! | then for each | length of the field (LEB128), field, length of the value (LEB128), value |
//!
//! Invariant: the bytes are always well formed; they are built here and never come from outside. An empty
//! hash has no bytes.

use crate::keyspace::below;
use rand_core::RngCore;

const COUNT_BYTES: usize = 4;

#[derive(Clone, Debug, Default)]
pub struct ListPack {
    bytes: Vec<u8>,
}

/// Where one field and its value stand.
struct Pair {
    start: usize,
    field: (usize, usize),
    value: (usize, usize),
}

impl ListPack {
    pub fn new() -> ListPack {
        ListPack::default()
    }

    pub fn len(&self) -> usize {
        match self.bytes.first_chunk::<COUNT_BYTES>() {
            Some(count) => u32::from_le_bytes(*count) as usize,
            None => 0,
        }
    }

    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        self.find(field).map(|pair| &self.bytes[pair.value.0..pair.value.1])
    }

    /// Sets a field. Returns whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        let Some(pair) = self.find(field) else {
            let length = self.bytes.len().max(COUNT_BYTES);
            self.reserve(
                length + varint_length(field.len()) + field.len() + varint_length(value.len()) + value.len(),
            );
            self.bytes.resize(length, 0);
            self.push(field);
            self.push(value);
            self.set_len(self.len() + 1);
            return true;
        };
        let (start, end) = pair.value;
        if value.len() == end - start {
            self.bytes[start..end].copy_from_slice(value);
            return false;
        }
        let tail = self.bytes.split_off(end);
        self.bytes.truncate(pair.field.1);
        self.reserve(pair.field.1 + varint_length(value.len()) + value.len() + tail.len());
        self.push(value);
        self.bytes.extend_from_slice(&tail);
        self.give_back();
        false
    }

    /// Deletes a field. Returns whether it was there.
    pub fn delete(&mut self, field: &[u8]) -> bool {
        let Some(pair) = self.find(field) else { return false };
        let length = self.len() - 1;
        if length == 0 {
            self.bytes = Vec::new();
            return true;
        }
        self.bytes.drain(pair.start..pair.value.1);
        self.set_len(length);
        self.give_back();
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs().map(|pair| self.slices(pair))
    }

    pub fn random(&self, rng: &mut impl RngCore) -> Option<(&[u8], &[u8])> {
        self.iter().nth(below(rng, self.len()))
    }

    pub fn memory_bytes(&self) -> u64 {
        self.bytes.capacity() as u64
    }

    fn find(&self, field: &[u8]) -> Option<Pair> {
        self.pairs().find(|pair| &self.bytes[pair.field.0..pair.field.1] == field)
    }

    fn slices(&self, pair: Pair) -> (&[u8], &[u8]) {
        (&self.bytes[pair.field.0..pair.field.1], &self.bytes[pair.value.0..pair.value.1])
    }

    fn pairs(&self) -> impl Iterator<Item = Pair> {
        let mut at = COUNT_BYTES;
        std::iter::from_fn(move || {
            if at >= self.bytes.len() {
                return None;
            }
            let start = at;
            let field = self.part(start);
            let value = self.part(field.1);
            at = value.1;
            Some(Pair { start, field, value })
        })
    }

    /// Start and end of the part whose length stands at `at`.
    #[inline]
    fn part(&self, mut at: usize) -> (usize, usize) {
        let mut length = 0usize;
        let mut shift = 0;
        loop {
            let byte = self.bytes[at];
            at += 1;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return (at, at + length);
            }
            shift += 7;
        }
    }

    fn push(&mut self, part: &[u8]) {
        let mut length = part.len();
        while length >= 0x80 {
            self.bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.bytes.push(length as u8);
        self.bytes.extend_from_slice(part);
    }

    fn set_len(&mut self, length: usize) {
        let length = u32::try_from(length).expect("a compact hash has far fewer fields");
        self.bytes[..COUNT_BYTES].copy_from_slice(&length.to_le_bytes());
    }

    /// Room for `length` bytes in all, in steps of 16: doubling would waste what the compact form saves.
    fn reserve(&mut self, length: usize) {
        if length > self.bytes.capacity() {
            self.bytes.reserve_exact(length.next_multiple_of(16) - self.bytes.len());
        }
    }

    fn give_back(&mut self) {
        if self.bytes.capacity() > 64 && self.bytes.len() * 2 < self.bytes.capacity() {
            self.bytes.shrink_to(self.bytes.len().next_multiple_of(16));
        }
    }
}

fn varint_length(length: usize) -> usize {
    (usize::BITS - (length | 1).leading_zeros()).div_ceil(7) as usize
}

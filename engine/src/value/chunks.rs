//! Long byte strings that are cheap to share and to change in one place.
//!
//! Lives here: a string as one buffer up to 16 KiB, above that as chunks of 16 KiB.
//! Not here: the 512 MiB limit of a string (the caller's), integers and small strings (`keyspace::entry`).
//!
//! Invariant: a clone shares everything; a change copies the touched chunks and, once, the list of chunks.
//! A chunk that was never written is absent and reads as zeros, so SETBIT far out costs no memory.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// Size of every chunk but the last.
pub const CHUNK_BYTES: usize = 16 * 1024;
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];
/// Two reference counts and a vector's three words, counted per shared buffer.
const SHARED_HEAD_BYTES: u64 = 40;

/// Byte string; see the head of this file.
#[derive(Clone)]
pub struct ChunkedBytes(Form);

#[derive(Clone)]
enum Form {
    Plain(Rc<Vec<u8>>),
    Chunks(Rc<Chunks>),
}

#[derive(Clone)]
struct Chunks {
    length: usize,
    /// All of `CHUNK_BYTES` but the last; `None` reads as zeros.
    chunks: Vec<Option<Rc<Vec<u8>>>>,
    /// Heap bytes of the chunks, without the list.
    content_bytes: u64,
}

impl ChunkedBytes {
    pub fn new() -> ChunkedBytes {
        ChunkedBytes::from(Vec::new())
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Plain(bytes) => bytes.len(),
            Form::Chunks(chunks) => chunks.length,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn append(&mut self, bytes: &[u8]) {
        self.write_at(self.len(), bytes);
    }

    /// Writes `bytes` from `offset` on; the string grows as needed, a gap reads as zeros.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset.checked_add(bytes.len()).expect("a string's end is far below the address space");
        if let Some(plain) = self.plain_up_to(end) {
            let kept = plain.len().min(offset);
            let overwritten = end.min(plain.len()).saturating_sub(kept);
            if offset > plain.len() {
                plain.resize(offset, 0);
            }
            let (over, new) = bytes.split_at(overwritten);
            plain[offset..offset + overwritten].copy_from_slice(over);
            plain.extend_from_slice(new);
            return;
        }
        let chunks = self.chunked();
        chunks.grow_to(end);
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = at % CHUNK_BYTES;
            let (part, next) = rest.split_at(rest.len().min(CHUNK_BYTES - within));
            chunks.change(at / CHUNK_BYTES, |chunk| chunk[within..within + part.len()].copy_from_slice(part));
            at += part.len();
            rest = next;
        }
    }

    /// The byte at `index`, `None` beyond the end.
    pub fn byte_at(&self, index: usize) -> Option<u8> {
        match &self.0 {
            Form::Plain(bytes) => bytes.get(index).copied(),
            Form::Chunks(chunks) if index < chunks.length => {
                Some(chunks.slice(index / CHUNK_BYTES)[index % CHUNK_BYTES])
            }
            Form::Chunks(_) => None,
        }
    }

    /// Sets one byte; beyond the end the string grows and the gap reads as zeros.
    pub fn set_byte(&mut self, index: usize, byte: u8) {
        self.write_at(index, &[byte]);
    }

    /// Appends the bytes of `range` to `out`; what lies beyond the end is left out.
    pub fn copy_range(&self, range: Range<usize>, out: &mut Vec<u8>) {
        let end = range.end.min(self.len());
        let mut at = range.start;
        while at < end {
            let (slice, within) = match &self.0 {
                Form::Plain(bytes) => (&bytes[..], at),
                Form::Chunks(chunks) => (chunks.slice(at / CHUNK_BYTES), at % CHUNK_BYTES),
            };
            let taken = (slice.len() - within).min(end - at);
            out.extend_from_slice(&slice[within..within + taken]);
            at += taken;
        }
    }

    /// The string's pieces in order; none is empty.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let count = match &self.0 {
            Form::Plain(bytes) => usize::from(!bytes.is_empty()),
            Form::Chunks(chunks) => chunks.chunks.len(),
        };
        (0..count).map(|index| match &self.0 {
            Form::Plain(bytes) => &bytes[..],
            Form::Chunks(chunks) => chunks.slice(index),
        })
    }

    /// Cuts the string to `length` bytes; a shorter one stays as it is.
    pub fn truncate(&mut self, length: usize) {
        if length >= self.len() {
            return;
        }
        match &mut self.0 {
            Form::Plain(bytes) => Rc::make_mut(bytes).truncate(length),
            Form::Chunks(chunks) => Rc::make_mut(chunks).cut_to(length),
        }
    }

    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.copy_range(0..self.len(), &mut bytes);
        bytes
    }

    /// Bytes on the heap, O(1). What is shared with a clone is counted in both.
    pub fn memory_bytes(&self) -> u64 {
        match &self.0 {
            Form::Plain(bytes) => SHARED_HEAD_BYTES + bytes.capacity() as u64,
            Form::Chunks(chunks) => {
                let list_bytes = chunks.chunks.capacity() * size_of::<Option<Rc<Vec<u8>>>>();
                SHARED_HEAD_BYTES + 16 + list_bytes as u64 + chunks.content_bytes
            }
        }
    }

    /// The one buffer, if the string has that form and may keep it at a length of `end`.
    fn plain_up_to(&mut self, end: usize) -> Option<&mut Vec<u8>> {
        match &mut self.0 {
            Form::Plain(bytes) if end <= CHUNK_BYTES => Some(Rc::make_mut(bytes)),
            _ => None,
        }
    }

    fn chunked(&mut self) -> &mut Chunks {
        if let Form::Plain(bytes) = &mut self.0 {
            let first = std::mem::take(Rc::make_mut(bytes));
            self.0 = Form::Chunks(Rc::new(Chunks::from_first(first)));
        }
        match &mut self.0 {
            Form::Chunks(chunks) => Rc::make_mut(chunks),
            Form::Plain(_) => unreachable!("the form was changed above"),
        }
    }
}

impl Chunks {
    fn from_first(first: Vec<u8>) -> Chunks {
        let mut chunks = Chunks { length: first.len(), chunks: Vec::new(), content_bytes: 0 };
        if !first.is_empty() {
            chunks.content_bytes = content_bytes(&first);
            chunks.chunks.push(Some(Rc::new(first)));
        }
        chunks
    }

    fn chunk_length(&self, index: usize) -> usize {
        (self.length - index * CHUNK_BYTES).min(CHUNK_BYTES)
    }

    fn slice(&self, index: usize) -> &[u8] {
        match &self.chunks[index] {
            Some(chunk) => chunk,
            None => &ZEROS[..self.chunk_length(index)],
        }
    }

    /// Changes one chunk, which is made present and our own first.
    fn change<R>(&mut self, index: usize, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let length = self.chunk_length(index);
        let chunk = &mut self.chunks[index];
        match chunk {
            Some(present) => self.content_bytes -= content_bytes(present),
            None => *chunk = Some(Rc::new(vec![0; length])),
        }
        let present = Rc::make_mut(chunk.as_mut().expect("made present above"));
        let result = change(present);
        self.content_bytes += content_bytes(present);
        result
    }

    fn grow_to(&mut self, length: usize) {
        if length <= self.length {
            return;
        }
        let last = self.chunks.len().checked_sub(1);
        let last_start = last.map_or(0, |index| index * CHUNK_BYTES);
        if let Some(index) = last.filter(|index| self.chunks[*index].is_some()) {
            let target = (length - last_start).min(CHUNK_BYTES);
            self.change(index, |chunk| {
                // Doubling would reserve up to 32 KiB for a chunk that never exceeds 16.
                if target > chunk.capacity() {
                    let wanted = (chunk.len() + chunk.len() / 4).clamp(target, CHUNK_BYTES);
                    chunk.reserve_exact(wanted - chunk.len());
                }
                chunk.resize(target, 0);
            });
        }
        self.length = length;
        self.chunks.resize(length.div_ceil(CHUNK_BYTES), None);
    }

    fn cut_to(&mut self, length: usize) {
        let count = length.div_ceil(CHUNK_BYTES);
        for chunk in self.chunks.drain(count..).flatten() {
            self.content_bytes -= content_bytes(&chunk);
        }
        self.length = length;
        if let Some(index) = count.checked_sub(1).filter(|index| self.chunks[*index].is_some()) {
            let kept = length - index * CHUNK_BYTES;
            self.change(index, |chunk| chunk.truncate(kept));
        }
    }
}

fn content_bytes(chunk: &Vec<u8>) -> u64 {
    SHARED_HEAD_BYTES + chunk.capacity() as u64
}

impl Default for ChunkedBytes {
    fn default() -> Self {
        ChunkedBytes::new()
    }
}

impl From<Vec<u8>> for ChunkedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.len() > CHUNK_BYTES {
            return ChunkedBytes::from(&bytes[..]);
        }
        ChunkedBytes(Form::Plain(Rc::new(bytes)))
    }
}

impl From<&[u8]> for ChunkedBytes {
    fn from(bytes: &[u8]) -> Self {
        if bytes.len() <= CHUNK_BYTES {
            return ChunkedBytes(Form::Plain(Rc::new(bytes.to_vec())));
        }
        let mut chunks = Chunks { length: bytes.len(), chunks: Vec::new(), content_bytes: 0 };
        chunks.chunks.reserve_exact(bytes.len().div_ceil(CHUNK_BYTES));
        for part in bytes.chunks(CHUNK_BYTES) {
            let part = part.to_vec();
            chunks.content_bytes += content_bytes(&part);
            chunks.chunks.push(Some(Rc::new(part)));
        }
        ChunkedBytes(Form::Chunks(Rc::new(chunks)))
    }
}

impl PartialEq for ChunkedBytes {
    fn eq(&self, other: &Self) -> bool {
        // Both forms cut at the same places, except that a plain one may meet chunks cut short.
        self.len() == other.len() && self.chunks().flatten().eq(other.chunks().flatten())
    }
}

impl Eq for ChunkedBytes {}

impl fmt::Debug for ChunkedBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ChunkedBytes({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize, u8),
        Write(usize, usize, u8),
        SetByte(usize, u8),
        Truncate(usize),
        Clone,
    }

    fn step() -> impl Strategy<Value = Step> {
        let offset = prop_oneof![0..200usize, 16_300..16_500usize, 0..100_000usize];
        let length = prop_oneof![0..100usize, 16_000..40_000usize];
        prop_oneof![
            (length.clone(), any::<u8>()).prop_map(|(n, byte)| Step::Append(n, byte)),
            (offset.clone(), length, any::<u8>()).prop_map(|(at, n, byte)| Step::Write(at, n, byte)),
            (offset.clone(), any::<u8>()).prop_map(|(at, byte)| Step::SetByte(at, byte)),
            offset.prop_map(Step::Truncate),
            Just(Step::Clone),
        ]
    }

    fn write(model: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if model.len() < offset + bytes.len() {
            model.resize(offset + bytes.len(), 0);
        }
        model[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn counted(bytes: &ChunkedBytes) -> u64 {
        match &bytes.0 {
            Form::Plain(_) => 0,
            Form::Chunks(chunks) => chunks.chunks.iter().flatten().map(|chunk| content_bytes(chunk)).sum(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn behaves_like_a_vector_and_clones_stand_apart(steps in vec(step(), 0..24)) {
            let (mut bytes, mut model) = (ChunkedBytes::new(), Vec::new());
            let mut clones: Vec<(ChunkedBytes, Vec<u8>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Append(n, byte) => {
                        bytes.append(&vec![byte; n]);
                        model.extend(std::iter::repeat_n(byte, n));
                    }
                    Step::Write(at, n, byte) => {
                        bytes.write_at(at, &vec![byte; n]);
                        write(&mut model, at, &vec![byte; n]);
                    }
                    Step::SetByte(at, byte) => {
                        bytes.set_byte(at, byte);
                        write(&mut model, at, &[byte]);
                    }
                    Step::Truncate(n) => {
                        bytes.truncate(n);
                        model.truncate(n);
                    }
                    Step::Clone => clones.push((bytes.clone(), model.clone())),
                }
                prop_assert_eq!(bytes.len(), model.len());
                prop_assert_eq!(&bytes.to_vec(), &model);
                prop_assert_eq!(bytes.byte_at(model.len()), None);
                if let Form::Chunks(chunks) = &bytes.0 {
                    prop_assert_eq!(chunks.content_bytes, counted(&bytes));
                }
                let middle = model.len() / 2;
                prop_assert_eq!(bytes.byte_at(middle), model.get(middle).copied());
                let mut part = Vec::new();
                bytes.copy_range(middle / 2..middle + 9, &mut part);
                prop_assert_eq!(&part[..], &model[middle / 2..(middle + 9).min(model.len())]);
            }
            for (clone, model) in clones {
                prop_assert_eq!(clone.to_vec(), model);
            }
        }
    }

    #[test]
    fn a_bit_far_out_costs_its_chunk_and_the_list() {
        let mut bytes = ChunkedBytes::from(&b"small"[..]);
        bytes.set_byte(512 * 1024 * 1024 - 1, 1);
        assert_eq!(bytes.len(), 512 * 1024 * 1024);
        assert!(bytes.memory_bytes() < 700_000, "{}", bytes.memory_bytes());
        assert_eq!(bytes.byte_at(1000), Some(0));
        assert_eq!(bytes.byte_at(4), Some(b'l'));
    }
}

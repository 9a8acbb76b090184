//! Numbers and strings of an RDB file, read from bytes of which more may come.
//!
//! Lives here: the cursor over what is there, lengths and strings in all their encodings.
//! Not here: opcodes and values (`loader`), packed forms (`pack`).
//!
//! Invariant: a step that finds too few bytes says how many it needs and has no effect.

use super::lzf;

/// No string is longer: a length above it is damage.
const STRING_BYTES_MAX: u64 = 1 << 40;

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// So many bytes from the cursor's start are needed to get on.
    Needs(usize),
    Damaged(&'static str),
}

pub type Read<T> = Result<T, Stop>;

/// What is there, and how far it was read.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A string as it stands in the file.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    Slice(&'a [u8]),
    Owned(Vec<u8>),
    Integer(i64),
}

impl Text<'_> {
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Text::Slice(bytes) => bytes.to_vec(),
            Text::Owned(bytes) => bytes.clone(),
            Text::Integer(integer) => integer.to_string().into_bytes(),
        }
    }

    /// Calls `then` with the bytes.
    pub fn with<R>(&self, then: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Text::Slice(bytes) => then(bytes),
            Text::Owned(bytes) => then(bytes),
            Text::Integer(integer) => {
                let mut digits = [0; 20];
                then(crate::number::integer::format(*integer, &mut digits))
            }
        }
    }
}

/// A length, or the encoding of a string that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Plain(u64),
    Special(u8),
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(Stop::Damaged("a length is beyond all bounds"))?;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::Needs(end))?;
        self.at = end;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    pub fn byte(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    pub fn length_or_special(&mut self) -> Read<Length> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3f);
        Ok(match first >> 6 {
            0 => Length::Plain(low),
            1 => Length::Plain(low << 8 | u64::from(self.byte()?)),
            3 => Length::Special(first & 0x3f),
            _ => match first {
                0x80 => Length::Plain(u32::from_be_bytes(self.array()?).into()),
                0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
                _ => return Err(Stop::Damaged("a length of unknown form")),
            },
        })
    }

    pub fn length(&mut self) -> Read<u64> {
        match self.length_or_special()? {
            Length::Plain(length) => Ok(length),
            Length::Special(_) => Err(Stop::Damaged("a string's encoding where a length must be")),
        }
    }

    pub fn string(&mut self) -> Read<Text<'a>> {
        match self.length_or_special()? {
            Length::Plain(length) => Ok(Text::Slice(self.take(bounded(length)?)?)),
            Length::Special(special) => self.special_string(special),
        }
    }

    /// The string whose encoding was just read.
    pub fn special_string(&mut self, special: u8) -> Read<Text<'a>> {
        Ok(match special {
            0 => Text::Integer(i8::from_le_bytes(self.array()?).into()),
            1 => Text::Integer(i16::from_le_bytes(self.array()?).into()),
            2 => Text::Integer(i32::from_le_bytes(self.array()?).into()),
            3 => {
                let compressed = self.length()?;
                let length = self.length()?;
                if !lzf::is_possible(compressed, length) {
                    return Err(Stop::Damaged("a compressed string of impossible length"));
                }
                let commands = self.take(bounded(compressed)?)?;
                let bytes = lzf::decompress(commands, bounded(length)?);
                Text::Owned(bytes.ok_or(Stop::Damaged("a string that cannot be decompressed"))?)
            }
            _ => return Err(Stop::Damaged("a string of unknown encoding")),
        })
    }

    /// Passes a string over.
    pub fn skip_string(&mut self) -> Read<()> {
        let bytes = match self.length_or_special()? {
            Length::Plain(length) => length,
            Length::Special(special @ 0..=2) => 1 << special,
            Length::Special(3) => {
                let compressed = self.length()?;
                self.length()?;
                compressed
            }
            Length::Special(_) => return Err(Stop::Damaged("a string of unknown encoding")),
        };
        self.take(bounded(bytes)?).map(|_| ())
    }
}

/// A string's length as a count of bytes in memory.
pub fn bounded(length: u64) -> Read<usize> {
    let length = Some(length).filter(|length| *length <= STRING_BYTES_MAX);
    length.and_then(|length| usize::try_from(length).ok()).ok_or(Stop::Damaged("a string is too long"))
}

//! Bits of strings: the group's slice of the table, SETBIT and GETBIT.
//!
//! Lives here: single bits, offsets of bits, and strings as pieces within a range.
//! Not here: counting and finding (`count`), combining (`operation`), fields of several bits (`field`).
//!
//! Invariant: no string is copied to read it, and what is logged are the bytes that changed. Bit 0 is the highest
//! bit of byte 0.

mod count;
mod field;
mod operation;

use crate::call::Call;
use crate::command::{Categories, Command, Flags, Keys, exactly};
use crate::error::{ErrorReply, Result};
use crate::number::integer;
use crate::value::{ChunkedBytes, StringRef};
use std::ops::Range;

const ACL: Categories = Categories::BITMAP;
const KEY: Keys = Keys::at(1);

pub const COMMANDS: &[Command] =
    &[SETBIT, GETBIT, count::BITCOUNT, count::BITPOS, operation::BITOP, field::BITFIELD, field::BITFIELD_RO];

const OFFSET: ErrorReply = ErrorReply::new("ERR bit offset is not an integer or out of range");
const BIT: ErrorReply = ErrorReply::new("ERR bit is not an integer or out of range");

const SETBIT: Command = Command::write("setbit", exactly(3), setbit)
    .keys(KEY, &["RW", "access", "update"])
    .flags(Flags::DENY_OOM)
    .acl(ACL)
    .group("bitmap")
    .doc(
        "2.2.0",
        "key offset value",
        "Sets or clears the bit at an offset of a string. The key is created if it doesn't exist.",
        "O(1)",
    );

fn setbit(call: &mut Call<'_>) -> Result {
    let offset = bit_offset(call, call.arg(2))?;
    let is_set = match integer::parse(call.arg(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(BIT),
    };
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    let (index, mask) = (offset / 8, 0x80u8 >> (offset % 8));
    let stored = string.get().and_then(|value| value.byte_at(index));
    let before = stored.unwrap_or(0);
    let after = if is_set { before | mask } else { before & !mask };
    // A byte beyond the end is written even as zero: the string grows up to it.
    if stored != Some(after) {
        string.write_at(index, &[after]);
    }
    call.reply.integer(i64::from(before & mask != 0));
    Ok(())
}

const GETBIT: Command = Command::read("getbit", exactly(2), getbit)
    .keys(KEY, &["RO", "access"])
    .fast()
    .acl(ACL)
    .group("bitmap")
    .doc("2.2.0", "key offset", "Returns the bit at an offset of a string.", "O(1)");

fn getbit(call: &mut Call<'_>) -> Result {
    let offset = bit_offset(call, call.arg(2))?;
    let string = call.engine.data.read_string(call.args.get(1))?;
    let byte = string.and_then(|string| string.byte_at(offset / 8)).unwrap_or(0);
    call.reply.integer(i64::from(byte << (offset % 8) >> 7));
    Ok(())
}

/// A bit's offset whose byte lies within the limit on strings.
fn bit_offset(call: &Call<'_>, text: &[u8]) -> Result<usize> {
    let offset = integer::parse(text).ok_or(OFFSET)?;
    checked_offset(call, offset)
}

fn checked_offset(call: &Call<'_>, offset: i64) -> Result<usize> {
    let offset = usize::try_from(offset).map_err(|_| OFFSET)?;
    let bytes_max = call.engine.config.settings().bulk_bytes_max;
    if (offset / 8) as u64 >= bytes_max { Err(OFFSET) } else { Ok(offset) }
}

/// The pieces of a string that lie within `range` of its bytes, each with the position of its first byte.
/// `digits` is where the text of an integer is put.
fn pieces<'a>(
    string: StringRef<'a>,
    range: Range<usize>,
    digits: &'a mut [u8; 20],
) -> impl Iterator<Item = (usize, &'a [u8])> {
    let (plain, chunks): (Option<&[u8]>, Option<&ChunkedBytes>) = match string {
        StringRef::Integer(value) => (Some(integer::format(value, digits)), None),
        StringRef::Bytes(bytes) => (Some(bytes), None),
        StringRef::Chunks(chunks) => (None, Some(chunks)),
    };
    let all = plain.into_iter().chain(chunks.into_iter().flat_map(ChunkedBytes::chunks));
    let mut next = 0;
    let placed = all.map(move |piece| {
        let start = next;
        next += piece.len();
        (start, piece)
    });
    let (from, end) = (range.start, range.end);
    placed.take_while(move |(start, _)| *start < end).filter_map(move |(start, piece)| {
        let first = from.saturating_sub(start);
        let last = (end - start).min(piece.len());
        (first < last).then(|| (start + first, &piece[first..last]))
    })
}

#[cfg(test)]
mod tests;

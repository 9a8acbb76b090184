//! Counting and finding bits: BITCOUNT and BITPOS.

use super::{ACL, KEY, pieces};
use crate::call::Call;
use crate::command::{Command, at_least};
use crate::commands::string::clamp;
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::value::StringRef;
use std::ops::Range;

const NO_BIT: ErrorReply = ErrorReply::new("ERR The bit argument must be 1 or 0.");

/// What start and end of a range count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Bits,
}

impl Unit {
    fn of(call: &Call<'_>, index: usize) -> Result<Unit> {
        if call.is_word(index, "BIT") {
            Ok(Unit::Bits)
        } else if call.is_word(index, "BYTE") {
            Ok(Unit::Bytes)
        } else {
            Err(SYNTAX)
        }
    }
}

/// A range as the client gave it.
struct Asked {
    start: i64,
    end: Option<i64>,
    unit: Unit,
}

impl Asked {
    /// Reads `[start [end [BYTE | BIT]]]` from argument `index` to the last.
    fn read(call: &Call<'_>, index: usize) -> Result<Asked> {
        let count = call.args.len() - index;
        if count > 3 {
            return Err(SYNTAX);
        }
        let start = if count > 0 { call.integer(index)? } else { 0 };
        let unit = if count > 2 { Unit::of(call, index + 2)? } else { Unit::Bytes };
        let end = if count > 1 { Some(call.integer(index + 1)?) } else { None };
        Ok(Asked { start, end, unit })
    }

    /// The bits meant in a string of so many bytes, cut by `clamp`; `None` when there are none.
    fn bits(
        &self,
        length_bytes: usize,
        clamp: fn(i64, i64, usize) -> Option<Range<usize>>,
    ) -> Option<Range<usize>> {
        let end = self.end.unwrap_or(-1);
        match self.unit {
            Unit::Bits => clamp(self.start, end, length_bytes * 8),
            Unit::Bytes => clamp(self.start, end, length_bytes).map(|range| range.start * 8..range.end * 8),
        }
    }
}

pub const BITCOUNT: Command = Command::read("bitcount", at_least(1), bitcount)
    .keys(KEY, &["RO", "access"])
    .acl(ACL)
    .group("bitmap")
    .doc("2.6.0", "key [start [end [<BYTE | BIT>]]]", "Counts the bits that are set in a string.", "O(N)");

fn bitcount(call: &mut Call<'_>) -> Result {
    let asked = Asked::read(call, 2)?;
    let string = call.engine.data.read_string(call.args.get(1))?;
    let count = string.and_then(|string| Some(count_ones(string, asked.bits(string.len(), clamp)?)));
    call.reply.integer(count.unwrap_or(0) as i64);
    Ok(())
}

/// Number of ones among some bits of a string, one at least, all within it.
fn count_ones(string: StringRef<'_>, bits: Range<usize>) -> u64 {
    let mut digits = [0; 20];
    let bytes = bits.start / 8..bits.end.div_ceil(8);
    let whole: u64 = pieces(string, bytes, &mut digits).map(|(_, piece)| ones(piece)).sum();
    // The outer bytes were counted whole: what stands in them before and behind the bits goes again.
    let before = match bits.start % 8 {
        0 => 0,
        skipped => string.byte_at(bits.start / 8).unwrap_or(0) >> (8 - skipped),
    };
    let behind = match bits.end % 8 {
        0 => 0,
        kept => string.byte_at(bits.end / 8).unwrap_or(0) << kept,
    };
    whole - u64::from(before.count_ones() + behind.count_ones())
}

fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

pub const BITPOS: Command =
    Command::read("bitpos", at_least(2), bitpos).keys(KEY, &["RO", "access"]).acl(ACL).group("bitmap").doc(
        "2.8.7",
        "key bit [start [end [<BYTE | BIT>]]]",
        "Finds the first bit of a string that is set, or clear.",
        "O(N)",
    );

fn bitpos(call: &mut Call<'_>) -> Result {
    let is_set = match call.integer(2)? {
        0 => false,
        1 => true,
        _ => return Err(NO_BIT),
    };
    let asked = Asked::read(call, 3)?;
    let position = match call.engine.data.read_string(call.args.get(1))? {
        // A string that is not there is zeros without an end.
        None => (!is_set).then_some(0),
        Some(string) => asked.bits(string.len(), clamp_each).and_then(|bits| {
            let behind = bits.end;
            // Without an end the zeros that follow every string count too.
            find(string, bits, is_set).or((!is_set && asked.end.is_none()).then_some(behind))
        }),
    };
    call.reply.integer(position.map_or(-1, |position| position as i64));
    Ok(())
}

/// A range whose ends each count from the end of the string when negative, and from its start when that is
/// still before it. Unlike BITCOUNT, BITPOS finds something between -1 and -2 in a string of one byte.
fn clamp_each(start: i64, end: i64, length: usize) -> Option<Range<usize>> {
    let length = length as i64;
    let from_start = |index: i64| if index < 0 { index.saturating_add(length).max(0) } else { index };
    let (start, end) = (from_start(start), from_start(end).min(length - 1));
    (start <= end).then(|| start as usize..end as usize + 1)
}

/// The first bit of this kind among some bits of a string.
fn find(string: StringRef<'_>, bits: Range<usize>, is_set: bool) -> Option<usize> {
    let passed = if is_set { 0x00 } else { 0xff };
    let mut digits = [0; 20];
    let bytes = bits.start / 8..bits.end.div_ceil(8);
    for (start, piece) in pieces(string, bytes, &mut digits) {
        let mut at = 0;
        while let Some(skipped) = first_other(&piece[at..], passed) {
            at += skipped;
            let mut candidates = piece[at] ^ passed;
            if start + at == bits.start / 8 {
                candidates &= 0xff >> (bits.start % 8);
            }
            if candidates != 0 {
                let position = (start + at) * 8 + candidates.leading_zeros() as usize;
                return (position < bits.end).then_some(position);
            }
            at += 1;
        }
    }
    None
}

/// Position of the first byte that is another than `passed`.
fn first_other(bytes: &[u8], passed: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let same = [passed; 8];
    let start = words.iter().position(|word| *word != same).map_or(bytes.len() - rest.len(), |word| word * 8);
    bytes[start..].iter().position(|byte| *byte != passed).map(|within| start + within)
}

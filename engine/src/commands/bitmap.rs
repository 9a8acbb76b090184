//! Bits of strings: SETBIT, GETBIT, BITCOUNT.

use crate::call::Call;
use crate::command::{Categories, Command, Flags, Keys, at_least, exactly};
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::number::integer;
use crate::value::StringRef;

pub const COMMANDS: &[Command] = &[
    Command::write("setbit", exactly(3), set_bit)
        .keys(Keys::at(1), &["RW", "access", "update"])
        .flags(Flags::DENY_OOM)
        .acl(Categories::BITMAP)
        .group("bitmap")
        .doc("2.2.0", "key offset value", "Sets or clears the bit at an offset of a string.", "O(1)"),
    Command::read("getbit", exactly(2), get_bit)
        .keys(Keys::at(1), &["RO", "access"])
        .fast()
        .acl(Categories::BITMAP)
        .group("bitmap")
        .doc("2.2.0", "key offset", "Returns a bit of a string by its offset.", "O(1)"),
    Command::read("bitcount", at_least(1), bit_count)
        .keys(Keys::at(1), &["RO", "access"])
        .acl(Categories::BITMAP)
        .group("bitmap")
        .doc("2.6.0", "key [start [end [BYTE | BIT]]]", "Counts the set bits of a string.", "O(N)"),
];

const BAD_OFFSET: ErrorReply = ErrorReply::new("ERR bit offset is not an integer or out of range");
const BAD_BIT: ErrorReply = ErrorReply::new("ERR bit is not an integer or out of range");

/// A bit's offset: its byte must be one a string may have.
fn bit_offset(call: &Call<'_>, index: usize) -> Result<usize> {
    let offset = integer::parse(call.arg(index)).and_then(|offset| usize::try_from(offset).ok());
    let limit = call.engine.config.settings().bulk_bytes_max;
    offset.filter(|offset| ((offset >> 3) as u64) < limit).ok_or(BAD_OFFSET)
}

fn bit_of(byte: u8, offset: usize) -> bool {
    byte >> (7 - (offset & 7)) & 1 == 1
}

fn set_bit(call: &mut Call<'_>) -> Result {
    let offset = bit_offset(call, 2)?;
    let bit = match integer::parse(call.arg(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(BAD_BIT),
    };
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    let place = offset >> 3;
    let found = string.get().and_then(|value| value.byte_at(place));
    let byte = found.unwrap_or(0);
    let before = bit_of(byte, offset);
    if before != bit || found.is_none() {
        let mask = 1 << (7 - (offset & 7));
        let after = if bit { byte | mask } else { byte & !mask };
        string.write_at(place, &[after]);
    }
    call.reply.integer(i64::from(before));
    Ok(())
}

fn get_bit(call: &mut Call<'_>) -> Result {
    let offset = bit_offset(call, 2)?;
    let string = call.engine.data.read_string(call.args.get(1))?;
    let byte = string.and_then(|string| string.byte_at(offset >> 3)).unwrap_or(0);
    call.reply.integer(i64::from(bit_of(byte, offset)));
    Ok(())
}

fn bit_count(call: &mut Call<'_>) -> Result {
    let start = if call.args.len() > 2 { call.integer(2)? } else { 0 };
    let end = if call.args.len() > 3 { call.integer(3)? } else { -1 };
    let is_bits = match call.args.len() {
        2..=4 => false,
        5 if call.is_word(4, "BIT") => true,
        5 if call.is_word(4, "BYTE") => false,
        _ => return Err(SYNTAX),
    };
    let count = match call.engine.data.read_string(call.args.get(1))? {
        Some(string) => count_bits(string, start, end, is_bits),
        None => 0,
    };
    call.reply.integer(count);
    Ok(())
}

/// Set bits between two places, both included; negative ones count from the end.
fn count_bits(string: StringRef<'_>, start: i64, end: i64, is_bits: bool) -> i64 {
    let units = string.len() as i64 * if is_bits { 8 } else { 1 };
    if start < 0 && end < 0 && start > end {
        return 0;
    }
    let from_end = |index: i64| if index < 0 { index.saturating_add(units).max(0) } else { index };
    let (start, end) = (from_end(start), from_end(end).min(units - 1));
    if start > end {
        return 0;
    }
    let scale = if is_bits { 1 } else { 8 };
    let (first, last) = (start as usize * scale, end as usize * scale + scale - 1);
    let mut count = 0;
    let mut at = 0usize;
    string.for_each_part(|part| {
        let (part_start, part_end) = (at, at + part.len());
        at = part_end;
        let from = (first >> 3).clamp(part_start, part_end) - part_start;
        let to = ((last >> 3) + 1).clamp(part_start, part_end) - part_start;
        count += part[from..to].iter().map(|byte| i64::from(byte.count_ones())).sum::<i64>();
    });
    // Bits of the first and last byte that lie outside.
    let edge = |place: usize, mask: u8| {
        string.byte_at(place).map_or(0, |byte| i64::from((byte & mask).count_ones()))
    };
    let before = (0xff00u16 >> (first & 7)) as u8;
    let behind = (0x7fu32 >> (last & 7)) as u8;
    count - edge(first >> 3, before) - edge(last >> 3, behind)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn bits_are_set_read_and_counted() {
        check(
            "
            > SETBIT b 7 1
            (integer) 0
            > SETBIT b 7 1
            (integer) 1
            > GETBIT b 7
            (integer) 1
            > GETBIT b 100
            (integer) 0
            > SETBIT b -1 1
            (error) ERR bit offset is not an integer or out of range
            > SETBIT b 1 2
            (error) ERR bit is not an integer or out of range
            > SET s foobar
            OK
            > BITCOUNT s
            (integer) 26
            > BITCOUNT s 0 0
            (integer) 4
            > BITCOUNT s 1 1
            (integer) 6
            > BITCOUNT s 1
            (integer) 22
            > BITCOUNT s 5 30 BIT
            (integer) 17
            > BITCOUNT s 0 0 FOO
            (error) ERR syntax error
            > BITCOUNT nope
            (integer) 0
            ",
        );
    }

    #[test]
    fn a_bit_in_a_large_string_is_a_small_effect() {
        let mut bench = Bench::new();
        bench.check("> SETBIT b 8388607 0\n(integer) 0");
        let before = bench.effects_bytes;
        bench.check("> SETBIT b 4194304 1\n(integer) 0");
        assert!(bench.effects_bytes - before < 100);
    }
}

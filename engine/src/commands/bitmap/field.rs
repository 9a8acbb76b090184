//! BITFIELD and BITFIELD_RO: integers of 1 to 64 bits at any offset of a string.
//!
//! Invariant: all operations are read and checked before the first one runs.

use super::{ACL, KEY, OFFSET, checked_offset};
use crate::call::Call;
use crate::command::{Command, Flags, at_least};
use crate::data::StringHandle;
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::number::integer;
use crate::resp::Reply;
use crate::value::StringRef;

const NO_TYPE: ErrorReply = ErrorReply::new(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
);
const NO_OVERFLOW: ErrorReply = ErrorReply::new("ERR Invalid OVERFLOW type specified");
const ONLY_GET: ErrorReply = ErrorReply::new("ERR BITFIELD_RO only supports the GET subcommand");

/// One write per operation, each with the key: together more than the arguments.
pub const BITFIELD: Command = Command::write("bitfield", at_least(1), bitfield)
    .keys(KEY, &["RW", "access", "update", "variable_flags"])
    .flags(Flags::DENY_OOM.with(Flags::MAY_OUTGROW))
    .acl(ACL)
    .group("bitmap")
    .doc(
        "3.2.0",
        "key [<GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment>> [<GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment>> ...]]",
        "Reads and changes integers of any width within a string.",
        "O(1) for each subcommand specified",
    );

pub const BITFIELD_RO: Command = Command::read("bitfield_ro", at_least(1), bitfield_ro)
    .keys(KEY, &["RO", "access"])
    .fast()
    .acl(ACL)
    .group("bitmap")
    .doc(
        "6.0.0",
        "key [GET encoding offset [GET encoding offset ...]]",
        "Reads integers of any width within a string.",
        "O(1) for each subcommand specified",
    );

/// What happens to a value that does not fit its field.
#[derive(Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    Increment(i64),
}

/// Where a field stands and how it reads.
#[derive(Clone, Copy)]
struct Field {
    is_signed: bool,
    bits: usize,
    /// Of its first bit.
    offset: usize,
}

struct Operation {
    field: Field,
    action: Action,
    overflow: Overflow,
}

fn bitfield(call: &mut Call<'_>) -> Result {
    let operations = operations(call)?;
    let written = operations.iter().filter(|operation| !matches!(operation.action, Action::Get));
    match written.map(|operation| operation.field.end_byte()).max() {
        None => get_all(call, &operations),
        Some(length) => run_all(call, &operations, length),
    }
}

fn bitfield_ro(call: &mut Call<'_>) -> Result {
    let operations = operations(call)?;
    if operations.iter().any(|operation| !matches!(operation.action, Action::Get)) {
        return Err(ONLY_GET);
    }
    get_all(call, &operations)
}

fn operations(call: &Call<'_>) -> Result<Vec<Operation>> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut index = 2;
    while index < call.args.len() {
        let rest = call.args.len() - index - 1;
        if call.is_word(index, "OVERFLOW") && rest >= 1 {
            overflow = overflow_of(call, index + 1)?;
            index += 2;
            continue;
        }
        let words = if call.is_word(index, "GET") { 2 } else { 3 };
        let is_known = words == 2 || call.is_word(index, "SET") || call.is_word(index, "INCRBY");
        if !is_known || rest < words {
            return Err(SYNTAX);
        }
        let field = Field::read(call, index + 1)?;
        let action = if words == 2 {
            Action::Get
        } else if call.is_word(index, "SET") {
            Action::Set(call.integer(index + 3)?)
        } else {
            Action::Increment(call.integer(index + 3)?)
        };
        operations.push(Operation { field, action, overflow });
        index += words + 1;
    }
    Ok(operations)
}

fn overflow_of(call: &Call<'_>, index: usize) -> Result<Overflow> {
    if call.is_word(index, "WRAP") {
        Ok(Overflow::Wrap)
    } else if call.is_word(index, "SAT") {
        Ok(Overflow::Saturate)
    } else if call.is_word(index, "FAIL") {
        Ok(Overflow::Fail)
    } else {
        Err(NO_OVERFLOW)
    }
}

fn get_all(call: &mut Call<'_>, operations: &[Operation]) -> Result {
    let string = call.engine.data.read_string(call.args.get(1))?.unwrap_or(StringRef::Bytes(b""));
    call.reply.array(operations.len());
    for operation in operations {
        let field = operation.field;
        call.reply.integer(field.value(Window::read(string, field).bits(field)));
    }
    Ok(())
}

/// Runs operations of which some write up to byte `length`: so long the string becomes at least.
fn run_all(call: &mut Call<'_>, operations: &[Operation], length: usize) -> Result {
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    let is_lengthened = string.len() < length;
    if is_lengthened {
        string.write_at(length - 1, &[0]);
    }
    call.reply.array(operations.len());
    let mut unchanged = 0;
    for operation in operations {
        unchanged += u64::from(operation.run(&mut string, call.reply) == Some(Written::Same));
    }
    if is_lengthened {
        // As Redis counts them: not the lengthening, but every operation that wrote.
        call.engine.data.recount_changes(1, unchanged);
    }
    Ok(())
}

/// What an operation that was not refused did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Same,
    Other,
}

impl Operation {
    /// Gives none where nothing was to be written.
    fn run(&self, string: &mut StringHandle<'_>, reply: &mut Reply) -> Option<Written> {
        let field = self.field;
        let window = Window::read(string.get().unwrap_or(StringRef::Bytes(b"")), field);
        let before = field.value(window.bits(field));
        let wanted = match self.action {
            Action::Get => {
                reply.integer(before);
                return None;
            }
            Action::Set(value) => field.given(value, self.overflow),
            Action::Increment(by) => i128::from(before) + i128::from(by),
        };
        let Some(after) = field.fit(wanted, self.overflow) else {
            reply.null();
            return None;
        };
        let changed = window.with_bits(field, after);
        let difference = window.difference(&changed);
        if let Some((offset, bytes)) = difference {
            string.write_at(offset, bytes);
        }
        reply.integer(if let Action::Set(_) = self.action { before } else { field.value(after) });
        Some(if difference.is_some() { Written::Other } else { Written::Same })
    }
}

impl Field {
    /// Reads type and offset from arguments `index` and the next.
    fn read(call: &Call<'_>, index: usize) -> Result<Field> {
        let (is_signed, width) = match call.arg(index) {
            [b'i', width @ ..] => (true, width),
            [b'u', width @ ..] => (false, width),
            _ => return Err(NO_TYPE),
        };
        let bits_max = if is_signed { 64 } else { 63 };
        let bits = integer::parse(width).filter(|bits| (1..=bits_max).contains(bits)).ok_or(NO_TYPE)?;
        let offset = match call.arg(index + 1) {
            [b'#', number @ ..] => integer::parse(number).and_then(|number| number.checked_mul(bits)),
            number => integer::parse(number),
        };
        let offset = checked_offset(call, offset.ok_or(OFFSET)?)?;
        Ok(Field { is_signed, bits: bits as usize, offset })
    }

    /// Number of bytes that a string needs to hold the field.
    fn end_byte(self) -> usize {
        (self.offset + self.bits).div_ceil(8)
    }

    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// The number that these bits are.
    fn value(self, bits: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.is_signed { bits.cast_signed() << unused >> unused } else { bits.cast_signed() }
    }

    /// A number given to SET: an unsigned field takes a negative one as 64 bits without a sign. A signed field
    /// that saturates takes one as too high whose distance from the highest overflows 64 bits, as Redis does.
    fn given(self, value: i64, overflow: Overflow) -> i128 {
        if !self.is_signed {
            return i128::from(value.cast_unsigned());
        }
        let high = i64::MAX >> (64 - self.bits);
        let is_too_far = self.bits < 64 && high.checked_sub(value).is_none();
        i128::from(if is_too_far && matches!(overflow, Overflow::Saturate) { high } else { value })
    }

    /// The bits that stand for `value`, `None` when it does not fit and that is to fail.
    fn fit(self, value: i128, overflow: Overflow) -> Option<u64> {
        let values = 1i128 << self.bits;
        let low = if self.is_signed { -values / 2 } else { 0 };
        let high = low + values - 1;
        let fitting = match overflow {
            Overflow::Saturate => value.clamp(low, high),
            Overflow::Fail if value < low || value > high => return None,
            Overflow::Wrap | Overflow::Fail => value,
        };
        Some(fitting as u64 & self.mask())
    }
}

/// The bytes that a field touches, as one number whose last byte is the field's last.
struct Window {
    start: usize,
    length: usize,
    bytes: [u8; 16],
}

impl Window {
    fn read(string: StringRef<'_>, field: Field) -> Window {
        let (start, end) = (field.offset / 8, field.end_byte());
        let mut window = Window { start, length: end - start, bytes: [0; 16] };
        for (byte, index) in window.bytes[16 - (end - start)..].iter_mut().zip(start..) {
            *byte = string.byte_at(index).unwrap_or(0);
        }
        window
    }

    /// Bits behind the field.
    fn shift(&self, field: Field) -> usize {
        (self.start + self.length) * 8 - field.offset - field.bits
    }

    fn bits(&self, field: Field) -> u64 {
        (u128::from_be_bytes(self.bytes) >> self.shift(field)) as u64 & field.mask()
    }

    fn with_bits(&self, field: Field, bits: u64) -> Window {
        let shift = self.shift(field);
        let others = u128::from_be_bytes(self.bytes) & !(u128::from(field.mask()) << shift);
        Window { bytes: (others | u128::from(bits) << shift).to_be_bytes(), ..*self }
    }

    /// The bytes of `after` that are others than here, with the position of the first in the string.
    fn difference<'w>(&self, after: &'w Window) -> Option<(usize, &'w [u8])> {
        let is_other = |index: &usize| self.bytes[*index] != after.bytes[*index];
        let first = (0..16).find(is_other)?;
        let last = (0..16).rfind(is_other)?;
        Some((self.start + first - (16 - self.length), &after.bytes[first..=last]))
    }
}

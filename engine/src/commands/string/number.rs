//! Numbers in strings: the INCR family.
//!
//! Invariant: the deadline of the key stays.

use super::{ACL, KEY};
use crate::call::Call;
use crate::command::{Command, Flags, exactly};
use crate::effect::Expiry;
use crate::error::{ErrorReply, NOT_A_FLOAT, NOT_AN_INTEGER, OVERFLOW, Result};
use crate::number::extended::Extended;

const DECREMENT_OVERFLOW: ErrorReply = ErrorReply::new("ERR decrement would overflow");
const NOT_FINITE: ErrorReply = ErrorReply::new("ERR increment would produce NaN or Infinity");

const fn counter(command: Command) -> Command {
    command.keys(KEY, &["RW", "access", "update"]).flags(Flags::DENY_OOM).fast().acl(ACL).group("string")
}

pub const INCR: Command = counter(Command::write("incr", exactly(1), incr)).doc(
    "1.0.0",
    "key",
    "Increments the integer value of a key by one.",
    "O(1)",
);

fn incr(call: &mut Call<'_>) -> Result {
    increment(call, 1)
}

pub const INCRBY: Command = counter(Command::write("incrby", exactly(2), incrby)).doc(
    "1.0.0",
    "key increment",
    "Increments the integer value of a key by a number.",
    "O(1)",
);

fn incrby(call: &mut Call<'_>) -> Result {
    let by = call.integer(2)?;
    increment(call, by)
}

pub const DECR: Command = counter(Command::write("decr", exactly(1), decr)).doc(
    "1.0.0",
    "key",
    "Decrements the integer value of a key by one.",
    "O(1)",
);

fn decr(call: &mut Call<'_>) -> Result {
    increment(call, -1)
}

pub const DECRBY: Command = counter(Command::write("decrby", exactly(2), decrby)).doc(
    "1.0.0",
    "key decrement",
    "Decrements the integer value of a key by a number.",
    "O(1)",
);

fn decrby(call: &mut Call<'_>) -> Result {
    let by = call.integer(2)?.checked_neg().ok_or(DECREMENT_OVERFLOW)?;
    increment(call, by)
}

fn increment(call: &mut Call<'_>, by: i64) -> Result {
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    let before = match string.get() {
        Some(value) => value.parse_integer().ok_or(NOT_AN_INTEGER)?,
        None => 0,
    };
    let after = before.checked_add(by).ok_or(OVERFLOW)?;
    string.set_integer(after);
    call.reply.integer(after);
    Ok(())
}

/// The sum of two numbers with large exponents has thousands of digits: it may outgrow its arguments.
pub const INCRBYFLOAT: Command = counter(Command::write("incrbyfloat", exactly(2), incrbyfloat))
    .flags(Flags::MAY_OUTGROW)
    .doc("2.6.0", "key increment", "Increments the floating point value of a key by a number.", "O(1)");

fn incrbyfloat(call: &mut Call<'_>) -> Result {
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    let before = match string.get() {
        Some(value) if value.len() > TEXT_BYTES_MAX => return Err(NOT_A_FLOAT),
        Some(value) => parse(&value.to_vec()).ok_or(NOT_A_FLOAT)?,
        None => Extended::ZERO,
    };
    let by = parse(call.args.get(2)).ok_or(NOT_A_FLOAT)?;
    let after = before.add(by);
    if !after.is_finite() {
        return Err(NOT_FINITE);
    }
    let mut text = Vec::new();
    after.format(&mut text);
    string.set(&text, Expiry::Keep);
    call.reply.bulk(&text);
    Ok(())
}

/// The number that a text is.
fn parse(text: &[u8]) -> Option<Extended> {
    if text.len() > TEXT_BYTES_MAX { None } else { Extended::parse(text) }
}

/// Longer texts are no numbers. Source: the buffer that Redis reads them into.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;

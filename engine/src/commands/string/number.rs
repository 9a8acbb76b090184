//! Strings as numbers: INCR and its kin, and INCRBYFLOAT in 80 bits.

use crate::call::Call;
use crate::command::{Categories, Command, Flags, Handler, Keys, exactly};
use crate::effect::Expiry;
use crate::error::{ErrorReply, NOT_A_FLOAT, NOT_AN_INTEGER, OVERFLOW, Result};
use crate::number::extended::Extended;

const fn number(name: &'static str, arity: i16, handler: Handler) -> Command {
    Command::write(name, arity, handler)
        .keys(Keys::at(1), &["RW", "access", "update"])
        .flags(Flags::DENY_OOM)
        .fast()
        .acl(Categories::STRING)
        .group("string")
}

pub(super) const INCR: Command = number("incr", exactly(1), incr).doc(
    "1.0.0",
    "key",
    "Increments the integer value of a key by one.",
    "O(1)",
);
pub(super) const DECR: Command = number("decr", exactly(1), decr).doc(
    "1.0.0",
    "key",
    "Decrements the integer value of a key by one.",
    "O(1)",
);
pub(super) const INCRBY: Command = number("incrby", exactly(2), incr_by).doc(
    "1.0.0",
    "key increment",
    "Increments the integer value of a key by a number.",
    "O(1)",
);
pub(super) const DECRBY: Command = number("decrby", exactly(2), decr_by).doc(
    "1.0.0",
    "key decrement",
    "Decrements the integer value of a key by a number.",
    "O(1)",
);
pub(super) const INCRBYFLOAT: Command = number("incrbyfloat", exactly(2), incr_by_float).doc(
    "2.6.0",
    "key increment",
    "Increments the floating point value of a key by a number.",
    "O(1)",
);

const DECREMENT_OVERFLOW: ErrorReply = ErrorReply::new("ERR decrement would overflow");
const NOT_FINITE: ErrorReply = ErrorReply::new("ERR increment would produce NaN or Infinity");

fn incr(call: &mut Call<'_>) -> Result {
    increment(call, 1)
}

fn decr(call: &mut Call<'_>) -> Result {
    increment(call, -1)
}

fn incr_by(call: &mut Call<'_>) -> Result {
    let by = call.integer(2)?;
    increment(call, by)
}

fn decr_by(call: &mut Call<'_>) -> Result {
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

fn incr_by_float(call: &mut Call<'_>) -> Result {
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    let before = match string.get() {
        Some(value) => Extended::parse(&value.to_vec()).ok_or(NOT_A_FLOAT)?,
        None => Extended::from_integer(0),
    };
    let by = Extended::parse(call.args.get(2)).ok_or(NOT_A_FLOAT)?;
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

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn numbers_are_counted_without_overflow() {
        check(
            "
            > INCR n
            (integer) 1
            > DECRBY n 3
            (integer) -2
            > DECR n
            (integer) -3
            > INCRBY n 9223372036854775807
            (integer) 9223372036854775804
            > INCRBY n 9223372036854775807
            (error) ERR increment or decrement would overflow
            > DECRBY n -9223372036854775808
            (error) ERR decrement would overflow
            > SET t abc
            OK
            > INCR t
            (error) ERR value is not an integer or out of range
            > INCRBY n 1.5
            (error) ERR value is not an integer or out of range
            ",
        );
    }

    #[test]
    fn floats_are_added_in_eighty_bits() {
        check(
            "
            > SET f 0.1
            OK
            > INCRBYFLOAT f 0.2
            \"0.3\"
            > SET f 0
            OK
            > INCRBYFLOAT f 123456.789
            \"123456.78900000000000148\"
            > INCRBYFLOAT f abc
            (error) ERR value is not a valid float
            > SET f 1e4932 EX 100
            OK
            > TTL f
            (integer) 100
            ",
        );
    }
}

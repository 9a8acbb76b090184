//! HINCRBY and HINCRBYFLOAT: numbers in fields.

use crate::call::Call;
use crate::error::{ErrorReply, NOT_A_FLOAT, OVERFLOW, Result};
use crate::number::extended::Extended;
use crate::number::integer;

const FIELD_NOT_AN_INTEGER: ErrorReply = ErrorReply::new("ERR hash value is not an integer");

pub fn hincrby(call: &mut Call<'_>) -> Result {
    let by = call.integer(3)?;
    let field = call.arg(2);
    let mut hash = call.engine.data.entry(call.args.get(1)).hash()?;
    let before = match hash.get().and_then(|hash| hash.get(field)) {
        Some(value) => value.parse_integer().ok_or(FIELD_NOT_AN_INTEGER)?,
        None => 0,
    };
    let after = before.checked_add(by).ok_or(OVERFLOW)?;
    hash.set(field, integer::format(after, &mut [0; 20]));
    call.reply.integer(after);
    Ok(())
}

const FIELD_NOT_A_FLOAT: ErrorReply = ErrorReply::new("ERR hash value is not a float");
const INCREMENT_NOT_FINITE: ErrorReply = ErrorReply::new("ERR value is NaN or Infinity");
const SUM_NOT_FINITE: ErrorReply = ErrorReply::new("ERR increment would produce NaN or Infinity");

pub fn hincrbyfloat(call: &mut Call<'_>) -> Result {
    let by = Extended::parse(call.arg(3)).ok_or(NOT_A_FLOAT)?;
    if !by.is_finite() {
        return Err(INCREMENT_NOT_FINITE);
    }
    let field = call.arg(2);
    let mut hash = call.engine.data.entry(call.args.get(1)).hash()?;
    let before = match hash.get().and_then(|hash| hash.get(field)) {
        Some(value) => Extended::parse(&value.to_vec()).ok_or(FIELD_NOT_A_FLOAT)?,
        None => Extended::from_integer(0),
    };
    let after = before.add(by);
    if !after.is_finite() {
        return Err(SUM_NOT_FINITE);
    }
    let mut text = Vec::new();
    after.format(&mut text);
    hash.set(field, &text);
    call.reply.bulk(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn floats_in_fields_are_added_in_80_bits() {
        check(
            r#"
            > HINCRBYFLOAT h f 0.1
            "0.1"
            > HINCRBYFLOAT h f 0.2
            "0.3"
            > HINCRBYFLOAT h f abc
            (error) ERR value is not a valid float
            > HINCRBYFLOAT h f inf
            (error) ERR value is NaN or Infinity
            > HSET h t text
            (integer) 1
            > HINCRBYFLOAT h t 1
            (error) ERR hash value is not a float
            "#,
        );
    }

    #[test]
    fn integers_in_fields_are_counted_within_64_bits() {
        check(
            r#"
            > HINCRBY h f 5
            (integer) 5
            > HINCRBY h f -15
            (integer) -10
            > HGET h f
            "-10"
            > HSET h s x p +1 z " 1"
            (integer) 3
            > HINCRBY h s 1
            (error) ERR hash value is not an integer
            > HINCRBY h p 1
            (error) ERR hash value is not an integer
            > HINCRBY h z 1
            (error) ERR hash value is not an integer
            > HINCRBY h f x
            (error) ERR value is not an integer or out of range
            > HINCRBY h f 9223372036854775808
            (error) ERR value is not an integer or out of range
            > HINCRBY h max 9223372036854775807
            (integer) 9223372036854775807
            > HINCRBY h max 1
            (error) ERR increment or decrement would overflow
            > HINCRBY h min -9223372036854775808
            (integer) -9223372036854775808
            > HINCRBY h min -1
            (error) ERR increment or decrement would overflow
            > HGET h min
            "-9223372036854775808"
            "#,
        );
    }
}

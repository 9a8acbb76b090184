//! HINCRBY: numbers in fields.

use crate::call::Call;
use crate::error::{ErrorReply, OVERFLOW, Result};
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

#[cfg(test)]
mod tests {
    use crate::testing::check;

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

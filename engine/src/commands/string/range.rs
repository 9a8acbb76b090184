//! Pieces of strings: APPEND, GETRANGE, SETRANGE, STRLEN.

use crate::call::Call;
use crate::command::{Categories, Command, Flags, Handler, Keys, exactly};
use crate::error::{OFFSET_OUT_OF_RANGE, Result, STRING_TOO_LONG};

const fn read(name: &'static str, arity: i16, handler: Handler) -> Command {
    Command::read(name, arity, handler)
        .keys(Keys::at(1), &["RO", "access"])
        .acl(Categories::STRING)
        .group("string")
}

pub(super) const APPEND: Command = Command::write("append", exactly(2), append)
    .keys(Keys::at(1), &["RW", "insert"])
    .flags(Flags::DENY_OOM)
    .fast()
    .acl(Categories::STRING)
    .group("string")
    .doc("2.0.0", "key value", "Appends a string to the value of a key.", "O(1)");
pub(super) const STRLEN: Command = Command::read("strlen", exactly(1), strlen)
    .keys(Keys::at(1), &["RO"])
    .fast()
    .acl(Categories::STRING)
    .group("string")
    .doc("2.2.0", "key", "Returns the length of a string value.", "O(1)");
pub(super) const GETRANGE: Command = read("getrange", exactly(3), get_range).doc(
    "2.4.0",
    "key start end",
    "Returns a piece of the string stored at a key.",
    "O(N) where N is the length of the piece",
);
pub(super) const SUBSTR: Command = read("substr", exactly(3), get_range).doc(
    "1.0.0",
    "key start end",
    "Returns a piece of a string value.",
    "O(N) where N is the length of the piece",
);
pub(super) const SETRANGE: Command = Command::write("setrange", exactly(3), set_range)
    .keys(Keys::at(1), &["RW", "update"])
    .flags(Flags::DENY_OOM)
    .acl(Categories::STRING)
    .group("string")
    .doc(
        "2.2.0",
        "key offset value",
        "Overwrites a part of a string value with another by an offset.",
        "O(M) where M is the length of the value given",
    );

/// Whether a string of this length may be.
pub(crate) fn check_length(call: &Call<'_>, length: usize) -> Result {
    let limit = call.engine.config.settings().bulk_bytes_max;
    if length as u64 > limit { Err(STRING_TOO_LONG) } else { Ok(()) }
}

fn append(call: &mut Call<'_>) -> Result {
    let (key, bytes) = (call.args.get(1), call.args.get(2));
    let length = call.engine.data.entry(key).string()?.len();
    check_length(call, length.saturating_add(bytes.len()))?;
    let mut string = call.engine.data.entry(key).string()?;
    let length = if string.get().is_none() {
        string.set(bytes, crate::effect::Expiry::None);
        bytes.len()
    } else {
        string.append(bytes)
    };
    call.reply.integer(length as i64);
    Ok(())
}

fn strlen(call: &mut Call<'_>) -> Result {
    let length = call.engine.data.read_string(call.args.get(1))?.map_or(0, |string| string.len());
    call.reply.integer(length as i64);
    Ok(())
}

fn get_range(call: &mut Call<'_>) -> Result {
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    let Some(string) = call.engine.data.read_string(call.args.get(1))? else {
        call.reply.bulk(b"");
        return Ok(());
    };
    let length = string.len() as i64;
    if start < 0 && end < 0 && start > end {
        call.reply.bulk(b"");
        return Ok(());
    }
    let from_end = |index: i64| if index < 0 { index.saturating_add(length).max(0) } else { index };
    let (start, end) = (from_end(start), from_end(end).min(length - 1));
    if length == 0 || start > end {
        call.reply.bulk(b"");
        return Ok(());
    }
    let mut piece = Vec::with_capacity((end - start + 1) as usize);
    string.copy_range(start as usize..end as usize + 1, &mut piece);
    call.reply.bulk(&piece);
    Ok(())
}

fn set_range(call: &mut Call<'_>) -> Result {
    let offset = usize::try_from(call.integer(2)?).map_err(|_| OFFSET_OUT_OF_RANGE)?;
    let bytes = call.args.get(3);
    let length = call.engine.data.entry(call.args.get(1)).string()?.len();
    if bytes.is_empty() {
        call.reply.integer(length as i64);
        return Ok(());
    }
    check_length(call, offset.saturating_add(bytes.len()))?;
    let length = call.engine.data.entry(call.args.get(1)).string()?.write_at(offset, bytes);
    call.reply.integer(length as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn pieces_of_strings_are_read_and_written() {
        check(
            "
            > APPEND k abc
            (integer) 3
            > APPEND k def
            (integer) 6
            > STRLEN k
            (integer) 6
            > GETRANGE k 1 3
            \"bcd\"
            > GETRANGE k -3 -1
            \"def\"
            > GETRANGE k 4 100
            \"ef\"
            > GETRANGE k 5 1
            \"\"
            > GETRANGE nope 0 -1
            \"\"
            > SUBSTR k 0 0
            \"a\"
            > SETRANGE k 8 x
            (integer) 9
            > GET k
            \"abcdef\\x00\\x00x\"
            > SETRANGE k -1 x
            (error) ERR offset is out of range
            > SETRANGE k 9223372036854775807 x
            (error) ERR string exceeds maximum allowed size (proto-max-bulk-len)
            > SETRANGE nope 0 \"\"
            (integer) 0
            > EXISTS nope
            (integer) 0
            > SET n 12
            OK
            > APPEND n 3
            (integer) 3
            > INCR n
            (integer) 124
            ",
        );
    }
}

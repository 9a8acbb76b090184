//! Parts of strings: APPEND, STRLEN, GETRANGE, SETRANGE.
//!
//! Invariant: what is logged is what was written, never the whole string.

use super::{ACL, KEY};
use crate::call::Call;
use crate::command::{Command, Flags, exactly};
use crate::effect::Expiry;
use crate::error::{OFFSET_OUT_OF_RANGE, Result, STRING_TOO_LONG};
use crate::value::StringRef;
use std::ops::Range;

pub const APPEND: Command = Command::write("append", exactly(2), append)
    .keys(KEY, &["RW", "insert"])
    .flags(Flags::DENY_OOM)
    .fast()
    .acl(ACL)
    .group("string")
    .doc(
        "2.0.0",
        "key value",
        "Puts a string at the end of a key's value. The key is created if it doesn't exist.",
        "O(1) amortized for values of the same order of size.",
    );

fn append(call: &mut Call<'_>) -> Result {
    let length_max = call.engine.config.settings().bulk_bytes_max;
    let value = call.arg(2);
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    if string.get().is_none() {
        string.set(value, Expiry::None);
        call.reply.integer(value.len() as i64);
        return Ok(());
    }
    check_length(string.len(), value.len(), length_max)?;
    let length = string.append(value);
    call.reply.integer(length as i64);
    Ok(())
}

/// Refuses a string of `offset` and `added` bytes above the limit on strings.
fn check_length(offset: usize, added: usize, length_max: u64) -> Result {
    let length = (offset as u64).checked_add(added as u64);
    if length.is_some_and(|length| length <= length_max) { Ok(()) } else { Err(STRING_TOO_LONG) }
}

pub const STRLEN: Command = Command::read("strlen", exactly(1), strlen)
    .keys(KEY, &["RO"])
    .fast()
    .acl(ACL)
    .group("string")
    .doc("2.2.0", "key", "Returns the length of a string in bytes.", "O(1)");

fn strlen(call: &mut Call<'_>) -> Result {
    let length = call.engine.data.read_string(call.args.get(1))?.map_or(0, |string| string.len());
    call.reply.integer(length as i64);
    Ok(())
}

pub const GETRANGE: Command = Command::read("getrange", exactly(3), getrange)
    .keys(KEY, &["RO", "access"])
    .acl(ACL)
    .group("string")
    .doc("2.4.0", "key start end", "Returns a part of a string.", "O(N) where N is the length of the part.");

pub const SUBSTR: Command = Command::read("substr", exactly(3), getrange)
    .keys(KEY, &["RO", "access"])
    .acl(ACL)
    .group("string")
    .doc("1.0.0", "key start end", "Returns a part of a string.", "O(N) where N is the length of the part.");

fn getrange(call: &mut Call<'_>) -> Result {
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    let Some(string) = call.engine.data.read_string(call.args.get(1))? else {
        call.reply.bulk(b"");
        return Ok(());
    };
    let range = clamp(start, end, string.len()).unwrap_or(0..0);
    if let StringRef::Bytes(bytes) = string {
        call.reply.bulk(&bytes[range]);
        return Ok(());
    }
    let mut part = Vec::with_capacity(range.len());
    string.copy_range(range, &mut part);
    call.reply.bulk(&part);
    Ok(())
}

/// The positions from `start` to `end`, both included and counted from the end when negative,
/// within `length`; `None` when there are none.
pub(in crate::commands) fn clamp(start: i64, end: i64, length: usize) -> Option<Range<usize>> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    let length = length as i64;
    let from_front = |index: i64| if index < 0 { (length + index).max(0) } else { index };
    let (start, end) = (from_front(start), from_front(end).min(length - 1));
    (start <= end).then(|| start as usize..end as usize + 1)
}

pub const SETRANGE: Command = Command::write("setrange", exactly(3), setrange)
    .keys(KEY, &["RW", "update"])
    .flags(Flags::DENY_OOM)
    .acl(ACL)
    .group("string")
    .doc(
        "2.2.0",
        "key offset value",
        "Overwrites a part of a string from an offset on. The key is created if it doesn't exist.",
        "O(1) for short values, else O(M) where M is the length of the value.",
    );

fn setrange(call: &mut Call<'_>) -> Result {
    let offset = usize::try_from(call.integer(2)?).map_err(|_| OFFSET_OUT_OF_RANGE)?;
    let length_max = call.engine.config.settings().bulk_bytes_max;
    let value = call.arg(3);
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    if value.is_empty() {
        call.reply.integer(string.len() as i64);
        return Ok(());
    }
    check_length(offset, value.len(), length_max)?;
    let length = string.write_at(offset, value);
    call.reply.integer(length as i64);
    Ok(())
}

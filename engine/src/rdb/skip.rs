//! Passing over values of types that do not exist here yet.
//!
//! Lives here: how each form is framed. A type that comes into being moves from here to `loader`.
//! Not here: what the values mean.
//!
//! Invariant: what is passed over ends where the next key begins, or is damage.

use super::form;
use super::reader::{Cursor, Read, Stop};

/// Redis's word for the type of a form; `None` for a number that is no form.
pub fn type_name(number: u8) -> Option<&'static str> {
    Some(match number {
        form::STRING => "string",
        form::LIST | form::LIST_ZIPLIST | form::QUICKLIST | form::QUICKLIST_2 => "list",
        form::SET | form::SET_INTSET | form::SET_LISTPACK => "set",
        form::SORTED_SET_TEXT | form::SORTED_SET | form::SORTED_SET_ZIPLIST | form::SORTED_SET_LISTPACK => {
            "zset"
        }
        form::HASH | form::HASH_ZIPMAP | form::HASH_ZIPLIST | form::HASH_LISTPACK | form::HASH_EXPIRING => {
            "hash"
        }
        form::STREAM | form::STREAM_2 | form::STREAM_3 => "stream",
        form::MODULE => "module",
        _ => return None,
    })
}

/// Passes over a value of this form.
pub fn value(cursor: &mut Cursor<'_>, number: u8) -> Read<()> {
    match number {
        form::LIST | form::SET | form::QUICKLIST => {
            let count = cursor.length()?;
            strings(cursor, count)
        }
        form::QUICKLIST_2 => {
            for _ in 0..cursor.length()? {
                cursor.length()?;
                cursor.skip_string()?;
            }
            Ok(())
        }
        form::SORTED_SET => {
            for _ in 0..cursor.length()? {
                cursor.skip_string()?;
                cursor.take(8)?;
            }
            Ok(())
        }
        form::SORTED_SET_TEXT => {
            for _ in 0..cursor.length()? {
                cursor.skip_string()?;
                let length = cursor.byte()?;
                // 253 to 255 are NaN and the infinities.
                cursor.take(if length < 253 { length.into() } else { 0 })?;
            }
            Ok(())
        }
        form::LIST_ZIPLIST
        | form::SET_INTSET
        | form::SET_LISTPACK
        | form::SORTED_SET_ZIPLIST
        | form::SORTED_SET_LISTPACK => cursor.skip_string(),
        form::STREAM | form::STREAM_2 | form::STREAM_3 => stream(cursor, number),
        form::MODULE => {
            cursor.length()?;
            module(cursor)
        }
        _ => Err(Stop::Damaged("a value of unknown form")),
    }
}

fn strings(cursor: &mut Cursor<'_>, count: u64) -> Read<()> {
    (0..count).try_for_each(|_| cursor.skip_string())
}

fn lengths(cursor: &mut Cursor<'_>, count: usize) -> Read<()> {
    (0..count).try_for_each(|_| cursor.length().map(|_| ()))
}

fn stream(cursor: &mut Cursor<'_>, number: u8) -> Read<()> {
    for _ in 0..cursor.length()? {
        strings(cursor, 2)?;
    }
    // Length and last id; then first id, largest deleted id, entries ever added.
    lengths(cursor, if number == form::STREAM { 3 } else { 8 })?;
    for _ in 0..cursor.length()? {
        cursor.skip_string()?;
        // Last delivered id; then entries read.
        lengths(cursor, if number == form::STREAM { 2 } else { 3 })?;
        for _ in 0..cursor.length()? {
            cursor.take(16 + 8)?;
            cursor.length()?;
        }
        for _ in 0..cursor.length()? {
            cursor.skip_string()?;
            // Seen time; then active time.
            cursor.take(if number == form::STREAM_3 { 16 } else { 8 })?;
            for _ in 0..cursor.length()? {
                cursor.take(16)?;
            }
        }
    }
    Ok(())
}

/// Passes over what a module wrote, after its id.
pub fn module(cursor: &mut Cursor<'_>) -> Read<()> {
    loop {
        match cursor.length()? {
            0 => return Ok(()),
            1 | 2 => lengths(cursor, 1)?,
            3 => cursor.take(4).map(|_| ())?,
            4 => cursor.take(8).map(|_| ())?,
            5 => cursor.skip_string()?,
            _ => return Err(Stop::Damaged("a module's value of unknown form")),
        }
    }
}

//! Packed forms of small collections: listpack, ziplist, zipmap.
//!
//! Lives here: their elements, one after another. Not here: what the elements mean.
//!
//! Invariant: a pack is read to its end mark and not beyond; one that says something else of itself is damage.

use crate::rdb::reader::{Cursor, Read, Stop, Text};

const DAMAGED: Stop = Stop::Damaged("a packed collection is damaged");

/// Reads all of `pack`; too few bytes are damage here, for there are no more.
pub fn read_all(
    pack: &[u8],
    read: impl Fn(&mut Cursor<'_>, &mut dyn FnMut(Text<'_>) -> Read<()>) -> Read<()>,
    found: &mut dyn FnMut(Text<'_>) -> Read<()>,
) -> Read<()> {
    let mut cursor = Cursor::new(pack);
    let outcome = read(&mut cursor, found).map_err(|stop| match stop {
        Stop::Needs(_) => DAMAGED,
        damaged => damaged,
    });
    outcome?;
    if cursor.at() == pack.len() { Ok(()) } else { Err(DAMAGED) }
}

/// Total bytes (4), count (2, `0xffff` = unknown), elements, `0xff`.
pub fn listpack(cursor: &mut Cursor<'_>, found: &mut dyn FnMut(Text<'_>) -> Read<()>) -> Read<()> {
    cursor.take(4)?;
    let count = u16::from_le_bytes(cursor.array()?);
    let mut seen = 0_u64;
    loop {
        let start = cursor.at();
        let first = cursor.byte()?;
        let element = match first {
            0..=0x7f => Text::Integer(first.into()),
            0x80..=0xbf => Text::Slice(cursor.take(usize::from(first & 0x3f))?),
            0xc0..=0xdf => {
                let value = i16::from(first & 0x1f) << 8 | i16::from(cursor.byte()?);
                Text::Integer((value << 3 >> 3).into())
            }
            0xe0..=0xef => {
                let length = usize::from(first & 0x0f) << 8 | usize::from(cursor.byte()?);
                Text::Slice(cursor.take(length)?)
            }
            0xf0 => {
                let length = u32::from_le_bytes(cursor.array()?) as usize;
                Text::Slice(cursor.take(length)?)
            }
            0xf1 => Text::Integer(i16::from_le_bytes(cursor.array()?).into()),
            0xf2 => Text::Integer(three_bytes(cursor.array()?)),
            0xf3 => Text::Integer(i32::from_le_bytes(cursor.array()?).into()),
            0xf4 => Text::Integer(i64::from_le_bytes(cursor.array()?)),
            0xff => {
                let is_right = count == u16::MAX || u64::from(count) == seen;
                return if is_right { Ok(()) } else { Err(DAMAGED) };
            }
            _ => return Err(DAMAGED),
        };
        // The element's own length stands behind it, for reading backwards: 7 bits to a byte.
        let length = cursor.at() - start;
        cursor.take(match length {
            0..=127 => 1,
            128..=0x3fff => 2,
            0x4000..=0x1f_ffff => 3,
            0x20_0000..=0xfff_ffff => 4,
            _ => 5,
        })?;
        found(element)?;
        seen += 1;
    }
}

/// Total bytes (4), offset of the last (4), count (2, `0xffff` = unknown), elements, `0xff`.
pub fn ziplist(cursor: &mut Cursor<'_>, found: &mut dyn FnMut(Text<'_>) -> Read<()>) -> Read<()> {
    cursor.take(8)?;
    let count = u16::from_le_bytes(cursor.array()?);
    let mut seen = 0_u64;
    loop {
        // Length of the element before.
        match cursor.byte()? {
            0xff => {
                let is_right = count == u16::MAX || u64::from(count) == seen;
                return if is_right { Ok(()) } else { Err(DAMAGED) };
            }
            0xfe => {
                cursor.take(4)?;
            }
            _ => {}
        }
        let first = cursor.byte()?;
        let element = match first {
            0..=0x3f => Text::Slice(cursor.take(usize::from(first))?),
            0x40..=0x7f => {
                let length = usize::from(first & 0x3f) << 8 | usize::from(cursor.byte()?);
                Text::Slice(cursor.take(length)?)
            }
            0x80 => {
                let length = u32::from_be_bytes(cursor.array()?) as usize;
                Text::Slice(cursor.take(length)?)
            }
            0xc0 => Text::Integer(i16::from_le_bytes(cursor.array()?).into()),
            0xd0 => Text::Integer(i32::from_le_bytes(cursor.array()?).into()),
            0xe0 => Text::Integer(i64::from_le_bytes(cursor.array()?)),
            0xf0 => Text::Integer(three_bytes(cursor.array()?)),
            0xf1..=0xfd => Text::Integer(i64::from(first & 0x0f) - 1),
            0xfe => Text::Integer(i8::from_le_bytes(cursor.array()?).into()),
            _ => return Err(DAMAGED),
        };
        found(element)?;
        seen += 1;
    }
}

/// Count (1, 254 and above = unknown), then for each field: length, field, length, bytes free, value, the free
/// bytes; `0xff`. A length is one byte below 254, or 254 and four bytes.
pub fn zipmap(cursor: &mut Cursor<'_>, found: &mut dyn FnMut(Text<'_>) -> Read<()>) -> Read<()> {
    cursor.take(1)?;
    loop {
        let Some(field) = zipmap_length(cursor)? else { return Ok(()) };
        found(Text::Slice(cursor.take(field)?))?;
        let value = zipmap_length(cursor)?.ok_or(DAMAGED)?;
        let free = usize::from(cursor.byte()?);
        found(Text::Slice(cursor.take(value)?))?;
        cursor.take(free)?;
    }
}

fn zipmap_length(cursor: &mut Cursor<'_>) -> Read<Option<usize>> {
    Ok(match cursor.byte()? {
        0xff => None,
        0xfe => Some(u32::from_le_bytes(cursor.array()?) as usize),
        length => Some(usize::from(length)),
    })
}

fn three_bytes([low, middle, high]: [u8; 3]) -> i64 {
    (i32::from_le_bytes([0, low, middle, high]) >> 8).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(outcome: impl FnOnce(&mut dyn FnMut(Text<'_>) -> Read<()>) -> Read<()>) -> Read<Vec<String>> {
        let mut found = Vec::new();
        outcome(&mut |text| {
            found.push(String::from_utf8_lossy(&text.to_vec()).into_owned());
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn a_zipmap_is_read_with_the_bytes_that_are_free_in_it() {
        let pack = b"\x02\x03foo\x03\x02barxx\x05hello\x00\x00\xff";
        let found = texts(|found| read_all(pack, zipmap, found));
        assert_eq!(found, Ok(["foo", "bar", "hello", ""].map(String::from).to_vec()));
        assert_eq!(texts(|found| read_all(&pack[..9], zipmap, found)), Err(DAMAGED));
        assert_eq!(texts(|found| read_all(b"\x00\xff\x00", zipmap, found)), Err(DAMAGED));
    }

    #[test]
    fn a_listpack_of_all_widths() {
        let pack = b"\0\0\0\0\x06\0\x7f\x01\xdf\xff\x02\xf1\x00\x80\x03\xf2\xff\xff\x7f\x04\xf4\0\0\0\0\0\0\0\x80\x09\x82ab\x03\xff";
        let found = texts(|found| read_all(pack, listpack, found)).unwrap();
        assert_eq!(found, ["127", "-1", "-32768", "8388607", "-9223372036854775808", "ab"]);
    }

    #[test]
    fn a_ziplist_of_all_widths() {
        let pack = b"\0\0\0\0\0\0\0\0\x06\0\x00\xf1\x02\xfd\x02\xfe\x80\x03\xf0\xff\xff\xff\x05\xc0\xff\x7f\x04\x02hi\xff";
        let found = texts(|found| read_all(pack, ziplist, found)).unwrap();
        assert_eq!(found, ["0", "12", "-128", "-1", "32767", "hi"]);
    }
}

//! Inline requests: words on a line, as a person types them.

/// A quote without its partner, or one followed by something other than space.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Splits a line into words. Their bytes go to the end of `out`, their places there to `spans`.
/// Double quotes know `\xHH` and the escapes n, r, t, b, a; single quotes know `\'`.
pub(super) fn split(line: &[u8], out: &mut Vec<u8>, spans: &mut Vec<(u32, u32)>) -> Result<(), Unbalanced> {
    let mut rest = line;
    loop {
        while let Some((first, after)) = rest.split_first()
            && is_space(*first)
        {
            rest = after;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let start = out.len();
        rest = word(rest, out)?;
        spans.push((start as u32, (out.len() - start) as u32));
    }
}

/// What may stand between words.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0)
}

/// Reads one word; gives what is behind it.
fn word<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    while let Some((first, after)) = rest.split_first() {
        match first {
            b'"' => return quoted(after, out, b'"'),
            b'\'' => return quoted(after, out, b'\''),
            b' ' | b'\n' | b'\r' | b'\t' | 0 => return Ok(after),
            byte => out.push(*byte),
        }
        rest = after;
    }
    Ok(rest)
}

/// Reads up to the closing quote, behind which only space may stand.
fn quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>, quote: u8) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.push(hex(*high) << 4 | hex(*low));
                after
            }
            [b'\\', escaped, after @ ..] if quote == b'"' => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [b'\\', b'\'', after @ ..] if quote == b'\'' => {
                out.push(b'\'');
                after
            }
            [first, after @ ..] if *first == quote => {
                return match after.first() {
                    Some(next) if !is_space(*next) => Err(Unbalanced),
                    _ => Ok(after),
                };
            }
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
            [] => return Err(Unbalanced),
        };
    }
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).expect("checked to be a hexadecimal digit") as u8
}

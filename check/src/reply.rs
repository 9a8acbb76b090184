//! Replies as the harness's own client reads them.
//!
//! Lives here: the RESP2 reply values and an incremental parser for them, written apart from the server's
//! codec on purpose: a shared mistake would be invisible to both.
//! Not here: matching replies to operations (`client`) and what a reply means (`workload`).
//!
//! Invariant: a reply is handed out only when its last byte has arrived; no bytes cause a panic.

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    /// The whole text, its code first: `WRONGTYPE Operation against …`.
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error("unknown reply type byte {0:#04x}")]
    Type(u8),
    #[error("a length or integer that is none")]
    Number,
    #[error("a bulk reply without its closing CRLF")]
    Terminator,
    #[error("replies nested deeper than {DEPTH_MAX}")]
    Depth,
    #[error("a reply longer than {LENGTH_MAX}")]
    Length,
}

const DEPTH_MAX: usize = 16;
const LENGTH_MAX: i64 = 64 * 1024 * 1024;

/// The first reply in `bytes` and how many bytes it takes; `None` while it is incomplete.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, ReplyError> {
    let mut at = 0;
    Ok(value(bytes, &mut at, 0)?.map(|reply| (reply, at)))
}

fn value(bytes: &[u8], at: &mut usize, depth: usize) -> Result<Option<Reply>, ReplyError> {
    if depth > DEPTH_MAX {
        return Err(ReplyError::Depth);
    }
    let Some(&kind) = bytes.get(*at) else { return Ok(None) };
    if !b"+-:$*_".contains(&kind) {
        return Err(ReplyError::Type(kind));
    }
    let Some(line) = line(bytes, at) else { return Ok(None) };
    let reply = match kind {
        b'+' => Reply::Simple(String::from_utf8_lossy(line).into_owned()),
        b'-' => Reply::Error(String::from_utf8_lossy(line).into_owned()),
        b':' => Reply::Integer(integer(line)?),
        b'$' => match length(line)? {
            None => Reply::Null,
            Some(length) => {
                let Some(body) = bytes.get(*at..*at + length + 2) else { return Ok(None) };
                if &body[length..] != b"\r\n" {
                    return Err(ReplyError::Terminator);
                }
                *at += length + 2;
                Reply::Bulk(body[..length].to_vec())
            }
        },
        b'*' => match length(line)? {
            None => Reply::Null,
            Some(length) => {
                let mut items = Vec::new();
                for _ in 0..length {
                    match value(bytes, at, depth + 1)? {
                        Some(item) => items.push(item),
                        None => return Ok(None),
                    }
                }
                Reply::Array(items)
            }
        },
        _ => Reply::Null,
    };
    Ok(Some(reply))
}

/// The rest of the line after its type byte; moves `at` behind the line's end.
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = &bytes[*at + 1..];
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    *at += end + 3;
    Some(&rest[..end])
}

fn integer(text: &[u8]) -> Result<i64, ReplyError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(ReplyError::Number)
}

fn length(text: &[u8]) -> Result<Option<usize>, ReplyError> {
    match integer(text)? {
        -1 => Ok(None),
        length if length > LENGTH_MAX => Err(ReplyError::Length),
        length => usize::try_from(length).map(Some).map_err(|_| ReplyError::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(reply: &Reply, out: &mut Vec<u8>) {
        match reply {
            Reply::Simple(text) => out.extend(format!("+{text}\r\n").bytes()),
            Reply::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
            Reply::Integer(number) => out.extend(format!(":{number}\r\n").bytes()),
            Reply::Null => out.extend(b"$-1\r\n"),
            Reply::Bulk(bytes) => {
                out.extend(format!("${}\r\n", bytes.len()).bytes());
                out.extend(bytes);
                out.extend(b"\r\n");
            }
            Reply::Array(items) => {
                out.extend(format!("*{}\r\n", items.len()).bytes());
                items.iter().for_each(|item| encode(item, out));
            }
        }
    }

    fn any_reply() -> impl Strategy<Value = Reply> {
        let leaf = prop_oneof![
            "[a-zA-Z ]{0,9}".prop_map(Reply::Simple),
            "[A-Z]{2,5} [a-z ]{0,9}".prop_map(Reply::Error),
            any::<i64>().prop_map(Reply::Integer),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Reply::Bulk),
            Just(Reply::Null),
        ];
        leaf.prop_recursive(3, 20, 4, |item| prop::collection::vec(item, 0..4).prop_map(Reply::Array))
    }

    proptest! {
        #[test]
        fn a_reply_is_read_exactly_when_its_last_byte_is_there(reply in any_reply()) {
            let mut bytes = Vec::new();
            encode(&reply, &mut bytes);
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(None));
            }
            let size = bytes.len();
            bytes.extend(b"+next");
            prop_assert_eq!(parse(&bytes), Ok(Some((reply, size))));
        }

        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b"+-:$*_\r\n019".to_vec())], 0..60,
        )) {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(parse(&b"*1\r\n".repeat(40)), Err(ReplyError::Depth));
        assert_eq!(parse(b"$99999999999\r\n"), Err(ReplyError::Length));
    }
}

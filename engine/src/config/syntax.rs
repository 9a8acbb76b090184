//! The words of one line, in redis.conf's quoting.
//!
//! Lives here: splitting a line into words, and quoting a word. Not here: what the words mean (`file`).
//!
//! There are no continuation lines: a line ends where it ends, as in Redis.
//!
//! Invariant: splitting what `quoted` wrote gives the same bytes.

/// Splits a line into words. Double quotes take `\n \r \t \b \a \xHH` and `\` before any other character; single
/// quotes take `\'`. A closing quote must end the word. None: the quotes are not balanced.
pub fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Some(words)
}

/// The first word of a line that does not begin with a space, and what follows it.
fn word(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = quoted_part(line, at + 1, byte, &mut word)?;
                return match line.get(at) {
                    None => Some((word, &[])),
                    Some(next) if next.is_ascii_whitespace() => Some((word, &line[at..])),
                    Some(_) => None,
                };
            }
            _ if byte.is_ascii_whitespace() => break,
            _ => {
                word.push(byte);
                at += 1;
            }
        }
    }
    Some((word, &line[at..]))
}

/// Reads from after the opening quote; gives the place after the closing one.
fn quoted_part(line: &[u8], mut at: usize, quote: u8, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        let byte = *line.get(at)?;
        if byte == quote {
            return Some(at + 1);
        }
        if byte != b'\\' || (quote == b'\'' && line.get(at + 1) != Some(&b'\'')) {
            word.push(byte);
            at += 1;
            continue;
        }
        let escaped = *line.get(at + 1)?;
        if let (b'x', Some(byte)) = (escaped, hexadecimal(line.get(at + 2..at + 4))) {
            word.push(byte);
            at += 4;
            continue;
        }
        word.push(match escaped {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'a' => 7,
            other => other,
        });
        at += 2;
    }
}

fn hexadecimal(digits: Option<&[u8]>) -> Option<u8> {
    let [high, low] = digits? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? * 16 + digit(*low)?)
}

/// A word as it stands in a file: in double quotes only where it must.
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let is_plain = !word.is_empty()
        && word.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#'));
    if is_plain {
        return word.to_vec();
    }
    let mut text = vec![b'"'];
    for byte in word {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            b'\r' => text.extend(b"\\r"),
            b'\t' => text.extend(b"\\t"),
            b' '..=b'~' => text.push(*byte),
            _ => text.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    text.push(b'"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_split_as_redis_does() {
        for (line, expected) in [
            ("", Some(vec![])),
            ("  ", Some(vec![])),
            ("port 6379", Some(vec!["port", "6379"])),
            ("\tport\t 6379 \r", Some(vec!["port", "6379"])),
            ("save \"\"", Some(vec!["save", ""])),
            (r#"requirepass "a b\"c\n\x41""#, Some(vec!["requirepass", "a b\"c\nA"])),
            (r"requirepass 'a\'b\n'", Some(vec!["requirepass", r"a'b\n"])),
            (r#"requirepass "\xZZ""#, Some(vec!["requirepass", "xZZ"])),
            (r#"requirepass ab"cd""#, Some(vec!["requirepass", "abcd"])),
            (r#"requirepass "open"#, None),
            (r#"requirepass "a"b"#, None),
            (r"requirepass 'open", None),
            ("requirepass \"a\\", None),
        ] {
            let expected =
                expected.map(|words| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
            assert_eq!(words(line.as_bytes()), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_word_reads_back(word in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(words(&quoted(&word)), Some(vec![word]));
        }

        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = words(&line);
        }
    }
}

//! Glob patterns: `*`, `?`, `[abc]`, `[^a]`, `[a-z]`, `\x`.
//!
//! Lives here: matching of keys, channels, parameters and fields against a client's pattern.
//! Not here: deciding what is matched.
//!
//! Invariant: every part of a pattern but `*` takes exactly one byte, so that only the last `*` seen
//! ever needs another try, and the work is at most pattern length times text length.

/// Whether the whole text matches the pattern. Letters are those of ASCII.
///
/// In brackets: `^` first negates; a range may stand either way round; `\` takes the next byte as it
/// is; the first `]` closes, even right behind the opening; without one the pattern's end closes.
/// Source: Redis, KEYS.
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    let (mut pattern_at, mut text_at) = (0, 0);
    // Behind the last star, and where the text went on when it had taken the fewest bytes.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at += 1;
            if pattern_at == pattern.len() {
                return true;
            }
            retry = Some((pattern_at, text_at));
            continue;
        }
        let Some(byte) = text.get(text_at) else {
            // Another try would leave even less text for the same rest of the pattern.
            return pattern_at == pattern.len();
        };
        if let Some(taken) = one(&pattern[pattern_at..], *byte, ignore_case) {
            pattern_at += taken;
            text_at += 1;
        } else if let Some((behind_star, started)) = &mut retry {
            *started += 1;
            (pattern_at, text_at) = (*behind_star, *started);
        } else {
            return false;
        }
    }
}

/// Length of the pattern's first part, which is no star, if it takes this byte.
#[inline]
fn one(pattern: &[u8], byte: u8, ignore_case: bool) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', inside @ ..] => {
            let (is_member, length) = class(inside, byte, ignore_case);
            is_member.then_some(1 + length)
        }
        [b'\\', literal, ..] => is_same(*literal, byte, ignore_case).then_some(2),
        [literal, ..] => is_same(*literal, byte, ignore_case).then_some(1),
    }
}

/// Whether the class that starts behind its `[` holds the byte, and its length with the `]`.
fn class(inside: &[u8], byte: u8, ignore_case: bool) -> (bool, usize) {
    let is_negated = inside.first() == Some(&b'^');
    let mut rest = &inside[usize::from(is_negated)..];
    let mut is_listed = false;
    loop {
        rest = match rest {
            // Redis compares an escaped byte exactly, whatever the case is to be.
            [b'\\', literal, after @ ..] => {
                is_listed |= *literal == byte;
                after
            }
            [] => break,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [from, b'-', to, after @ ..] => {
                is_listed |= is_between(*from, *to, byte, ignore_case);
                after
            }
            [literal, after @ ..] => {
                is_listed |= is_same(*literal, byte, ignore_case);
                after
            }
        };
    }
    (is_listed != is_negated, inside.len() - rest.len())
}

fn is_between(from: u8, to: u8, byte: u8, ignore_case: bool) -> bool {
    let (low, high) = (from.min(to), from.max(to));
    if ignore_case {
        (low.to_ascii_lowercase()..=high.to_ascii_lowercase()).contains(&byte.to_ascii_lowercase())
    } else {
        (low..=high).contains(&byte)
    }
}

fn is_same(literal: u8, byte: u8, ignore_case: bool) -> bool {
    literal == byte || ignore_case && literal.eq_ignore_ascii_case(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, is_match) in [
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("*", "", true),
            ("**", "", true),
            ("*", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "hllo", true),
            ("h*llo", "heeeello", true),
            ("h*llo", "heeeellow", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hbllo", true),
            ("h[a-b]llo", "hcllo", false),
            ("h\\?llo", "h?llo", true),
            ("h\\?llo", "hello", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("a\\", "a\\", true),
            ("\\\\", "\\", true),
            ("[\\]]", "]", true),
            ("[a\\-z]", "-", true),
            ("[a\\-z]", "b", false),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("[]a", "a", false),
            ("[abc", "b", true),
            ("[abc", "d", false),
            ("[", "[", false),
            ("[^", "a", true),
            ("[a-]", "a", true),
            ("[a-]", "]", true),
            ("[a-]x", "bx", false),
            ("[a-", "-", true),
            ("[*]", "*", true),
            ("[*]", "a", false),
            ("a*", "a", true),
            ("a*b*c", "a12b34c", true),
            ("a*b*c", "a12b34", false),
            ("*a", "aaaa", true),
            ("*a?", "aaaa", true),
            ("*aab", "aaaab", true),
            ("news.*", "news.sport", true),
            ("{user}:*:name", "{user}:12:name", true),
            ("Hello", "hello", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), false), is_match, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn case_is_ignored_where_asked() {
        for (pattern, text, is_match) in [
            ("MAXmemory*", "maxMEMORY-policy", true),
            ("[A-C]", "b", true),
            ("[a-c]", "B", true),
            ("[AB]", "a", true),
            ("\\A", "a", true),
            ("[\\A]", "a", false),
            ("[^a]", "A", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), true), is_match, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn stars_without_end_cost_little() {
        let pattern = b"a*".repeat(5_000);
        let text = vec![b'a'; 20_000];
        assert!(matches(&pattern, &text, false));
        assert!(!matches(&[&pattern[..], b"b"].concat(), &text, false));
        assert!(!matches(&[&b"[aaaa".repeat(20)[..], b"]"].concat().repeat(2), b"bb", false));
    }

    /// The same language, said by recursion over both.
    fn model(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', after @ ..], _) => {
                (0..=text.len()).any(|taken| model(after, &text[taken..], ignore_case))
            }
            (_, []) => false,
            (_, [byte, text_after @ ..]) => one(pattern, *byte, ignore_case)
                .is_some_and(|taken| model(&pattern[taken..], text_after, ignore_case)),
        }
    }

    proptest! {
        #[test]
        fn retries_find_what_recursion_finds(
            pattern in "[abA*?\\[\\]^\\\\-]{0,12}",
            text in "[abAB\\[\\]*-]{0,10}",
            ignore_case: bool,
        ) {
            prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), ignore_case),
                model(pattern.as_bytes(), text.as_bytes(), ignore_case)
            );
        }

        #[test]
        fn any_bytes_are_a_pattern(pattern: Vec<u8>, text: Vec<u8>, ignore_case: bool) {
            matches(&pattern, &text, ignore_case);
        }

        #[test]
        fn an_escaped_text_matches_itself(text: Vec<u8>, other: Vec<u8>) {
            let escaped: Vec<u8> = text.iter().flat_map(|byte| [b'\\', *byte]).collect();
            prop_assert!(matches(&escaped, &text, false));
            prop_assert_eq!(matches(&escaped, &other, false), text == other);
        }
    }
}

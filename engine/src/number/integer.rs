//! 64-bit integers in decimal.

/// The longest text: a sign and 19 digits.
pub const TEXT_BYTES_MAX: usize = 20;

const DIGIT_PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// The integer whose canonical decimal form these bytes are: no plus sign, no leading zeros, no
/// spaces, no `-0`. Source: what Redis accepts as an integer argument.
#[inline]
pub fn parse(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] => return (!is_negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value = 0u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits fit 64 unsigned bits.
        value = value * 10 + u64::from(digit);
    }
    if is_negative {
        (value <= i64::MIN.unsigned_abs()).then(|| (value.wrapping_neg()).cast_signed())
    } else {
        i64::try_from(value).ok()
    }
}

/// The decimal form, written to the end of `buffer`.
#[inline]
pub fn format(value: i64, buffer: &mut [u8; TEXT_BYTES_MAX]) -> &[u8] {
    let mut at = buffer.len();
    let mut rest = value.unsigned_abs();
    while rest >= 100 {
        let pair = (rest % 100) as usize * 2;
        rest /= 100;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&DIGIT_PAIRS[pair..pair + 2]);
    }
    if rest >= 10 {
        let pair = rest as usize * 2;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&DIGIT_PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        buffer[at] = b'0' + rest as u8;
    }
    if value < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_canonical_decimals_parse() {
        for (text, value) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1.0", None),
        ] {
            assert_eq!(parse(text.as_bytes()), value, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_formatted_parses_back(value: i64) {
            let mut buffer = [0; 20];
            let text = format(value, &mut buffer);
            let expected = value.to_string();
            prop_assert_eq!(text, expected.as_bytes());
            prop_assert_eq!(parse(text), Some(value));
        }
    }
}

//! Doubles as text: the shortest digits that read back, in the layout of Valkey 8.

use super::integer;

/// Most digits that a double needs.
const DIGITS_MAX: usize = 17;
/// Whole numbers up to this size print all their digits, others the shortest and zeros.
const WHOLE_MAX: f64 = (1u64 << 62) as f64;

/// The double that these bytes spell, all of them, as C's `strtod` reads: decimal or hexadecimal, a
/// sign, an exponent, `inf`, `infinity`. `None` for anything else, for what is not a number, and
/// for numbers that overflow or vanish.
pub fn parse(text: &[u8]) -> Option<f64> {
    let (is_negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let value = match magnitude {
        [b'0', b'x' | b'X', digits @ ..] => hexadecimal(digits)?,
        [b'0'..=b'9' | b'.', ..] => decimal(magnitude)?,
        word if word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity") => f64::INFINITY,
        _ => return None,
    };
    Some(if is_negative { -value } else { value })
}

fn decimal(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let is_zero = || {
        let mantissa = text.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or(text);
        mantissa.iter().all(|byte| matches!(byte, b'0' | b'.'))
    };
    let is_in_range = value.is_finite() && (value != 0.0 || is_zero());
    is_in_range.then_some(value)
}

/// Reads what stands behind `0x`, rounded to the nearest, ties to even.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let parts = super::split_float(text, u8::is_ascii_hexdigit, b'p')?;
    let mut mantissa = 0u128;
    let mut exponent = parts.exponent - 4 * parts.fraction.len() as i64;
    for digit in parts.whole.iter().chain(parts.fraction) {
        let value = char::from(*digit).to_digit(16).expect("checked to be a hexadecimal digit");
        if mantissa >> 120 == 0 {
            mantissa = mantissa << 4 | u128::from(value);
        } else {
            // Far below the last bit kept: only that there is something matters.
            mantissa |= u128::from(value != 0);
            exponent += 4;
        }
    }
    if mantissa == 0 {
        return Some(0.0);
    }
    let bits = 128 - i64::from(mantissa.leading_zeros());
    if bits + exponent > 1024 || bits + exponent < -1100 {
        return None;
    }
    // Exponent of the last bit that a double of this size has.
    let last = (bits + exponent - 53).max(-1074);
    let drop = last - exponent;
    let kept = if drop <= 0 {
        mantissa << drop.unsigned_abs()
    } else {
        super::shift_right_to_even(mantissa, drop.unsigned_abs() as u32)
    };
    // A carry out of the mantissa goes on into the exponent, as rounding up should.
    let value = f64::from_bits(((last + 1074).cast_unsigned() << 52) + kept as u64);
    (value.is_finite() && value != 0.0).then_some(value)
}

/// Appends the text of `value`: plain where few zeros are needed, else with an exponent.
pub fn format(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    }
    if value.abs() <= WHOLE_MAX && value.trunc() == value {
        return out.extend_from_slice(integer::format(value as i64, &mut [0; 20]));
    }
    if value < 0.0 {
        out.push(b'-');
    }
    let mut digits = [0; DIGITS_MAX];
    let (count, last) = shortest(value.abs(), &mut digits);
    layout(&digits[..count], last, out);
}

/// Writes the decimal digits without zeros at either end; gives their number and the power of ten
/// that the last one stands for.
fn shortest(value: f64, digits: &mut [u8; DIGITS_MAX]) -> (usize, i32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().expect("ryu prints an integer exponent");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut count = 0;
    let mut trailing = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        match digit {
            b'0' if count == 0 => {}
            b'0' => trailing += 1,
            digit => {
                digits[count..count + trailing].fill(b'0');
                digits[count + trailing] = digit;
                count += trailing + 1;
                trailing = 0;
            }
        }
    }
    (count, exponent - fraction.len() as i32 + trailing as i32)
}

fn layout(digits: &[u8], last: i32, out: &mut Vec<u8>) {
    let count = digits.len() as i32;
    let leading = last + count - 1;
    if last >= 0 && leading < count + 7 {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', last as usize));
    } else if last < 0 && (last > -7 || leading.abs() < 4) {
        let whole = count + last;
        if whole <= 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', -whole as usize));
            out.extend_from_slice(digits);
        } else {
            out.extend_from_slice(&digits[..whole as usize]);
            out.push(b'.');
            out.extend_from_slice(&digits[whole as usize..]);
        }
    } else {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if leading < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(leading.abs().to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_print_as_valkey_8_prints_them() {
        for (value, text) in [
            (0.1, "0.1"),
            (3.0, "3"),
            (-0.0, "0"),
            (-1.5, "-1.5"),
            (1e8, "100000000"),
            (-1e15, "-1000000000000000"),
            (1e17, "100000000000000000"),
            (1152921504606846976.0, "1152921504606846976"),
            (-4611686018427387904.0, "-4611686018427387904"),
            (4611686018427387904.0 * 1.5, "6917529027641082000"),
            (1e-5, "0.00001"),
            (1e-6, "0.000001"),
            (-1.5e-7, "-1.5e-7"),
            (0.00012345678, "1.2345678e-4"),
            (0.0012345678, "0.0012345678"),
            (0.00012345, "1.2345e-4"),
            (123456.7, "123456.7"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (2.5066282746310002, "2.5066282746310002"),
            (100000.5, "100000.5"),
            (1e5 + 0.1, "100000.1"),
            (12345678.5, "12345678.5"),
            (1e22, "1e+22"),
            (1.5e19, "1.5e+19"),
            (1e19, "1e+19"),
            (123456.789, "123456.789"),
            (1234567.1234567, "1.2345671234567e+6"),
            (12345.678901234567, "1.2345678901234567e+4"),
            (123456789012345678.0, "123456789012345680"),
            (12345678901234567890.0, "12345678901234567000"),
            (1e20, "1e+20"),
            (0.0001, "0.0001"),
            (1.234e-5, "1.234e-5"),
            (1e-7, "1e-7"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            let mut out = Vec::new();
            format(value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }

    #[test]
    fn doubles_are_read_as_strtod_reads_them() {
        for (text, value) in [
            ("0", 0.0),
            ("-1.5", -1.5),
            ("+5", 5.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("1e3", 1e3),
            ("1E-3", 1e-3),
            ("0e999999999999", 0.0),
            ("inf", f64::INFINITY),
            ("+INF", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("5e-324", 5e-324),
            ("0x10", 16.0),
            ("-0X1.8p1", -3.0),
            ("0x.8", 0.5),
            ("0x0p99", 0.0),
            ("0x1p-1074", 5e-324),
            ("0x1.8p-1074", 1e-323),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.00000000000008000000000000000000000000000001p0", 1.0 + f64::EPSILON),
            ("0x1.00000000000018p0", 1.0 + 2.0 * f64::EPSILON),
            ("0x20000000000001", 9007199254740992.0),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(value), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_double_is_refused() {
        for text in [
            "",
            " 1",
            "1 ",
            "1\0",
            "+",
            "-",
            ".",
            "e5",
            "1e",
            "1e+",
            "--1",
            "+-1",
            "1_0",
            "nan",
            "-nan",
            "infinit",
            "0x",
            "0xp1",
            "0x1p",
            "0x.p",
            "1e999",
            "-1e999",
            "1e-999",
            "0x1p1024",
            "0x1.fffffffffffff8p1023",
            "0x1p-1076",
            "0x1p-99999999999999",
            "١",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_formatted_parses_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            let mut out = Vec::new();
            format(value, &mut out);
            prop_assert!(out.len() <= 25);
            prop_assert_eq!(parse(&out), Some(value));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in "[-+0-9.eExXpPinfa]{0,40}") {
            parse(bytes.as_bytes());
        }
    }
}

//! 80-bit floats, the arithmetic behind INCRBYFLOAT and HINCRBYFLOAT.
//!
//! Lives here: reading decimal and hexadecimal text with correct rounding, addition, and text with
//! 17 decimals. All of it exact in integers, so that every machine gives the same bytes.
//! Not here: doubles (`double`), which sorted sets use.
//!
//! Invariant: a finite value is `mantissa × 2^exponent` with the highest bit of the mantissa set,
//! unless the exponent is the lowest there is.

use super::limbs::Limbs;
use super::{shift_right_to_even, split_float};
use std::cmp::Ordering;

/// Longer texts are refused, as Redis refuses them.
pub const TEXT_BYTES_MAX: usize = 5119;

const MANTISSA_BITS: i64 = 64;
const HIGHEST_BIT: u64 = 1 << 63;
/// Exponent of the last bit: of the smallest numbers, and of the largest.
const EXPONENT_MIN: i64 = -16_445;
const EXPONENT_MAX: i64 = 16_320;
/// Digits after the point.
const DECIMALS: usize = 17;
const DECIMAL_UNIT: u128 = 10u128.pow(DECIMALS as u32);

/// A float with 64 bits of precision and 15 bits of exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    Finite { is_negative: bool, mantissa: u64, exponent: i32 },
    Infinite { is_negative: bool },
    NotANumber,
}

impl Extended {
    pub const ZERO: Extended =
        Extended::Finite { is_negative: false, mantissa: 0, exponent: EXPONENT_MIN as i32 };

    pub fn from_integer(value: i64) -> Extended {
        normalized(value < 0, u128::from(value.unsigned_abs()), 0, false)
    }

    /// Reads what C's `strtold` reads, all of it: decimal or hexadecimal, a sign, an exponent,
    /// `inf`, `infinity`. `None` for anything else, for what is not a number, and for numbers that
    /// overflow or vanish.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (is_negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            return Some(Extended::Infinite { is_negative });
        }
        match digits {
            [b'0', b'x' | b'X', rest @ ..] => hexadecimal(is_negative, rest),
            rest => decimal(is_negative, rest),
        }
    }

    pub fn is_finite(&self) -> bool {
        matches!(self, Extended::Finite { .. })
    }

    /// The sum, rounded to the nearest, ties to even.
    #[allow(clippy::should_implement_trait, reason = "the operator would hide that this rounds")]
    pub fn add(self, other: Extended) -> Extended {
        use Extended::{Finite, Infinite, NotANumber};
        match (self, other) {
            (NotANumber, _) | (_, NotANumber) => NotANumber,
            (Infinite { is_negative: left }, Infinite { is_negative: right }) if left != right => NotANumber,
            (infinite @ Infinite { .. }, _) | (_, infinite @ Infinite { .. }) => infinite,
            (
                Finite { is_negative: a_negative, mantissa: a, exponent: a_exponent },
                Finite { is_negative: b_negative, mantissa: b, exponent: b_exponent },
            ) => {
                if (a_exponent, a) >= (b_exponent, b) {
                    add_smaller((a_negative, a, a_exponent), (b_negative, b, b_exponent))
                } else {
                    add_smaller((b_negative, b, b_exponent), (a_negative, a, a_exponent))
                }
            }
        }
    }

    /// Appends the text: no exponent, at most 17 decimals, no zeros at the end, no `-0`.
    pub fn format(&self, out: &mut Vec<u8>) {
        let (is_negative, mantissa, exponent) = match *self {
            Extended::NotANumber => return out.extend_from_slice(b"nan"),
            Extended::Infinite { is_negative } => {
                return out.extend_from_slice(if is_negative { b"-inf" } else { b"inf" });
            }
            Extended::Finite { is_negative, mantissa, exponent } => (is_negative, mantissa, exponent),
        };
        if exponent >= 0 {
            if is_negative {
                out.push(b'-');
            }
            let mut whole = Limbs::from(u128::from(mantissa));
            whole.shift_left(exponent.unsigned_abs() as usize);
            return whole.format(out);
        }
        let scaled = shift_right_to_even(u128::from(mantissa) * DECIMAL_UNIT, exponent.unsigned_abs());
        if scaled == 0 {
            return out.push(b'0');
        }
        if is_negative {
            out.push(b'-');
        }
        out.extend_from_slice((scaled / DECIMAL_UNIT).to_string().as_bytes());
        let fraction = scaled % DECIMAL_UNIT;
        if fraction > 0 {
            let digits = format!("{fraction:0width$}", width = DECIMALS);
            out.push(b'.');
            out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
        }
    }
}

/// Adds the number of smaller magnitude to the larger one: sign, mantissa, exponent of each.
fn add_smaller(large: (bool, u64, i32), small: (bool, u64, i32)) -> Extended {
    /// Room below the mantissa, enough to round right after a subtraction.
    const GUARD_BITS: u32 = 62;
    let (is_negative, mantissa, exponent) = large;
    let distance = exponent.abs_diff(small.2);
    let above = u128::from(mantissa) << GUARD_BITS;
    let below = u128::from(small.1) << GUARD_BITS;
    let aligned = below.checked_shr(distance).unwrap_or(0);
    let is_inexact = aligned.checked_shl(distance).unwrap_or(0) != below;
    let sum = if is_negative == small.0 { above + aligned } else { above - aligned - u128::from(is_inexact) };
    let is_negative = is_negative && (sum != 0 || small.0);
    normalized(is_negative, sum, i64::from(exponent) - i64::from(GUARD_BITS), is_inexact)
}

/// The float nearest to `value × 2^exponent`, or to a little more than that.
fn normalized(is_negative: bool, value: u128, exponent: i64, is_a_little_more: bool) -> Extended {
    if value == 0 {
        return Extended::Finite { is_negative, mantissa: 0, exponent: EXPONENT_MIN as i32 };
    }
    let bits = 128 - i64::from(value.leading_zeros());
    // How far the last bit kept stands above the last bit given.
    let drop = (bits - MANTISSA_BITS).max(EXPONENT_MIN - exponent);
    if drop <= 0 {
        // Exact: what is a little more has more than 64 bits.
        let mantissa = (value << drop.unsigned_abs()) as u64;
        return packed(is_negative, mantissa, exponent + drop, Ordering::Less);
    }
    let kept = (value >> drop) as u64;
    let half = 1u128 << (drop - 1);
    let rest = value & ((half << 1) - 1);
    let beyond = rest.cmp(&half).then(if is_a_little_more { Ordering::Greater } else { Ordering::Equal });
    packed(is_negative, kept, exponent + drop, beyond)
}

/// Rounds: `beyond` compares what was cut off with half of the last bit.
fn packed(is_negative: bool, mantissa: u64, exponent: i64, beyond: Ordering) -> Extended {
    let is_up = beyond == Ordering::Greater || (beyond == Ordering::Equal && mantissa & 1 == 1);
    let (mantissa, exponent) = match mantissa.checked_add(u64::from(is_up)) {
        Some(mantissa) => (mantissa, exponent),
        None => (HIGHEST_BIT, exponent + 1),
    };
    if exponent > EXPONENT_MAX {
        return Extended::Infinite { is_negative };
    }
    Extended::Finite { is_negative, mantissa, exponent: exponent as i32 }
}

fn decimal(is_negative: bool, text: &[u8]) -> Option<Extended> {
    let parts = split_float(text, u8::is_ascii_digit, b'e')?;
    let digits: Vec<u8> = parts.whole.iter().chain(parts.fraction).copied().collect();
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let trailing = digits[zeros..].iter().rev().take_while(|digit| **digit == b'0').count();
    let kept = &digits[zeros..digits.len() - trailing];
    if kept.is_empty() {
        return Some(Extended::Finite { is_negative, mantissa: 0, exponent: EXPONENT_MIN as i32 });
    }
    // The number is 0.<kept> × 10^magnitude.
    let magnitude = parts.whole.len() as i64 - zeros as i64 + parts.exponent;
    if !(-5_000..=5_000).contains(&magnitude) {
        return None;
    }
    let power = magnitude - kept.len() as i64;
    let mut numerator = Limbs::from_digits(kept);
    let mut denominator = Limbs::from(1);
    if power >= 0 { &mut numerator } else { &mut denominator }.multiply_by_ten_to(power.unsigned_abs());
    quotient(is_negative, numerator, denominator, 0)
}

fn hexadecimal(is_negative: bool, text: &[u8]) -> Option<Extended> {
    let parts = split_float(text, u8::is_ascii_hexdigit, b'p')?;
    let mut numerator = Limbs::from(0);
    for digit in parts.whole.iter().chain(parts.fraction) {
        let value = char::from(*digit).to_digit(16).expect("checked to be a hexadecimal digit");
        numerator.multiply_add(16, value);
    }
    if numerator.bits() == 0 {
        return Some(Extended::Finite { is_negative, mantissa: 0, exponent: EXPONENT_MIN as i32 });
    }
    let exponent = parts.exponent - 4 * parts.fraction.len() as i64;
    quotient(is_negative, numerator, Limbs::from(1), exponent)
}

/// The float nearest to `numerator / denominator × 2^exponent`; neither is zero. `None` when it
/// overflows or becomes zero.
fn quotient(
    is_negative: bool,
    mut numerator: Limbs,
    mut denominator: Limbs,
    exponent: i64,
) -> Option<Extended> {
    // Power of two of the first bit, by lengths and then by one comparison.
    let mut leading = numerator.bits() as i64 - denominator.bits() as i64;
    if leading + exponent > EXPONENT_MAX + 65 || leading + exponent < EXPONENT_MIN - 2 {
        return None;
    }
    scale(&mut numerator, &mut denominator, leading);
    if numerator.compare(&denominator) == Ordering::Less {
        numerator.shift_left(1);
        leading -= 1;
    }
    // Now 1 <= numerator / denominator < 2. Small numbers have fewer bits to give.
    let lowest = EXPONENT_MIN + MANTISSA_BITS - 1;
    let missing = (lowest - (leading + exponent)).max(0);
    denominator.shift_left(missing.unsigned_abs() as usize);
    let mut mantissa = 0u64;
    for _ in 0..MANTISSA_BITS {
        mantissa <<= 1;
        if numerator.compare(&denominator) != Ordering::Less {
            numerator.subtract(&denominator);
            mantissa |= 1;
        }
        numerator.shift_left(1);
    }
    // What remains, doubled by the last round, against the denominator: more than half or less.
    let beyond = numerator.compare(&denominator);
    let last = leading + exponent + missing - (MANTISSA_BITS - 1);
    let value = packed(is_negative, mantissa, last, beyond);
    match value {
        Extended::Finite { mantissa: 1.., .. } => Some(value),
        _ => None,
    }
}

/// Shifts one of the two left, so that the first is about `2^-power` times what it was.
fn scale(numerator: &mut Limbs, denominator: &mut Limbs, power: i64) {
    let bits = power.unsigned_abs() as usize;
    if power >= 0 { denominator.shift_left(bits) } else { numerator.shift_left(bits) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float(text: &str) -> Extended {
        Extended::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text:?} is a float"))
    }

    fn text(value: Extended) -> String {
        let mut out = Vec::new();
        value.format(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn sums_print_as_long_double_does() {
        for (left, right, sum) in [
            ("0", "123456.789", "123456.78900000000000148"),
            ("10.5", "0.1", "10.6"),
            ("0.1", "0.2", "0.3"),
            ("3.0", "1.1", "4.1"),
            ("5.0e3", "200", "5200"),
            ("1", "1e-17", "1.00000000000000001"),
            ("0", "1e-18", "0"),
            ("0", "5e-18", "0"),
            ("0", "15e-18", "0.00000000000000002"),
            ("0", "25e-18", "0.00000000000000002"),
            ("0", "-1e-30", "0"),
            ("-1", "1", "0"),
            ("1e18", "1", "1000000000000000001"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("-9223372036854775808", "-1", "-9223372036854775809"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551615", "2", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("18446744073709551616", "3", "18446744073709551620"),
            ("18446744073709551617", "0", "18446744073709551616"),
            ("18446744073709551619", "0", "18446744073709551620"),
            ("36893488147419103233", "0", "36893488147419103232"),
            ("1e19", "0.5", "10000000000000000000"),
            ("1e19", "1.5", "10000000000000000002"),
            ("1e4", "0.00000000000000001", "10000"),
            ("1", "-0.99999999999999999", "0.00000000000000001"),
            ("0.3", "-0.1", "0.2"),
            ("123456789.123456789", "0.000000001", "123456789.12345678999554366"),
            ("+5", "5.", "10"),
            (".5", "5.e1", "50.5"),
            ("0x10", "0x1p-3", "16.125"),
            ("0x1.8P+1", "0x.8", "3.5"),
            ("0x8000000000000001p0", "0x1p-1", "9223372036854775810"),
            ("0x8000000000000000.8p0", "0", "9223372036854775808"),
            ("0x8000000000000001.8p0", "0", "9223372036854775810"),
            ("0xffffffffffffffff.8p0", "0", "18446744073709551616"),
            ("0x1p-16445", "0", "0"),
            ("3.6451995318824746025e-4951", "0", "0"),
            ("1e-4950", "0", "0"),
            ("0.5", "0.25", "0.75"),
            ("1e-5", "1e5", "100000.00001000000000317"),
            ("99999999999999999.5", "0.5", "100000000000000000"),
            ("0.99999999999999999", "0.00000000000000001", "1"),
            ("0.999999999999999995", "0", "1"),
            ("2.675", "0", "2.675"),
            ("1.005", "0.005", "1.01"),
            ("-0", "0", "0"),
            ("0e99999999999999", "1", "1"),
            ("17", "-17.00000000000000001", "-0.00000000000000001"),
            ("3.14159265358979323846264338327950288", "2.71828182845904523536", "5.85987448204883847"),
            ("inf", "1", "inf"),
            ("-infinity", "-1", "-inf"),
            ("4503599627370496.5", "0.5", "4503599627370497"),
            ("9007199254740993", "0.1", "9007199254740993.099609375"),
            (
                "0",
                "1.5e300",
                "150000000000000000004980010986147216636237923911867392855121971824897352992981270879285431\
             057583093068653064456605022940692664673931101760698425828837743414393760277819671066123465\
             594419577083851326884682615020541863299554727187482707293623059492001324119036399447188608\
             0567336615911694509046614720512",
            ),
        ] {
            assert_eq!(text(float(left).add(float(right))), sum, "{left} + {right}");
        }
    }

    #[test]
    fn the_largest_numbers_print_all_their_digits() {
        let large = text(float("1e4932"));
        assert_eq!(large.len(), 4933);
        assert!(large.starts_with("10000000000000000000060189493879638913238377742545331147737850413525330"));
        assert_eq!(text(float("-1.18973149535723176502e4932")).len(), 4934);
    }

    #[test]
    fn sums_beyond_the_largest_are_no_numbers() {
        let largest = float("1.18973149535723176502e4932");
        assert!(!largest.add(largest).is_finite());
        assert!(!float("inf").add(float("-inf")).is_finite());
        assert_eq!(text(float("inf").add(float("-inf"))), "nan");
        assert!(largest.add(float("1e4912")).is_finite());
    }

    #[test]
    fn what_is_no_float_is_refused() {
        let too_long = format!("1.{}", "0".repeat(TEXT_BYTES_MAX - 1));
        for text in [
            "",
            " 1",
            "1 ",
            "1\0",
            "+",
            "-",
            ".",
            "e5",
            ".e1",
            "1e",
            "1e+",
            "1e+-5",
            "--1",
            "+-1",
            "1_0",
            "1,5",
            "nan",
            "-nan",
            "nan(1)",
            "infinit",
            "infx",
            "0x",
            "0x.p1",
            "0x1p",
            "0xg",
            "1p5",
            "0x1p99999999999999999999",
            "1e5000",
            "-1e5000",
            "1.1897314953572317651e4932",
            "1e-4951",
            "1.8e-4951",
            "1e99999999999999999999999",
            "1e-99999999999999999999",
            &too_long,
        ] {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(text(float(&too_long[..TEXT_BYTES_MAX])), "1");
    }

    #[test]
    fn the_smallest_numbers_keep_what_bits_they_have() {
        for text in ["1e-4950", "3.6451995318824746025e-4951", "0x1p-16445", "0x1.8p-16446"] {
            assert_eq!(
                float(text),
                Extended::Finite {
                    is_negative: false,
                    mantissa: if text == "1e-4950" { 3 } else { 1 },
                    exponent: EXPONENT_MIN as i32,
                },
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn integers_keep_all_their_bits(value: i64) {
            prop_assert_eq!(text(Extended::from_integer(value)), value.to_string());
            prop_assert_eq!(float(&value.to_string()), Extended::from_integer(value));
        }

        #[test]
        fn sums_of_doubles_agree_where_doubles_are_exact(left in -(1i64 << 40)..1 << 40, right in -(1i64 << 40)..1 << 40) {
            let (left, right) = (left as f64 / 8.0, right as f64 / 8.0);
            let sum = float(&left.to_string()).add(float(&right.to_string()));
            prop_assert_eq!(text(sum), (left + right + 0.0).to_string());
        }

        #[test]
        fn order_does_not_matter(left in "-?[0-9]{1,25}(\\.[0-9]{1,20})?", right in "-?[0-9]{1,25}(e-?[0-9]{1,3})?") {
            let (left, right) = (float(&left), float(&right));
            prop_assert_eq!(text(left.add(right)), text(right.add(left)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in "[-+0-9.eExXpPinfa]{0,40}") {
            if let Some(value) = Extended::parse(bytes.as_bytes()) {
                text(value);
            }
        }
    }
}

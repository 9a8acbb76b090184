//! Numbers as text, to the letter as Redis reads and prints them.
//!
//! Lives here: 64-bit integers, doubles, and the 80-bit floats of INCRBYFLOAT.
//! Not here: what commands do with numbers, and the error texts they give.

pub mod double;
pub mod extended;
pub mod integer;
mod limbs;

/// `value / 2^bits`, rounded to the nearest, ties to even; of a value below 2^127, by a bit or more.
fn shift_right_to_even(value: u128, bits: u32) -> u128 {
    if bits > 127 {
        return 0;
    }
    let half = 1u128 << (bits - 1);
    let kept = value >> bits;
    let rest = value & ((half << 1) - 1);
    let is_up = rest > half || (rest == half && kept & 1 == 1);
    kept + u128::from(is_up)
}

/// Digits with at most one point, then an exponent behind one of two letters.
struct Parts<'a> {
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

/// Takes a number apart; `None` when something is left over or there is no digit.
fn split_float(text: &[u8], is_digit: fn(&u8) -> bool, letter: u8) -> Option<Parts<'_>> {
    let whole_length = text.iter().take_while(|byte| is_digit(byte)).count();
    let (whole, rest) = text.split_at(whole_length);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => rest.split_at(rest.iter().take_while(|byte| is_digit(byte)).count()),
        rest => (&rest[..0], rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let exponent = match rest {
        [] => 0,
        [first, rest @ ..] if first.eq_ignore_ascii_case(&letter) => exponent(rest)?,
        _ => return None,
    };
    Some(Parts { whole, fraction, exponent })
}

/// A signed decimal; what is too large for any float stays too large.
fn exponent(text: &[u8]) -> Option<i64> {
    const LARGE: i64 = 1_000_000;
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(digit - b'0')).min(LARGE);
    }
    Some(sign * value)
}

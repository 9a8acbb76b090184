//! Natural numbers of any size, as little as reading and printing floats needs.

use std::cmp::Ordering;

const CHUNK: u32 = 1_000_000_000;
const CHUNK_DIGITS: usize = 9;

/// Digits in base 2^32, the lowest first, none of the highest zero.
#[derive(Clone, Debug)]
pub(super) struct Limbs(Vec<u32>);

impl From<u128> for Limbs {
    fn from(value: u128) -> Limbs {
        let mut limbs = Limbs((0..4).map(|index| (value >> (32 * index)) as u32).collect());
        limbs.trim();
        limbs
    }
}

impl Limbs {
    /// Reads decimal digits; the caller has checked that they are.
    pub(super) fn from_digits(digits: &[u8]) -> Limbs {
        let mut limbs = Limbs(Vec::with_capacity(digits.len() / CHUNK_DIGITS + 1));
        for chunk in digits.chunks(CHUNK_DIGITS) {
            let value = chunk.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
            limbs.multiply_add(10u32.pow(chunk.len() as u32), value);
        }
        limbs
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// Number of bits up to the highest one set.
    pub(super) fn bits(&self) -> usize {
        self.0.last().map_or(0, |last| self.0.len() * 32 - last.leading_zeros() as usize)
    }

    pub(super) fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for limb in &mut self.0 {
            let product = u64::from(*limb) * u64::from(factor) + carry;
            *limb = product as u32;
            carry = product >> 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    pub(super) fn multiply_by_ten_to(&mut self, power: u64) {
        let chunk_digits = CHUNK_DIGITS as u64;
        for _ in 0..power / chunk_digits {
            self.multiply_add(CHUNK, 0);
        }
        self.multiply_add(10u32.pow((power % chunk_digits) as u32), 0);
    }

    pub(super) fn shift_left(&mut self, bits: usize) {
        let (limbs, bits) = (bits / 32, bits % 32);
        if bits > 0 {
            self.multiply_add(1 << bits, 0);
        }
        if limbs > 0 && !self.0.is_empty() {
            self.0.splice(0..0, std::iter::repeat_n(0, limbs));
        }
    }

    pub(super) fn compare(&self, other: &Limbs) -> Ordering {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Takes away a number that is not larger.
    pub(super) fn subtract(&mut self, other: &Limbs) {
        let mut is_borrowing = false;
        for (index, limb) in self.0.iter_mut().enumerate() {
            let taken = other.0.get(index).copied().unwrap_or(0);
            let (difference, is_under) = limb.overflowing_sub(taken);
            let (difference, is_under_again) = difference.overflowing_sub(u32::from(is_borrowing));
            *limb = difference;
            is_borrowing = is_under || is_under_again;
        }
        assert!(!is_borrowing, "only smaller numbers are taken away");
        self.trim();
    }

    /// Appends the decimal digits.
    pub(super) fn format(mut self, out: &mut Vec<u8>) {
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            let mut rest = 0u64;
            for limb in self.0.iter_mut().rev() {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / u64::from(CHUNK)) as u32;
                rest = value % u64::from(CHUNK);
            }
            chunks.push(rest);
            self.trim();
        }
        out.extend_from_slice(chunks.pop().unwrap_or(0).to_string().as_bytes());
        for chunk in chunks.iter().rev() {
            out.extend_from_slice(format!("{chunk:0width$}", width = CHUNK_DIGITS).as_bytes());
        }
    }
}

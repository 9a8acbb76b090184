//! Deadlines as arguments: EX, PX, EXAT, PXAT, KEEPTTL.
//!
//! Lives here: reading them, and the checks of the times in them.
//! Not here: which commands take which (`string`, `generic`).

use crate::call::Call;
use crate::effect::Expiry;
use crate::error::{NOT_AN_INTEGER, Result, SYNTAX, invalid_expire_time};
use crate::number::integer;

/// How a deadline is written: EX, PX, EXAT, PXAT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline {
    is_absolute: bool,
    is_seconds: bool,
}

impl Deadline {
    pub(super) const EX: Deadline = Deadline { is_absolute: false, is_seconds: true };
    pub(super) const PX: Deadline = Deadline { is_absolute: false, is_seconds: false };

    fn of(word: &[u8]) -> Option<Deadline> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        Some(if is("EX") {
            Deadline::EX
        } else if is("PX") {
            Deadline::PX
        } else if is("EXAT") {
            Deadline { is_absolute: true, is_seconds: true }
        } else if is("PXAT") {
            Deadline { is_absolute: true, is_seconds: false }
        } else {
            return None;
        })
    }

    /// Milliseconds since 1970; times that are not positive or overflow are refused.
    pub(super) fn deadline_ms(self, call: &Call<'_>, argument: &[u8]) -> Result<i64> {
        WrittenDeadline { unit: self, argument }.at_ms(call.now_ms(), call.name())
    }
}

/// A deadline as the client wrote it, not looked at yet.
#[derive(Clone, Copy)]
pub(super) struct WrittenDeadline<'a> {
    unit: Deadline,
    argument: &'a [u8],
}

impl WrittenDeadline<'_> {
    /// Milliseconds since 1970; times that are not positive or overflow are refused.
    pub(super) fn at_ms(self, now_ms: i64, command: &str) -> Result<i64> {
        let time = integer::parse(self.argument).ok_or(NOT_AN_INTEGER)?;
        let invalid = || invalid_expire_time(command);
        if time <= 0 {
            return Err(invalid());
        }
        let milliseconds = if self.unit.is_seconds { time.checked_mul(1000) } else { Some(time) };
        let start = if self.unit.is_absolute { 0 } else { now_ms };
        milliseconds.and_then(|milliseconds| milliseconds.checked_add(start)).ok_or_else(invalid)
    }
}

/// The option among a command's arguments that is about the deadline: at most one kind of them.
#[derive(Clone, Copy)]
pub(super) enum ExpiryOption<'a> {
    None,
    Keep,
    Written(WrittenDeadline<'a>),
}

impl<'a> ExpiryOption<'a> {
    /// Takes the deadline that starts at argument `index`, which moves to its last word. Of the
    /// same kind the last one counts; another kind, or any other word, is a syntax error.
    pub(super) fn with_deadline(self, call: &Call<'a>, index: &mut usize) -> Result<ExpiryOption<'a>> {
        let unit = Deadline::of(call.arg(*index)).ok_or(SYNTAX)?;
        let fits = match self {
            ExpiryOption::None => true,
            ExpiryOption::Keep => false,
            ExpiryOption::Written(before) => before.unit == unit,
        };
        if !fits || *index + 1 == call.args.len() {
            return Err(SYNTAX);
        }
        *index += 1;
        Ok(ExpiryOption::Written(WrittenDeadline { unit, argument: call.arg(*index) }))
    }

    /// What becomes of the deadline of a key whose value is set.
    pub(super) fn of_new_value(self, call: &Call<'_>) -> Result<Expiry> {
        Ok(match self {
            ExpiryOption::None => Expiry::None,
            ExpiryOption::Keep => Expiry::Keep,
            ExpiryOption::Written(written) => Expiry::At(written.at_ms(call.now_ms(), call.name())?),
        })
    }
}

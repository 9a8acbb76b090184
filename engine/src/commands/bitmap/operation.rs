//! BITOP: strings combined bit by bit.
//!
//! Invariant: the strings are read piece by piece; only the result is ever held as a whole.

use super::{ACL, pieces};
use crate::call::Call;
use crate::command::{Command, Flags, Keys, at_least};
use crate::effect::Expiry;
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::value::StringRef;

const NOT_OF_MANY: ErrorReply = ErrorReply::new("ERR BITOP NOT must be called with a single source key.");

/// Its effect is the result, which may be longer than any argument.
pub const BITOP: Command = Command::write("bitop", at_least(3), bitop)
    .keys(Keys::range(2, -1, 1), &["OW", "update"])
    .flags(Flags::DENY_OOM.with(Flags::MAY_OUTGROW))
    .acl(ACL)
    .group("bitmap")
    .doc(
        "2.6.0",
        "<AND | OR | XOR | NOT> destkey key [key ...]",
        "Combines the bits of strings and stores the result.",
        "O(N)",
    );

#[derive(Clone, Copy)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

fn bitop(call: &mut Call<'_>) -> Result {
    let operation = if call.is_word(1, "AND") {
        Operation::And
    } else if call.is_word(1, "OR") {
        Operation::Or
    } else if call.is_word(1, "XOR") {
        Operation::Xor
    } else if call.is_word(1, "NOT") {
        Operation::Not
    } else {
        return Err(SYNTAX);
    };
    if matches!(operation, Operation::Not) && call.args.len() != 4 {
        return Err(NOT_OF_MANY);
    }
    let mut result: Option<Vec<u8>> = None;
    for key in call.args.iter().skip(3) {
        let string = call.engine.data.read_string(key)?.unwrap_or(StringRef::Bytes(b""));
        result = Some(match result {
            None => string.to_vec(),
            Some(mut result) => {
                combine(operation, &mut result, string);
                result
            }
        });
    }
    let mut result = result.expect("the arity promises a source");
    if matches!(operation, Operation::Not) {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    store(call, &result);
    call.reply.integer(result.len() as i64);
    Ok(())
}

/// Combines one more string into the result; the shorter of both counts as padded with zeros.
fn combine(operation: Operation, result: &mut Vec<u8>, string: StringRef<'_>) {
    let length = string.len();
    if result.len() < length {
        result.resize(length, 0);
    }
    let mut digits = [0; 20];
    for (start, piece) in pieces(string, 0..length, &mut digits) {
        let pairs = result[start..start + piece.len()].iter_mut().zip(piece);
        match operation {
            Operation::And => pairs.for_each(|(byte, other)| *byte &= other),
            Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
            Operation::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
            Operation::Not => unreachable!("NOT has one source"),
        }
    }
    if matches!(operation, Operation::And) {
        result[length..].fill(0);
    }
}

fn store(call: &mut Call<'_>, result: &[u8]) {
    let mut entry = call.engine.data.entry(call.args.get(2));
    if result.is_empty() {
        entry.delete();
        return;
    }
    // Appended, so that it stays a string of bits and never becomes an integer that happens to read the same.
    entry.set_string(b"", Expiry::None);
    entry.string().expect("it was just made a string").append(result);
}

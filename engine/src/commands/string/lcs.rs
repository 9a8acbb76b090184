//! LCS: the longest common subsequence of two strings.
//!
//! Lives here: the table of lengths, reduced to the one bit per cell that the way back needs, and the replies.
//!
//! Invariant: among several longest subsequences, the one is given that Redis gives: on the way back from the
//! ends, the second string is shortened unless that loses length.

use super::ACL;
use crate::call::Call;
use crate::command::{Command, Keys, at_least};
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::resp::Reply;

pub const LCS: Command = Command::read("lcs", at_least(2), lcs)
    .keys(Keys::range(1, 2, 1), &["RO", "access"])
    .acl(ACL)
    .group("string")
    .doc(
        "7.0.0",
        "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        "Finds the longest common subsequence of two strings.",
        "O(N*M) where N and M are the lengths of the strings.",
    );

const NOT_STRINGS: ErrorReply = ErrorReply::new("ERR The specified keys must contain string values");
const BOTH: ErrorReply = ErrorReply::new("ERR If you want both the length and indexes, please just use IDX.");
const TOO_LONG: ErrorReply = ErrorReply::new("ERR String too long for LCS");
const TOO_MUCH_MEMORY: ErrorReply =
    ErrorReply::new("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");

/// What the reply is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Subsequence,
    Length,
    Matches,
}

struct Options {
    output: Output,
    /// Shorter matches are left out.
    match_length_min: i64,
    with_match_length: bool,
}

fn lcs(call: &mut Call<'_>) -> Result {
    let first = read(call, 1)?;
    let second = read(call, 2)?;
    let options = options(call)?;
    check_size(&first, &second, call.engine.config.settings().bulk_bytes_max)?;
    if options.output == Output::Length {
        let length = row_by_row(&first, &second, |_, _| {});
        call.reply.integer(i64::from(length));
        return Ok(());
    }
    let table = Table::new(&first, &second);
    let matches = table.matches(&first, &second);
    match options.output {
        Output::Subsequence => {
            let parts = matches.iter().rev().map(|run| &first[run.first..run.first + run.length]);
            call.reply.bulk(&parts.collect::<Vec<_>>().concat());
        }
        Output::Matches | Output::Length => matches_reply(call.reply, &matches, table.length, &options),
    }
    Ok(())
}

/// The string at the key that argument `index` names; empty without one.
fn read(call: &mut Call<'_>, index: usize) -> Result<Vec<u8>> {
    match call.engine.data.read(call.args.get(index)) {
        None => Ok(Vec::new()),
        Some(entry) => entry.string().map(|string| string.to_vec()).ok_or(NOT_STRINGS),
    }
}

fn options(call: &Call<'_>) -> Result<Options> {
    let (mut wants_length, mut wants_matches) = (false, false);
    let mut options = Options { output: Output::Subsequence, match_length_min: 0, with_match_length: false };
    let mut index = 3;
    while index < call.args.len() {
        if call.is_word(index, "IDX") {
            wants_matches = true;
        } else if call.is_word(index, "LEN") {
            wants_length = true;
        } else if call.is_word(index, "WITHMATCHLEN") {
            options.with_match_length = true;
        } else if call.is_word(index, "MINMATCHLEN") && index + 1 < call.args.len() {
            index += 1;
            options.match_length_min = call.integer(index)?.max(0);
        } else {
            return Err(SYNTAX);
        }
        index += 1;
    }
    options.output = match (wants_length, wants_matches) {
        (true, true) => return Err(BOTH),
        (true, false) => Output::Length,
        (false, true) => Output::Matches,
        (false, false) => Output::Subsequence,
    };
    Ok(options)
}

/// The work grows with the product of the lengths: what Redis refuses for its memory, we refuse for its time.
fn check_size(first: &[u8], second: &[u8], bytes_max: u64) -> Result {
    let (rows, columns) = (first.len() as u64 + 1, second.len() as u64 + 1);
    if rows.max(columns) >= u64::from(u32::MAX) {
        return Err(TOO_LONG);
    }
    let bytes = rows.saturating_mul(columns).saturating_mul(4);
    if bytes > bytes_max { Err(TOO_MUCH_MEMORY) } else { Ok(()) }
}

/// Runs through the table of lengths; `visit` sees each row of it, beginning with that of the first byte, and
/// the row before. Gives the length for both strings as a whole.
fn row_by_row(first: &[u8], second: &[u8], mut visit: impl FnMut(&[u32], &[u32])) -> u32 {
    let mut above = vec![0u32; second.len() + 1];
    let mut row = above.clone();
    for byte in first {
        for (column, other) in second.iter().enumerate() {
            row[column + 1] =
                if byte == other { above[column] + 1 } else { row[column].max(above[column + 1]) };
        }
        visit(&above, &row);
        std::mem::swap(&mut above, &mut row);
    }
    above[second.len()]
}

/// For each pair of prefixes, whether the first one is shortened on the way back.
struct Table {
    bits: Vec<u64>,
    columns: usize,
    length: u32,
}

/// Bytes that stand in both strings one after the other.
#[derive(Debug, PartialEq, Eq)]
struct Match {
    first: usize,
    second: usize,
    length: usize,
}

impl Table {
    fn new(first: &[u8], second: &[u8]) -> Table {
        let columns = second.len();
        let mut bits = vec![0u64; (first.len() * columns).div_ceil(64)];
        let mut at = 0;
        let length = row_by_row(first, second, |above, row| {
            for column in 0..columns {
                bits[at / 64] |= u64::from(above[column + 1] > row[column]) << (at % 64);
                at += 1;
            }
        });
        Table { bits, columns, length }
    }

    /// The runs of the subsequence, the last one first.
    fn matches(&self, first: &[u8], second: &[u8]) -> Vec<Match> {
        let mut matches: Vec<Match> = Vec::new();
        let (mut row, mut column) = (first.len(), second.len());
        while row > 0 && column > 0 {
            if first[row - 1] == second[column - 1] {
                match matches.last_mut() {
                    Some(run) if run.first == row && run.second == column => {
                        *run = Match { first: row - 1, second: column - 1, length: run.length + 1 };
                    }
                    _ => matches.push(Match { first: row - 1, second: column - 1, length: 1 }),
                }
                (row, column) = (row - 1, column - 1);
            } else if self.shortens_first(row - 1, column - 1) {
                row -= 1;
            } else {
                column -= 1;
            }
        }
        matches
    }

    fn shortens_first(&self, row: usize, column: usize) -> bool {
        let at = row * self.columns + column;
        self.bits[at / 64] >> (at % 64) & 1 == 1
    }
}

fn matches_reply(reply: &mut Reply, matches: &[Match], length: u32, options: &Options) {
    let is_shown = |run: &&Match| run.length as i64 >= options.match_length_min;
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.iter().filter(is_shown).count());
    for run in matches.iter().filter(is_shown) {
        reply.array(if options.with_match_length { 3 } else { 2 });
        for start in [run.first, run.second] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + run.length - 1) as i64);
        }
        if options.with_match_length {
            reply.integer(run.length as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(i64::from(length));
}

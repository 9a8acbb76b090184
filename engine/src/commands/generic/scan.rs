//! Walks over many keys: SCAN, KEYS, RANDOMKEY, and the options that SCAN shares with HSCAN.
//!
//! Lives here: patterns, types and the form of the replies.
//! Not here: the order of keys and what a cursor means (`keyspace::scan`).
//!
//! Keys past their deadline are never shown. SCAN and RANDOMKEY delete those they would show, up to a
//! bound; the rest is left to the expire cycle.

use crate::call::Call;
use crate::error::{ErrorReply, INVALID_CURSOR, Result, SYNTAX};
use crate::glob;
use crate::keyspace::Entry;
use crate::resp::Reply;
use crate::value::Kind;

const NOVALUES_ELSEWHERE: ErrorReply = ErrorReply::new("ERR NOVALUES option can only be used in HSCAN");

/// Keys that one SCAN deletes because they are due, so that its effects stay small.
const DUE_DELETED_MAX: usize = 64;
/// Draws of RANDOMKEY before it takes the first key that is not due.
const DRAWS_MAX: usize = 100;
/// Keys asked for by a step without COUNT.
const COUNT_DEFAULT: usize = 10;

/// What is walked over: which options there are depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Walk {
    Keys,
    Hash,
}

/// Options of SCAN and its kin.
pub(in crate::commands) struct ScanOptions<'a> {
    pub count: usize,
    /// None takes everything.
    pattern: Option<&'a [u8]>,
    kind: Option<Kind>,
    pub without_values: bool,
}

impl<'a> ScanOptions<'a> {
    /// Reads the options from argument `first` on.
    pub fn read(call: &Call<'a>, first: usize, walk: Walk) -> Result<ScanOptions<'a>> {
        let mut options =
            ScanOptions { count: COUNT_DEFAULT, pattern: None, kind: None, without_values: false };
        let mut index = first;
        while index < call.args.len() {
            let has_next = index + 1 < call.args.len();
            if call.is_word(index, "COUNT") && has_next {
                let count = call.integer(index + 1)?;
                options.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(SYNTAX)?;
            } else if call.is_word(index, "MATCH") && has_next {
                options.pattern = Some(call.arg(index + 1)).filter(|pattern| *pattern != b"*");
            } else if call.is_word(index, "TYPE") && has_next && walk == Walk::Keys {
                options.kind = Some(kind_named(call.arg(index + 1))?);
            } else if call.is_word(index, "NOVALUES") {
                if walk != Walk::Hash {
                    return Err(NOVALUES_ELSEWHERE);
                }
                options.without_values = true;
                index += 1;
                continue;
            } else {
                return Err(SYNTAX);
            }
            index += 2;
        }
        Ok(options)
    }

    /// Whether the pattern, if any, takes this key or field.
    pub fn takes(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
    }
}

fn kind_named(name: &[u8]) -> Result<Kind> {
    const KINDS: [Kind; 6] = [Kind::String, Kind::List, Kind::Set, Kind::SortedSet, Kind::Hash, Kind::Stream];
    let found = KINDS.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name));
    found.ok_or_else(|| ErrorReply::owned([b"ERR unknown type name '", name, b"'"].concat()))
}

/// The cursor in argument `index`: an unsigned 64-bit decimal.
pub(in crate::commands) fn cursor(call: &Call<'_>, index: usize) -> Result<u64> {
    let text = std::str::from_utf8(call.arg(index)).map_err(|_| INVALID_CURSOR)?;
    text.parse().map_err(|_| INVALID_CURSOR)
}

/// Answers a step: the next cursor, then the elements collected meanwhile.
pub(in crate::commands) fn reply_step(reply: &mut Reply, next: u64, elements: &Reply, count: usize) {
    let next = i64::try_from(next).expect("a cursor stays below 2^53");
    reply.array(2);
    reply.bulk_integer(next);
    reply.array(count);
    reply.raw(elements.as_slice());
}

fn is_due(entry: &Entry, now_ms: i64) -> bool {
    entry.expiry_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms)
}

pub fn scan(call: &mut Call<'_>) -> Result {
    let from = cursor(call, 1)?;
    let options = ScanOptions::read(call, 2, Walk::Keys)?;
    let now_ms = call.now_ms();
    let mut keys = Reply::new(call.reply.protocol);
    let mut count = 0;
    let mut due = Vec::new();
    let next = call.engine.data.keyspace().scan(from, options.count, &mut |entry| {
        if options.kind.is_some_and(|kind| kind != entry.kind()) || !options.takes(entry.key()) {
            return;
        }
        if !is_due(entry, now_ms) {
            keys.bulk(entry.key());
            count += 1;
        } else if due.len() < DUE_DELETED_MAX {
            due.push(entry.key().to_vec());
        }
    });
    // Looking a due key up deletes it.
    due.iter().for_each(|key| {
        call.engine.data.peek(key);
    });
    reply_step(call.reply, next, &keys, count);
    Ok(())
}

pub fn keys(call: &mut Call<'_>) -> Result {
    let pattern = call.arg(1);
    let now_ms = call.now_ms();
    let takes_all = pattern == b"*";
    let mark = call.reply.begin_array();
    let mut count = 0;
    for entry in call.engine.data.keyspace().iter() {
        if (takes_all || glob::matches(pattern, entry.key(), false)) && !is_due(entry, now_ms) {
            call.reply.bulk(entry.key());
            count += 1;
        }
    }
    call.reply.end_array(mark, count);
    Ok(())
}

pub fn randomkey(call: &mut Call<'_>) -> Result {
    let now_ms = call.now_ms();
    for _ in 0..DRAWS_MAX {
        let engine = &mut *call.engine;
        let Some(entry) = engine.data.keyspace().random(&mut engine.random) else { break };
        if !is_due(entry, now_ms) {
            call.reply.bulk(entry.key());
            return Ok(());
        }
        let key = entry.key().to_vec();
        engine.data.peek(&key);
    }
    match call.engine.data.keyspace().iter().find(|entry| !is_due(entry, now_ms)) {
        Some(entry) => call.reply.bulk(entry.key()),
        None => call.reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use std::collections::BTreeSet;

    #[test]
    fn a_walk_gives_every_key_once_when_nothing_changes() {
        let mut bench = Bench::new();
        for number in 0..500 {
            bench.run_args(0, &["SET", &format!("key{number}"), "v"]);
        }
        let (mut cursor, mut seen, mut steps) = ("0".to_string(), BTreeSet::new(), 0);
        loop {
            let reply = bench.run(0, &format!("SCAN {cursor} COUNT 7"));
            let mut words = reply.split('"').skip(1).step_by(2).map(str::to_owned);
            cursor = words.next().expect("a cursor");
            words.for_each(|key| assert!(seen.insert(key), "nothing comes twice"));
            steps += 1;
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 500);
        assert!(steps > 10);
    }

    #[test]
    fn scan_filters_by_pattern_and_type() {
        check(
            r#"
            > SCAN 0
            1) "0"
            2) (empty array)
            > MSET_IS_NOT_HERE
            (error) ERR unknown command 'MSET_IS_NOT_HERE', with args beginning with:
            > SET s1 v
            OK
            > HSET h1 f v
            (integer) 1
            > SCAN 0 MATCH s* COUNT 100
            1) "0"
            2) 1) "s1"
            > scan 0 type HASH count 100
            1) "0"
            2) 1) "h1"
            > SCAN 0 MATCH s* TYPE hash COUNT 100
            1) "0"
            2) (empty array)
            > SCAN 18446744073709551615
            1) "0"
            2) (empty array)
            "#,
        );
    }

    #[test]
    fn keys_past_their_deadline_go_when_a_walk_would_show_them() {
        check(
            r#"
            > SET a 1 PX 1
            OK
            > SET b 1 PX 1
            OK
            +10ms
            > SCAN 0 TYPE hash COUNT 100
            1) "0"
            2) (empty array)
            > SCAN 0 MATCH a COUNT 100
            1) "0"
            2) (empty array)
            > DBSIZE
            (integer) 1
            "#,
        );
    }

    #[test]
    fn bad_cursors_and_options_are_refused() {
        check(
            r#"
            > SCAN abc
            (error) ERR invalid cursor
            > SCAN -1
            (error) ERR invalid cursor
            > SCAN ""
            (error) ERR invalid cursor
            > SCAN 18446744073709551616
            (error) ERR invalid cursor
            > SCAN 007 COUNT
            (error) ERR syntax error
            > SCAN 0 COUNT 0
            (error) ERR syntax error
            > SCAN 0 COUNT -1
            (error) ERR syntax error
            > SCAN 0 COUNT x
            (error) ERR value is not an integer or out of range
            > SCAN 0 TYPE foo COUNT 0
            (error) ERR unknown type name 'foo'
            > SCAN 0 NOVALUES
            (error) ERR NOVALUES option can only be used in HSCAN
            > SCAN 0 FOO
            (error) ERR syntax error
            "#,
        );
    }

    #[test]
    fn keys_past_their_deadline_are_not_shown_and_go_when_that_may_be_logged() {
        let mut bench = Bench::new();
        bench.check(
            r#"
            > SET a v PX 100
            OK
            > SET b v
            OK
            > KEYS *
            1) "b"
            2) "a"
            +100ms
            > KEYS *
            1) "b"
            > KEYS [a-b]
            1) "b"
            > KEYS c
            (empty array)
            "#,
        );
        assert_eq!(bench.engine.data.keyspace().len(), 2);
        bench.engine.data.may_log = false;
        bench.check("> SCAN 0\n1) \"0\"\n2) 1) \"b\"\n> RANDOMKEY\n\"b\"");
        assert_eq!(bench.engine.data.keyspace().len(), 2);
        bench.engine.data.may_log = true;
        bench.check("> SCAN 0\n1) \"0\"\n2) 1) \"b\"");
        assert_eq!(bench.engine.data.keyspace().len(), 1);
        assert_eq!(bench.engine.data.stats.expired_keys, 1);
    }

    #[test]
    fn randomkey_gives_a_key_or_nothing() {
        check(
            r#"
            > RANDOMKEY
            (nil)
            > SET a v
            OK
            > RANDOMKEY
            "a"
            > PEXPIRE a 1
            (integer) 1
            +1ms
            > RANDOMKEY
            (nil)
            > EXISTS a
            (integer) 0
            "#,
        );
    }
}

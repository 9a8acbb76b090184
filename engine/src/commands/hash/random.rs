//! HRANDFIELD: fields drawn at random.
//!
//! A negative count draws with repetition, a positive one gives different fields.

use super::string_reply;
use crate::call::Call;
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::keyspace::below;
use crate::resp::{Protocol, Reply};
use crate::value::{Hash, StringRef};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

const COUNT_OUT_OF_RANGE: ErrorReply = ErrorReply::new("ERR value is out of range");
const COUNT_BEYOND_NEGATION: ErrorReply = ErrorReply::new(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);

/// Most draws with repetition that one reply takes: it is built in memory before it leaves.
const REPEATED_DRAWS_MAX: u64 = 10_000_000;

pub fn hrandfield(call: &mut Call<'_>) -> Result {
    if call.args.len() == 2 {
        let engine = &mut *call.engine;
        let hash = engine.data.read_hash(call.args.get(1))?;
        match hash.and_then(|hash| hash.random(&mut engine.random)) {
            Some((field, _)) => call.reply.bulk(field),
            None => call.reply.null(),
        }
        return Ok(());
    }
    let count = call.integer(2)?;
    if count == i64::MIN {
        return Err(COUNT_BEYOND_NEGATION);
    }
    let with_values = call.args.len() > 3;
    if call.args.len() > 4 || with_values && !call.is_word(3, "WITHVALUES") {
        return Err(SYNTAX);
    }
    if with_values && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
        return Err(COUNT_OUT_OF_RANGE);
    }
    let engine = &mut *call.engine;
    let Some(hash) = engine.data.read_hash(call.args.get(1))? else {
        call.reply.array(0);
        return Ok(());
    };
    let draws = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        if count.unsigned_abs() > REPEATED_DRAWS_MAX {
            return Err(COUNT_OUT_OF_RANGE);
        }
        let mut form = Form::begin(call.reply, draws, with_values);
        for _ in 0..draws {
            let (field, value) = hash.random(&mut engine.random).expect("no hash is empty");
            form.element(field, value);
        }
        return Ok(());
    }
    give_different(hash, &mut engine.random, Form::begin(call.reply, draws.min(hash.len()), with_values));
    Ok(())
}

/// Gives as many different fields as the reply has room for.
fn give_different(hash: &Hash, random: &mut ChaCha8Rng, mut form: Form<'_>) {
    let mut wanted = form.length;
    // Few of many: drawn until they differ. Else one pass that takes each with the right chance.
    if wanted.saturating_mul(3) <= hash.len() {
        let mut drawn = BTreeSet::new();
        while drawn.len() < wanted {
            let (field, value) = hash.random(random).expect("no hash is empty");
            if drawn.insert(field) {
                form.element(field, value);
            }
        }
        return;
    }
    for (passed, (field, value)) in hash.iter().enumerate() {
        if below(random, hash.len() - passed) < wanted {
            form.element(field, value);
            wanted -= 1;
        }
    }
}

/// The reply: flat in RESP2, pairs in RESP3 when values were asked for.
struct Form<'r> {
    reply: &'r mut Reply,
    length: usize,
    with_values: bool,
    is_paired: bool,
}

impl Form<'_> {
    fn begin(reply: &mut Reply, length: usize, with_values: bool) -> Form<'_> {
        let is_paired = with_values && reply.protocol == Protocol::Resp3;
        reply.array(if with_values && !is_paired { length * 2 } else { length });
        Form { reply, length, with_values, is_paired }
    }

    fn element(&mut self, field: &[u8], value: StringRef<'_>) {
        if self.is_paired {
            self.reply.array(2);
        }
        self.reply.bulk(field);
        if self.with_values {
            string_reply(self.reply, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::resp::Protocol;
    use crate::testing::{Bench, check};
    use std::collections::BTreeSet;

    #[test]
    fn counts_and_options_are_read_as_redis_reads_them() {
        check(
            r#"
            > HRANDFIELD none
            (nil)
            > HRANDFIELD none 3
            (empty array)
            > HSET h f v
            (integer) 1
            > HRANDFIELD h
            "f"
            > HRANDFIELD h 0
            (empty array)
            > HRANDFIELD h 9223372036854775807
            1) "f"
            > HRANDFIELD h -2
            1) "f"
            2) "f"
            > HRANDFIELD h -2 withvalues
            1) "f"
            2) "v"
            3) "f"
            4) "v"
            > HRANDFIELD h x FOO
            (error) ERR value is not an integer or out of range
            > HRANDFIELD h 1 FOO
            (error) ERR syntax error
            > HRANDFIELD h 1 WITHVALUES X
            (error) ERR syntax error
            > HRANDFIELD none 9223372036854775807 WITHVALUES
            (error) ERR value is out of range
            > HRANDFIELD h -9223372036854775808
            (error) ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
            > HRANDFIELD h -9223372036854775807
            (error) ERR value is out of range
            "#,
        );
    }

    #[test]
    fn values_come_in_pairs_in_resp3() {
        let mut bench = Bench::new();
        bench.speak(0, Protocol::Resp3);
        bench.check("> HSET h f v\n(integer) 1\n> HRANDFIELD h 5 WITHVALUES\n1) 1) \"f\"\n2) \"v\"");
    }

    #[test]
    fn a_positive_count_gives_different_fields_and_reaches_all() {
        let mut bench = Bench::new();
        for number in 0..200 {
            bench.run_args(0, &["HSET", "h", &format!("f{number}"), "v"]);
        }
        for count in [1, 20, 66, 67, 150, 199, 200, 300] {
            let mut reached = BTreeSet::new();
            for _ in 0..50 {
                let reply = bench.run(0, &format!("HRANDFIELD h {count}"));
                let fields: BTreeSet<_> = reply.split('"').skip(1).step_by(2).map(str::to_owned).collect();
                assert_eq!(fields.len(), count.min(200));
                reached.extend(fields);
            }
            assert!(reached.len() > 30);
        }
    }
}

//! DEBUG: what test suites ask of a server, only where `enable-debug-command` permits it.

use crate::call::Call;
use crate::command::{Command, Flags, Handler, Keys, at_least, exactly};
use crate::error::{ErrorReply, NO_SUCH_KEY, Result, SYNTAX};
use crate::{Action, Blocked};

const fn sub(name: &'static str, arity: i16, handler: Handler) -> Command {
    Command::node(name, arity, handler)
        .flags(Flags::ADMIN.with(Flags::NO_SCRIPT).with(Flags::LOADING).with(Flags::STALE))
        .group("server")
}

pub(super) const SUBCOMMANDS: &[Command] = &[
    sub("debug|sleep", exactly(2), sleep).doc("1.0.0", "seconds", "Stops the server for so many seconds.", "O(1)"),
    sub("debug|set-active-expire", exactly(2), set_active_expire).doc("1.0.0", "<0 | 1>", "Switches the active expire cycle.", "O(1)"),
    sub("debug|loadaof", exactly(1), load_log).doc("1.0.0", "", "Waits until everything is committed, then rebuilds the data from the log.", "O(N) in the size of the log"),
    sub("debug|digest", exactly(1), digest).flags(Flags::READS_MANY).doc("1.0.0", "", "Returns a digest of the logical content of all databases.", "O(N) in the number of keys"),
    sub("debug|digest-value", at_least(1), digest_value).keys(Keys::range(2, -1, 1), &["RO"]).doc("1.0.0", "[key ...]", "Returns a digest of each key's value.", "O(N) in the size of the values"),
    sub("debug|object", at_least(2), object).keys(Keys::at(2), &["RO"]).doc("1.0.0", "key", "Returns low level facts about a key.", "O(1)"),
    sub("debug|protocol", exactly(2), protocol).doc("1.0.0", "<STRING | INTEGER | DOUBLE | NULL | ARRAY | SET | MAP | ATTRIB | PUSH | VERBATIM | TRUE | FALSE | BIGNUM>", "Returns a reply of the kind asked for.", "O(1)"),
    sub("debug|error", exactly(2), error).doc("1.0.0", "text", "Returns an error of this text.", "O(1)"),
    sub("debug|log", exactly(2), harmless).doc("1.0.0", "message", "Marks a place in a test; nothing is kept.", "O(1)"),
    sub("debug|quicklist-packed-threshold", exactly(2), harmless).doc("1.0.0", "size", "Accepted for test suites; Ramkeep has no such threshold.", "O(1)"),
    sub("debug|dict-resizing", exactly(2), harmless).doc("1.0.0", "<0 | 1>", "Accepted for test suites; tables have no such switch.", "O(1)"),
    sub("debug|replybuffer", at_least(2), harmless).doc("1.0.0", "option value", "Accepted for test suites; reply buffers have no such settings.", "O(1)"),
    sub("debug|pause-cron", exactly(2), harmless).doc("1.0.0", "<0 | 1>", "Accepted for test suites; there is no such cycle.", "O(1)"),
    sub("debug|stringmatch-len", exactly(3), string_match).doc("1.0.0", "len pattern", "Matches a pattern against a text of so many zeros.", "O(N)"),
    crate::commands::help_of("debug|help").group("server"),
];

const NOT_ALLOWED: ErrorReply = ErrorReply::new(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);

fn permitted(call: &Call<'_>) -> Result {
    let is_local = super::config::is_local(&call.session.address);
    let allowed = call.engine.config.settings().enable_debug_command;
    if allowed.permits(is_local) { Ok(()) } else { Err(NOT_ALLOWED) }
}

fn harmless(call: &mut Call<'_>) -> Result {
    permitted(call)?;
    call.reply.ok();
    Ok(())
}

fn sleep(call: &mut Call<'_>) -> Result {
    permitted(call)?;
    let seconds =
        crate::number::double::parse(call.arg(2)).filter(|seconds| (0.0..=3600.0).contains(seconds));
    let seconds = seconds.ok_or(crate::error::NOT_A_FLOAT)?;
    call.engine.actions.push(Action::Sleep { microseconds: (seconds * 1e6) as u64 });
    call.reply.ok();
    Ok(())
}

fn set_active_expire(call: &mut Call<'_>) -> Result {
    permitted(call)?;
    call.engine.is_active_expire = call.integer(2)? != 0;
    call.reply.ok();
    Ok(())
}

fn load_log(call: &mut Call<'_>) -> Result {
    permitted(call)?;
    call.session.blocked = Some(Blocked::Action);
    call.engine.actions.push(Action::Rebuild { session: call.session.id });
    Ok(())
}

fn digest(call: &mut Call<'_>) -> Result {
    permitted(call)?;
    // Forty digits, as clients of other servers expect.
    let text = format!("{:040x}", call.engine.data.digest());
    call.reply.simple(&text);
    Ok(())
}

fn digest_value(call: &mut Call<'_>) -> Result {
    permitted(call)?;
    call.reply.array(call.args.len() - 2);
    for index in 2..call.args.len() {
        let digest =
            call.engine.data.peek(call.args.get(index)).map_or(0, crate::keyspace::Entry::value_digest);
        let text = format!("{digest:040x}");
        call.reply.simple(&text);
    }
    Ok(())
}

fn object(call: &mut Call<'_>) -> Result {
    permitted(call)?;
    let Some(entry) = call.engine.data.peek(call.args.get(2)) else { return Err(NO_SUCH_KEY) };
    let (encoding, access) = (entry.encoding().name(), entry.access());
    let bytes = entry.memory_bytes();
    let idle = call.engine.idle_seconds(access);
    let text = format!(
        "Value at:0x0 refcount:1 encoding:{encoding} serializedlength:{bytes} lru:{access} lru_seconds_idle:{idle}"
    );
    call.reply.simple(&text);
    Ok(())
}

fn error(call: &mut Call<'_>) -> Result {
    permitted(call)?;
    Err(ErrorReply::owned(call.arg(2).to_vec()))
}

fn string_match(call: &mut Call<'_>) -> Result {
    permitted(call)?;
    let length = usize::try_from(call.integer(2)?).ok().filter(|length| *length <= 1 << 20).ok_or(SYNTAX)?;
    let is_match = crate::glob::matches(call.arg(3), &vec![b'0'; length], false);
    call.reply.integer(i64::from(is_match));
    Ok(())
}

fn protocol(call: &mut Call<'_>) -> Result {
    permitted(call)?;
    let word = call.arg(2).to_ascii_lowercase();
    match word.as_slice() {
        b"string" => call.reply.bulk(b"Hello World"),
        b"integer" => call.reply.integer(12345),
        // What test suites expect: not quite pi.
        #[allow(clippy::approx_constant, reason = "the number that the suites compare with")]
        b"double" => call.reply.double(3.141),
        b"null" => call.reply.null(),
        b"array" => numbers(call, |call| call.reply.array(3)),
        b"set" => numbers(call, |call| call.reply.set(3)),
        b"push" => numbers(call, |call| call.reply.push(3)),
        b"map" => {
            call.reply.map(3);
            for number in 0..3 {
                call.reply.integer(number);
                call.reply.boolean(number == 1);
            }
        }
        b"true" => call.reply.boolean(true),
        b"false" => call.reply.boolean(false),
        b"verbatim" => call.reply.verbatim(*b"txt", b"This is a verbatim\nstring"),
        b"bignum" => call.reply.big_number(b"1234567999999999999999999999999999999"),
        _ => {
            return Err(ErrorReply::new(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|double|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

fn numbers(call: &mut Call<'_>, head: impl FnOnce(&mut Call<'_>)) {
    head(call);
    (0..3).for_each(|number| call.reply.integer(number));
}

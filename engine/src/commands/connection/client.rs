//! CLIENT and its subcommands.
//!
//! Lives here: one client's settings, the line about a client, which clients LIST and KILL mean.
//! Not here: clients that wait (`control`), client-side caching (`tracking`); closing connections, which the node does
//! when asked by an action.
//!
//! Invariant: the client that runs a command is out of the registry; it is merged in by its id.

use crate::Action;
use crate::call::Call;
use crate::command::{Categories, Command, Flags, at_least, exactly};
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::number::integer;
use crate::resp::Protocol;
use crate::session::{ReadConsistency, ReplyMode, Session, SessionId};
use crate::time::Now;
use std::fmt::Write as _;

pub(super) const fn sub(name: &'static str, arity: i16, handler: crate::command::Handler) -> Command {
    Command::node(name, arity, handler)
        .flags(Flags::NO_SCRIPT.with(Flags::LOADING).with(Flags::STALE))
        .acl(Categories::CONNECTION)
        .group("connection")
}

pub(super) const SUBCOMMANDS: &[Command] = &[
    crate::commands::help_of("client|help").acl(Categories::CONNECTION).group("connection"),
    sub("client|id", exactly(1), id).doc("5.0.0", "", "Returns the unique client ID of the connection.", "O(1)"),
    sub("client|info", exactly(1), info).doc("6.2.0", "", "Returns information about the connection.", "O(1)"),
    sub("client|list", at_least(1), list).flags(Flags::ADMIN).doc(
        "2.4.0",
        "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
        "Lists open connections.",
        "O(N) where N is the number of client connections",
    ),
    sub("client|setname", exactly(2), set_name).doc("2.6.9", "connection-name", "Sets the connection name.", "O(1)"),
    sub("client|getname", exactly(1), get_name).doc("2.6.9", "", "Returns the name of the connection.", "O(1)"),
    sub("client|setinfo", exactly(3), set_info).doc(
        "7.2.0",
        "<LIB-NAME libname | LIB-VER libver>",
        "Sets information specific to the client or connection.",
        "O(1)",
    ),
    sub("client|kill", at_least(2), kill).flags(Flags::ADMIN).doc(
        "2.4.0",
        "<old-format | [ID client-id] [TYPE <NORMAL | MASTER | PRIMARY | SLAVE | REPLICA | PUBSUB>] [USER username] [ADDR addr] [LADDR laddr] [SKIPME <YES | NO>] [MAXAGE maxage]>",
        "Terminates open connections.",
        "O(N) where N is the number of client connections",
    ),
    sub("client|no-evict", exactly(2), no_evict).flags(Flags::ADMIN).doc(
        "7.0.0",
        "<ON | OFF>",
        "Sets the client eviction mode of the connection.",
        "O(1)",
    ),
    sub("client|no-touch", exactly(2), no_touch).doc(
        "7.2.0",
        "<ON | OFF>",
        "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        "O(1)",
    ),
    sub("client|read-consistency", at_least(2), read_consistency).doc(
        "7.2.0",
        "<LINEARIZABLE | BOUNDED milliseconds | EVENTUAL>",
        "Sets how old may be what a replica shows to a client that said READONLY.",
        "O(1)",
    ),
    sub("client|reply", exactly(2), reply).doc(
        "3.2.0",
        "<ON | OFF | SKIP>",
        "Instructs the server whether to reply to commands.",
        "O(1)",
    ),
    sub("client|capa", at_least(2), claim_capability).doc(
        "8.0.0",
        "capability [capability ...]",
        "A client claims its capability.",
        "O(1)",
    ),
    super::control::PAUSE,
    super::control::UNPAUSE,
    super::control::UNBLOCK,
    super::tracking::TRACKING_INFO,
    super::tracking::GET_REDIRECTION,
    super::tracking::CACHING,
];

const NO_SUCH_CLIENT: ErrorReply = ErrorReply::new("ERR No such client");
const BAD_NAME: ErrorReply =
    ErrorReply::new("ERR Client names cannot contain spaces, newlines or special characters.");
const BAD_ID: ErrorReply = ErrorReply::new("ERR Invalid client ID");
const KILL_ID: ErrorReply = ErrorReply::new("ERR client-id should be greater than 0");
const AGE_NOT_INTEGER: ErrorReply = ErrorReply::new("ERR maxage is not an integer or out of range");
const BAD_AGE: ErrorReply = ErrorReply::new("ERR milliseconds is not an integer or out of range");
const AGE_TOO_LOW: ErrorReply = ErrorReply::new("ERR maxage should be greater than 0");

fn id(call: &mut Call<'_>) -> Result {
    call.reply.integer(call.session.id.0 as i64);
    Ok(())
}

/// Whether a text stands as one word in the line about a client.
fn is_one_word(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

/// A name that a client may have.
pub(super) fn checked_name(name: &[u8]) -> Result<&[u8]> {
    if is_one_word(name) { Ok(name) } else { Err(BAD_NAME) }
}

fn set_name(call: &mut Call<'_>) -> Result {
    call.session.name = checked_name(call.arg(2))?.to_vec();
    call.reply.ok();
    Ok(())
}

fn get_name(call: &mut Call<'_>) -> Result {
    if call.session.name.is_empty() {
        call.reply.null();
    } else {
        call.reply.bulk(&call.session.name);
    }
    Ok(())
}

fn set_info(call: &mut Call<'_>) -> Result {
    let (option, value) = (call.arg(2), call.arg(3));
    let field = if call.is_word(2, "LIB-NAME") {
        &mut call.session.library_name
    } else if call.is_word(2, "LIB-VER") {
        &mut call.session.library_version
    } else {
        return Err(ErrorReply::owned([b"ERR Unrecognized option '", option, b"'"].concat()));
    };
    if !is_one_word(value) {
        let rest: &[u8] = b" cannot contain spaces, newlines or special characters.";
        return Err(ErrorReply::owned([b"ERR ", option, rest].concat()));
    }
    *field = value.to_vec();
    call.reply.ok();
    Ok(())
}

/// A client says what it understands. The one capability that Valkey knows, `redirect`, is about replies that are never
/// given here: a replica answers READONLY.
fn claim_capability(call: &mut Call<'_>) -> Result {
    call.reply.ok();
    Ok(())
}

fn on_or_off(call: &Call<'_>) -> Result<bool> {
    if call.is_word(2, "ON") {
        Ok(true)
    } else if call.is_word(2, "OFF") {
        Ok(false)
    } else {
        Err(SYNTAX)
    }
}

fn no_evict(call: &mut Call<'_>) -> Result {
    call.session.no_evict = on_or_off(call)?;
    call.reply.ok();
    Ok(())
}

fn no_touch(call: &mut Call<'_>) -> Result {
    call.session.no_touch = on_or_off(call)?;
    call.reply.ok();
    Ok(())
}

fn read_consistency(call: &mut Call<'_>) -> Result {
    call.session.read_consistency = match call.args.len() {
        3 if call.is_word(2, "LINEARIZABLE") => ReadConsistency::Linearizable,
        3 if call.is_word(2, "EVENTUAL") => ReadConsistency::Eventual,
        4 if call.is_word(2, "BOUNDED") => {
            let age_ms = integer::parse(call.arg(3)).and_then(|age_ms| u64::try_from(age_ms).ok());
            ReadConsistency::Bounded { age_ms_max: age_ms.ok_or(BAD_AGE)? }
        }
        _ => return Err(SYNTAX),
    };
    call.reply.ok();
    Ok(())
}

fn reply(call: &mut Call<'_>) -> Result {
    if call.is_word(2, "ON") {
        call.session.reply_mode = ReplyMode::On;
        call.reply.ok();
    } else if call.is_word(2, "OFF") {
        call.session.reply_mode = ReplyMode::Off;
    } else if call.is_word(2, "SKIP") {
        if call.session.reply_mode != ReplyMode::Off {
            call.session.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(SYNTAX);
    }
    Ok(())
}

fn info(call: &mut Call<'_>) -> Result {
    let text = describe(call.session, call.now);
    call.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// One line about a client, in the fields of CLIENT LIST. What the engine cannot know is -1 or 0:
/// descriptors belong to the network.
fn describe(session: &Session, now: Now) -> String {
    let seconds = |since: Now| now.monotonic_ns.saturating_sub(since.monotonic_ns) / 1_000_000_000;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let queued = session.transaction.as_ref().map_or(-1, |transaction| transaction.queue.len() as i64);
    let queued_bytes = session.transaction.as_ref().map_or(0, |transaction| transaction.bytes);
    let fields: [(&str, &dyn std::fmt::Display); 32] = [
        ("id", &session.id.0),
        ("addr", &session.address),
        ("laddr", &session.local_address),
        ("fd", &-1),
        ("name", &text(&session.name)),
        ("age", &seconds(session.connected_at)),
        ("idle", &seconds(session.last_command_at)),
        ("flags", &flags_of(session)),
        ("db", &session.database),
        ("sub", &0),
        ("psub", &0),
        ("ssub", &0),
        ("multi", &queued),
        ("watch", &session.watched),
        ("qbuf", &session.query_buffer_bytes),
        ("qbuf-free", &0),
        ("argv-mem", &0),
        ("multi-mem", &queued_bytes),
        ("rbs", &0),
        ("rbp", &0),
        ("obl", &0),
        ("oll", &0),
        ("omem", &session.output_buffer_bytes),
        ("tot-mem", &session.held_bytes()),
        ("events", &"r"),
        ("cmd", &session.last_command),
        ("user", &text(&session.user)),
        ("redir", &-1),
        ("resp", &if session.protocol == Protocol::Resp3 { 3 } else { 2 }),
        ("lib-name", &text(&session.library_name)),
        ("lib-ver", &text(&session.library_version)),
        ("tot-net-in", &session.bytes_in),
    ];
    let mut line = String::new();
    for (name, value) in fields {
        write!(line, "{name}={value} ").expect("a string takes everything");
    }
    writeln!(line, "tot-net-out={} tot-cmds={}", session.bytes_out, session.commands)
        .expect("a string takes everything");
    line
}

/// Letters for what is special about a client; `N` when nothing is.
fn flags_of(session: &Session) -> String {
    let letters = [
        (session.is_monitor, 'O'),
        (session.blocked.is_some(), 'b'),
        (session.transaction.is_some(), 'x'),
        (session.is_closing, 'c'),
        (session.no_evict, 'e'),
        (session.no_touch, 'T'),
    ];
    let set: String = letters.into_iter().filter(|(is_set, _)| *is_set).map(|(_, letter)| letter).collect();
    if set.is_empty() { "N".to_owned() } else { set }
}

/// Kinds of clients that TYPE names; all of ours are normal so far.
fn is_normal_type(name: &[u8]) -> Result<bool> {
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    if is("normal") {
        return Ok(true);
    }
    if ["master", "primary", "slave", "replica", "pubsub"].into_iter().any(is) {
        return Ok(false);
    }
    Err(ErrorReply::owned([b"ERR Unknown client type '", name, b"'"].concat()))
}

/// The clients of a list: all, those of a type, those with these ids.
enum Listed {
    All,
    None,
    Ids(Vec<i64>),
}

fn listed(call: &Call<'_>) -> Result<Listed> {
    match call.args.len() {
        2 => Ok(Listed::All),
        4 if call.is_word(2, "TYPE") => {
            Ok(if is_normal_type(call.arg(3))? { Listed::All } else { Listed::None })
        }
        length if length > 3 && call.is_word(2, "ID") => {
            let ids = (3..length).map(|index| integer::parse(call.arg(index)).ok_or(BAD_ID));
            Ok(Listed::Ids(ids.collect::<Result<_>>()?))
        }
        _ => Err(SYNTAX),
    }
}

fn list(call: &mut Call<'_>) -> Result {
    let listed = listed(call)?;
    let is_listed = |session: &Session| match &listed {
        Listed::All => true,
        Listed::None => false,
        Listed::Ids(ids) => ids.contains(&(session.id.0 as i64)),
    };
    let own: &Session = call.session;
    let (earlier, later): (Vec<&Session>, Vec<&Session>) =
        call.engine.sessions.iter().partition(|session| session.id < own.id);
    let in_order = earlier.into_iter().chain([own]).chain(later).filter(|session| is_listed(session));
    let text: String = in_order.map(|session| describe(session, call.now)).collect();
    call.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// What CLIENT KILL asks for; a filter that is `None` lets every client pass.
#[derive(Default)]
struct Victims<'a> {
    id: Option<SessionId>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    /// A type was named that no client here has.
    are_none: bool,
    age_seconds_min: Option<u64>,
    may_be_me: bool,
}

impl Victims<'_> {
    fn contain(&self, session: &Session, now: Now) -> bool {
        let age_seconds = now.monotonic_ns.saturating_sub(session.connected_at.monotonic_ns) / 1_000_000_000;
        !self.are_none
            && self.id.is_none_or(|id| id == session.id)
            && self.address.is_none_or(|address| address == session.address.as_bytes())
            && self.local_address.is_none_or(|address| address == session.local_address.as_bytes())
            && self.user.is_none_or(|user| user == session.user)
            && self.age_seconds_min.is_none_or(|age| age_seconds >= age)
    }
}

fn kill(call: &mut Call<'_>) -> Result {
    let is_old_form = call.args.len() == 3;
    let victims = match is_old_form {
        true => Victims { address: Some(call.arg(2)), may_be_me: true, ..Victims::default() },
        false => victims(call)?,
    };
    let now = call.now;
    let mut count = 0;
    for session in call.engine.sessions.iter_mut().filter(|session| victims.contain(session, now)) {
        session.is_closing = true;
        call.engine.actions.push(Action::Close(session.id));
        count += 1;
    }
    if victims.may_be_me && victims.contain(call.session, now) {
        // The reply still leaves.
        call.session.is_closing = true;
        count += 1;
    }
    match (is_old_form, count) {
        (true, 0) => return Err(NO_SUCH_CLIENT),
        (true, _) => call.reply.ok(),
        (false, count) => call.reply.integer(count),
    }
    Ok(())
}

fn victims<'a>(call: &Call<'a>) -> Result<Victims<'a>> {
    let mut victims = Victims::default();
    for index in (2..call.args.len()).step_by(2) {
        if index + 1 == call.args.len() {
            return Err(SYNTAX);
        }
        narrow(&mut victims, call, index)?;
    }
    Ok(victims)
}

/// Takes in one option of the new form and its value.
fn narrow<'a>(victims: &mut Victims<'a>, call: &Call<'a>, index: usize) -> Result {
    let value = call.arg(index + 1);
    let is = |word: &str| call.is_word(index, word);
    match () {
        () if is("ID") => {
            let id = integer::parse(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
            victims.id = Some(SessionId(id.ok_or(KILL_ID)?));
        }
        () if is("MAXAGE") => {
            let age = integer::parse(value).ok_or(AGE_NOT_INTEGER)?;
            victims.age_seconds_min =
                Some(u64::try_from(age).ok().filter(|age| *age > 0).ok_or(AGE_TOO_LOW)?);
        }
        () if is("TYPE") => victims.are_none = !is_normal_type(value)?,
        () if is("ADDR") => victims.address = Some(value),
        () if is("LADDR") => victims.local_address = Some(value),
        () if is("USER") && value != b"default" => {
            return Err(ErrorReply::owned([b"ERR No such user '", value, b"'"].concat()));
        }
        () if is("USER") => victims.user = Some(value),
        () if is("SKIPME") && value.eq_ignore_ascii_case(b"yes") => victims.may_be_me = false,
        () if is("SKIPME") && value.eq_ignore_ascii_case(b"no") => victims.may_be_me = true,
        () => return Err(SYNTAX),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Action;
    use crate::session::SessionId;
    use crate::testing::{Bench, check};

    #[test]
    fn clients_have_names_libraries_and_switches() {
        check(
            "
            > CLIENT ID
            (integer) 1
            > CLIENT SETNAME a b
            (error) ERR wrong number of arguments for 'client|setname' command
            > CLIENT SETNAME \"a b\"
            (error) ERR Client names cannot contain spaces, newlines or special characters.
            > CLIENT GETNAME
            (nil)
            > CLIENT SETNAME app
            OK
            > CLIENT GETNAME
            \"app\"
            > CLIENT SETNAME \"\"
            OK
            > CLIENT GETNAME
            (nil)
            > CLIENT SETINFO LIB-NAME redis-py
            OK
            > CLIENT SETINFO lib-ver \"a b\"
            (error) ERR lib-ver cannot contain spaces, newlines or special characters.
            > CLIENT SETINFO junk x
            (error) ERR Unrecognized option 'junk'
            > CLIENT NO-EVICT maybe
            (error) ERR syntax error
            > CLIENT NO-EVICT on
            OK
            > CLIENT NO-TOUCH on
            OK
            > CLIENT FOO
            (error) ERR unknown subcommand 'FOO'. Try CLIENT HELP.
            ",
        );
    }

    #[test]
    fn lists_hold_every_client_in_the_order_of_connecting() {
        let mut bench = Bench::new();
        bench.check("2> CLIENT SETNAME third\nOK\n2> CLIENT NO-TOUCH on\nOK\n2> MULTI\nOK\n1> SELECT 3\nOK");
        bench.advance_ms(5_000);
        let text = bench.run(1, "CLIENT LIST").replace("\\n", "\n");
        let lines: Vec<&str> = text.trim_matches('"').lines().collect();
        assert_eq!(lines.len(), 4);
        for (line, id) in lines.iter().zip(1..) {
            assert!(
                line.starts_with(&format!("id={id} addr=127.0.0.1:1 laddr=127.0.0.1:6379 fd=-1 name=")),
                "{line}"
            );
        }
        assert!(
            lines[1].contains(" age=5 idle=0 flags=N db=3 ")
                && lines[1].contains(" cmd=client|list user=default ")
        );
        assert!(lines[2].contains(" name=third age=5 idle=5 flags=xT ") && lines[2].contains(" multi=0 "));
        assert!(bench.run(0, "CLIENT LIST ID 2 0 -1").contains("id=2 "));
        bench.check(
            "
            > CLIENT LIST ID 99
            \"\"
            > CLIENT LIST TYPE replica
            \"\"
            > CLIENT LIST TYPE junk
            (error) ERR Unknown client type 'junk'
            > CLIENT LIST ID
            (error) ERR syntax error
            > CLIENT LIST ID x
            (error) ERR Invalid client ID
            > CLIENT LIST junk
            (error) ERR syntax error
            ",
        );
    }

    #[test]
    fn kill_refuses_what_it_does_not_understand() {
        check(
            "
            > CLIENT KILL 1.2.3.4:5
            (error) ERR No such client
            > CLIENT KILL ID
            (error) ERR No such client
            > CLIENT KILL ID x ADDR
            (error) ERR client-id should be greater than 0
            > CLIENT KILL ID 0
            (error) ERR client-id should be greater than 0
            > CLIENT KILL ID 99 ADDR
            (error) ERR syntax error
            > CLIENT KILL ID 99
            (integer) 0
            > CLIENT KILL TYPE foo
            (error) ERR Unknown client type 'foo'
            > CLIENT KILL TYPE pubsub
            (integer) 0
            > CLIENT KILL USER nobody
            (error) ERR No such user 'nobody'
            > CLIENT KILL SKIPME maybe
            (error) ERR syntax error
            > CLIENT KILL MAXAGE x
            (error) ERR maxage is not an integer or out of range
            > CLIENT KILL MAXAGE 0
            (error) ERR maxage should be greater than 0
            > CLIENT KILL MAXAGE 10
            (integer) 0
            ",
        );
    }

    #[test]
    fn kill_closes_others_at_once_and_oneself_after_the_reply() {
        let mut bench = Bench::new();
        bench.check("> CLIENT KILL ID 2\n(integer) 1");
        assert_eq!(std::mem::take(&mut bench.engine.actions), [Action::Close(SessionId(2))]);
        assert!(bench.session(1).is_closing && !bench.session(0).is_closing);
        bench.check("> CLIENT KILL ID 1\n(integer) 0\n> CLIENT KILL ID 1 SKIPME no\n(integer) 1");
        assert!(bench.session(0).is_closing && bench.engine.actions.is_empty());
    }

    #[test]
    fn replies_are_left_out_when_asked_for() {
        let mut bench = Bench::new();
        bench.check(
            "> CLIENT REPLY SKIP\n> PING\n> PING\nPONG\n> CLIENT REPLY OFF\n> PING\n> CLIENT REPLY SKIP",
        );
        bench.check(
            "> PING\n> CLIENT REPLY ON\nOK\n> PING\nPONG\n> CLIENT REPLY junk\n(error) ERR syntax error",
        );
    }
}

//! CLIENT and its subcommands.

use super::ANYTIME;
use crate::Action;
use crate::call::Call;
use crate::command::{Categories, Command, Flags, at_least, exactly};
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::number::integer;
use crate::session::{ReplyMode, Session, SessionId};
use crate::time::Now;
use std::fmt::Write as _;

const fn sub(name: &'static str, arity: i16, handler: crate::command::Handler) -> Command {
    Command::node(name, arity, handler).flags(ANYTIME).acl(Categories::CONNECTION).group("connection")
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
        "<ip:port | [ID client-id] [TYPE type] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME yes/no] [MAXAGE maxage]>",
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
    sub("client|reply", exactly(2), reply).doc(
        "3.2.0",
        "<ON | OFF | SKIP>",
        "Instructs the server whether to reply to commands.",
        "O(1)",
    ),
];

const NO_SUCH_CLIENT: ErrorReply = ErrorReply::new("ERR No such client");
const BAD_NAME: ErrorReply =
    ErrorReply::new("ERR Client names cannot contain spaces, newlines or special characters.");
const BAD_ID: ErrorReply = ErrorReply::new("ERR Invalid client ID");
const KILL_ID: ErrorReply = ErrorReply::new("ERR client-id should be greater than 0");

fn id(call: &mut Call<'_>) -> Result {
    call.reply.integer(call.session.id.0 as i64);
    Ok(())
}

/// A name that prints on one line without spaces.
pub(super) fn checked_name(name: &[u8]) -> Result<&[u8]> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) { Ok(name) } else { Err(BAD_NAME) }
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
    let value = call.arg(3);
    let is_printable = value.iter().all(|byte| (b'!'..=b'~').contains(byte));
    let (field, name) = if call.is_word(2, "LIB-NAME") {
        (&mut call.session.library_name, "lib-name")
    } else if call.is_word(2, "LIB-VER") {
        (&mut call.session.library_version, "lib-ver")
    } else {
        let option = String::from_utf8_lossy(call.arg(2)).into_owned();
        return Err(ErrorReply::owned(format!("ERR Unrecognized option '{option}'")));
    };
    if !is_printable {
        let text = format!("ERR {name} cannot contain spaces, newlines or special characters.");
        return Err(ErrorReply::owned(text));
    }
    *field = value.to_vec();
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

/// One line about a client, in the fields of CLIENT LIST.
fn describe(session: &Session, now: Now) -> String {
    let seconds = |since: Now| now.monotonic_ns.saturating_sub(since.monotonic_ns) / 1_000_000_000;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut flags = String::new();
    for (is_set, letter) in [
        (session.transaction.is_some(), 'x'),
        (session.blocked.is_some(), 'b'),
        (session.is_closing, 'c'),
        (session.no_evict, 'e'),
        (session.no_touch, 'T'),
    ] {
        if is_set {
            flags.push(letter);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    let multi = session.transaction.as_ref().map_or(-1, |transaction| transaction.queue.len() as i64);
    let multi_bytes = session.transaction.as_ref().map_or(0, |transaction| transaction.bytes);
    let mut line = String::new();
    write!(
        line,
        "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags={flags} capa= db={} sub=0 psub=0 ssub=0 multi={multi} watch={} qbuf={} qbuf-free=0 argv-mem=0 multi-mem={multi_bytes} rbs=0 rbp=0 obl=0 oll=0 omem={} tot-mem={} events=r cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={} tot-net-in={} tot-net-out={} tot-cmds={}",
        session.id.0,
        session.address,
        session.local_address,
        text(&session.name),
        seconds(session.connected_at),
        seconds(session.last_command_at),
        session.database,
        session.watched,
        session.query_buffer_bytes,
        session.output_buffer_bytes,
        session.query_buffer_bytes + session.output_buffer_bytes + multi_bytes,
        session.last_command,
        text(&session.user),
        if session.protocol == crate::resp::Protocol::Resp3 { 3 } else { 2 },
        text(&session.library_name),
        text(&session.library_version),
        session.bytes_in,
        session.bytes_out,
        session.commands,
    )
    .expect("a string takes everything");
    line.push('\n');
    line
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
    let name = String::from_utf8_lossy(name).into_owned();
    Err(ErrorReply::owned(format!("ERR Unknown client type '{name}'")))
}

fn list(call: &mut Call<'_>) -> Result {
    let mut ids: Option<Vec<SessionId>> = None;
    let mut shows = true;
    if call.args.len() == 4 && call.is_word(2, "TYPE") {
        shows = is_normal_type(call.arg(3))?;
    } else if call.args.len() > 3 && call.is_word(2, "ID") {
        let parsed = (3..call.args.len()).map(|index| client_id(call.arg(index)).ok_or(BAD_ID));
        ids = Some(parsed.collect::<Result<_>>()?);
    } else if call.args.len() != 2 {
        return Err(SYNTAX);
    }
    let is_wanted = |session: &Session| shows && ids.as_ref().is_none_or(|ids| ids.contains(&session.id));
    let own: &Session = call.session;
    let mut sessions: Vec<&Session> = call.engine.sessions.iter().chain([own]).collect();
    sessions.sort_by_key(|session| session.id);
    let lines = sessions.into_iter().filter(|session| is_wanted(session));
    let text: String = lines.map(|session| describe(session, call.now)).collect();
    call.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn client_id(argument: &[u8]) -> Option<SessionId> {
    integer::parse(argument).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0).map(SessionId)
}

/// What CLIENT KILL asks for.
struct Wanted<'a> {
    id: Option<SessionId>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    is_normal: bool,
    age_seconds_min: Option<u64>,
    skips_me: bool,
}

impl Wanted<'_> {
    fn matches(&self, session: &Session, now: Now) -> bool {
        let age_seconds = now.monotonic_ns.saturating_sub(session.connected_at.monotonic_ns) / 1_000_000_000;
        self.is_normal
            && self.id.is_none_or(|id| id == session.id)
            && self.address.is_none_or(|address| address == session.address.as_bytes())
            && self.local_address.is_none_or(|address| address == session.local_address.as_bytes())
            && self.user.is_none_or(|user| user == session.user)
            && self.age_seconds_min.is_none_or(|age| age_seconds >= age)
    }
}

fn kill(call: &mut Call<'_>) -> Result {
    let is_old_form = call.args.len() == 3;
    let wanted = if is_old_form {
        Wanted {
            id: None,
            address: Some(call.arg(2)),
            local_address: None,
            user: None,
            is_normal: true,
            age_seconds_min: None,
            skips_me: false,
        }
    } else {
        kill_options(call)?
    };
    let now = call.now;
    let others = call.engine.sessions.iter_mut().filter(|session| wanted.matches(session, now));
    let mut killed = Vec::new();
    for session in others {
        session.is_closing = true;
        killed.push(session.id);
    }
    let kills_me = !wanted.skips_me && wanted.matches(call.session, now);
    let count = killed.len() + usize::from(kills_me);
    call.engine.actions.extend(killed.into_iter().map(Action::Close));
    if kills_me {
        call.session.is_closing = true;
    }
    match (is_old_form, count) {
        (true, 0) => return Err(NO_SUCH_CLIENT),
        (true, _) => call.reply.ok(),
        (false, count) => call.reply.integer(count as i64),
    }
    Ok(())
}

fn kill_options<'a>(call: &Call<'a>) -> Result<Wanted<'a>> {
    let mut wanted = Wanted {
        id: None,
        address: None,
        local_address: None,
        user: None,
        is_normal: true,
        age_seconds_min: None,
        skips_me: true,
    };
    if !call.args.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    for index in (2..call.args.len()).step_by(2) {
        let value = call.arg(index + 1);
        if call.is_word(index, "ID") {
            wanted.id = Some(client_id(value).ok_or(KILL_ID)?);
        } else if call.is_word(index, "TYPE") {
            wanted.is_normal = is_normal_type(value)?;
        } else if call.is_word(index, "ADDR") {
            wanted.address = Some(value);
        } else if call.is_word(index, "LADDR") {
            wanted.local_address = Some(value);
        } else if call.is_word(index, "USER") {
            if value != b"default" {
                let name = String::from_utf8_lossy(value).into_owned();
                return Err(ErrorReply::owned(format!("ERR No such user '{name}'")));
            }
            wanted.user = Some(value);
        } else if call.is_word(index, "MAXAGE") {
            let age = integer::parse(value)
                .ok_or(ErrorReply::new("ERR maxage is not an integer or out of range"))?;
            let age = u64::try_from(age).ok().filter(|age| *age > 0);
            wanted.age_seconds_min = Some(age.ok_or(ErrorReply::new("ERR maxage should be greater than 0"))?);
        } else if call.is_word(index, "SKIPME") {
            if value.eq_ignore_ascii_case(b"yes") {
                wanted.skips_me = true;
            } else if value.eq_ignore_ascii_case(b"no") {
                wanted.skips_me = false;
            } else {
                return Err(SYNTAX);
            }
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn clients_are_listed_named_and_killed() {
        check(
            "
            > CLIENT ID
            (integer) 1
            > CLIENT SETNAME a b
            (error) ERR wrong number of arguments for 'client|setname' command
            > CLIENT SETNAME \"a b\"
            (error) ERR Client names cannot contain spaces, newlines or special characters.
            > CLIENT KILL 1.2.3.4:5
            (error) ERR No such client
            > CLIENT KILL ID 0
            (error) ERR client-id should be greater than 0
            > CLIENT KILL ID 99
            (integer) 0
            > CLIENT KILL TYPE foo
            (error) ERR Unknown client type 'foo'
            > CLIENT LIST ID x
            (error) ERR Invalid client ID
            > CLIENT NO-EVICT maybe
            (error) ERR syntax error
            > CLIENT FOO
            (error) ERR unknown subcommand 'FOO'. Try CLIENT HELP.
            > CLIENT SETINFO LIB-NAME redis-py
            OK
            > CLIENT REPLY ON
            OK
            ",
        );
    }
}

//! Connections: AUTH, HELLO, PING, SELECT and their like. CLIENT is in `client`.
//!
//! They tell of the connection and not of data: none of their replies waits for a commit.

mod client;
mod control;
mod tracking;

use crate::call::Call;
use crate::command::{Categories, Command, Flags, at_least, exactly};
use crate::data::DATABASE_COUNT;
use crate::error::{DATABASE_OUT_OF_RANGE, ErrorReply, NOT_AN_INTEGER, Result, SYNTAX, wrong_arity};
use crate::number::integer;
use crate::resp::Protocol;

/// What a command about the connection may do at any time.
const ANYTIME: Flags =
    Flags::NO_SCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::FAST).with(Flags::ALLOW_BUSY);

pub const COMMANDS: &[Command] = &[
    Command::node("ping", at_least(0), ping).fast().acl(Categories::CONNECTION).group("connection").doc(
        "1.0.0",
        "[message]",
        "Returns the server's liveliness response.",
        "O(1)",
    ),
    Command::node("echo", exactly(1), echo)
        .flags(Flags::LOADING.with(Flags::STALE))
        .fast()
        .acl(Categories::CONNECTION)
        .group("connection")
        .doc("1.0.0", "message", "Returns the given string.", "O(1)"),
    Command::node("select", exactly(1), select)
        .flags(Flags::LOADING.with(Flags::STALE))
        .fast()
        .acl(Categories::CONNECTION)
        .group("connection")
        .doc("1.0.0", "index", "Changes the selected database.", "O(1)"),
    Command::node("auth", at_least(1), auth)
        .flags(ANYTIME.with(Flags::NO_AUTH))
        .acl(Categories::CONNECTION)
        .group("connection")
        .doc(
            "1.0.0",
            "[username] password",
            "Authenticates the connection.",
            "O(N) where N is the number of passwords defined for the user",
        ),
    Command::node("hello", at_least(0), hello)
        .flags(ANYTIME.with(Flags::NO_AUTH))
        .acl(Categories::CONNECTION)
        .group("connection")
        .doc(
            "6.0.0",
            "[protover [AUTH username password] [SETNAME clientname]]",
            "Handshakes with the server: protocol version, user, name.",
            "O(1)",
        ),
    Command::node("quit", at_least(0), quit)
        .flags(ANYTIME.with(Flags::NO_AUTH).with(Flags::TRANSACTION_CONTROL))
        .acl(Categories::CONNECTION)
        .group("connection")
        .doc("1.0.0", "", "Closes the connection.", "O(1)"),
    Command::node("reset", exactly(0), reset)
        .flags(ANYTIME.with(Flags::NO_AUTH).with(Flags::TRANSACTION_CONTROL))
        .acl(Categories::CONNECTION)
        .group("connection")
        .doc("6.2.0", "", "Resets the connection.", "O(1)"),
    Command::node("readonly", exactly(0), read_only)
        .flags(Flags::LOADING.with(Flags::STALE))
        .fast()
        .acl(Categories::CONNECTION)
        .group("cluster")
        .doc("3.0.0", "", "Enables read-only queries for a connection to a replica.", "O(1)"),
    Command::node("readwrite", exactly(0), read_write)
        .flags(Flags::LOADING.with(Flags::STALE))
        .fast()
        .acl(Categories::CONNECTION)
        .group("cluster")
        .doc("3.0.0", "", "Enables read-write queries for a connection to a replica.", "O(1)"),
    Command::node("client", at_least(1), crate::commands::container)
        .group("connection")
        .subcommands(client::SUBCOMMANDS)
        .doc("2.4.0", "", "A container for client connection commands.", "Depends on subcommand."),
];

const NO_PASSWORD: ErrorReply = ErrorReply::new(
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
);
const WRONG_PASSWORD: ErrorReply =
    ErrorReply::new("WRONGPASS invalid username-password pair or user is disabled.");
const NOT_A_SHORT_INTEGER: ErrorReply =
    ErrorReply::new("ERR value is out of range, value must between -2147483648 and 2147483647");
const NO_PROTOCOL: ErrorReply = ErrorReply::new("NOPROTO unsupported protocol version");
const PROTOCOL_NOT_INTEGER: ErrorReply =
    ErrorReply::new("ERR Protocol version is not an integer or out of range");
const HELLO_WITHOUT_AUTH: ErrorReply = ErrorReply::new(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
);

fn ping(call: &mut Call<'_>) -> Result {
    match call.args.len() {
        1 => call.reply.simple("PONG"),
        2 => call.reply.bulk(call.arg(1)),
        _ => return Err(wrong_arity(call.name())),
    }
    Ok(())
}

fn echo(call: &mut Call<'_>) -> Result {
    call.reply.bulk(call.arg(1));
    Ok(())
}

/// The database of this number.
pub(super) fn database_number(number: i64) -> Result<u8> {
    u8::try_from(number)
        .ok()
        .filter(|number| usize::from(*number) < DATABASE_COUNT)
        .ok_or(DATABASE_OUT_OF_RANGE)
}

fn select(call: &mut Call<'_>) -> Result {
    let number = integer::parse(call.arg(1)).ok_or(NOT_AN_INTEGER)?;
    if i32::try_from(number).is_err() {
        return Err(NOT_A_SHORT_INTEGER);
    }
    call.session.database = database_number(number)?;
    call.reply.ok();
    Ok(())
}

fn auth(call: &mut Call<'_>) -> Result {
    if call.args.len() > 3 {
        return Err(SYNTAX);
    }
    let (user, password) = match call.args.len() {
        2 => (b"default".as_slice(), call.arg(1)),
        _ => (call.arg(1), call.arg(2)),
    };
    let is_configured = call.engine.config.settings().requirepass.is_some();
    if call.args.len() == 2 && !is_configured {
        return Err(NO_PASSWORD);
    }
    authenticate(call, user, password)?;
    call.reply.ok();
    Ok(())
}

fn authenticate(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> Result {
    let is_right = user == b"default"
        && match &call.engine.config.settings().requirepass {
            Some(expected) => is_equal(expected, password),
            None => true,
        };
    if !is_right {
        call.engine.stats.acl_access_denied_auth += 1;
        return Err(WRONG_PASSWORD);
    }
    call.session.is_authenticated = true;
    Ok(())
}

/// Takes as long for a wrong password as for the right one.
fn is_equal(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = expected.len() ^ given.len();
    for (index, byte) in given.iter().enumerate() {
        difference |= usize::from(byte ^ expected.get(index).unwrap_or(&0));
    }
    difference == 0
}

/// What HELLO asks for besides the protocol.
#[derive(Default)]
struct Greeting<'a> {
    credentials: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

fn greeting<'a>(call: &Call<'a>) -> Result<Greeting<'a>> {
    let mut greeting = Greeting::default();
    let mut index = 2;
    while index < call.args.len() {
        let left = call.args.len() - index - 1;
        if call.is_word(index, "AUTH") && left >= 2 {
            greeting.credentials = Some((call.arg(index + 1), call.arg(index + 2)));
            index += 3;
        } else if call.is_word(index, "SETNAME") && left >= 1 {
            greeting.name = Some(client::checked_name(call.arg(index + 1))?);
            index += 2;
        } else {
            return Err(ErrorReply::owned(
                [b"ERR Syntax error in HELLO option '", call.arg(index), b"'"].concat(),
            ));
        }
    }
    Ok(greeting)
}

fn hello(call: &mut Call<'_>) -> Result {
    let mut protocol = call.session.protocol;
    if call.args.len() > 1 {
        protocol = match integer::parse(call.arg(1)) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(NO_PROTOCOL),
            None => return Err(PROTOCOL_NOT_INTEGER),
        };
    }
    // All options are read before any takes effect.
    let greeting = greeting(call)?;
    if let Some((user, password)) = greeting.credentials {
        authenticate(call, user, password)?;
    }
    if !call.engine.lets_in(call.session) {
        return Err(HELLO_WITHOUT_AUTH);
    }
    if let Some(name) = greeting.name {
        call.session.name = name.to_vec();
    }
    call.session.protocol = protocol;
    call.reply.protocol = protocol;
    introduce(call);
    Ok(())
}

fn introduce(call: &mut Call<'_>) {
    let role = if call.engine.log.role == crate::ShardRole::Primary { "master" } else { "replica" };
    call.reply.map(7);
    let (name, version) = match call.engine.config.settings().extended_redis_compatibility {
        true => ("redis", super::server::REDIS_VERSION),
        false => ("valkey", super::server::VALKEY_VERSION),
    };
    for (key, value) in [("server", name), ("version", version)] {
        call.reply.bulk(key.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    call.reply.bulk(b"proto");
    call.reply.integer(if call.session.protocol == Protocol::Resp3 { 3 } else { 2 });
    call.reply.bulk(b"id");
    call.reply.integer(call.session.id.0 as i64);
    for (key, value) in [("mode", "standalone"), ("role", role)] {
        call.reply.bulk(key.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    call.reply.bulk(b"modules");
    call.reply.array(0);
}

fn read_only(call: &mut Call<'_>) -> Result {
    call.session.reads_replica = true;
    call.reply.ok();
    Ok(())
}

fn read_write(call: &mut Call<'_>) -> Result {
    call.session.reads_replica = false;
    call.reply.ok();
    Ok(())
}

fn quit(call: &mut Call<'_>) -> Result {
    call.session.is_closing = true;
    call.reply.ok();
    Ok(())
}

fn reset(call: &mut Call<'_>) -> Result {
    let session = &mut *call.session;
    session.transaction = None;
    session.reads_replica = false;
    session.is_monitor = false;
    call.engine.monitors.remove(session.id);
    session.read_consistency = crate::session::ReadConsistency::Eventual;
    call.engine.data.unwatch(session.id);
    session.watched = 0;
    session.database = 0;
    session.name.clear();
    session.protocol = Protocol::Resp2;
    session.reply_mode = crate::session::ReplyMode::On;
    session.no_evict = false;
    session.no_touch = false;
    session.is_authenticated = call.engine.config.settings().requirepass.is_none();
    call.reply.protocol = Protocol::Resp2;
    call.reply.simple("RESET");
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn ping_echo_and_select_answer_as_redis_does() {
        check(
            "
            > PING
            PONG
            > PING hi
            \"hi\"
            > PING a b
            (error) ERR wrong number of arguments for 'ping' command
            > ECHO x
            \"x\"
            > SELECT 15
            OK
            > SELECT 16
            (error) ERR DB index is out of range
            > SELECT -1
            (error) ERR DB index is out of range
            > SELECT 99999999999
            (error) ERR value is out of range, value must between -2147483648 and 2147483647
            > SELECT x
            (error) ERR value is not an integer or out of range
            > SET k 1
            OK
            > SELECT 0
            OK
            > GET k
            (nil)
            ",
        );
    }

    #[test]
    fn auth_without_a_password_is_an_error_and_hello_checks_its_options() {
        check(
            "
            > AUTH x
            (error) ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?
            > AUTH nobody x
            (error) WRONGPASS invalid username-password pair or user is disabled.
            > HELLO 4
            (error) NOPROTO unsupported protocol version
            > HELLO x
            (error) ERR Protocol version is not an integer or out of range
            > HELLO 3 FOO
            (error) ERR Syntax error in HELLO option 'FOO'
            > HELLO 3 AUTH a
            (error) ERR Syntax error in HELLO option 'AUTH'
            > HELLO 2 AUTH nobody x FOO
            (error) ERR Syntax error in HELLO option 'FOO'
            > HELLO 2 SETNAME \"a b\"
            (error) ERR Client names cannot contain spaces, newlines or special characters.
            > HELLO 2 SETNAME early AUTH default x
             1) \"server\"
             2) \"valkey\"
             3) \"version\"
             4) \"8.0.1\"
             5) \"proto\"
             6) (integer) 2
             7) \"id\"
             8) (integer) 1
             9) \"mode\"
            10) \"standalone\"
            11) \"role\"
            12) \"master\"
            13) \"modules\"
            14) (empty array)
            > CLIENT GETNAME
            \"early\"
            > CLIENT SETNAME app
            OK
            > CLIENT GETNAME
            \"app\"
            > RESET
            RESET
            > CLIENT GETNAME
            (nil)
            ",
        );
    }

    #[test]
    fn an_unauthenticated_client_is_refused_until_the_right_password() {
        let mut bench = Bench::new();
        bench.check("> CONFIG SET requirepass secret\nOK");
        bench.unauthenticate(1);
        bench.check(
            "
            1> GET k
            (error) NOAUTH Authentication required.
            1> AUTH wrong
            (error) WRONGPASS invalid username-password pair or user is disabled.
            1> AUTH secret
            OK
            1> GET k
            (nil)
            1> RESET
            RESET
            1> GET k
            (error) NOAUTH Authentication required.
            1> HELLO 3
            (error) NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time
            > CONFIG SET requirepass \"\"
            OK
            1> GET k
            (nil)
            ",
        );
    }

    #[test]
    fn quit_and_reset_run_at_once_inside_a_transaction() {
        let mut bench = Bench::new();
        bench.check("> WATCH k\nOK\n> MULTI\nOK\n> RESET\nRESET\n> EXEC\n(error) ERR EXEC without MULTI");
        bench.check("> MULTI\nOK\n> QUIT\nOK");
        assert!(bench.session(0).is_closing);
    }

    #[test]
    fn passwords_are_equal_only_as_a_whole() {
        for (given, is_same) in [("secret", true), ("secre", false), ("secret\0", false), ("", false)] {
            assert_eq!(super::is_equal(b"secret", given.as_bytes()), is_same, "{given:?}");
        }
    }
}

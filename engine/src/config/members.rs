//! The members of a cluster as a configuration names them, and what they must look like together.
//!
//! Lives here: reading `member` lines, numbers of nodes, the rules over the whole list. Not here: who is a member
//! right now (the log says so), connections.
//!
//! Invariant: a list that passes [`check`] gives every member a number of its own that depends on its name alone, so
//! the order of the lines does not matter and adding a line renumbers nobody.

use std::fmt;

/// Members that a cluster may name.
const MEMBERS_MAX: usize = 64;
/// Longest name of a node or a zone.
const NAME_BYTES_MAX: usize = 64;
/// Longest address.
const ADDRESS_BYTES_MAX: usize = 255;
/// Words of one member.
const WORDS: usize = 5;

/// What a node does for the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRole {
    /// Holds the log and the data; may be primary.
    Engine,
    /// Holds the log alone: votes, keeps writes durable, serves no data.
    Log,
}

impl MemberRole {
    pub fn word(self) -> &'static str {
        match self {
            MemberRole::Engine => "engine",
            MemberRole::Log => "log",
        }
    }
}

/// One `member` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub zone: String,
    pub role: MemberRole,
    /// Where the others reach it: `host:port`.
    pub peer_address: String,
    /// Where clients reach it: `host:port`.
    pub client_address: String,
}

impl Member {
    /// Number of the node: the CRC-32 of its name, never 0.
    pub fn number(&self) -> u32 {
        node_number(&self.name)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Member { name, zone, role, peer_address, client_address } = self;
        write!(out, "{name} {zone} {} {peer_address} {client_address}", role.word())
    }
}

/// Number of the node of this name.
pub fn node_number(name: &str) -> u32 {
    let mut crc = u32::MAX;
    for byte in name.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    (!crc).max(1)
}

/// Reads words, five for each member, behind those that stand already.
pub(super) fn read(words: &[&[u8]], before: &[Member]) -> Result<Vec<Member>, String> {
    if words.is_empty() {
        return Ok(Vec::new());
    }
    if !words.len().is_multiple_of(WORDS) {
        return Err(
            "a member is NAME ZONE engine|log PEER-HOST:PORT CLIENT-HOST:PORT, five words for each".into()
        );
    }
    let mut members = before.to_vec();
    for words in words.chunks(WORDS) {
        let member = member(words)?;
        if members.iter().any(|known| known.name == member.name) {
            return Err(format!(
                "the name '{}' stands there twice: each node has one 'member' line",
                member.name
            ));
        }
        members.push(member);
    }
    if members.len() > MEMBERS_MAX {
        return Err(format!("at most {MEMBERS_MAX} members"));
    }
    Ok(members)
}

/// Reads one member's five words.
pub fn member(words: &[&[u8]]) -> Result<Member, String> {
    if words.len() != WORDS {
        return Err(
            "a member is NAME ZONE engine|log PEER-HOST:PORT CLIENT-HOST:PORT, five words for each".into()
        );
    }
    let text = |index: usize| std::str::from_utf8(words[index]).map_err(|_| "a member's words are text");
    let role = match text(2)? {
        "engine" => MemberRole::Engine,
        "log" => MemberRole::Log,
        other => return Err(format!("'{other}' is no role: 'engine' or 'log'")),
    };
    Ok(Member {
        name: checked_name(text(0)?)?,
        zone: checked_name(text(1)?)?,
        role,
        peer_address: checked_address(text(3)?)?,
        client_address: checked_address(text(4)?)?,
    })
}

fn checked_name(name: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_plain) {
        return Ok(name.to_owned());
    }
    Err(format!("'{name}' is no name: 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.'"))
}

fn checked_address(address: &str) -> Result<String, String> {
    match split_address(address) {
        Some(_) if address.len() <= ADDRESS_BYTES_MAX => Ok(address.to_owned()),
        _ => Err(format!("'{address}' is no address: HOST:PORT, an IPv6 host in brackets")),
    }
}

/// Host and port of `host:port`; brackets around an IPv6 host are taken off.
pub fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => host,
    };
    let is_host = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'));
    let is_bracketed = address.starts_with('[');
    (is_host && (is_bracketed || !host.contains(':'))).then_some((host, port))
}

/// Whether only this machine reaches the address.
pub fn is_loopback_address(address: &str) -> bool {
    split_address(address).is_some_and(|(host, _)| super::exposure::is_loopback(host))
}

/// Why a list of members cannot found a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    #[error("'member' lines need 'node-name': which of them is this node?")]
    NoName,
    #[error("node-name '{0}' stands in no 'member' line")]
    NotAMember(String),
    #[error(
        "'member' lines need 'cluster-id': a name or UUID, the same on all of them, that no other cluster has"
    )]
    NoCluster,
    #[error("'{directive} {said}' contradicts the 'member' line of this node, which says '{written}'")]
    Contradiction { directive: &'static str, said: String, written: String },
    #[error(
        "zone '{zone}' would have two voters, '{first}' and '{second}': a zone that fails must cost one vote, so each has exactly one"
    )]
    TwoVoters { zone: String, first: String, second: String },
    #[error("{0} voters bear no more failures than {less}: name an odd number, usually three", less = .0 - 1)]
    Even(usize),
    #[error("members '{0}' and '{1}' have one address")]
    SameAddress(String, String),
    #[error("the names '{0}' and '{1}' give one number; rename one of them")]
    SameNumber(String, String),
    #[error("'join-cluster' needs the 'member' line of at least one node that is in the cluster already")]
    NobodyToJoin,
    #[error("no member has the role 'engine': nobody could serve data")]
    NoEngine,
    #[error(
        "member '{0}' has a peer address beyond this machine: that needs 'peer-secret', which authenticates both sides and every message"
    )]
    NoSecret(String),
    #[error("'peer-secret' has less than {PEER_SECRET_BYTES_MIN} characters: it could be guessed")]
    ShortSecret,
}

/// Shortest shared secret.
pub const PEER_SECRET_BYTES_MIN: usize = 16;

/// What a node says of itself beside the list.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    pub name: &'a str,
    /// The list founds no cluster: it says where one is that this node is to be added to.
    pub joins: bool,
    pub zone: &'a str,
    /// Empty: as the list says.
    pub role: &'a str,
    pub cluster: &'a str,
    pub secret: &'a [u8],
}

/// Whether the list can found a cluster of which this node is one, or leads to one that it joins. An empty list is a
/// node alone.
pub fn check(members: &[Member], own: Own<'_>) -> Result<(), MembersError> {
    if members.is_empty() {
        return Ok(());
    }
    if own.name.is_empty() {
        return Err(MembersError::NoName);
    }
    let me = members.iter().find(|member| member.name == own.name);
    let me = me.ok_or_else(|| MembersError::NotAMember(own.name.to_owned()))?;
    if own.cluster.is_empty() {
        return Err(MembersError::NoCluster);
    }
    for (directive, said, written) in [("zone", own.zone, &*me.zone), ("node-role", own.role, me.role.word())]
    {
        if !said.is_empty() && said != written {
            let (said, written) = (said.to_owned(), written.to_owned());
            return Err(MembersError::Contradiction { directive, said, written });
        }
    }
    check_pairs(members, !own.joins)?;
    if own.joins {
        if members.len() < 2 {
            return Err(MembersError::NobodyToJoin);
        }
    } else if members.len().is_multiple_of(2) {
        return Err(MembersError::Even(members.len()));
    } else if members.iter().all(|member| member.role == MemberRole::Log) {
        return Err(MembersError::NoEngine);
    }
    if !own.secret.is_empty() && own.secret.len() < PEER_SECRET_BYTES_MIN {
        return Err(MembersError::ShortSecret);
    }
    match members.iter().find(|member| !is_loopback_address(&member.peer_address)) {
        Some(far) if own.secret.is_empty() => Err(MembersError::NoSecret(far.name.clone())),
        _ => Ok(()),
    }
}

/// Zones are compared where all of them are to vote at once.
fn check_pairs(members: &[Member], all_vote: bool) -> Result<(), MembersError> {
    for (index, first) in members.iter().enumerate() {
        for second in &members[index + 1..] {
            let names = || (first.name.clone(), second.name.clone());
            if all_vote && first.zone == second.zone {
                let (first, second) = names();
                return Err(MembersError::TwoVoters { zone: members[index].zone.clone(), first, second });
            }
            if first.number() == second.number() {
                let (first, second) = names();
                return Err(MembersError::SameNumber(first, second));
            }
            let has = |address: &String| [&second.peer_address, &second.client_address].contains(&address);
            if has(&first.peer_address) || has(&first.client_address) {
                let (first, second) = names();
                return Err(MembersError::SameAddress(first, second));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Member> {
        let words: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
        read(&words, &[]).expect(text)
    }

    const THREE: &str = "a za engine 127.0.0.1:7001 127.0.0.1:7101 b zb log 127.0.0.1:7002 127.0.0.1:7102 \
                         c zc engine 127.0.0.1:7003 127.0.0.1:7103";

    fn own(name: &str) -> Own<'_> {
        Own { name, joins: false, zone: "", role: "", cluster: "test", secret: b"" }
    }

    #[test]
    fn members_are_read_line_by_line_and_written_back() {
        let all = list(THREE);
        assert_eq!(all.len(), 3);
        assert_eq!(all[1].role, MemberRole::Log);
        let text: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(list(&text.join(" ")), all);
        let words: Vec<&[u8]> = b"b zz engine 127.0.0.1:9 127.0.0.1:8".split(|byte| *byte == b' ').collect();
        let refused = read(&words, &all).expect_err("one line for each");
        assert!(refused.contains("'b' stands there twice"), "{refused}");
    }

    #[test]
    fn words_that_are_no_member_are_refused() {
        for bad in [
            "a za engine 127.0.0.1:1",
            "a za pilot 127.0.0.1:1 127.0.0.1:2",
            "a/b za engine 127.0.0.1:1 127.0.0.1:2",
            "a za engine 127.0.0.1 127.0.0.1:2",
            "a za engine 127.0.0.1:0 127.0.0.1:2",
            "a za engine ::1:7 127.0.0.1:2",
            "a za engine [::1:7 127.0.0.1:2",
            "a za engine [host]:7 127.0.0.1:2",
            "a za engine :7 127.0.0.1:2",
        ] {
            let words: Vec<&[u8]> = bad.split_whitespace().map(str::as_bytes).collect();
            assert!(read(&words, &[]).is_err(), "{bad}");
        }
        assert_eq!(split_address("[::1]:7"), Some(("::1", 7)));
        assert_eq!(split_address("db-1.example:7"), Some(("db-1.example", 7)));
    }

    #[test]
    fn numbers_depend_on_the_name_alone() {
        assert_eq!(node_number("123456789"), 0xcbf4_3926);
        assert_ne!(node_number("a"), node_number("b"));
    }

    #[test]
    fn a_list_that_cannot_found_a_cluster_is_refused_with_the_reason() {
        assert_eq!(check(&list(THREE), own("a")), Ok(()));
        assert_eq!(check(&[], own("")), Ok(()));
        let two = "a za engine 127.0.0.1:1 127.0.0.1:2 b zb engine 127.0.0.1:3 127.0.0.1:4";
        let far = THREE.replace("127.0.0.1:7002", "10.0.0.2:7002");
        for (text, own, part) in [
            (THREE, own(""), "node-name"),
            (THREE, own("x"), "'x' stands in no"),
            (THREE, Own { cluster: "", ..own("a") }, "cluster-id"),
            (THREE, Own { zone: "zb", ..own("a") }, "'zone zb' contradicts"),
            (THREE, Own { role: "log", ..own("a") }, "'node-role log' contradicts"),
            (&THREE.replace("zb", "za"), own("a"), "two voters, 'a' and 'b'"),
            (two, own("a"), "2 voters bear no more failures than 1"),
            (&THREE.replace("7103", "7001"), own("a"), "one address"),
            (&THREE.replace("engine", "log"), own("a"), "nobody could serve"),
            (&far, own("a"), "member 'b' has a peer address beyond this machine"),
            (&far, Own { secret: b"short", ..own("a") }, "could be guessed"),
        ] {
            let error = check(&list(text), own).expect_err(part).to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(check(&list(&far), Own { secret: b"a long enough secret", ..own("a") }), Ok(()));
    }

    #[test]
    fn a_list_that_leads_to_a_cluster_may_be_even_and_name_a_zone_twice() {
        let joins = |name| Own { joins: true, ..own(name) };
        let four = format!("{THREE} d zc engine 127.0.0.1:7004 127.0.0.1:7104");
        assert!(check(&list(&four), own("d")).is_err());
        assert_eq!(check(&list(&four), joins("d")), Ok(()));
        let alone = "d zd engine 127.0.0.1:7004 127.0.0.1:7104";
        assert_eq!(check(&list(alone), joins("d")), Err(MembersError::NobodyToJoin));
        assert!(check(&list(&four.replace("7104", "7103")), joins("d")).is_err(), "one address");
    }
}

//! Which nodes this one talks to, and where they are.
//!
//! Lives here: putting together what the configuration names, what the primary tells and what the log here says; members
//! of the log as the configuration would write them. Not here: connections (`peers`), who may vote (`ramkeep-log`).
//!
//! A founder is where the configuration says; whoever came later is where the log says; `peer-routes` goes before both. A node that was away, or is to
//! become a member, may know less than it needs: so the primary tells everybody now and then.
//!
//! Invariant: who has left, as far as the log here knows, is called no more, unless the primary names it.

use ramkeep_engine::config::{Member, MemberRole};
use ramkeep_log::{FOUNDER, Member as LogMember, Membership};

/// A member as the configuration describes it.
pub(crate) fn described(configured: &Member) -> LogMember {
    LogMember {
        name: configured.name.clone(),
        zone: configured.zone.clone(),
        is_log_only: configured.role == MemberRole::Log,
        peer_address: configured.peer_address.clone(),
        client_address: configured.client_address.clone(),
        ..LogMember::default()
    }
}

/// A member as a configuration would describe it.
pub(crate) fn configured(member: &LogMember) -> Member {
    Member {
        name: member.name.clone(),
        zone: member.zone.clone(),
        role: if member.is_log_only { MemberRole::Log } else { MemberRole::Engine },
        peer_address: member.peer_address.clone(),
        client_address: member.client_address.clone(),
    }
}

/// What is to be said of a node that is configured for another zone than the log says it is in. The log may describe
/// nobody, where the node was never one of several.
pub(crate) fn other_zone(own: &Member, known: &LogMember) -> Option<String> {
    (!known.zone.is_empty() && known.zone != own.zone).then(|| {
        format!(
            "the configuration puts this node in zone '{}', the cluster's log in zone '{}': the log counts, and only a \
             replacement of the node changes it",
            own.zone, known.zone
        )
    })
}

/// All nodes, `me` among them if the configuration names it. Those with a route are reached by it from here.
pub(crate) fn entries(
    configuration: &[Member],
    routes: &[(String, String)],
    told: Option<&Membership>,
    known: Option<&Membership>,
    me: u32,
) -> Vec<Member> {
    let mut all = configuration.to_vec();
    let members = [told, known].into_iter().flatten().flat_map(Membership::members);
    for member in members.filter(|member| !member.peer_address.is_empty()) {
        match all.iter_mut().find(|it| it.number() == member.node.node()) {
            Some(entry) if member.node.incarnation() > FOUNDER => *entry = configured(member),
            Some(_) => {}
            None => all.push(configured(member)),
        }
    }
    let is_told = |number| told.is_some_and(|told| told.members().iter().any(|it| it.node.node() == number));
    let has_left = |number| known.is_some_and(|known| known.has_left(number)) && !is_told(number);
    all.retain(|member| member.number() == me || !has_left(member.number()));
    for (name, address) in routes {
        let routed = all.iter_mut().filter(|member| member.name == *name && member.number() != me);
        routed.for_each(|member| member.peer_address.clone_from(address));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramkeep_log::NodeId;

    fn line(name: &str, port: u16) -> Member {
        Member {
            name: name.into(),
            zone: name.into(),
            role: MemberRole::Engine,
            peer_address: format!("127.0.0.1:{port}"),
            client_address: format!("127.0.0.1:{}", port + 1),
        }
    }

    #[test]
    fn a_node_in_another_zone_than_the_log_says_is_told_so() {
        let own = line("a", 1);
        let known = |zone: &str| LogMember { zone: zone.into(), ..LogMember::default() };
        assert_eq!((other_zone(&own, &known("a")), other_zone(&own, &known(""))), (None, None));
        let warning = other_zone(&own, &known("b")).expect("another zone");
        assert!(warning.contains("zone 'a', the cluster's log in zone 'b'"), "{warning}");
    }

    fn member(name: &str, incarnation: u32, port: u16) -> LogMember {
        let line = line(name, port);
        LogMember { node: NodeId::of(line.number(), incarnation), votes: true, ..described(&line) }
    }

    fn text(all: &[Member]) -> String {
        let entry =
            |member: &Member| format!("{} {}", member.name, member.peer_address.replace("127.0.0.1:", ""));
        all.iter().map(entry).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn founders_are_where_the_configuration_says_and_others_where_the_log_says() {
        let configuration = [line("a", 10), line("b", 20)];
        let me = line("a", 0).number();
        assert_eq!(text(&entries(&configuration, &[], None, None, me)), "a 10, b 20");
        let known = Membership::new(vec![member("a", 1, 11), member("b", 2, 21), member("c", 2, 31)]);
        assert_eq!(text(&entries(&configuration, &[], None, Some(&known), me)), "a 10, b 21, c 31");
        let told = Membership::new(vec![member("d", 2, 41), member("c", 3, 33)]);
        assert_eq!(text(&entries(&configuration, &[], Some(&told), None, me)), "a 10, b 20, c 33, d 41");
    }

    #[test]
    fn a_route_goes_before_what_configuration_and_log_say() {
        let configuration = [line("a", 10), line("b", 20)];
        let me = line("a", 0).number();
        let routes =
            [("a", 15), ("b", 25), ("c", 35)].map(|(name, port)| (name.into(), format!("127.0.0.1:{port}")));
        let known = Membership::new(vec![member("a", 1, 10), member("b", 2, 21), member("c", 2, 31)]);
        assert_eq!(text(&entries(&configuration, &routes, None, Some(&known), me)), "a 10, b 25, c 35");
    }

    #[test]
    fn whoever_has_left_is_called_no_more() {
        let configuration = [line("a", 10), line("b", 20)];
        let me = line("a", 0).number();
        let all = Membership::new(vec![member("a", 1, 10), member("b", 1, 20), member("c", 2, 30)]);
        let left = all.without(member("b", 1, 0).node).settled();
        assert_eq!(text(&entries(&configuration, &[], None, Some(&left), me)), "a 10, c 30");
        assert_eq!(text(&entries(&configuration, &[], Some(&all), Some(&left), me)), "a 10, b 20, c 30");
        let gone = all.without(member("a", 1, 0).node).settled();
        assert_eq!(
            text(&entries(&configuration, &[], None, Some(&gone), me)),
            "a 10, b 20, c 30",
            "it knows itself"
        );
    }
}

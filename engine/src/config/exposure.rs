//! Who can reach the node: which addresses it may open, and which clients without a password it serves.
//!
//! Lives here: the rules. Not here: opening ports (`net`), telling the client (`commands`).
//!
//! Invariant: nobody on another machine is served without a password unless `insecure yes` was said.

use super::settings::Settings;
use std::net::IpAddr;

/// Where a node can be reached from, once it may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// From this machine only.
    Local,
    /// From elsewhere, with the password.
    Password,
    /// From elsewhere, by anybody: `insecure yes`.
    Open,
}

/// An address that must not be opened without a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'bind {address}' would let other machines in without a password: set 'requirepass', bind only 127.0.0.1 and ::1, \
     or say 'insecure yes'"
)]
pub struct Exposed {
    pub address: String,
}

/// Whether a node with these settings may open its addresses.
pub fn exposure(settings: &Settings) -> Result<Exposure, Exposed> {
    match settings.bind.iter().find(|address| !is_loopback(address)) {
        None => Ok(Exposure::Local),
        Some(_) if settings.requirepass.is_some() => Ok(Exposure::Password),
        Some(_) if settings.insecure => Ok(Exposure::Open),
        Some(address) => Err(Exposed { address: address.clone() }),
    }
}

/// Whether protected mode turns a client away with `-DENIED`.
///
/// Binding already keeps strangers out; this is the second wall, for a port forwarded from elsewhere or a password
/// removed while the server runs.
pub fn denies(settings: &Settings, client: IpAddr) -> bool {
    settings.protected_mode
        && !settings.insecure
        && settings.requirepass.is_none()
        && !client.to_canonical().is_loopback()
}

/// Whether only this machine reaches an address of `bind`. A name other than `localhost` may mean anything.
pub(super) fn is_loopback(address: &str) -> bool {
    // The minus says that the address may be missing on this machine.
    let address = address.strip_prefix('-').unwrap_or(address);
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => address.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    /// bind × password × protected-mode × insecure: what starts, and who is turned away.
    #[test]
    fn start_matrix() {
        let far: IpAddr = "192.0.2.7".parse().expect("an address");
        let near: IpAddr = "::ffff:127.0.0.1".parse().expect("an address");
        let mut rows = 0;
        for (bind, is_local) in [("127.0.0.1 -::1", true), ("127.0.0.1 192.0.2.1", false), ("*", false)] {
            for password in ["", "secret"] {
                for protected in [true, false] {
                    for insecure in [true, false] {
                        let yes_or_no = |flag| if flag { "yes" } else { "no" };
                        let mut config = Config::new();
                        for (name, value) in [
                            ("bind", bind),
                            ("requirepass", password),
                            ("protected-mode", yes_or_no(protected)),
                            ("insecure", yes_or_no(insecure)),
                        ] {
                            config.set_at_start(name, &[value.as_bytes()]).expect("valid");
                        }
                        let has_password = !password.is_empty();
                        let expected = match (is_local, has_password, insecure) {
                            (true, _, _) => Ok(Exposure::Local),
                            (false, true, _) => Ok(Exposure::Password),
                            (false, false, true) => Ok(Exposure::Open),
                            (false, false, false) => Err(()),
                        };
                        let settings = config.settings();
                        let row = format!(
                            "bind {bind}, password {password:?}, protected {protected}, insecure {insecure}"
                        );
                        assert_eq!(exposure(settings).map_err(|_| ()), expected, "{row}");
                        assert_eq!(denies(settings, far), protected && !insecure && !has_password, "{row}");
                        assert!(!denies(settings, near), "{row}");
                        rows += 1;
                    }
                }
            }
        }
        assert_eq!(rows, 24);
    }

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.1.2.3", true),
            ("::1", true),
            ("-::1", true),
            ("localhost", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("*", false),
            ("-::*", false),
            ("::*", false),
            ("10.0.0.1", false),
            ("db.example.com", false),
            ("localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(address), expected, "{address}");
        }
    }
}

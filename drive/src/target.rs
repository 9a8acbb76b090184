//! Where a server is, and how to get in.
//!
//! Lives here: `redis://` addresses, the greeting of a new connection. Not here: what is asked after it.
//!
//! Invariant: a connection that was handed out has answered PING after AUTH and SELECT.

use std::io;
use std::net::SocketAddr;

use ramkeep_check::reply::Reply;
use ramkeep_net::{Conn, Host};

use crate::ask::{encode, reply};

/// A server's address, and what it wants to hear first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: SocketAddr,
    pub user: Option<String>,
    pub password: Option<String>,
    pub database: u32,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Target {
        Target { address, user: None, password: None, database: 0 }
    }
}

impl Target {
    /// A connection to a server that is there and lets us in.
    pub async fn connect(&self, host: &Host) -> io::Result<Conn> {
        let conn = host.connect(self.address).await?;
        let mut request = Vec::new();
        let mut count = 1;
        if let Some(password) = &self.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(self.user.as_ref().map(|user| user.as_bytes()));
            words.push(password.as_bytes());
            encode(&words, &mut request);
            count += 1;
        }
        if self.database != 0 {
            encode(&[b"SELECT", self.database.to_string().as_bytes()], &mut request);
            count += 1;
        }
        encode(&[b"PING"], &mut request);
        conn.write_all(&request).await?;
        let mut inbox = Vec::new();
        for _ in 0..count {
            if let Reply::Error(text) = reply(&conn, &mut inbox).await? {
                return Err(io::Error::other(text));
            }
        }
        Ok(conn)
    }
}

/// `redis://[[user]:password@]host[:port][/database]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<String>,
    pub database: u32,
}

impl Url {
    /// Reads an address, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Url, String> {
        if text.starts_with("rediss://") {
            return Err("rediss: TLS is not spoken here".into());
        }
        let rest = text.strip_prefix("redis://").ok_or("an address begins with redis://")?;
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| format!("'{number}' is no database's number"))?,
        };
        let (credentials, place) = match place.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, place),
        };
        let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
            None => (None, None),
        };
        let (host, port) = host_and_port(place)?;
        let user = user.filter(|user| !user.is_empty());
        let password = password.filter(|password| !password.is_empty());
        if user.is_some() && password.is_none() {
            return Err("a user without a password: the form is redis://user:password@host".into());
        }
        Ok(Url { host, port, user, password, database })
    }

    /// Looks the host's name up.
    pub async fn resolve(&self, host: &Host) -> io::Result<Target> {
        let address = host.resolve(&self.host, self.port).await?;
        let Url { user, password, database, .. } = self.clone();
        Ok(Target { address, user, password, database })
    }
}

const PORT: u16 = 6379;

fn host_and_port(place: &str) -> Result<(String, u16), String> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port {
        None => PORT,
        Some(port) => port.parse().map_err(|_| format!("'{port}' is no port"))?,
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok((host.to_owned(), port))
}

/// Takes `%41` and the like for the bytes that they stand for.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let (byte, behind) = match first {
            b'%' => {
                let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (byte.ok_or("a % that no two hexadecimal digits follow")?, &behind[2..])
            }
            byte => (byte, behind),
        };
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8(bytes).map_err(|_| "a name that is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_other_clients_read_them() {
        let url = |host: &str, port, user: Option<&str>, password: Option<&str>, database| {
            let (user, password) = (user.map(str::to_owned), password.map(str::to_owned));
            Ok(Url { host: host.into(), port, user, password, database })
        };
        for (text, expected) in [
            ("redis://localhost", url("localhost", 6379, None, None, 0)),
            ("redis://10.0.0.1:7000/3", url("10.0.0.1", 7000, None, None, 3)),
            ("redis://:secret@h", url("h", 6379, None, Some("secret"), 0)),
            ("redis://bob:a%40b%3ac@h:1/", url("h", 1, Some("bob"), Some("a@b:c"), 0)),
            ("redis://[::1]:7000", url("::1", 7000, None, None, 0)),
            ("redis://", url("127.0.0.1", 6379, None, None, 0)),
        ] {
            assert_eq!(Url::parse(text), expected, "{text}");
        }
        for text in
            ["localhost:6379", "rediss://h", "redis://h:x", "redis://h/x", "redis://a@h", "redis://:%4@h"]
        {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}

//! A small client for our own subcommands.
//!
//! Lives here: one command and its reply at a time. Not here: what is asked.

use ramkeep_net::{Conn, Host, timeout};
use std::fmt;
use std::io;
use std::time::Duration;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// A hand-over takes longest.
const REPLY_TIME_MAX: Duration = Duration::from_secs(6);
/// No reply of ours is longer.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// Where nodes are of which any will do, and how to get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Names and ports; the first that answers is used.
    pub addresses: Vec<(String, u16)>,
    pub password: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (host, port)) in self.addresses.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            match host.contains(':') {
                true => write!(f, "{separator}[{host}]:{port}")?,
                false => write!(f, "{separator}{host}:{port}")?,
            }
        }
        Ok(())
    }
}

pub struct Client {
    conn: Conn,
    buffer: Vec<u8>,
}

/// Why a command has no useful reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server's own words.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// A connection to the first node that answers. With several addresses one that only takes connections, as a process
    /// that stands still does, is none that answers.
    pub async fn connect(host: &Host, target: &Target) -> Result<Self, ClientError> {
        if let [address] = &target.addresses[..] {
            let mut client = Self::open(host, address).await?;
            client.authenticate(target).await?;
            return Ok(client);
        }
        let mut reasons = Vec::new();
        for address in &target.addresses {
            match Self::open_and_probe(host, address).await {
                Ok(mut client) => {
                    client.authenticate(target).await?;
                    return Ok(client);
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(io::Error::other(format!("none of them answers ({})", reasons.join("; "))).into())
    }

    async fn open(host: &Host, (name, port): &(String, u16)) -> io::Result<Self> {
        let connecting = async {
            let address = host.resolve(name, *port).await?;
            host.connect(address).await
        };
        let conn = timeout(CONNECT_TIME_MAX, connecting).await??;
        Ok(Self { conn, buffer: Vec::new() })
    }

    async fn open_and_probe(host: &Host, address: &(String, u16)) -> io::Result<Self> {
        let mut client = Self::open(host, address).await?;
        // A question for the node itself: others wait for a primary, wherever it is.
        match timeout(CONNECT_TIME_MAX, client.call(&["LASTSAVE"])).await? {
            Err(ClientError::Io(error)) => Err(error),
            // A refusal is an answer: it may want a password first.
            Ok(_) | Err(ClientError::Refused(_)) => Ok(client),
        }
    }

    async fn authenticate(&mut self, target: &Target) -> Result<(), ClientError> {
        if let Some(password) = &target.password {
            self.call(&["AUTH", password]).await?;
        }
        Ok(())
    }

    /// Text of a status, bulk or integer reply; an error reply is an error.
    pub async fn call(&mut self, words: &[&str]) -> Result<Option<String>, ClientError> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.conn.write_all(request.as_bytes()).await?;
        timeout(REPLY_TIME_MAX, self.reply()).await.map_err(io::Error::from)?
    }

    async fn reply(&mut self) -> Result<Option<String>, ClientError> {
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(senseless)?;
        match kind {
            "+" | ":" => Ok(Some(rest.to_owned())),
            "-" => Err(ClientError::Refused(rest.to_owned())),
            "_" => Ok(None),
            "$" if rest == "-1" => Ok(None),
            "$" => {
                let length: usize = rest.parse().map_err(|_| senseless())?;
                if length > REPLY_BYTES_MAX {
                    return Err(senseless());
                }
                while self.buffer.len() < length + 2 {
                    self.fill().await?;
                }
                let text = String::from_utf8_lossy(&self.buffer[..length]).into_owned();
                self.buffer.drain(..length + 2);
                Ok(Some(text))
            }
            _ => Err(senseless()),
        }
    }

    async fn line(&mut self) -> Result<String, ClientError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.buffer.len() > REPLY_BYTES_MAX {
                return Err(senseless());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), ClientError> {
        match self.conn.read(&mut self.buffer).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }
}

fn senseless() -> ClientError {
    io::Error::new(io::ErrorKind::InvalidData, "the server answers something else than a reply").into()
}

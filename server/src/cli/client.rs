//! A small client for our own subcommands.
//!
//! Lives here: one command and its reply at a time. Not here: what is asked.

use ramkeep_net::{Conn, Host, timeout};
use std::io;
use std::time::Duration;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// A hand-over takes longest.
const REPLY_TIME_MAX: Duration = Duration::from_secs(6);
/// No reply of ours is longer.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// Where a node is, and how to get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub password: Option<String>,
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
    pub async fn connect(host: &Host, target: &Target) -> Result<Self, ClientError> {
        let connecting = async {
            let address = host.resolve(&target.host, target.port).await?;
            host.connect(address).await
        };
        let conn = timeout(CONNECT_TIME_MAX, connecting).await.map_err(io::Error::from)??;
        let mut client = Self { conn, buffer: Vec::new() };
        if let Some(password) = &target.password {
            client.call(&["AUTH", password]).await?;
        }
        Ok(client)
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

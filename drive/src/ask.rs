//! One question to a node, past every proxy.
//!
//! Lives here: a connection for a single command and its reply. Not here: calls that are recorded (`client`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ramkeep_check::reply::{Reply, parse};
use ramkeep_net::{Conn, Host, timeout};

/// Longest wait for an answer where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The command as a request.
pub fn encode(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// The next reply on a connection; `inbox` holds what came beyond earlier ones.
pub async fn reply(conn: &Conn, inbox: &mut Vec<u8>) -> io::Result<Reply> {
    loop {
        let parsed = parse(inbox).map_err(|error| io::Error::other(error.to_string()))?;
        if let Some((reply, length)) = parsed {
            inbox.drain(..length);
            return Ok(reply);
        }
        if conn.read(inbox).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Connects, asks, gives the answer.
pub async fn ask(host: &Host, address: SocketAddr, words: &[&str], patience: Duration) -> io::Result<Reply> {
    let asking = async {
        let conn = host.connect(address).await?;
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut request = Vec::new();
        encode(&words, &mut request);
        conn.write_all(&request).await?;
        reply(&conn, &mut Vec::new()).await
    };
    timeout(patience, asking).await?
}

//! RESP: what clients send and what they are answered.
//!
//! Lives here: the incremental decoder of requests, the writer of replies, the reader of replies
//! that clients of ours use. Not here: sockets, and what requests mean.

mod args;
mod decode;
mod inline;
mod reply;
mod value;

pub use args::{Args, OwnedArgs};
pub use decode::{Batch, Decoded, Decoder, Limits, ProtocolError, Request};
pub use reply::{Protocol, Reply};
pub use value::{Malformed, Value};

//! Real servers, driven from outside.
//!
//! Lives here: nodes as child processes, clients on sockets whose calls are recorded, keys that are written once and
//! counted. The attacks of `jepsen` and the demonstration share it.
//! Not here: what is asked and how answers are judged (`ramkeep-check`), faults and their order.
//!
//! | file | what |
//! |---|---|
//! | `ask` | one question to a node |
//! | `client` | a client whose calls go into the history |
//! | `marks` | keys that are only counted, and the times without writes |
//! | `ports` | ports that nodes can come back to |
//! | `process` | a node as a child process |
//! | `target` | where a server is, and how to get in |

pub mod ask;
pub mod client;
pub mod marks;
pub mod ports;
pub mod process;
pub mod target;

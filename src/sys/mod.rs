//! What rustix and socket2 lack: the only `unsafe` in the crate, each block with its reason.

pub mod tcp_info;
pub mod watch;

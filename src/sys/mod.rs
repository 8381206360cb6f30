//! What rustix and socket2 lack: the only `unsafe` in the crate, each block with its reason.

pub mod child;
pub mod congestion_control;
pub mod kernel_release;
pub mod late_port;
pub mod neighbours;
pub mod netfilter;
pub mod notify;
pub mod offloads;
pub mod packet_queue;
pub mod passed;
pub mod privileges;
pub mod route;
mod rtnetlink;
pub mod signal;
mod socket_option;
pub mod tap;
pub mod tcp_info;
pub mod tun;
pub mod user_namespace;
pub mod watch;
pub mod window_clamp;

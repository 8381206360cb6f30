//! How connections come to the relay: a pure plan, its text, and a process that owns it.
//!
//! `plan` says what is wanted; `preflight` and `check` look at the host, and at what its other rules would do; `nft` and `iptables` write it down; `routes` writes what leads marked
//! packets to this host; `own` applies it for as long as the relay lives, and takes it away.

pub mod check;
pub mod iptables;
pub mod nft;
pub mod normalise;
pub mod own;
mod owner;
pub mod plan;
pub mod preflight;
pub mod routes;
mod select;
mod strip;
pub mod survey;
mod tool;

pub use own::{OwnError, Owned};
pub use plan::{Conflict, Interception, ListenPorts, Plan, Tracking, Zones};

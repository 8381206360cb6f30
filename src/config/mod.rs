//! Flags -> checked settings. What leaves this room is valid; no later room checks it again.

pub mod intercept;
pub mod mark;
pub mod profile;

pub use intercept::{Intercept, InterceptError, Interface, Networks, Ports};
pub use mark::{DEFAULT_MARK, Mark};
pub use profile::{Keepalive, Profile, Strip, UnknownProfile};

use std::time::Duration;

/// How the relay treats its sessions, whatever way they came in.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// What the leg on the mangled side may negotiate.
    pub mangled: Profile,
    /// What the leg on the other side may negotiate.
    pub clean: Profile,
    /// How long a dial may take before the client is reset.
    pub connect_timeout: Duration,
    /// Both legs are probed after this much silence; a leg that stays silent is ended.
    pub keepalive: Keepalive,
    /// How many worker threads share the sessions, at least 1.
    pub workers: usize,
    /// How many bytes of pipes all workers may hold together; 0 means that every byte is copied.
    pub pipe_budget: usize,
}

/// On which side of the relay a leg lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Towards the firewall.
    Mangled,
    /// Away from it.
    Clean,
}

impl Side {
    /// Both.
    pub const ALL: [Side; 2] = [Side::Mangled, Side::Clean];

    /// The side on which the other leg of a session lies.
    pub fn other(self) -> Self {
        match self {
            Side::Mangled => Side::Clean,
            Side::Clean => Side::Mangled,
        }
    }
}

impl Sessions {
    /// What a leg on this side may negotiate.
    pub fn profile(&self, side: Side) -> &Profile {
        match side {
            Side::Mangled => &self.mangled,
            Side::Clean => &self.clean,
        }
    }
}

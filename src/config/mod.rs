//! File and flags -> checked settings. What leaves this room is valid; no later room checks it again.
//!
//! `file` and the flags become `keys`, which know where each value stood; `settings` checks them.

pub mod access;
pub mod admin;
pub mod answer;
pub mod choice;
mod collision;
pub mod file;
pub mod forward;
pub mod hdr_log;
pub mod identity;
pub mod intercept;
pub mod keys;
pub mod limits;
pub mod log;
pub mod mark;
mod normalise;
mod own_profile;
pub mod process;
pub mod profile;
pub mod run_as;
pub mod settings;
pub mod sidecar;
mod watch;

pub use access::{Access, Barred};
pub use admin::{Admin, AdminAddress, Asked, NoAdminAddress};
pub use answer::{AnswerMark, Hold};
pub use choice::{
    Answer, Deployment, DialFrom, Engine, Fail, Histograms, HostTuning, InvalidReasons, LogFormat,
    PinWorkers, RulesMode, ServiceLeg, StallAction, Strangers, Track,
};
pub use file::Contents;
pub use forward::{Forward, MangledLeg, Target};
pub use hdr_log::HdrLog;
pub use identity::{AcceptProxy, Identity};
pub use intercept::{Intercept, InterceptError, Interface, Networks, Ports};
pub use keys::{ConfigError, Keys, Origin};
pub use limits::{Admission, PerSource, Rate, Source, SourcePrefix};
pub use log::Log;
pub use mark::{DEFAULT_DIAL_MARK, DEFAULT_MARK, Mark};
pub use normalise::Normalise;
pub use process::{Numbers, Process};
pub use profile::{CongestionControl, Keepalive, Profile, Strip, UnknownProfile};
pub use run_as::RunAs;
pub use settings::{Listener, Mode, Settings};
pub use sidecar::{ClientSidecar, ServerSidecar, Whose};
pub use watch::Watch;

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

impl Listener {
    /// What is believed and told of a client's address, where clients come to the relay.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.mode {
            Mode::Forward(forward) => Some(&forward.identity),
            Mode::Gateway(_) | Mode::ServerSidecar(_) | Mode::ClientSidecar(_) => None,
        }
    }

    /// Whether the address that a forwarded connection is dialled from is its client's.
    pub fn dials_from_client(&self) -> bool {
        self.identity()
            .is_some_and(|identity| identity.dial_from == DialFrom::Client)
    }

    /// Whether opening packets are held until the server has answered.
    pub fn holds(&self) -> bool {
        self.answer == Answer::AfterConnect
    }

    /// When a silent peer is probed on a leg of this profile.
    pub fn keepalive_of(&self, profile: &Profile) -> Keepalive {
        profile.keepalive.unwrap_or(self.keepalive)
    }

    /// What a leg on this side may negotiate.
    pub fn profile(&self, side: Side) -> &Profile {
        match side {
            Side::Mangled => &self.mangled,
            Side::Clean => &self.clean,
        }
    }
}

//! How a lab is to stand, and its putting up.

use std::path::PathBuf;

use crate::lab::error::{Error, Result};
use crate::lab::ground::{self, Ground};
use crate::lab::joined::Joined;
use crate::lab::matrix::Strict;
use crate::lab::requirements::require;
use crate::lab::rootless;
use crate::lab::scenario::Between;
use crate::lab::standing::Lab;
use crate::lab::topology::{MTU, Role};

/// How a lab is to stand.
#[derive(Debug, Clone)]
pub struct Builder {
    firewall: Joined,
    long_leg: Joined,
    seed: u64,
    mtu: u16,
    strict: Option<Strict>,
    sshd_on: Option<Role>,
    payload: Option<u64>,
    unmangle: Option<PathBuf>,
}

// === impl Builder ===

impl Builder {
    /// What joins client and relay host; a wire that does nothing unless told otherwise.
    pub fn firewall(mut self, joined: Joined) -> Self {
        self.firewall = joined;
        self
    }

    /// What joins relay host and server; a wire that does nothing unless told otherwise.
    pub fn long_leg(mut self, joined: Joined) -> Self {
        self.long_leg = joined;
        self
    }

    /// What the wires draw their chances from.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The MTU of what joins the hosts, in bytes: 1500 unless told otherwise, and at least 1280, which IPv6 needs.
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// Which end hosts filter; none unless told otherwise.
    pub fn strict(mut self, strict: Strict) -> Self {
        self.strict = Some(strict);
        self
    }

    /// Starts an sshd on this host.
    pub fn sshd_on(mut self, role: Role) -> Self {
        self.sshd_on = Some(role);
        self
    }

    /// Makes a file of this many random bytes.
    pub fn payload(mut self, bytes: u64) -> Self {
        self.payload = Some(bytes);
        self
    }

    /// The program under test, which the wires are part of; this very program unless told otherwise.
    pub fn unmangle(mut self, program: impl Into<PathBuf>) -> Self {
        self.unmangle = Some(program.into());
        self
    }

    /// Puts it up. What earlier labs left behind is swept away first.
    pub fn start(self) -> Result<Lab> {
        require()?;
        ground::sweep()?;
        let unmangle = match self.unmangle {
            Some(program) => program,
            None => rootless::program().map_err(Error::io("finding this program"))?,
        };
        let mut lab = Lab::bare(Ground::take()?, self.mtu, self.strict, unmangle);
        lab.make_hosts()?;
        lab.reset_counts()?;
        lab.join(&self.firewall, &self.long_leg, self.seed)?;
        if let Some(role) = self.sshd_on {
            lab.start_sshd(role)?;
        }
        if let Some(bytes) = self.payload {
            lab.make_payload(bytes)?;
        }
        Ok(lab)
    }
}

impl Default for Builder {
    fn default() -> Self {
        let nothing = || Joined::wire(Between::default());
        Self {
            firewall: nothing(),
            long_leg: nothing(),
            seed: 1,
            mtu: MTU,
            strict: None,
            sshd_on: None,
            payload: None,
            unmangle: None,
        }
    }
}

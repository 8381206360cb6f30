//! What a host can set, and what the kernel sets where nobody does.

use std::time::Duration;

use super::{Kernel, State};

/// The tracker's settings. [`Settings::new`] has what a kernel starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose rules.
    pub kernel: Kernel,
    /// `nf_conntrack_tcp_be_liberal`: nothing out of window is INVALID.
    pub be_liberal: bool,
    /// `nf_conntrack_tcp_loose`: connections are picked up in the middle.
    pub loose: bool,
    /// `nf_conntrack_tcp_ignore_invalid_rst`, since Linux 5.14 or so: old resets are let pass.
    pub ignore_invalid_rst: bool,
    /// `nf_conntrack_tcp_max_retrans`: after so many equal ACKs a flow is soon forgotten.
    pub max_retrans: u8,
    /// How long a silent connection is remembered.
    pub timeouts: Timeouts,
    /// Connections remembered at once; the one longest silent makes way for a new one.
    pub capacity: usize,
}

/// How long a connection is remembered after its last packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// By state.
    pub syn_sent: Duration,
    /// By state.
    pub syn_recv: Duration,
    /// By state.
    pub established: Duration,
    /// By state.
    pub fin_wait: Duration,
    /// By state.
    pub close_wait: Duration,
    /// By state.
    pub last_ack: Duration,
    /// By state.
    pub time_wait: Duration,
    /// By state.
    pub close: Duration,
    /// By state.
    pub syn_sent2: Duration,
    /// After too many equal ACKs, or a shut window.
    pub retrans: Duration,
    /// While data is not acknowledged.
    pub unacknowledged: Duration,
}

// === impl Settings ===

impl Settings {
    /// What a kernel starts with; memory for a quarter of a million connections.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            be_liberal: false,
            loose: true,
            ignore_invalid_rst: false,
            max_retrans: 3,
            timeouts: Timeouts::default(),
            capacity: 1 << 18,
        }
    }
}

// === impl Timeouts ===

impl Default for Timeouts {
    /// The same since Linux 2.6.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            syn_sent: seconds(120),
            syn_recv: seconds(60),
            established: seconds(5 * 24 * 3600),
            fin_wait: seconds(120),
            close_wait: seconds(60),
            last_ack: seconds(30),
            time_wait: seconds(120),
            close: seconds(10),
            syn_sent2: seconds(120),
            retrans: seconds(300),
            unacknowledged: seconds(300),
        }
    }
}

impl Timeouts {
    pub(super) fn of(&self, state: State) -> Duration {
        match state {
            State::None | State::SynSent => self.syn_sent,
            State::SynRecv => self.syn_recv,
            State::Established => self.established,
            State::FinWait => self.fin_wait,
            State::CloseWait => self.close_wait,
            State::LastAck => self.last_ack,
            State::TimeWait => self.time_wait,
            State::Close => self.close,
            State::SynSent2 => self.syn_sent2,
        }
    }
}

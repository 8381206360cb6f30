//! Which privileges a relay needs, from its settings alone; and how it gives up the others.

use rustix::thread::CapabilitySet;

use super::Usage;
use crate::admin;
use crate::config::{
    Admin, AdminAddress, Forward, Listener, Mode, Process, RulesMode, ServiceLeg, Settings,
};
use crate::rules::tuning;
use crate::sys::congestion_control;
use crate::sys::privileges::{self, Account, StepDownError};

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Until its sockets are bound.
    pub starting: CapabilitySet,
    /// Until it ends.
    pub running: CapabilitySet,
}

// === impl Needs ===

impl Needs {
    /// What these settings need; `allowed` are the congestion controls that anybody may choose.
    pub fn of(settings: &Settings, allowed: &str) -> Self {
        let none = CapabilitySet::empty();
        let each = |needs: fn(&Listener) -> CapabilitySet| {
            settings
                .listeners
                .iter()
                .map(needs)
                .fold(none, CapabilitySet::union)
        };
        let mut running = each(of_mode);
        let mut chosen = settings.listeners.iter().flat_map(|listener| {
            let profiles = [&listener.mangled, &listener.clean];
            profiles
                .into_iter()
                .filter_map(|profile| profile.congestion_control.named())
        });
        if chosen.any(|name| !allowed.split_whitespace().any(|one| one == name)) {
            running |= CapabilitySet::NET_ADMIN;
        }
        let mut starting = running | each(to_bind) | to_answer(&settings.process.admin);
        let own = settings.process.rules == RulesMode::Own;
        if own && running.contains(CapabilitySet::NET_ADMIN) {
            // Only so can it be seen that iptables-legacy has rules.
            starting |= CapabilitySet::DAC_READ_SEARCH;
        }
        if settings.listeners.iter().any(Listener::holds) {
            // Where iptables-legacy is what puts packets into the queue: see `while_running`.
            starting |= CapabilitySet::NET_RAW;
        }
        Self { starting, running }
    }

    /// The same, once it is known whether iptables-legacy is needed.
    pub fn with_legacy(mut self, legacy: bool) -> Self {
        if legacy {
            self.running |= CapabilitySet::NET_RAW;
        }
        self
    }
}

fn of_mode(listener: &Listener) -> CapabilitySet {
    // A client whose own port is below 1024 is dialled for from that port.
    let as_client = CapabilitySet::NET_ADMIN | CapabilitySet::NET_BIND_SERVICE;
    match &listener.mode {
        Mode::Gateway(_) => as_client,
        Mode::ServerSidecar(sidecar) => match sidecar.leg {
            ServiceLeg::Loopback | ServiceLeg::Transparent => as_client,
            ServiceLeg::OwnAddress => CapabilitySet::NET_ADMIN,
        },
        Mode::ClientSidecar(_) => CapabilitySet::NET_ADMIN,
        Mode::Forward(_) if listener.dials_from_client() => as_client,
        Mode::Forward(_) => CapabilitySet::empty(),
    }
}

fn to_answer(admin: &Admin) -> CapabilitySet {
    let Admin::At(all) = admin else {
        return CapabilitySet::empty();
    };
    let is_low = |address: &AdminAddress| matches!(address, AdminAddress::Tcp(tcp) if (1..1024).contains(&tcp.port()));
    match all.iter().any(|asked| is_low(&asked.address)) {
        true => CapabilitySet::NET_BIND_SERVICE,
        false => CapabilitySet::empty(),
    }
}

fn to_bind(listener: &Listener) -> CapabilitySet {
    match &listener.mode {
        Mode::Forward(Forward { listen, .. }) if (1..1024).contains(&listen.port()) => {
            CapabilitySet::NET_BIND_SERVICE
        }
        _ => CapabilitySet::empty(),
    }
}

/// Becomes the user that the settings name, and gives up what the start does not need. To be called before
/// anything else is done, and before there is a second thread.
///
/// # Errors
/// [`Usage`] if there is no such user, or this process may not become it; nothing was changed then.
pub fn step_down(settings: &Settings) -> Result<Needs, Usage> {
    let process = &settings.process;
    let refused = |error: &dyn std::fmt::Display| Usage(format!("--run-as: {error}"));
    let account = match &process.run_as {
        Some(run_as) => {
            let account = Account::named(&run_as.user, run_as.group.as_deref());
            Some(account.map_err(|error| refused(&error))?)
        }
        None => None,
    };
    let allowed = congestion_control::allowed().unwrap_or_default();
    let needs = Needs::of(settings, &allowed);
    let current = Account::current();
    // One that takes over is that user already.
    let account = account.filter(|account| *account != current);
    if current.is_root() {
        admin::prepare(&process.admin, account.unwrap_or(current));
    }
    if current.is_root() && needs.running.contains(CapabilitySet::NET_ADMIN) {
        let heir = account.unwrap_or(current);
        hand_over_state(process, heir).map_err(|error| Usage(error.to_string()))?;
    }
    match privileges::step_down(account, needs.starting) {
        Ok(()) => Ok(needs),
        Err(error @ StepDownError::NotRoot) => Err(refused(&error)),
        Err(error) => Err(Usage(format!("privileges cannot be given up: {error}"))),
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    Account::current().is_root()
}

/// What keeps the host's former settings is read and written by whom the relay becomes.
fn hand_over_state(process: &Process, account: Account) -> Result<(), tuning::TuningError> {
    match process.rules {
        RulesMode::Own => tuning::hand_over(process.host_tuning, account.uid, account.gid),
        RulesMode::Print | RulesMode::None => Ok(()),
    }
}

/// Gives up what only the start needed, and says who it is from now on.
///
/// # Errors
/// If the kernel refuses to take something away.
pub fn settle(needs: Needs, process: &Process) -> anyhow::Result<()> {
    privileges::settle(needs.running)?;
    let account = Account::current();
    if account.is_root() && process.run_as.is_none() {
        tracing::warn!("this runs as root, and could as any user: give --run-as USER");
    }
    tracing::debug!(uid = account.uid, gid = account.gid, capabilities = ?privileges::held(), "privileges");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Contents, Keys};

    const ADMIN: CapabilitySet = CapabilitySet::NET_ADMIN;
    const BIND: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;
    const NOTHING: CapabilitySet = CapabilitySet::empty();

    fn needs(flags: &[(&str, &str)]) -> Needs {
        let mut keys = Keys::default();
        for (key, value) in flags {
            keys.set_flag(key, [value]);
        }
        let settings = Settings::resolve(Contents::default(), Keys::default(), keys).unwrap();
        Needs::of(&settings, "reno cubic")
    }

    fn running(flags: &[(&str, &str)]) -> CapabilitySet {
        needs(flags).running
    }

    const TAKEN: [(&str, &str); 3] = [
        ("intercept", "22"),
        ("mangled-side", "eth0"),
        ("profile", "cisco-pix"),
    ];

    #[test]
    fn each_mode_keeps_what_it_needs_and_nothing_else() {
        assert_eq!(running(&TAKEN), ADMIN | BIND);
        let sidecar = |more: &[(&'static str, &'static str)]| running(&[&TAKEN, more].concat());
        let server = ("mode", "server-sidecar");
        assert_eq!(sidecar(&[server]), ADMIN | BIND);
        assert_eq!(sidecar(&[server, ("service-leg", "own-address")]), ADMIN);
        assert_eq!(sidecar(&[("mode", "client-sidecar")]), ADMIN);
        let forward = [("listen", "127.0.0.1:2222"), ("to", "192.0.2.1:22")];
        assert_eq!(running(&forward), NOTHING);
        let borrowing = [&forward[..], &[("dial-from", "client")]].concat();
        assert_eq!(running(&borrowing), ADMIN | BIND);
    }

    #[test]
    fn a_port_below_1024_needs_a_capability_until_it_is_bound() {
        let low = needs(&[("listen", "127.0.0.1:22"), ("to", "192.0.2.1:22")]);
        assert_eq!((low.starting, low.running), (BIND, NOTHING));
        let high = needs(&[("listen", "127.0.0.1:1024"), ("to", "192.0.2.1:22")]);
        assert_eq!((high.starting, high.running), (NOTHING, NOTHING));
    }

    #[test]
    fn raw_sockets_are_for_iptables_legacy_alone() {
        let holding = needs(&[&TAKEN[..], &[("answer", "after-connect")]].concat());
        assert_eq!(holding.running, ADMIN | BIND);
        assert!(holding.starting.contains(CapabilitySet::NET_RAW));
        let legacy = holding.with_legacy(true);
        assert_eq!(legacy.running, ADMIN | BIND | CapabilitySet::NET_RAW);
        assert!(!needs(&TAKEN).starting.contains(CapabilitySet::NET_RAW));
    }
}

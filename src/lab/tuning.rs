//! Host tuning: what a host that sends where SACK is stripped has to be told.
//!
//! `unmangle` has its own, for the host it runs on; the lab sets the same on every host, as somebody
//! would who may touch all of them.

use clap::ValueEnum;

use crate::lab::error::Result;
use crate::lab::host::Host;

/// By what a host without SACK repairs a loss at once instead of by timeouts.
const SETTINGS: [(&str, &str); 2] = [
    ("net/ipv4/tcp_no_metrics_save", "1"),
    ("net/ipv4/tcp_max_reordering", "3"),
];

/// Whether the hosts are tuned for a leg without SACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum HostTuning {
    /// They are as the kernel makes them.
    #[default]
    None,
    /// net.ipv4.tcp_no_metrics_save=1 and net.ipv4.tcp_max_reordering=3 on each.
    Apply,
}

/// What the settings of one host were before it was tuned, in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Former([String; SETTINGS.len()]);

/// Tunes a host and returns what was there before.
pub(crate) fn tune(host: &Host) -> Result<Former> {
    let mut former = Former::default();
    for (value, (key, _)) in former.0.iter_mut().zip(SETTINGS) {
        let path = format!("/proc/sys/{key}");
        *value = host.run("cat", &[&path])?.trim().to_owned();
    }
    host.set(&SETTINGS)?;
    Ok(former)
}

// === impl Former ===

impl Former {
    /// Gives the host its former values back.
    pub(crate) fn restore(&self, host: &Host) -> Result<()> {
        for ((key, _), value) in SETTINGS.iter().zip(&self.0) {
            host.set(&[(key, value)])?;
        }
        Ok(())
    }
}

impl Default for Former {
    fn default() -> Self {
        Self(SETTINGS.map(|_| String::new()))
    }
}

//! The arguments that limit how many connections there may be, and how many of one source.

use crate::config::Keys;

/// Limits of the process, and of every listener that does not say otherwise.
#[derive(clap::Args)]
pub struct LimitFlags {
    /// Connections at a time; further ones wait to be accepted
    /// [default: as many as there are descriptors for]
    #[arg(long, value_name = "N")]
    max_connections: Option<String>,

    /// Connections that one source may have at a time at a listener; further ones are reset
    /// [default: no limit]
    #[arg(long, value_name = "N")]
    max_per_source: Option<String>,

    /// Connections that one source may open at a listener within a time, such as 10/s; further ones are
    /// reset [default: no limit]
    #[arg(long, value_name = "N/TIME")]
    rate_per_source: Option<String>,

    /// Leading bits of an address, of IPv4 and of IPv6, that make a source [default: 32,64]
    #[arg(long, value_name = "BITS,BITS", hide_short_help = true)]
    source_prefix: Option<String>,
}

impl LimitFlags {
    /// Adds what was given.
    pub fn add_to(&self, keys: &mut Keys) {
        for (key, value) in [
            ("max-connections", &self.max_connections),
            ("max-per-source", &self.max_per_source),
            ("rate-per-source", &self.rate_per_source),
            ("source-prefix", &self.source_prefix),
        ] {
            keys.set_flag(key, value);
        }
    }
}

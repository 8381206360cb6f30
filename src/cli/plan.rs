//! The arguments that say what is intercepted and how it is normalised.

use super::Usage;
use crate::config::{Intercept, Networks, Profile};

/// What is intercepted, and what the mangled leg may negotiate.
#[derive(clap::Args)]
pub struct Wanted {
    /// Destination ports to intercept, separated by commas.
    #[arg(long, value_name = "PORTS")]
    intercept: String,

    /// The interface that faces the firewall.
    #[arg(long, value_name = "IFACE")]
    mangled_side: String,

    /// What the leg on that side may negotiate: clean, isn-rewrite, cisco-pix or wscale-strip.
    #[arg(long, value_name = "NAME")]
    profile: String,

    /// Intercept only what comes from this network; may be given more than once [default: everywhere]
    #[arg(long, value_name = "NET")]
    from: Vec<String>,

    /// Intercept only what goes to this network; may be given more than once [default: everywhere]
    #[arg(long, value_name = "NET")]
    to: Vec<String>,
}

impl Wanted {
    /// The checked settings.
    ///
    /// # Errors
    /// [`Usage`] names the argument and what would be right.
    pub fn parse(&self) -> Result<(Intercept, Profile), Usage> {
        fn refuse<E: std::fmt::Display>(flag: &'static str) -> impl Fn(E) -> Usage {
            move |error| Usage(format!("{flag}: {error}"))
        }
        let networks = |nets: &[String]| Networks::parse(nets.iter().map(String::as_str));
        let intercept = Intercept {
            ports: self.intercept.parse().map_err(refuse("--intercept"))?,
            from: networks(&self.from).map_err(refuse("--from"))?,
            to: networks(&self.to).map_err(refuse("--to"))?,
            mangled_side: self
                .mangled_side
                .parse()
                .map_err(refuse("--mangled-side"))?,
        };
        Ok((
            intercept,
            self.profile.parse().map_err(refuse("--profile"))?,
        ))
    }
}

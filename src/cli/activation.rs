//! Whether the settings have a use for each socket that a service manager passes in.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Usage;
use crate::config::{Admin, AdminAddress, Listener, Mode, Settings};
use crate::sys::passed::{At, Passed};

/// Refuses what nobody would listen at: its clients would wait for ever.
///
/// # Errors
/// [`Usage`] names the socket, and where to write it.
pub fn check(settings: &Settings, passed: &Passed, takes_over: bool) -> Result<(), Usage> {
    match passed.each().next() {
        Some((name, at)) if takes_over => Err(Usage(format!(
            "{name} was passed in for {at}, and --takeover has the sockets of the other relay: leave one of them out"
        ))),
        _ => all_wanted(settings, passed.each()),
    }
}

fn all_wanted<'a>(
    settings: &Settings,
    passed: impl Iterator<Item = (&'a str, &'a At)>,
) -> Result<(), Usage> {
    let mut wanted: Vec<Wanted> = wanted(settings);
    for (name, at) in passed {
        let Some(found) = wanted.iter().position(|wanted| wanted.is_at(at)) else {
            let hint = match at {
                At::Tcp(_) => format!(
                    "write listen = \"{at}\" for a listener, or admin = [\"{at}\"], or take it out of the socket unit"
                ),
                At::Unix(_) => {
                    format!("write admin = [\"{at}\"], or take it out of the socket unit")
                }
            };
            return Err(Usage(format!(
                "{name} was passed in for {at}, and nothing in the settings listens there: {hint}"
            )));
        };
        wanted.remove(found);
    }
    Ok(())
}

/// Where the settings have the relay listen.
#[derive(Debug)]
enum Wanted {
    /// At a port that is known before.
    Tcp(SocketAddr),
    /// For those who ask.
    Admin(AdminAddress),
}

impl Wanted {
    fn is_at(&self, at: &At) -> bool {
        match self {
            Self::Tcp(address) | Self::Admin(AdminAddress::Tcp(address)) => {
                *at == At::Tcp(*address)
            }
            Self::Admin(AdminAddress::Unix(path)) => at.is_file(path),
        }
    }
}

fn wanted(settings: &Settings) -> Vec<Wanted> {
    let of_listeners = settings.listeners.iter().flat_map(of_listener);
    let admin = match &settings.process.admin {
        Admin::At(asked) => &asked[..],
        Admin::ByProcess | Admin::Off => &[],
    };
    let admin = admin
        .iter()
        .map(|asked| Wanted::Admin(asked.address.clone()));
    of_listeners.map(Wanted::Tcp).chain(admin).collect()
}

fn of_listener(listener: &Listener) -> Vec<SocketAddr> {
    let (mangled, clean) = listener.fixed_ports.unzip();
    let ports = match &listener.mode {
        Mode::Forward(forward) => return vec![forward.listen],
        Mode::Gateway(_) => vec![mangled, clean],
        Mode::ServerSidecar(_) => vec![mangled],
        Mode::ClientSidecar(_) => vec![clean],
    };
    let both = |port| {
        [
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]
    };
    ports.into_iter().flatten().flat_map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Contents, Keys};

    fn settings(process: &[(&str, &str)], listener: &[(&str, &str)]) -> Settings {
        let keys = |all: &[(&str, &str)]| {
            let mut keys = Keys::default();
            for (key, value) in all {
                keys.set_flag(key, [value]);
            }
            keys
        };
        Settings::resolve(Contents::default(), keys(process), keys(listener)).unwrap()
    }

    const FORWARD: [(&str, &str); 2] = [("listen", "192.0.2.1:2222"), ("to", "198.51.100.2:22")];

    fn judged(settings: &Settings, passed: &[At]) -> Result<(), String> {
        let each = passed.iter().map(|at| ("unmangle.socket", at));
        all_wanted(settings, each).map_err(|error| error.to_string())
    }

    fn tcp(text: &str) -> At {
        At::Tcp(text.parse().unwrap())
    }

    #[test]
    fn what_the_settings_listen_at_may_be_passed_in_and_need_not() {
        let settings = settings(&[("admin", "/run/unmangle/admin.sock")], &FORWARD);
        let admin = At::Unix("/run/unmangle/admin.sock".into());
        assert_eq!(judged(&settings, &[]), Ok(()));
        assert_eq!(judged(&settings, &[tcp("192.0.2.1:2222"), admin]), Ok(()));
    }

    #[test]
    fn ports_that_others_rules_lead_to_may_be_passed_in() {
        let gateway = [
            ("intercept", "22"),
            ("mangled-side", "eth0"),
            ("profile", "cisco-pix"),
        ];
        let settings = settings(&[("rules", "none")], &gateway);
        assert_eq!(judged(&settings, &[tcp("127.0.0.1:21069")]), Ok(()));
        assert_eq!(judged(&settings, &[tcp("[::1]:21070")]), Ok(()));
        assert!(judged(&settings, &[tcp("0.0.0.0:21070")]).is_err());
    }

    #[test]
    fn what_nobody_would_listen_at_is_refused_with_where_to_write_it() {
        let settings = settings(&[], &FORWARD);
        let error = judged(&settings, &[tcp("0.0.0.0:2222")]).unwrap_err();
        assert_eq!(
            error,
            "unmangle.socket was passed in for 0.0.0.0:2222, and nothing in the settings listens there: write listen \
             = \"0.0.0.0:2222\" for a listener, or admin = [\"0.0.0.0:2222\"], or take it out of the socket unit"
        );
        let error = judged(&settings, &[At::Unix("/run/x.sock".into())]).unwrap_err();
        assert!(error.contains("write admin = [\"/run/x.sock\"]"), "{error}");
        let twice = [tcp("192.0.2.1:2222"), tcp("192.0.2.1:2222")];
        assert!(judged(&settings, &twice).is_err());
    }
}

//! From what was given to checked settings. Pure: no file is read here, no socket is opened.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answer;
use super::choice::{Answer, Deployment, Engine, Fail, RulesMode, Strangers};
use super::file::Contents;
use super::forward::{Forward, MangledLeg, Target};
use super::identity::{self, Identity};
use super::intercept::{Intercept, Networks};
use super::keys::{ConfigError, Keys, Origin};
use super::limits::Admission;
use super::own_profile;
use super::process::{Numbers, Process};
use super::profile::{Keepalive, Profile};
use super::sidecar::{self, ClientSidecar, ServerSidecar};
use super::watch::Watch;

/// Everything that is settled before anything runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What concerns the whole process.
    pub process: Process,
    /// At least one, each with a name of its own.
    pub listeners: Vec<Listener>,
}

/// One way in, and what is done with what comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What it is called in logs and errors.
    pub name: String,
    /// How connections come.
    pub mode: Mode,
    /// The loopback ports that somebody else's rules deliver to, for connections from the mangled side
    /// and from the other; the kernel chooses if the rules are the relay's own.
    pub fixed_ports: Option<(u16, u16)>,
    /// When a client's opening packet is answered.
    pub answer: Answer,
    /// What is let in, and how much of it.
    pub admission: Admission,
    /// What the leg that crosses the firewall may negotiate.
    pub mangled: Profile,
    /// What the other leg may negotiate.
    pub clean: Profile,
    /// How long a dial may take before the client is reset.
    pub connect_timeout: Duration,
    /// How long a peer may take nothing of the last bytes of a session that has ended.
    pub close_timeout: Duration,
    /// When silent peers are probed, unless a profile says otherwise.
    pub keepalive: Keepalive,
    /// What a running session is watched for.
    pub watch: Watch,
}

/// How connections come to a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// They pass through this router and are intercepted.
    Gateway(Intercept),
    /// They come to a service of this host and are intercepted.
    ServerSidecar(ServerSidecar),
    /// They are opened by this host and are intercepted.
    ClientSidecar(ClientSidecar),
    /// They are made to it.
    Forward(Forward),
}

/// The ports of the first listener where the rules are somebody else's.
pub const DEFAULT_PORTS: (u16, u16) = (21_069, 21_070);

impl Settings {
    /// Checks what was given; `flags` are those of a listener on the command line, if any.
    ///
    /// With one listener in the file, the flags change that one; with none they make one; with several
    /// it would not be clear which is meant.
    ///
    /// # Errors
    /// The first value that is wrong, where it stood and what would be right.
    pub fn resolve(
        mut given: Contents,
        process_flags: Keys,
        flags: Keys,
    ) -> Result<Self, ConfigError> {
        given.process.override_with(process_flags);
        if !flags.is_empty() {
            match given.listeners.as_mut_slice() {
                [] => given.listeners.push(flags),
                [only] => only.override_with(flags),
                several => {
                    let (_, flag) = flags.iter().next().expect("not empty");
                    return Err(flag.origin.error(format!(
                        "the file has {} listeners: say in the file which one is meant",
                        several.len()
                    )));
                }
            }
        }
        let process = Process::read(&given.process)?;
        let rules = process.rules;
        if process.fail == Fail::Closed && rules != RulesMode::Own {
            let fail = given.process.given("fail").expect("it is not the default");
            return Err(fail.origin.error(
                "somebody else's rules cannot fail closed by themselves; give rules = \"own\"",
            ));
        }
        let profiles = own_profile::all(&given.profiles)?;
        let mut listeners: Vec<Listener> = Vec::new();
        for (index, keys) in given.listeners.iter().enumerate() {
            let mut listener = listener(index, keys, &given.process, &process, &profiles)?;
            if process.engine != Engine::Splice {
                // Nobody would look whether a leg that began without pacing is better paced.
                listener.mangled.congestion_control.leave_to_host();
                listener.clean.congestion_control.leave_to_host();
            }
            if let Some(other) = listeners.iter().find(|other| other.collides(&listener)) {
                let origin = origin(keys);
                return Err(origin.error(format!(
                    "{} collides with {}: {}",
                    listener.name,
                    other.name,
                    other.collision(&listener)
                )));
            }
            listeners.push(listener);
        }
        let resets = process.strangers == Strangers::Reset;
        if resets
            && !listeners
                .iter()
                .any(|each| matches!(each.mode, Mode::Gateway(_)))
        {
            let given = given.process.given("strangers");
            return Err(given.expect("it is not the default").origin.error(
                "only a gateway meets segments that another one has relayed; leave it out, or give a listener \
                 --intercept PORTS --mangled-side IFACE",
            ));
        }
        let Numbers {
            mark, dial_mark, ..
        } = process.numbers;
        let dials_are_marked = resets || listeners.iter().any(|each| each.mode.is_sidecar());
        if mark.0 & dial_mark.0 != 0 && dials_are_marked {
            let given = given
                .process
                .given("dial-mark")
                .or(given.process.given("mark"));
            let origin = &given.expect("the defaults are disjoint").origin;
            return Err(origin.error(format!("mark {mark} and dial-mark {dial_mark} share bits")));
        }
        if listeners.iter().any(Listener::holds) {
            process.hold.stands_apart(&given.process, mark)?;
        }
        if listeners.is_empty() {
            let nothing = Origin::Flag("unmangle run".to_owned());
            return Err(nothing.error(
                "there is no listener; give --intercept PORTS --mangled-side IFACE --profile NAME, or \
                 --listen ADDR --to HOST:PORT, or --config FILE",
            ));
        }
        Ok(Self { process, listeners })
    }
}

fn listener(
    index: usize,
    keys: &Keys,
    process: &Keys,
    checked: &Process,
    profiles: &BTreeMap<String, Profile>,
) -> Result<Listener, ConfigError> {
    let origin = origin(keys);
    let profile = |key: &str| {
        keys.parse(key, |name| own_profile::find(name, profiles))
            .map(Option::unwrap_or_default)
    };
    let own_or_process = |key: &str| keys.given_or(key, process);
    let mode = mode(keys, &origin, checked)?;
    let admission = Admission::read(keys, process, &mode)?;
    let answer = answer::when(keys, &mode)?;
    let (mangled, clean) = (profile("profile")?, profile("clean-profile")?);
    if !matches!(mode, Mode::Forward(_)) && keys.given("profile").is_none() {
        return Err(
            origin.error("profile is missing: which firewall is it? `clean` changes nothing")
        );
    }
    if clean.needs_the_wire() {
        let given = keys
            .given("clean-profile")
            .map_or(&origin, |given| &given.origin);
        return Err(given.error(format!(
            "{} strips {}, and the rules strip on the mangled side only",
            clean.name, clean.strip
        )));
    }
    if let Mode::Forward(forward) = &mode
        && mangled.needs_the_wire()
    {
        let given = keys.given("profile").map_or(&origin, |given| &given.origin);
        return Err(given.error(format!(
            "{} strips {} from the wire, which no socket can; choose a profile that a socket can carry \
             (such as blackhole), or run `unmangle normalise --profile {} --mangled-side IFACE` beside {}",
            mangled.name, mangled.strip, mangled.name, forward.listen
        )));
    }
    let keepalive = match own_or_process("keepalive") {
        Some(given) => Keepalive {
            idle: given.parse(whole_seconds)?,
            ..Keepalive::default()
        },
        None => Keepalive::default(),
    };
    let time = |key: &str, default| match own_or_process(key) {
        Some(given) => given.parse(duration),
        None => Ok(Duration::from_secs(default)),
    };
    let connect_timeout = time("connect-timeout", 30)?;
    // About as long as Linux waits for a peer whose connection no process holds any more.
    let close_timeout = time("close-timeout", 120)?;
    let fixed_ports = fixed_ports(index, keys, checked.rules)?;
    let name = keys
        .given("name")
        .map_or_else(|| format!("listener {}", index + 1), |given| given.text());
    Ok(Listener {
        name,
        mode,
        fixed_ports,
        answer,
        admission,
        mangled,
        clean,
        connect_timeout,
        close_timeout,
        keepalive,
        watch: Watch::read(own_or_process)?,
    })
}

fn mode(keys: &Keys, origin: &Origin, process: &Process) -> Result<Mode, ConfigError> {
    let forward = match keys.parse("mode", str::parse)? {
        Some(Deployment::ServerSidecar) => return sidecar::server(keys, origin, process),
        Some(Deployment::ClientSidecar) => return sidecar::client(keys, origin, process),
        Some(deployment) => deployment == Deployment::Forward,
        None => keys.given("listen").is_some(),
    };
    let needed = |key: &str, why: &str| {
        keys.given(key)
            .ok_or_else(|| origin.error(format!("{key} is missing: {why}")))
    };
    let foreign = |key: &str, mode: &str| match keys.given(key) {
        Some(given) => Err(given
            .origin
            .error(format!("this is of no use to a {mode} listener"))),
        None => Ok(()),
    };
    if forward {
        for key in [
            "intercept",
            "mangled-side",
            "from",
            "mangled-port",
            "clean-port",
            "service-leg",
            "user",
            "cgroup",
        ] {
            foreign(key, "forward")?;
        }
        return Ok(Mode::Forward(Forward {
            listen: needed("listen", "where do clients connect to?")?
                .parse(Forward::parse_listen)?,
            to: needed("to", "where do their connections go? HOST:PORT")?
                .parse(str::parse::<Target>)?,
            mangled: match keys.given("mangled-leg") {
                Some(given) => given.parse(str::parse)?,
                None if keys.given("profile").is_none() => MangledLeg::Upstream,
                None => {
                    return Err(origin.error(
                        "mangled-leg is missing: is the profile for the downstream or the upstream leg?",
                    ));
                }
            },
            identity: Identity::read(keys)?,
        }));
    }
    let others = ["listen", "mangled-leg", "service-leg", "user", "cgroup"];
    for key in others.into_iter().chain(identity::KEYS) {
        foreign(key, "gateway")?;
    }
    let networks = |key: &str| match keys.given(key) {
        Some(given) => Networks::parse(given.texts.iter().map(String::as_str))
            .map_err(|error| given.origin.error(error)),
        None => Ok(Networks::default()),
    };
    let intercept = Intercept {
        ports: needed("intercept", "which destination ports? 22, for ssh")?.parse(str::parse)?,
        mangled_side: needed("mangled-side", "which interface faces the firewall?")?
            .parse(str::parse)?,
        from: networks("from")?,
        to: networks("to")?,
    };
    if !intercept.has_a_family() {
        return Err(
            origin.error("from and to have no address family in common: nothing would be taken")
        );
    }
    Ok(Mode::Gateway(intercept))
}

/// The ports that somebody else's rules deliver to; unless told otherwise those that `unmangle rules`
/// prints, two more for each listener.
fn fixed_ports(
    index: usize,
    keys: &Keys,
    rules: RulesMode,
) -> Result<Option<(u16, u16)>, ConfigError> {
    let port = |key: &str, first: u16| {
        let given = keys.parse(key, |text| number(text, 1, 65535))?;
        if given.is_some() && rules == RulesMode::Own {
            let origin = &keys.given(key).expect("it was read").origin;
            return Err(
                origin.error("the relay's own rules find its ports; this is for rules = \"none\"")
            );
        }
        Ok(given.unwrap_or(first.saturating_add(2 * index as u16)))
    };
    let ports = (
        port("mangled-port", DEFAULT_PORTS.0)?,
        port("clean-port", DEFAULT_PORTS.1)?,
    );
    Ok((rules != RulesMode::Own).then_some(ports))
}

/// Where a listener stands, for errors that concern it as a whole.
pub(super) fn origin(keys: &Keys) -> Origin {
    let stands = keys.iter().map(|(_, given)| &given.origin);
    let first = stands.min_by_key(|origin| match origin {
        Origin::Flag(_) => usize::MAX,
        Origin::File { line, .. } => *line,
    });
    match first {
        Some(Origin::File { path, line, key }) => Origin::File {
            path: path.clone(),
            line: *line,
            key: key.split(':').next().unwrap_or_default().to_owned(),
        },
        _ => Origin::Flag("the command line".to_owned()),
    }
}

/// Reads a whole number, decimal or 0x hexadecimal.
pub(super) fn number<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<T, String> {
    let value = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.trim().parse::<u64>(),
    };
    value
        .ok()
        .filter(|value| (least..=most).contains(value))
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| format!("{text:?} is not a number from {least} to {most}"))
}

/// Reads a time such as `30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("the time must be above zero".to_owned()),
        // So that it can be added to any other.
        Ok(time) if time > LONGEST => Err(format!("{text:?} is longer than a hundred years")),
        Ok(time) => Ok(time),
        Err(_) => Err(format!(
            "{text:?} is not a time; give one such as 500ms, 30s or 2m"
        )),
    }
}

const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// TCP keepalive knows whole seconds only, and 15 bits of them.
pub(super) fn whole_seconds(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|time| {
        // MAX_TCP_KEEPIDLE in the kernel's include/net/tcp.h.
        if (1..=32767).contains(&time.as_secs()) && time.subsec_nanos() == 0 {
            Ok(time)
        } else {
            Err(format!(
                "{text:?} is not a whole number of seconds, 1s to 32767s"
            ))
        }
    })
}

/// Reads `true` or `false`.
pub(super) fn truth(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is neither true nor false"))
}

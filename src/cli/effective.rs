//! What `unmangle run --check` prints: the settings that would be in force, as a file that says the same.

use std::fmt;

use humantime::format_duration;

use crate::config::{
    AcceptProxy, Deployment, Identity, Intercept, Listener, Mode, Networks, Profile, Settings,
};

/// Settings as a TOML file.
pub struct Effective<'a>(pub &'a Settings);

impl fmt::Display for Effective<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let process = &self.0.process;
        if let Some(workers) = process.workers {
            writeln!(f, "workers = {workers}")?;
        }
        writeln!(f, "pipe-budget = {}", process.pipe_budget >> 20)?;
        writeln!(f, "drain = \"{}\"", format_duration(process.drain))?;
        writeln!(f, "engine = \"{}\"", process.engine)?;
        writeln!(f, "fail = \"{}\"", process.fail)?;
        writeln!(f, "rules = \"{}\"", process.rules)?;
        writeln!(f, "track = \"{}\"", process.track)?;
        writeln!(f, "host-tuning = \"{}\"", process.host_tuning)?;
        writeln!(f, "override-forward = {}", process.override_forward)?;
        let numbers = process.numbers;
        writeln!(f, "mark = {:#010x}", numbers.mark.0)?;
        writeln!(f, "dial-mark = {:#010x}", numbers.dial_mark.0)?;
        writeln!(f, "table = {}", numbers.table)?;
        writeln!(f, "priority = {}", numbers.priority)?;
        let (mangled, clean) = numbers.zones;
        writeln!(f, "zones = [{mangled}, {clean}]")?;
        let hold = process.hold;
        writeln!(f, "held-max = {}", hold.most)?;
        writeln!(f, "queue = {}", hold.queue)?;
        writeln!(f, "answer-mark = {:#010x}", hold.mark.all())?;
        writeln!(f, "log = \"{}\"", process.log.filter)?;
        writeln!(f, "log-format = \"{}\"", process.log.format)?;
        if let Some(file) = &process.log.file {
            writeln!(f, "log-file = {:?}", file.display().to_string())?;
        }
        if let Some(run_as) = &process.run_as {
            writeln!(f, "run-as = \"{run_as}\"")?;
        }
        for listener in &self.0.listeners {
            writeln!(f)?;
            write_listener(f, listener)?;
        }
        let mut profiles: Vec<&Profile> = Vec::new();
        for profile in self
            .0
            .listeners
            .iter()
            .flat_map(|each| [&each.mangled, &each.clean])
        {
            if !profiles.contains(&profile) {
                profiles.push(profile);
            }
        }
        for profile in profiles {
            writeln!(f)?;
            write_profile(f, profile)?;
        }
        Ok(())
    }
}

fn write_listener(f: &mut fmt::Formatter, listener: &Listener) -> fmt::Result {
    writeln!(f, "[[listener]]\nname = {:?}", listener.name)?;
    match &listener.mode {
        Mode::Gateway(intercept) => write_intercept(f, Deployment::Gateway, intercept)?,
        Mode::ServerSidecar(sidecar) => {
            write_intercept(f, Deployment::ServerSidecar, &sidecar.intercept)?;
            writeln!(f, "service-leg = \"{}\"", sidecar.leg)?;
        }
        Mode::ClientSidecar(sidecar) => {
            write_intercept(f, Deployment::ClientSidecar, &sidecar.intercept)?;
            if let Some(user) = &sidecar.whose.user {
                writeln!(f, "user = \"{user}\"")?;
            }
            if let Some(cgroup) = &sidecar.whose.cgroup {
                writeln!(f, "cgroup = {:?}", cgroup.path())?;
            }
        }
        Mode::Forward(forward) => {
            writeln!(
                f,
                "mode = \"forward\"\nlisten = \"{}\"\nto = \"{}\"",
                forward.listen, forward.to
            )?;
            writeln!(f, "mangled-leg = \"{}\"", forward.mangled)?;
            write_identity(f, &forward.identity)?;
        }
    }
    if let Some((mangled, clean)) = listener.fixed_ports {
        match &listener.mode {
            Mode::Gateway(_) => writeln!(f, "mangled-port = {mangled}\nclean-port = {clean}")?,
            Mode::ServerSidecar(_) => writeln!(f, "mangled-port = {mangled}")?,
            Mode::ClientSidecar(_) => writeln!(f, "clean-port = {clean}")?,
            Mode::Forward(_) => {}
        }
    }
    writeln!(f, "answer = \"{}\"", listener.answer)?;
    writeln!(f, "profile = {:?}", listener.mangled.name)?;
    writeln!(f, "clean-profile = {:?}", listener.clean.name)?;
    writeln!(
        f,
        "connect-timeout = \"{}\"",
        format_duration(listener.connect_timeout)
    )?;
    writeln!(
        f,
        "close-timeout = \"{}\"",
        format_duration(listener.close_timeout)
    )?;
    writeln!(
        f,
        "keepalive = \"{}\"",
        format_duration(listener.keepalive.idle)
    )
}

fn write_intercept(
    f: &mut fmt::Formatter,
    deployment: Deployment,
    intercept: &Intercept,
) -> fmt::Result {
    writeln!(f, "mode = \"{deployment}\"")?;
    match intercept.ports.is_every() {
        true => writeln!(f, "# intercept: every port")?,
        false => writeln!(f, "intercept = [{}]", intercept.ports)?,
    }
    writeln!(f, "mangled-side = \"{}\"", intercept.mangled_side)?;
    for (key, networks) in [("from", &intercept.from), ("to", &intercept.to)] {
        if networks.is_everywhere() {
            writeln!(f, "# {key}: everywhere")?;
        } else {
            writeln!(f, "{key} = [{}]", quoted(networks))?;
        }
    }
    Ok(())
}

fn write_identity(f: &mut fmt::Formatter, identity: &Identity) -> fmt::Result {
    if let Some(AcceptProxy { from, within }) = &identity.accept {
        writeln!(f, "accept-proxy = [{}]", quoted(from))?;
        writeln!(f, "proxy-timeout = \"{}\"", format_duration(*within))?;
    }
    if let Some(version) = identity.send {
        writeln!(f, "send-proxy = \"{version}\"")?;
    }
    writeln!(f, "dial-from = \"{}\"", identity.dial_from)
}

/// Networks as the items of a list.
fn quoted(networks: &Networks) -> String {
    let networks = networks.to_string();
    let quoted: Vec<String> = networks
        .split(", ")
        .map(|net| format!("\"{net}\""))
        .collect();
    quoted.join(", ")
}

/// Presets are told as comments: a file may not define them again.
fn write_profile(f: &mut fmt::Formatter, profile: &Profile) -> fmt::Result {
    let preset = profile.name.parse::<Profile>().is_ok();
    let mark = if preset { "# " } else { "" };
    if preset {
        writeln!(f, "# the preset {}: {}", profile.name, profile.summary)?;
    } else {
        writeln!(
            f,
            "[profile.{:?}]\nsummary = {:?}",
            profile.name, profile.summary
        )?;
    }
    let strip = profile.strip;
    for (key, stripped) in [
        ("sack", strip.sack_permitted),
        ("window-scale", strip.window_scale),
        ("timestamps", strip.timestamps),
        ("ecn", strip.ecn),
    ] {
        writeln!(f, "{mark}{key} = {}", !stripped)?;
    }
    if let Some(mss) = profile.mss {
        writeln!(f, "{mark}mss = {mss}")?;
    }
    if let Some(bytes) = profile.window_clamp {
        writeln!(f, "{mark}window-clamp = {bytes}")?;
    }
    if let Some(name) = &profile.congestion_control {
        writeln!(f, "{mark}congestion-control = {name:?}")?;
    }
    if let Some(keepalive) = profile.keepalive {
        writeln!(
            f,
            "{mark}keepalive = \"{}\"",
            format_duration(keepalive.idle)
        )?;
    }
    if let Some(time) = profile.user_timeout {
        writeln!(f, "{mark}user-timeout = \"{}\"", format_duration(time))?;
    }
    if let Some(bytes) = profile.notsent_lowat {
        writeln!(f, "{mark}notsent-lowat = {bytes}")?;
    }
    Ok(())
}

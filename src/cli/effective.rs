//! What `unmangle run --check` prints: the settings that would be in force, as a file that says the same.

use std::fmt;

use humantime::format_duration;

use crate::config::{
    AcceptProxy, Admin, Admission, Asked, CongestionControl, Deployment, Identity, Intercept,
    Listener, Mode, Networks, Profile, Settings, Watch,
};

/// Settings as a TOML file.
pub struct Effective<'a>(pub &'a Settings);

/// A string as TOML writes it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Effective<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let process = &self.0.process;
        if let Some(workers) = process.workers {
            writeln!(f, "workers = {workers}")?;
        }
        writeln!(f, "pin-workers = \"{}\"", process.pin_workers)?;
        writeln!(f, "pipe-budget = {}", process.pipe_budget >> 20)?;
        write_most(
            f,
            process.max_connections,
            "as many as there are descriptors for",
        )?;
        writeln!(f, "drain = \"{}\"", format_duration(process.drain))?;
        writeln!(f, "engine = \"{}\"", process.engine)?;
        writeln!(f, "fail = \"{}\"", process.fail)?;
        writeln!(f, "rules = \"{}\"", process.rules)?;
        writeln!(f, "track = \"{}\"", process.track)?;
        writeln!(f, "strangers = \"{}\"", process.strangers)?;
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
        writeln!(f, "log = {}", Quoted(&process.log.filter))?;
        writeln!(f, "histograms = \"{}\"", process.histograms)?;
        writeln!(f, "log-format = \"{}\"", process.log.format)?;
        if let Some(file) = &process.log.file {
            writeln!(f, "log-file = {}", Quoted(&file.display().to_string()))?;
        }
        if let Some(log) = &process.hdr_log {
            writeln!(f, "hdr-log = {}", Quoted(&log.file.display().to_string()))?;
            writeln!(f, "hdr-log-interval = \"{}\"", format_duration(log.every))?;
            writeln!(f, "hdr-log-size = {}", log.most >> 20)?;
            writeln!(f, "hdr-log-keep = {}", log.keep)?;
        }
        write_admin(f, &process.admin)?;
        writeln!(f, "invalid-reasons = \"{}\"", process.invalid_reasons)?;
        if let Some(run_as) = &process.run_as {
            writeln!(f, "run-as = {}", Quoted(&run_as.to_string()))?;
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

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("\"")?;
        for letter in self.0.chars() {
            match letter {
                '"' | '\\' => write!(f, "\\{letter}")?,
                control if control.is_control() => write!(f, "\\u{:04X}", u32::from(control))?,
                letter => write!(f, "{letter}")?,
            }
        }
        f.write_str("\"")
    }
}

fn write_admin(f: &mut fmt::Formatter, admin: &Admin) -> fmt::Result {
    match admin {
        Admin::ByProcess => writeln!(f, "# admin: a Unix socket named by the process id"),
        Admin::Off => writeln!(f, "admin = \"off\""),
        Admin::At(all) => {
            let quoted = |asked: &Asked| Quoted(&asked.address.to_string()).to_string();
            let all: Vec<String> = all.iter().map(quoted).collect();
            writeln!(f, "admin = [{}]", all.join(", "))
        }
    }
}

fn write_listener(f: &mut fmt::Formatter, listener: &Listener) -> fmt::Result {
    writeln!(f, "[[listener]]\nname = {}", Quoted(&listener.name))?;
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
                writeln!(f, "cgroup = {}", Quoted(cgroup.path()))?;
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
    for (key, entries) in [
        ("allow", listener.admission.access.allow()),
        ("deny", listener.admission.access.deny()),
    ] {
        let entries: Vec<String> = entries.iter().map(|each| format!("\"{each}\"")).collect();
        if !entries.is_empty() {
            writeln!(f, "{key} = [{}]", entries.join(", "))?;
        }
    }
    writeln!(f, "profile = {}", Quoted(&listener.mangled.name))?;
    writeln!(f, "clean-profile = {}", Quoted(&listener.clean.name))?;
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
    )?;
    write_watch(f, &listener.watch)?;
    write_limits(f, &listener.admission)
}

fn write_watch(f: &mut fmt::Formatter, watch: &Watch) -> fmt::Result {
    for (key, time) in [
        ("idle-timeout", watch.idle),
        ("stall-after", watch.stall_after),
    ] {
        match time {
            Some(time) => writeln!(f, "{key} = \"{}\"", format_duration(time))?,
            None => writeln!(f, "{key} = \"off\"")?,
        }
    }
    writeln!(f, "stall-action = \"{}\"", watch.stall_action)
}

fn write_limits(f: &mut fmt::Formatter, admission: &Admission) -> fmt::Result {
    write_most(f, admission.most, "no limit but that of the process")?;
    let per_source = admission.per_source;
    match per_source.most {
        Some(most) => writeln!(f, "max-per-source = {most}")?,
        None => writeln!(f, "# max-per-source: no limit")?,
    }
    match per_source.rate {
        Some(rate) => writeln!(f, "rate-per-source = \"{rate}\"")?,
        None => writeln!(f, "# rate-per-source: no limit")?,
    }
    let prefix = per_source.prefix;
    writeln!(f, "source-prefix = [{}, {}]", prefix.v4, prefix.v6)
}

fn write_most(f: &mut fmt::Formatter, most: Option<usize>, unless: &str) -> fmt::Result {
    match most {
        Some(most) => writeln!(f, "max-connections = {most}"),
        None => writeln!(f, "# max-connections: {unless}"),
    }
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
            "[profile.{}]\nsummary = {}",
            Quoted(&profile.name),
            Quoted(&profile.summary)
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
    if profile.congestion_control != CongestionControl::Fitting {
        let word = profile.congestion_control.word();
        writeln!(f, "{mark}congestion-control = {}", Quoted(word))?;
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

//! `unmangle lab shell`: a lab that stays, for looking around.

use std::io::IsTerminal;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::values;
use crate::cli::output::print;
use crate::lab::scenario::{self, Between};
use crate::lab::{
    Case, Family, FlowDirection, Interrupt, Joined, Lab, OpenedFrom, Path, Role, Shape, Strict,
    Tool, require, requirements,
};

/// How often a signal is looked for.
const GLANCE: Duration = Duration::from_millis(50);
/// How long a shell may take to leave when its terminal hangs up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Put up a scenario and leave it standing until the shell ends, stdin does, or Ctrl-C or SIGTERM.
#[derive(clap::Args)]
pub struct Args {
    /// The scenario's name.
    scenario: String,
    /// What stands in between; with `split` or `relay` the relay runs, with `normalise` its rules.
    #[arg(long, default_value = "direct")]
    path: Path,
    /// How the relay is deployed.
    #[arg(long, default_value = "gateway")]
    shape: Shape,
    /// Who opens connections; sshd runs on the other host.
    #[arg(long, default_value = "client")]
    opened_from: OpenedFrom,
    /// Which hosts filter by connection tracking and answer the rest by a TCP reset.
    #[arg(long, default_value = "both")]
    strict: Strict,
    /// Round-trip time of the long leg, up to 10s.
    #[arg(long, default_value = "0ms", value_parser = values::long_rtt, value_name = "TIME")]
    long_rtt: Duration,
}

/// Runs the subcommand.
pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let scenario = scenario::find(&args.scenario)?;
    require()?;
    let has_terminal = std::io::stdin().is_terminal();
    let interrupt = match has_terminal {
        true => Interrupt::watch_beside_a_shell()?,
        false => Interrupt::watch()?,
    };
    let mut long_leg: Between = scenario.long_leg.clone();
    long_leg.client_to_server.delay += args.long_rtt / 2;
    long_leg.server_to_client.delay += args.long_rtt / 2;
    let lab = Lab::builder()
        .firewall(Joined::wire(scenario.firewall.clone()))
        .long_leg(Joined::wire(long_leg))
        .strict(args.strict)
        .sshd_on(args.opened_from.listener())
        .payload(30_000_000)
        .start()?;
    lab.set_liberal(args.path == Path::Liberal)?;
    let case = Case {
        shape: args.shape,
        path: args.path,
        tool: Tool::Scp,
        direction: FlowDirection::Upload,
        family: Family::V4,
        opened_from: args.opened_from,
        strict: args.strict,
        run: 1,
        scenario,
    };
    let _remedies = lab.deploy(&case)?;
    print(format!("{}\n", describe(&lab, &case)))?;
    if has_terminal {
        let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
        let host = lab.host(args.opened_from.opener());
        print(format!(
            "This shell is on the {} host; leave it to take the lab down.\n",
            host.role()
        ))?;
        stay(&mut host.command(shell), &interrupt)?;
    } else {
        wait(&interrupt)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How to enter each host, and something to try.
fn describe(lab: &Lab, case: &Case) -> String {
    let mut text = format!("{}: lab {} stands.\n", case.scenario.name, lab.id());
    for role in Role::ALL {
        let addresses: Vec<_> = role
            .interfaces()
            .iter()
            .map(|i| format!("{} {} {}", i.device, i.v4, i.v6))
            .collect();
        text += &format!(
            "  {:<7} {} bash    # {}\n",
            role.to_string(),
            enter(lab.host(role).netns()),
            addresses.join(", ")
        );
    }
    let (Some(sshd), Some(payload)) = (lab.sshd(), lab.payload()) else {
        return text;
    };
    text += &format!(
        "Files, keys and logs: {}\nTry: {} scp -F /dev/null -i {} \
         -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null {} {}@{}:{}",
        lab.directory().display(),
        enter(lab.host(case.opened_from.opener()).netns()),
        sshd.key().display(),
        payload.path.display(),
        sshd.user(),
        case.peer(),
        lab.received().display(),
    );
    text
}

/// What runs a command on a host, from a terminal that is not the lab's own.
fn enter(netns: &str) -> String {
    if requirements::is_root() {
        return format!("ip netns exec {netns}");
    }
    let pid = std::process::id();
    format!(
        "nsenter -t {pid} -U -m --preserve-credentials --net=/proc/{pid}/root/run/netns/{netns}"
    )
}

/// Runs the shell until it ends or a signal says that it is to.
fn stay(shell: &mut Command, interrupt: &Interrupt) -> anyhow::Result<()> {
    let mut shell = shell.spawn()?;
    while interrupt.check().is_ok() {
        if shell.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(GLANCE);
    }
    // An interactive shell does not heed SIGTERM.
    let _ = kill_process(Pid::from_child(&shell), Signal::HUP);
    let asked = Instant::now();
    while shell.try_wait()?.is_none() {
        if asked.elapsed() > PATIENCE {
            shell.kill()?;
        }
        std::thread::sleep(GLANCE);
    }
    Ok(())
}

/// Waits for the end of stdin or for a signal, whichever comes first.
fn wait(interrupt: &Interrupt) -> anyhow::Result<()> {
    let (ended, end) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ended);
    });
    while end.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
        if interrupt.check().is_err() {
            break;
        }
    }
    Ok(())
}

//! `unmangle lab shell`: a lab that stays, for looking around.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::lab::matrix::Remedy;
use crate::lab::scenario::{self, Between};
use crate::lab::{
    Family, Interrupt, Joined, Lab, OpenedFrom, Path, Role, Strict, require, requirements,
};

/// Put up a scenario and leave it standing until the shell ends, stdin does, or Ctrl-C.
#[derive(clap::Args)]
pub struct Args {
    /// The scenario's name.
    scenario: String,
    /// What stands in between; with `split` or `relay` the relay runs, with `normalise` its rules.
    #[arg(long, default_value = "direct")]
    path: Path,
    /// Who opens connections; sshd runs on the other host.
    #[arg(long, default_value = "client")]
    opened_from: OpenedFrom,
    /// Which hosts filter by connection tracking and answer the rest by a TCP reset.
    #[arg(long, default_value = "both")]
    strict: Strict,
    /// Round-trip time of the long leg.
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration, value_name = "TIME")]
    long_rtt: Duration,
}

/// Runs the subcommand.
pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let scenario = scenario::find(&args.scenario)?;
    require()?;
    let interrupt = Interrupt::watch()?;
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
    let _remedy = lab.start_remedy(Remedy::on(args.path, &scenario))?;
    // A reader that has gone away is no reason to end.
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{}", describe(&lab, &args)).and_then(|()| stdout.flush());
    if std::io::stdin().is_terminal() {
        let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
        let host = lab.host(args.opened_from.opener());
        println!(
            "This shell is on the {} host; leave it to take the lab down.",
            host.role()
        );
        host.command(shell).status()?;
    } else {
        wait(&interrupt)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How to enter each host, and something to try.
fn describe(lab: &Lab, args: &Args) -> String {
    let mut text = format!("{}: lab {} stands.\n", args.scenario, lab.id());
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
        enter(lab.host(args.opened_from.opener()).netns()),
        sshd.key().display(),
        payload.path.display(),
        sshd.user(),
        args.opened_from.listener().address(Family::V4),
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

/// Waits for the end of stdin or for a signal, whichever comes first.
fn wait(interrupt: &Interrupt) -> anyhow::Result<()> {
    let (ended, end) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(ended);
    });
    while end.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
        if interrupt.check().is_err() {
            break;
        }
    }
    Ok(())
}

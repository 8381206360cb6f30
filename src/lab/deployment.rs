//! What runs for a case, and on which host: a relay in its shape, or rules without one.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::config::Profile;
use crate::lab::error::{Error, Result};
use crate::lab::host::Host;
use crate::lab::matrix::{Case, Family, Remedy};
use crate::lab::process::{PATIENCE, Process};
use crate::lab::requirements::find;
use crate::lab::standing::{Lab, PORTS};
use crate::lab::topology::{FIREWALL_DEVICE, Role};

/// How the relay is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// On a router between the firewall and the hosts.
    Gateway,
    /// On the host that serves, in front of sshd, which it dials at the loopback address.
    ServerSidecar,
    /// The same, but sshd is dialled at its own address, from another port than the client's.
    ServerSidecarOwnAddress,
    /// The same, but sshd is dialled at its own address, from the client's address and port.
    ServerSidecarTransparent,
    /// On the host that opens the connection.
    ClientSidecar,
    /// On the relay host, where clients come to it; rules beside it strip.
    Forward,
    /// The same without any privilege: no rules, and what sockets alone can enforce.
    ForwardUnprivileged,
}

/// Which leg of a session through a forward relay crosses the firewall, and where its ends are.
struct Door {
    /// The relay host's address on the side of the opener.
    listen: IpAddr,
    to: IpAddr,
    mangled_leg: &'static str,
}

// === impl Shape ===

impl Shape {
    /// Whether clients dial the relay itself.
    pub fn is_dialled(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardUnprivileged)
    }

    /// Whether this shape can enforce all that a profile asks for.
    pub fn suffices_for(self, profile: &str) -> bool {
        let profile = profile.parse::<Profile>();
        self != Self::ForwardUnprivileged || profile.is_ok_and(|profile| !profile.needs_the_wire())
    }
}

// === impl Case ===

impl Case {
    /// The address that the tool dials.
    pub fn peer(&self) -> IpAddr {
        match self.remedy() {
            Remedy::Relay(_) if self.shape.is_dialled() => self.door().listen,
            _ => self.opened_from.listener().address(self.family),
        }
    }

    fn door(&self) -> Door {
        let opener = self.opened_from.opener();
        let interfaces = Role::Relay.interfaces();
        let near = interfaces[usize::from(opener == Role::Server)];
        Door {
            listen: match self.family {
                Family::V4 => near.v4.into(),
                Family::V6 => near.v6.into(),
            },
            to: self.opened_from.listener().address(self.family),
            mangled_leg: match opener {
                Role::Client => "downstream",
                _ => "upstream",
            },
        }
    }
}

// === impl Lab ===

impl Lab {
    /// Starts what this case has between the hosts or on them, and waits until it is in place. The first
    /// is to be ended first.
    pub fn deploy(&self, case: &Case) -> Result<Vec<Process>> {
        let profile = match case.remedy() {
            Remedy::Nothing => return Ok(Vec::new()),
            Remedy::Rules(profile) => return Ok(vec![self.start_normalise(profile, &[])?]),
            Remedy::Relay(profile) => profile,
        };
        let running = match case.shape {
            Shape::Gateway => self.start_gateway(profile)?,
            Shape::ServerSidecar => self.start_server_sidecar(case, profile, &[])?,
            Shape::ServerSidecarOwnAddress => {
                let leg = ["--service-leg", "own-address"];
                self.start_server_sidecar(case, profile, &leg)?
            }
            Shape::ServerSidecarTransparent => {
                let role = case.opened_from.listener();
                let own = [Family::V4, Family::V6].map(|family| role.address(family).to_string());
                let leg = [
                    "--service-leg",
                    "transparent",
                    "--to",
                    &own[0],
                    "--to",
                    &own[1],
                ];
                self.start_server_sidecar(case, profile, &leg)?
            }
            Shape::ClientSidecar => {
                let role = case.opened_from.opener();
                self.start_sidecar("client-sidecar", role, profile, &[])?
            }
            Shape::Forward => {
                let forward = self.start_forward(case, profile, self.unmangle())?;
                let mut running = vec![forward];
                if profile
                    .parse::<Profile>()
                    .is_ok_and(|profile| profile.needs_the_wire())
                {
                    running.push(self.start_normalise(profile, &["--intercept", PORTS])?);
                }
                return Ok(running);
            }
            Shape::ForwardUnprivileged => {
                let command = self.without_privilege()?;
                self.start_forward(case, profile, command)?
            }
        };
        Ok(vec![running])
    }

    fn start_gateway(&self, profile: &str) -> Result<Process> {
        let mut command = self.unmangle();
        command.args(["run", "--intercept", PORTS]);
        command.args(["--mangled-side", FIREWALL_DEVICE, "--profile", profile]);
        self.start_logged("gateway", &mut command, "\"relaying\"")
    }

    fn start_server_sidecar(&self, case: &Case, profile: &str, more: &[&str]) -> Result<Process> {
        let role = case.opened_from.listener();
        self.start_sidecar("server-sidecar", role, profile, more)
    }

    fn start_sidecar(
        &self,
        mode: &str,
        role: Role,
        profile: &str,
        more: &[&str],
    ) -> Result<Process> {
        let device = role.interfaces()[0].device;
        let mut command = self.unmangle_on(self.host(role));
        command.args(["run", "--mode", mode, "--intercept", PORTS]);
        command.args(["--mangled-side", device, "--profile", profile]);
        command.args(more);
        self.start_logged(mode, &mut command, "\"relaying\"")
    }

    /// A relay for the host that opens connections, with the half of the profile that sockets can carry.
    fn start_forward(&self, case: &Case, profile: &str, mut command: Command) -> Result<Process> {
        let host = self.relay();
        // The relay host's INPUT lets in what is forwarded through it, and nobody to a port of its own.
        let open = format!("add rule inet um_lab input tcp dport {{ {PORTS} }} accept");
        host.feed("nft", &["-f", "-"], &open)?;
        let file = self.directory().join("forward.toml");
        fs::write(&file, forward(&case.door(), profile)).map_err(Error::file(&file))?;
        command.arg("run").arg("--config").arg(&file);
        self.start_logged("forward", &mut command, "\"relaying\"")
    }

    fn start_normalise(&self, profile: &str, more: &[&str]) -> Result<Process> {
        let mut command = self.unmangle();
        command.args(["normalise", "--mangled-side", FIREWALL_DEVICE]);
        command.args(["--profile", profile]).args(more);
        self.start_logged("normalise", &mut command, "\"normalising\"")
    }

    /// `unmangle` on the relay host without a single capability. It may bind the low ports that the tools
    /// dial, as a setting of the host allows.
    fn without_privilege(&self) -> Result<Command> {
        if find("setpriv").is_none() {
            let (tool, package) = ("setpriv", "util-linux");
            return Err(Error::MissingTool { tool, package });
        }
        let host = self.relay();
        host.set(&[("net/ipv4/ip_unprivileged_port_start", "0")])?;
        let mut command = host.command("setpriv");
        command.args([
            "--bounding-set",
            "-all",
            "--inh-caps",
            "-all",
            "--no-new-privs",
        ]);
        command.arg(self.program());
        Ok(command)
    }

    fn unmangle_on(&self, host: &Host) -> Command {
        host.command(self.program())
    }

    fn start_logged(&self, name: &str, command: &mut Command, sign: &str) -> Result<Process> {
        command.args(["--log", "info", "--log-format", "json"]);
        let log = self.directory().join(format!("{name}.log"));
        let mut process = Process::start(name, command, &log)?;
        process.ready(sign, PATIENCE)?;
        Ok(process)
    }
}

/// Listeners for ssh and rsync. Nothing is stripped by a socket, and a window that is never opened beyond
/// 64 KiB announces a scale of 0, which is the nearest to none.
fn forward(door: &Door, profile: &str) -> String {
    let clamp = match profile.parse::<Profile>() {
        Ok(profile) if profile.strip.window_scale => "window-clamp = 65535\n",
        _ => "",
    };
    let mut text = format!(
        "[profile.at-the-socket]\nbase = \"{profile}\"\nsack = true\nwindow-scale = true\n{clamp}\n"
    );
    for port in PORTS.split(',').filter_map(|port| port.parse::<u16>().ok()) {
        let (listen, to) = (
            SocketAddr::new(door.listen, port),
            SocketAddr::new(door.to, port),
        );
        text += &format!(
            "[[listener]]\nlisten = \"{listen}\"\nto = \"{to}\"\nmangled-leg = \"{}\"\n\
             profile = \"at-the-socket\"\n\n",
            door.mangled_leg
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::matrix::label;

    #[test]
    fn a_shape_has_one_name_on_the_command_line_and_in_a_row() {
        for shape in Shape::value_variants() {
            let word = shape.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(word, label(shape));
        }
    }

    #[test]
    fn without_privilege_nothing_is_cured_that_needs_the_wire() {
        let shape = Shape::ForwardUnprivileged;
        assert!(shape.suffices_for("blackhole") && shape.suffices_for("idle-drop"));
        assert!(!shape.suffices_for("cisco-pix") && Shape::Forward.suffices_for("cisco-pix"));
    }

    #[test]
    fn a_forward_relay_has_the_sockets_half_of_a_profile() {
        let door = Door {
            listen: "2001:db8:1::1".parse().unwrap(),
            to: "2001:db8:2::2".parse().unwrap(),
            mangled_leg: "downstream",
        };
        let text = forward(&door, "cisco-pix");
        assert!(text.contains("listen = \"[2001:db8:1::1]:873\"\nto = \"[2001:db8:2::2]:873\""));
        assert!(text.contains("window-clamp = 65535"), "{text}");
        assert!(!forward(&door, "blackhole").contains("window-clamp"));
    }
}

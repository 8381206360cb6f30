//! Whether there is anything to judge, and if not, what to open.

use std::net::IpAddr;

use crate::cli::Usage;
use crate::diagnose::probe::evidence::{Evidence, Exchange, Purpose, What};
use crate::diagnose::probe::order::{Arrival, End, Refusal};
use crate::metrics::Direction;
use crate::packet::{Flags, Ip, Tcp};

/// Sees that something was tried: where no SYN came, nothing was.
pub(super) fn tried(evidence: &Evidence) -> Result<(), Usage> {
    let path = &evidence.path;
    let Some(plain) = evidence.exchange(Purpose::Plain) else {
        return Err(Usage(format!(
            "nothing could be tried: {}",
            evidence.untried.join("; ")
        )));
    };
    let Some(syn) = plain.step(What::Syn, Direction::ClientToServer) else {
        return Err(Usage(format!(
            "no SYN could be sent: {}",
            evidence.untried.join("; ")
        )));
    };
    if !syn.arrived.is_empty() {
        return answered(evidence, plain);
    }
    if let Some(source) = syn.instead.iter().find_map(reset_from) {
        return Err(Usage(format!(
            "TCP port {port} of {server} is refused by a reset from {source}: let it through in the firewall and on \
             {server}",
            port = path.port,
            server = path.server
        )));
    }
    if !syn.instead.is_empty() {
        return Ok(());
    }
    Err(Usage(format!(
        "the control connection to {server} works, but none of {attempts} SYNs came to its port {port}: let TCP port \
         {port} through to {server} in the firewall, or give the server another port by --flow-port",
        server = path.server,
        attempts = syn.attempts,
        port = path.port
    )))
}

/// Sees that an answer to the SYN came back.
fn answered(evidence: &Evidence, plain: &Exchange) -> Result<(), Usage> {
    let (server, port) = (evidence.path.server, evidence.path.port);
    let Some(syn_ack) = plain.step(What::SynAck, Direction::ServerToClient) else {
        return Err(Usage(match plain.refused {
            Some((End::Server, Refusal::Forbidden)) => format!(
                "{server} cannot send from TCP port {port}: its own rules (OUTPUT) let nothing leave from there: let it \
                 through on {server}"
            ),
            _ => format!(
                "no SYN-ACK could be sent by {server}: {}",
                evidence.untried.join("; ")
            ),
        }));
    };
    if syn_ack.arrived.is_empty() && syn_ack.instead.is_empty() {
        return Err(Usage(format!(
            "SYNs come to TCP port {port} of {server}, but no answer from port {port} comes back: let it through both \
             ways, in the firewall and on both hosts"
        )));
    }
    Ok(())
}

/// Who sent this, if it is a reset.
fn reset_from(arrival: &Arrival) -> Option<IpAddr> {
    let header = &arrival.header.0;
    let ip = Ip::parse(header).ok()?;
    let tcp = Tcp::parse(header.get(ip.payload..)?).ok()?;
    tcp.flags().has(Flags::RST).then_some(ip.source)
}

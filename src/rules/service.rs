//! Whether somebody listens where a server sidecar dials.

use std::fs;

use super::plan::{Capture, Plan};
use crate::config::ServiceLeg;

/// LISTEN, as `/proc/net/tcp` writes a state (TCP_LISTEN in include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// One warning for each port of a service that is dialled at the loopback address, where nobody listens
/// now: the service may only be late, or it listens at an address of its own.
pub(super) fn warnings(plan: &Plan) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let sockets = read("tcp") + &read("tcp6");
    let loopback = plan.interceptions.iter().filter(
        |each| matches!(each.capture, Capture::Service { leg, .. } if leg == ServiceLeg::Loopback),
    );
    loopback
        .flat_map(|each| each.intercept.ports.iter())
        .filter(|port| !is_served(&sockets, *port))
        .map(|port| {
            format!(
                "nobody listens at the loopback address, port {port}: clients will be reset; \
                 --service-leg own-address dials where they do"
            )
        })
        .collect()
}

/// Whether a socket listens at this port, at loopback or everywhere.
fn is_served(sockets: &str, port: u16) -> bool {
    let listens = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (Some(local), Some(state)) = (words.next(), words.nth(1)) else {
            return false;
        };
        let Some((address, local_port)) = local.split_once(':') else {
            return false;
        };
        let everywhere = address.bytes().all(|digit| digit == b'0');
        // In the machine's own byte order, four bytes at a time.
        let loopback = ["0100007F", "00000000000000000000000001000000"].contains(&address);
        state == LISTEN && (everywhere || loopback) && local_port == format!("{port:04X}")
    };
    sockets.lines().any(listens)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n";

    #[test]
    fn who_listens_everywhere_or_at_loopback_is_found_and_who_does_not_is_not() {
        for (address, state, served) in [
            ("00000000:0016", "0A", true),
            ("0100007F:0016", "0A", true),
            ("00000000000000000000000000000000:0016", "0A", true),
            ("00000000000000000000000001000000:0016", "0A", true),
            ("026433C6:0016", "0A", false),
            ("0100007F:0016", "01", false),
            ("00000000:0017", "0A", false),
        ] {
            let line = format!("   0: {address} 00000000:0000 {state} 00000000:00000000\n");
            assert_eq!(
                is_served(&(HEADER.to_owned() + &line), 22),
                served,
                "{line}"
            );
        }
    }
}

//! Where a sidecar dials. Nothing here is known for connections that nobody's rules led to it: whoever
//! connects to its loopback port by hand meant no other place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockRef;

use super::addr::{ClientPort, Destination, OriginalDst};
use super::leg::TcpLeg;
use crate::config::{ServerSidecar, ServiceLeg};

/// Where the service is dialled that a client meant.
pub fn service(settings: &ServerSidecar, OriginalDst(meant): OriginalDst) -> Option<Destination> {
    if meant.ip().is_loopback() {
        return None;
    }
    let at = |ip, port| {
        Some(Destination::Service {
            at: SocketAddr::new(ip, meant.port()),
            port,
        })
    };
    match settings.leg {
        ServiceLeg::Loopback => {
            let loopback: IpAddr = match meant {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            at(loopback, ClientPort::Wanted)
        }
        ServiceLeg::OwnAddress => at(meant.ip(), ClientPort::Impossible),
        // The rules have put an address in its place that nobody has.
        ServiceLeg::Transparent => at(settings.own.behind(meant.ip())?, ClientPort::Wanted),
    }
}

/// Where a program of this host meant to go; conntrack remembers what REDIRECT has replaced.
pub fn meant(downstream: &TcpLeg) -> Option<Destination> {
    let socket = SockRef::from(downstream);
    let original = match downstream.local_addr().ok()? {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    let meant = original.ok()?.as_socket()?;
    (!meant.ip().is_loopback()).then_some(Destination::Meant(OriginalDst(meant)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sidecar::{OwnAddresses, STAND_IN_V4};
    use crate::config::{DEFAULT_DIAL_MARK, Intercept, Networks};

    fn dialled(leg: ServiceLeg, meant: &str) -> Option<Destination> {
        let settings = ServerSidecar {
            intercept: Intercept {
                ports: "22".parse().unwrap(),
                from: Networks::default(),
                to: Networks::default(),
                mangled_side: "eth0".parse().unwrap(),
            },
            leg,
            own: OwnAddresses {
                v4: Some(Ipv4Addr::new(192, 0, 2, 7)),
                v6: None,
            },
            dial_mark: DEFAULT_DIAL_MARK,
        };
        service(&settings, OriginalDst(meant.parse().unwrap()))
    }

    fn at(address: &str, port: ClientPort) -> Option<Destination> {
        let at = address.parse().unwrap();
        Some(Destination::Service { at, port })
    }

    #[test]
    fn each_leg_is_dialled_at_its_address() {
        let meant = "192.0.2.7:22";
        assert_eq!(
            dialled(ServiceLeg::Loopback, meant),
            at("127.0.0.1:22", ClientPort::Wanted)
        );
        assert_eq!(
            dialled(ServiceLeg::Loopback, "[2001:db8::7]:22"),
            at("[::1]:22", ClientPort::Wanted)
        );
        assert_eq!(
            dialled(ServiceLeg::OwnAddress, meant),
            at(meant, ClientPort::Impossible)
        );
        let stand_in = format!("{STAND_IN_V4}:22");
        assert_eq!(
            dialled(ServiceLeg::Transparent, &stand_in),
            at(meant, ClientPort::Wanted)
        );
    }

    #[test]
    fn whoever_comes_by_hand_meant_no_service() {
        for leg in [
            ServiceLeg::Loopback,
            ServiceLeg::OwnAddress,
            ServiceLeg::Transparent,
        ] {
            assert_eq!(dialled(leg, "127.0.0.1:4001"), None);
        }
        assert_eq!(dialled(ServiceLeg::Transparent, "192.0.2.7:22"), None);
    }
}

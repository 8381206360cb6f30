//! The same question as `survey`'s for a relay on the strict host itself: what the host's other rules would
//! have done with the connections, and what they do with those that are taken.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::check::{Mark, Probe, RuleRef, Ruleset, Verdict};
use super::managed::Manager;
use super::plan::{Capture, Interception, Plan};
use super::survey::{Forward, Found, Hook, SurveyError, probes};

/// Judges each interception.
pub(super) fn judge(ruleset: &Ruleset, plan: &Plan, forward: Forward) -> Found {
    let mut found = Found::default();
    for interception in &plan.interceptions {
        if interception.intercept.ports.is_every() {
            let doubt = "every port is taken: OUTPUT and INPUT were not judged";
            found.doubt(Hook::Input, doubt.to_owned());
        }
        match &interception.capture {
            Capture::Gateway => {}
            Capture::Service { .. } => service(ruleset, plan, interception, &mut found),
            Capture::Own(_) => own(ruleset, interception, forward, &mut found),
        }
    }
    found
}

/// What is taken comes to INPUT as it would have without the relay, and then again by lo.
fn service(ruleset: &Ruleset, plan: &Plan, interception: &Interception, found: &mut Found) {
    let intercept = &interception.intercept;
    let side = intercept.mangled_side.as_str();
    let mark = plan.mark.0;
    for probe in probes(intercept, side) {
        let probe = probe.to_this_host();
        let flow = format!("{probe} from {side}");
        if let Some(by) = ruleset.dnat(&probe.clone().marked(Mark::exactly(0))) {
            let (flow, by) = (flow.clone(), by.into());
            found.refuse(SurveyError::Dnat { flow, by });
        }
        let arriving = probe.clone().marked(Mark::bits(mark, mark));
        let matches = format!("iifname {side} tcp dport {}", probe.port);
        admitted(ruleset, ruleset.input(&arriving), &flow, &matches, found);
        let inner = Probe {
            iif: "lo".to_owned(),
            to: loopback(&probe.to),
            ..probe
        };
        let flow = format!("{inner} by lo, to the service");
        admitted(ruleset, ruleset.input(&inner), &flow, "iifname lo", found);
    }
}

/// What is taken leaves OUTPUT by lo, and comes to INPUT from there.
fn own(ruleset: &Ruleset, interception: &Interception, forward: Forward, found: &mut Found) {
    let intercept = &interception.intercept;
    let side = intercept.mangled_side.as_str();
    for probe in probes(intercept, "") {
        let flow = format!("{probe} leaving by {side}");
        let leaving = probe.clone().leaving_by(side).marked(Mark::exactly(0));
        match (ruleset.output(&leaving), forward) {
            (Verdict::Passes, _) => {}
            (Verdict::Dropped { by }, Forward::Respect) => {
                let (flow, by) = (flow.clone(), by.into());
                found.refuse(SurveyError::Output { flow, by });
            }
            (Verdict::Dropped { by }, Forward::Override) => {
                found.doubt(
                    Hook::Output,
                    format!("overridden: OUTPUT would have dropped {flow}: {by}"),
                );
            }
            (Verdict::Unsure { by, .. }, _) => {
                let doubt = format!("OUTPUT may have dropped some of {flow}: {by}");
                found.doubt(Hook::Output, doubt);
            }
        }
        let turned = Probe {
            iif: "lo".to_owned(),
            to: loopback(&probe.to),
            port: interception.listen.clean.into(),
            ..probe
        };
        let turned = turned.to_this_host();
        let flow = format!("{flow}, by lo");
        admitted(ruleset, ruleset.input(&turned), &flow, "iifname lo", found);
    }
}

fn admitted(ruleset: &Ruleset, verdict: Verdict, flow: &str, matches: &str, found: &mut Found) {
    let mend = |by: &RuleRef| Manager::of(by, ruleset).lets_in(by, matches);
    match verdict {
        Verdict::Passes => {}
        Verdict::Dropped { by } => found.refuse(SurveyError::Input {
            flow: flow.to_owned(),
            mend: mend(&by),
            by: by.into(),
        }),
        Verdict::Unsure { by, .. } => {
            let mend = mend(&by);
            found.doubt(
                Hook::Input,
                format!("INPUT may drop some of {flow}: {by}; if so, {mend}"),
            );
        }
    }
}

/// The loopback address of a network's family.
fn loopback(net: &IpNet) -> IpNet {
    match net {
        IpNet::V4(_) => IpNet::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST)),
        IpNet::V6(_) => IpNet::from(std::net::IpAddr::from(Ipv6Addr::LOCALHOST)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::sidecar::OwnAddresses;
    use crate::config::{Intercept, Networks, Profile, ServiceLeg, Whose};
    use crate::rules::ListenPorts;

    fn plan(capture: Capture) -> Plan {
        let intercept = Intercept {
            ports: "22".parse().unwrap(),
            from: Networks::default(),
            to: Networks::default(),
            mangled_side: "eth0".parse().unwrap(),
        };
        let listen = ListenPorts {
            mangled: 1,
            clean: 1,
        };
        let interception = Interception::new(intercept, &Profile::clean(), listen);
        Plan::of(vec![interception.by(capture)])
    }

    /// A chain that drops, but for what comes by lo if `lo` says so.
    fn drops_at(hook: &str, lo: bool) -> Ruleset {
        let accept = r#",{"rule": {"family": "inet", "table": "filter", "chain": "c", "handle": 2, "expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}]}}"#;
        let json = format!(
            r#"{{"nftables": [
                {{"table": {{"family": "inet", "name": "filter", "handle": 1}}}},
                {{"chain": {{"family": "inet", "table": "filter", "name": "c", "handle": 1,
                            "type": "filter", "hook": "{hook}", "prio": 0, "policy": "drop"}}}}{}]}}"#,
            if lo { accept } else { "" }
        );
        Ruleset::parse(&json).unwrap()
    }

    fn service() -> Plan {
        plan(Capture::Service {
            leg: ServiceLeg::Loopback,
            own: OwnAddresses::default(),
            silence: Duration::from_secs(60),
        })
    }

    fn refusal(ruleset: &Ruleset, plan: &Plan) -> String {
        judge(ruleset, plan, Forward::Respect).refusals[0].to_string()
    }

    #[test]
    fn a_service_that_input_does_not_let_clients_to_is_not_served_and_the_line_is_named() {
        let error = refusal(&drops_at("input", true), &service());
        assert!(
            error.ends_with("nft add rule inet filter c iifname eth0 tcp dport 22 accept"),
            "{error}"
        );
    }

    #[test]
    fn what_this_host_opens_must_be_let_in_by_lo() {
        let own = plan(Capture::Own(Whose::default()));
        let error = refusal(&drops_at("input", false), &own);
        assert!(
            error.ends_with("nft add rule inet filter c iifname lo accept"),
            "{error}"
        );
        let found = judge(&drops_at("input", true), &own, Forward::Respect);
        assert!(found.refusals.is_empty(), "{found:?}");
    }

    #[test]
    fn what_output_drops_is_not_taken_unless_somebody_says_so() {
        let own = plan(Capture::Own(Whose::default()));
        let ruleset = drops_at("output", false);
        let error = refusal(&ruleset, &own);
        assert!(error.starts_with("OUTPUT would have dropped"), "{error}");
        let doubts = judge(&ruleset, &own, Forward::Override).doubts;
        assert!(
            doubts[0].text.starts_with("overridden: OUTPUT"),
            "{doubts:?}"
        );
    }
}

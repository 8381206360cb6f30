//! Whether the rows prove what they should. Pure.

use crate::lab::matrix::{FlowDirection, Path, label, way};
use crate::lab::row::{Outcome, Row};
use crate::lab::scenario;

/// One complaint for each row that breaks a promise; none when all is well.
///
/// - An [`Outcome::Error`] is one on every path: neither harm nor cure has been seen.
/// - In `clean`, where nothing is wrong, everything must arrive, on every path.
/// - With the relay everything must arrive, and with not one packet INVALID.
/// - Without privilege a relay cannot do all that some profiles ask for: how far it gets there is the finding.
/// - A fault that does no harm proves nothing: elsewhere a `direct` upload by the kind of tool that
///   the scenario is about must be reset or stall.
///
/// `split`, `liberal` and `normalise` are there to be compared with: what they cure and what they
/// do not is the finding, so where there is a fault neither a reset nor a stall of theirs is one.
pub fn complaints(rows: &[Row]) -> Vec<String> {
    rows.iter().filter_map(complaint).collect()
}

fn complaint(row: &Row) -> Option<String> {
    let ok = row.outcome == Outcome::Ok;
    let invalid = row.conntrack_invalid.sum();
    let faulty = harms(row);
    let enough = scenario::find(&row.scenario)
        .map_or(true, |scenario| row.shape.suffices_for(scenario.profile));
    let what = match row.path {
        Path::Direct if faulty && ok && row.direction == FlowDirection::Upload => {
            "went through although the firewall mangles: the scenario proves nothing".to_owned()
        }
        _ if row.outcome == Outcome::Error => {
            "ended in an error that is neither a reset nor a stall".to_owned()
        }
        _ if row.scenario == "clean" && !ok => {
            format!("ended as {} where nothing is wrong", label(row.outcome))
        }
        Path::Relay if !enough => return None,
        Path::Relay if !ok => format!("ended as {}", label(row.outcome)),
        Path::Relay if invalid > 0 => format!("had {invalid} packets INVALID"),
        _ => return None,
    };
    Some(format!(
        "{}, {}, {}, {}, IPv{}, run {}: {what}",
        row.scenario,
        way(row.path, row.shape),
        label(row.tool),
        label(row.direction),
        u8::from(row.family),
        row.run
    ))
}

/// Whether the scenario's fault is one that this tool suffers from: who is quiet does not notice lost
/// packets, and who is busy is not forgotten.
fn harms(row: &Row) -> bool {
    scenario::find(&row.scenario).map_or(true, |scenario| {
        scenario.name != "clean" && scenario.tool.is_bulk() == row.tool.is_bulk()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::deployment::Shape;
    use crate::lab::row::Invalid;
    use crate::lab::tool::Tool;

    fn row(scenario: &str, path: Path, outcome: Outcome, server_invalid: u64) -> Row {
        Row {
            conntrack_invalid: Invalid {
                server: server_invalid,
                ..Invalid::default()
            },
            ..Row::sample(scenario, path, outcome)
        }
    }

    #[test]
    fn a_fault_that_does_no_harm_is_a_complaint() {
        let rows = [row("pix", Path::Direct, Outcome::Ok, 0)];
        assert!(
            complaints(&rows)[0].starts_with("pix, direct, scp, upload, IPv4, run 1: went through")
        );
    }

    #[test]
    fn a_fault_is_not_expected_to_harm_a_tool_that_does_not_meet_it() {
        let quiet = Row {
            tool: Tool::SshIdle,
            ..row("pix", Path::Direct, Outcome::Ok, 0)
        };
        let busy = row("idle-drop", Path::Direct, Outcome::Ok, 0);
        assert_eq!(complaints(&[quiet, busy.clone()]), Vec::<String>::new());
        let forgotten = Row {
            tool: Tool::SshIdle,
            ..busy
        };
        assert_eq!(complaints(&[forgotten]).len(), 1);
    }

    #[test]
    fn a_relayed_transfer_must_arrive_with_nothing_invalid() {
        assert_eq!(
            complaints(&[row("pix", Path::Relay, Outcome::Ok, 0)]).len(),
            0
        );
        assert_eq!(
            complaints(&[row("pix", Path::Relay, Outcome::Ok, 1)]).len(),
            1
        );
        assert_eq!(
            complaints(&[row("clean", Path::Relay, Outcome::Stall, 0)]).len(),
            1
        );
    }

    #[test]
    fn without_privilege_only_what_sockets_can_cure_must_arrive() {
        let unprivileged = |scenario| Row {
            shape: Shape::ForwardUnprivileged,
            ..row(scenario, Path::Relay, Outcome::Reset, 3)
        };
        assert_eq!(complaints(&[unprivileged("pix")]).len(), 0);
        let complained = complaints(&[unprivileged("blackhole")]);
        assert!(
            complained[0].starts_with("blackhole, relay:forward-unprivileged, scp"),
            "{complained:?}"
        );
    }

    const PATHS: [Path; 5] = [
        Path::Direct,
        Path::Liberal,
        Path::Split,
        Path::Relay,
        Path::Normalise,
    ];

    #[test]
    fn an_error_is_a_complaint_on_every_path() {
        for path in PATHS {
            for scenario in ["clean", "pix"] {
                let rows = [row(scenario, path, Outcome::Error, 0)];
                assert_eq!(complaints(&rows).len(), 1, "{rows:?}");
            }
        }
    }

    #[test]
    fn where_nothing_is_wrong_every_path_must_arrive() {
        for path in PATHS {
            for (outcome, expected) in [(Outcome::Ok, 0), (Outcome::Reset, 1), (Outcome::Stall, 1)]
            {
                let rows = [row("clean", path, outcome, 0)];
                assert_eq!(complaints(&rows).len(), expected, "{rows:?}");
            }
        }
    }

    #[test]
    fn what_fails_without_the_relay_is_as_it_should_be() {
        let rows = [
            row("pix", Path::Direct, Outcome::Reset, 9),
            row("pix", Path::Split, Outcome::Stall, 9),
            row("pix", Path::Split, Outcome::Ok, 9),
            row("idle-drop", Path::Normalise, Outcome::Stall, 0),
            row("wscale-strip", Path::Liberal, Outcome::Stall, 9),
            row("clean", Path::Direct, Outcome::Ok, 0),
        ];
        assert_eq!(complaints(&rows), Vec::<String>::new());
    }
}

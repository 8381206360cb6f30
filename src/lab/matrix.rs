//! From flags to the list of transfers. Pure.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::config::Profile;
use crate::lab::deployment::Shape;
use crate::lab::scenario::Scenario;
use crate::lab::tool::Tool;
use crate::lab::topology::Role;

/// What stands between the hosts beside the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// Nothing: strict connection tracking, no relay.
    Direct,
    /// Nothing, and connection tracking is told to look away (nf_conntrack_tcp_be_liberal=1).
    Liberal,
    /// The relay with the profile `clean`: splitting alone.
    Split,
    /// The relay with the scenario's profile.
    Relay,
    /// The scenario's profile as rules on the relay host, without a relay.
    Normalise,
}

/// Where the bytes go, seen from the host that opens the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowDirection {
    /// The host that opens the connection sends.
    Upload,
    /// The host that opens the connection receives.
    Download,
}

/// The version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The end host that opens connections; sshd runs on the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenedFrom {
    /// The client, through the firewall towards the server.
    Client,
    /// The server, through the gateway towards the client.
    Server,
}

/// Which end hosts filter by connection tracking and answer the rest by a TCP reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strict {
    /// The client alone.
    Client,
    /// The server alone.
    Server,
    /// Both.
    Both,
}

/// One transfer to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What is wrong with the path.
    pub scenario: Scenario,
    /// How a relay is deployed.
    pub shape: Shape,
    /// What stands in between.
    pub path: Path,
    /// What carries the bytes.
    pub tool: Tool,
    /// Where the bytes go.
    pub direction: FlowDirection,
    /// By which IP.
    pub family: Family,
    /// Who opens the connection.
    pub opened_from: OpenedFrom,
    /// Who filters.
    pub strict: Strict,
    /// Which repetition it is, from 1.
    pub run: u32,
}

/// What runs on the relay host, with the profile's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing.
    Nothing,
    /// `unmangle run`.
    Relay(&'static str),
    /// `unmangle normalise`.
    Rules(&'static str),
}

/// Everything that was asked for.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// The scenarios, in order.
    pub scenarios: Vec<Scenario>,
    /// The paths, in order.
    pub paths: Vec<Path>,
    /// How relays are deployed, in order.
    pub shapes: Vec<Shape>,
    /// The tools, in order; none is each scenario's own.
    pub tools: Vec<Tool>,
    /// The directions, in order.
    pub directions: Vec<FlowDirection>,
    /// The families, in order.
    pub families: Vec<Family>,
    /// Who opens connections.
    pub opened_from: OpenedFrom,
    /// Who filters.
    pub strict: Strict,
    /// Repetitions of each.
    pub runs: u32,
}

// === impl Matrix ===

impl Matrix {
    /// Every transfer, in the order of the table; what was asked for twice is made once. Repetitions follow one another, so that the
    /// kernel's caches are as warm for the second as they will be for the last.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for scenario in once(&self.scenarios) {
            let own = [scenario.tool];
            let tools = match self.tools.as_slice() {
                [] => &own[..],
                tools => tools,
            };
            for (path, shape) in self.deployments() {
                for &tool in once(tools) {
                    for (&direction, &family) in self.ways() {
                        cases.extend((1..=self.runs).map(|run| Case {
                            scenario: scenario.clone(),
                            shape,
                            path,
                            tool,
                            direction,
                            family,
                            opened_from: self.opened_from,
                            strict: self.strict,
                            run,
                        }));
                    }
                }
            }
        }
        cases
    }

    /// Every path in every shape; where no relay runs, its shape makes no difference.
    fn deployments(&self) -> Vec<(Path, Shape)> {
        let mut deployments = Vec::new();
        for &path in once(&self.paths) {
            let shapes = once(&self.shapes).map(|shape| (path, *shape));
            match path {
                Path::Split | Path::Relay => deployments.extend(shapes),
                Path::Direct | Path::Liberal | Path::Normalise => {
                    deployments.extend(shapes.take(1))
                }
            }
        }
        deployments
    }

    /// Every direction by every family.
    fn ways(&self) -> impl Iterator<Item = (&FlowDirection, &Family)> {
        let families = |direction| self.families.iter().map(move |family| (direction, family));
        self.directions.iter().flat_map(families)
    }
}

/// Each of them, where it stands first.
fn once<T: PartialEq>(all: &[T]) -> impl Iterator<Item = &T> {
    all.iter()
        .enumerate()
        .filter(|(nth, one)| !all[..*nth].contains(one))
        .map(|(_, one)| one)
}

// === impl Remedy ===

impl Remedy {
    /// What runs on the relay host on this path through this scenario.
    pub fn on(path: Path, scenario: &Scenario) -> Self {
        match path {
            Path::Direct | Path::Liberal => Self::Nothing,
            Path::Split => Self::Relay("clean"),
            Path::Relay => Self::Relay(scenario.profile),
            Path::Normalise if rules_can_help(scenario.profile) => Self::Rules(scenario.profile),
            Path::Normalise => Self::Nothing,
        }
    }
}

/// Whether a profile asks for something that rules can do: what it sets on a socket needs a relay.
fn rules_can_help(profile: &str) -> bool {
    profile
        .parse::<Profile>()
        .is_ok_and(|profile| profile.needs_the_wire() || profile.mss.is_some())
}

// === impl Case ===

impl Case {
    /// An upload by scp, by a gateway between strict hosts, by IPv4.
    pub fn relayed(scenario: Scenario) -> Self {
        Self {
            scenario,
            shape: Shape::Gateway,
            path: Path::Relay,
            tool: Tool::Scp,
            direction: FlowDirection::Upload,
            family: Family::V4,
            opened_from: OpenedFrom::Client,
            strict: Strict::Both,
            run: 1,
        }
    }

    /// What runs on the relay host on this path.
    pub fn remedy(&self) -> Remedy {
        Remedy::on(self.path, &self.scenario)
    }

    /// The wires of this transfer draw from this; the same transfer gets the same seed, and with
    /// another `base` it gets another.
    pub fn seed(&self, base: u64) -> u64 {
        let tag = format!("{base} {self}");
        tag.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} {} {} IPv{} run {}",
            self.scenario.name,
            way(self.path, self.shape),
            label(self.tool),
            label(self.direction),
            u8::from(self.family),
            self.run
        )
    }
}

/// A path for people, with the relay's shape where that is not the usual one.
pub fn way(path: Path, shape: Shape) -> String {
    match (path, shape) {
        (_, Shape::Gateway) | (Path::Direct | Path::Liberal | Path::Normalise, _) => label(path),
        (Path::Split | Path::Relay, shape) => format!("{}:{}", label(path), label(shape)),
    }
}

/// The name of a unit variant, as it stands in the JSON row.
pub fn label(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a unit variant is a string: {other:?}"),
    }
}

// === impl Strict ===

impl Strict {
    /// Whether the host that plays `role` filters.
    pub fn covers(self, role: Role) -> bool {
        match self {
            Self::Client => role == Role::Client,
            Self::Server => role == Role::Server,
            Self::Both => role != Role::Relay,
        }
    }
}

// === impl OpenedFrom ===

impl OpenedFrom {
    /// The host that opens connections.
    pub fn opener(self) -> Role {
        match self {
            Self::Client => Role::Client,
            Self::Server => Role::Server,
        }
    }

    /// The host that listens: where sshd runs.
    pub fn listener(self) -> Role {
        match self {
            Self::Client => Role::Server,
            Self::Server => Role::Client,
        }
    }
}

// === impl Family ===

impl From<Family> for u8 {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }
}

impl TryFrom<u8> for Family {
    type Error = String;

    fn try_from(version: u8) -> Result<Self, String> {
        match version {
            4 => Ok(Self::V4),
            6 => Ok(Self::V6),
            other => Err(format!("there is no IPv{other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::scenario;

    fn matrix() -> Matrix {
        Matrix {
            scenarios: scenario::all(),
            paths: vec![Path::Direct, Path::Relay],
            shapes: vec![Shape::Gateway],
            tools: Vec::new(),
            directions: vec![FlowDirection::Upload, FlowDirection::Download],
            families: vec![Family::V4, Family::V6],
            opened_from: OpenedFrom::Client,
            strict: Strict::Both,
            runs: 3,
        }
    }

    #[test]
    fn every_combination_is_made_once_and_repetitions_follow_one_another() {
        let cases = matrix().cases();
        assert_eq!(cases.len(), scenario::all().len() * 2 * 2 * 2 * 3);
        let runs: Vec<_> = cases.iter().take(4).map(|case| case.run).collect();
        assert_eq!(runs, [1, 2, 3, 1]);
    }

    #[test]
    fn what_is_asked_for_twice_is_made_once() {
        let [clean, pix] = ["clean", "pix"].map(|name| scenario::find(name).unwrap());
        let matrix = |scenarios, paths, tools| Matrix {
            scenarios,
            paths,
            tools,
            ..matrix()
        };
        let (direct, relay) = (Path::Direct, Path::Relay);
        let twice = matrix(
            vec![pix.clone(), clean.clone(), pix.clone()],
            vec![relay, relay, direct, relay],
            vec![Tool::Sftp, Tool::Scp, Tool::Sftp],
        );
        let each = matrix(
            vec![pix, clean],
            vec![relay, direct],
            vec![Tool::Sftp, Tool::Scp],
        );
        assert_eq!(twice.cases(), each.cases());
    }

    #[test]
    fn each_shape_relays_once_and_what_has_no_relay_is_not_repeated() {
        let matrix = Matrix {
            shapes: vec![Shape::Gateway, Shape::Forward, Shape::Gateway],
            ..matrix()
        };
        let ways: Vec<_> = matrix
            .deployments()
            .into_iter()
            .map(|(path, shape)| way(path, shape))
            .collect();
        assert_eq!(ways, ["direct", "relay", "relay:forward"]);
    }

    #[test]
    fn a_split_relays_with_the_clean_profile_and_direct_not_at_all() {
        let pix = scenario::find("pix").unwrap();
        let remedy = |path| Remedy::on(path, &pix);
        assert_eq!(remedy(Path::Relay), Remedy::Relay("cisco-pix"));
        assert_eq!(remedy(Path::Normalise), Remedy::Rules("cisco-pix"));
        assert_eq!(remedy(Path::Split), Remedy::Relay("clean"));
        assert_eq!(remedy(Path::Direct), Remedy::Nothing);
    }

    #[test]
    fn where_rules_have_nothing_to_do_none_are_made() {
        for name in ["clean", "idle-drop"] {
            let scenario = scenario::find(name).unwrap();
            assert_eq!(Remedy::on(Path::Normalise, &scenario), Remedy::Nothing);
        }
    }

    #[test]
    fn every_scenario_has_a_profile_that_there_is() {
        for scenario in scenario::all() {
            scenario.profile.parse::<Profile>().unwrap();
        }
    }

    #[test]
    fn a_scenario_is_tried_with_its_own_tool_unless_others_are_asked_for() {
        let mut matrix = Matrix {
            scenarios: vec![scenario::find("idle-drop").unwrap()],
            ..matrix()
        };
        let tools = |matrix: &Matrix| {
            let mut tools: Vec<_> = matrix.cases().iter().map(|case| case.tool).collect();
            tools.dedup();
            tools
        };
        assert!(tools(&matrix).iter().all(|tool| *tool == Tool::SshIdle));
        matrix.tools = vec![Tool::Sftp, Tool::RsyncSsh];
        matrix.paths = vec![Path::Relay];
        assert_eq!(tools(&matrix), matrix.tools);
    }

    #[test]
    fn seeds_repeat_and_differ_between_transfers() {
        let cases = matrix().cases();
        assert_eq!(cases[0].seed(1), matrix().cases()[0].seed(1));
        assert_ne!(cases[0].seed(1), cases[0].seed(2));
        assert_ne!(cases[0].seed(1), cases[1].seed(1));
    }

    #[test]
    fn strictness_never_means_the_relay_host() {
        assert!(Strict::Both.covers(Role::Client) && Strict::Both.covers(Role::Server));
        assert!(!Strict::Both.covers(Role::Relay) && !Strict::Client.covers(Role::Server));
    }
}

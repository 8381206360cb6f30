//! What this process, its user and the host may have.

use super::facts::{Facts, Settings};
use super::finding::Findings;
use super::id::Id;

/// What a relay's pipes hold at most, unless it is told otherwise.
const PIPE_BUDGET: u64 = 48 << 20;
/// The largest pipe that a relay makes.
const LARGEST_PIPE: u64 = 1 << 20;
/// Descriptors of a relay without sessions, and more than enough of them.
const IDLE_DESCRIPTORS: u64 = 256;
/// Fewer are too few for any relay that matters.
const FEW_DESCRIPTORS: u64 = 4096;

pub(super) fn judge(facts: &Facts, found: &mut Findings) {
    capabilities(facts, found);
    descriptors(facts, found);
    pipes(facts, found);
    ports(&facts.settings, found);
    backlog(&facts.settings, found);
}

fn capabilities(facts: &Facts, found: &mut Findings) {
    let id = Id::Capabilities;
    let process = &facts.process;
    match (process.net_admin, process.net_admin_within_reach) {
        (true, _) => {
            found.ok(id, "This process may see and change rules (CAP_NET_ADMIN).");
        }
        (false, true) => found.unseen(
            id,
            "whether rules may be changed: doctor runs without CAP_NET_ADMIN",
        ),
        (false, false) if facts.wanted.may_be_led() => {
            found.add(
                id,
                facts.wanted.severity(),
                "Not even root gets CAP_NET_ADMIN here (it is not in the bounding set, as in a container without it): only forward mode is possible.",
            );
        }
        (false, false) => {
            found.ok(
                id,
                "There is no CAP_NET_ADMIN here, which forward mode does not need.",
            );
        }
    }
}

/// A session takes two descriptors, and a pipe two more while bytes are on their way.
fn descriptors(facts: &Facts, found: &mut Findings) {
    let id = Id::Descriptors;
    let Some(most) = facts.process.descriptors else {
        found.ok(id, "The number of open descriptors is not limited.");
        return;
    };
    let wanted = facts.wanted.needs().and_then(|needs| needs.connections);
    let needed = wanted.map(|connections| connections.saturating_mul(4) + IDLE_DESCRIPTORS);
    let sentence = format!("A process may have {most} descriptors open");
    let finding = match needed {
        Some(needed) if most < needed => found.problem(
            id,
            format!("{sentence}, and the connections that are to be let in may need {needed}."),
        ),
        None if most < FEW_DESCRIPTORS => found.note(
            id,
            format!(
                "{sentence}: enough for some {} sessions.",
                most.saturating_sub(IDLE_DESCRIPTORS) / 4
            ),
        ),
        _ => {
            found.ok(id, format!("{sentence}."));
            return;
        }
    };
    let more = needed.unwrap_or(1 << 20);
    finding.now(format!("ulimit -Hn {more}")).lasting(
        "/etc/systemd/system/unmangle.service.d/limits.conf",
        format!("LimitNOFILE={more}"),
    );
}

fn pipes(facts: &Facts, found: &mut Findings) {
    let (name, page) = ("fs.pipe-user-pages-soft", facts.process.page);
    let budget = facts
        .wanted
        .needs()
        .map_or(PIPE_BUDGET, |needs| needs.pipe_budget);
    match facts.settings.number(name) {
        None => found.unseen(Id::PipePages, format!("there is no setting {name}")),
        Some(0) => {
            found.ok(
                Id::PipePages,
                "What a user's pipes may hold is not limited.",
            );
        }
        Some(pages) => {
            let (has, wants) = (pages.saturating_mul(page) >> 20, budget >> 20);
            if pages.saturating_mul(page) < budget {
                let sentence = format!(
                    "The pipes of one user may hold {has} MiB ({name}) and the relay's want {wants} MiB: without CAP_SYS_RESOURCE it copies bytes when they are used up."
                );
                let pages = (budget + (16 << 20)) / page;
                found
                    .problem(Id::PipePages, sentence)
                    .sysctl(name, &pages.to_string());
            } else {
                let sentence = format!(
                    "The pipes of one user may hold {has} MiB, and the relay's want {wants} MiB."
                );
                found.ok(Id::PipePages, sentence);
            }
        }
    }
    let name = "fs.pipe-max-size";
    match facts.settings.number(name) {
        None => found.unseen(Id::PipeSize, format!("there is no setting {name}")),
        Some(size) if size < LARGEST_PIPE => {
            let sentence = format!(
                "{name} is {size}: pipes of 1 MiB are a fifth faster than small ones, and are refused here."
            );
            found
                .note(Id::PipeSize, sentence)
                .sysctl(name, &LARGEST_PIPE.to_string());
        }
        Some(_) => {
            found.ok(Id::PipeSize, format!("A pipe may hold 1 MiB ({name})."));
        }
    }
}

fn ports(settings: &Settings, found: &mut Findings) {
    let name = "net.ipv4.ip_local_port_range";
    let ends: Option<Vec<u64>> = settings.of(name).and_then(|range| {
        range
            .split_whitespace()
            .map(|end| end.parse().ok())
            .collect()
    });
    let Some(&[low, high]) = ends.as_deref() else {
        return found.unseen(Id::PortRange, format!("there is no setting {name}"));
    };
    let count = (high + 1).saturating_sub(low);
    let sentence = format!("Connections are opened from {count} ports ({name} is {low} to {high})");
    match count {
        ..1000 => found
            .problem(Id::PortRange, format!("{sentence}: where a client's own port cannot be used, or in forward mode, so many connections to one server and no more."))
            .sysctl(name, "32768 60999"),
        1000..10_000 => found
            .note(Id::PortRange, format!("{sentence}, fewer than usual."))
            .sysctl(name, "32768 60999"),
        _ => found.ok(Id::PortRange, format!("{sentence}.")),
    };
}

fn backlog(settings: &Settings, found: &mut Findings) {
    let name = "net.core.somaxconn";
    match settings.number(name) {
        None => found.unseen(Id::Somaxconn, format!("there is no setting {name}")),
        Some(most @ ..1024) => {
            let sentence = format!(
                "{name} is {most}: a burst of more connections at once loses SYNs, and waits a second."
            );
            found.note(Id::Somaxconn, sentence).sysctl(name, "4096");
        }
        Some(most) => {
            found.ok(
                Id::Somaxconn,
                format!("{most} connections may wait to be accepted ({name})."),
            );
        }
    }
}

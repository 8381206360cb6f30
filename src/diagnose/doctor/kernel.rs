//! The kernel, and the programs that speak to it.

use crate::sys::kernel_release::{KernelRelease, OPTION_RESET, OWNER_TABLES};

use super::facts::Facts;
use super::features::{MODULES, Presence};
use super::finding::{Findings, Status};
use super::id::Id;

/// The oldest nft with which all of this is tested.
const TESTED_NFT: KernelRelease = KernelRelease(1, 0);

pub(super) fn judge(facts: &Facts, found: &mut Findings) {
    release(facts, found);
    for (id, module) in MODULES {
        let presence = facts.features.get(id).copied();
        let presence = presence.unwrap_or(Presence::Unknown);
        feature(facts, *id, module.name(), presence, found);
    }
    tools(facts, found);
}

fn release(facts: &Facts, found: &mut Findings) {
    let release = KernelRelease::parse(&facts.release);
    let id = Id::KernelRelease;
    let linux = format!("Linux {}", facts.release);
    let severity = match facts.wanted.may_be_led() {
        true => facts.wanted.severity(),
        false => Status::Note,
    };
    if release < OWNER_TABLES {
        let sentence = format!(
            "{linux} has no tables that belong to a process ({OWNER_TABLES}) and cannot strip TCP options by nftables ({OPTION_RESET}): only rules that somebody else loads are possible"
        );
        found
            .add(id, severity, sentence)
            .now("unmangle rules --format iptables ...");
    } else if release < OPTION_RESET {
        let sentence =
            format!("{linux} cannot strip TCP options by nftables: {OPTION_RESET} is needed");
        found
            .add(id, severity, sentence)
            .now("unmangle rules --format iptables ...");
    } else {
        let sentence = format!(
            "{linux} has tables that belong to a process ({OWNER_TABLES}) and strips TCP options by nftables ({OPTION_RESET})."
        );
        found.ok(id, sentence);
    }
}

fn feature(facts: &Facts, id: Id, module: &str, presence: Presence, found: &mut Findings) {
    let needs = facts.wanted.needs();
    let is_needed = match id {
        Id::Queue => needs.is_some_and(|needs| needs.held),
        _ => facts.wanted.may_be_led(),
    };
    if id == Id::Queue && presence != Presence::Present {
        return queue(facts, presence, is_needed, found);
    }
    match presence {
        Presence::Present => found.ok(id, format!("The kernel has {module}.")),
        Presence::Loadable => found.ok(
            id,
            format!("The kernel loads the module {module} when a rule needs it."),
        ),
        Presence::Absent if is_needed => found.add(
            id,
            facts.wanted.severity(),
            format!("This kernel has no {module}: it was built without, or its modules are not installed."),
        ),
        Presence::Absent => found.note(id, format!("This kernel has no {module}, which is not needed.")),
        Presence::Unknown => found
            .note(
                id,
                format!(
                    "Whether the kernel has {module} only loading it would tell, which doctor does not do."
                ),
            )
            .now(format!("modprobe {module}"))
            .lasting("/etc/modules-load.d/unmangle.conf", module),
    };
}

/// Two ways lead into a queue.
fn queue(facts: &Facts, nft: Presence, is_needed: bool, found: &mut Findings) {
    let id = Id::Queue;
    let ways = [nft, facts.iptables_queue];
    let has = |presence| ways.contains(&presence);
    if nft == Presence::Loadable {
        found.ok(
            id,
            "The kernel loads the module nft_queue when a rule needs it.",
        );
    } else if has(Presence::Present) || has(Presence::Loadable) {
        found.ok(
            id,
            "This kernel has no nft_queue; iptables' NFQUEUE serves --answer after-connect instead.",
        );
    } else if has(Presence::Unknown) {
        let sentence = "Whether the kernel has queues, which --answer after-connect needs, only loading the module would tell.";
        found
            .note(id, sentence)
            .now("modprobe nft_queue")
            .lasting("/etc/modules-load.d/unmangle.conf", "nft_queue");
    } else if is_needed {
        found.problem(id, "This kernel has no queue, neither nft_queue nor xt_NFQUEUE: --answer after-connect is not possible.");
    } else {
        found.note(id, "This kernel has no queue, neither nft_queue nor xt_NFQUEUE, which only --answer after-connect needs.");
    }
}

fn tools(facts: &Facts, found: &mut Findings) {
    let severity = match facts.wanted.may_be_led() {
        true => facts.wanted.severity(),
        false => Status::Note,
    };
    match &facts.tools.nft {
        Ok(version) => match nft_release(version) {
            Some(release) if release < TESTED_NFT => {
                let sentence = format!(
                    "{version} is older than what this was tested with (1.0.6), and may not know how to strip TCP options."
                );
                found
                    .note(Id::Nft, sentence)
                    .now("apt-get install nftables");
            }
            _ => {
                found.ok(Id::Nft, format!("{version} is there."));
            }
        },
        Err(why) => {
            let sentence = format!("nft cannot be run: {why}");
            found
                .add(Id::Nft, severity, sentence)
                .now("apt-get install nftables");
        }
    }
    match &facts.tools.ip {
        Ok(version) => {
            found.ok(Id::Iproute2, format!("{version} is there."));
        }
        Err(why) => {
            let sentence = format!("ip cannot be run: {why}");
            found
                .add(Id::Iproute2, severity, sentence)
                .now("apt-get install iproute2");
        }
    }
    match &facts.tools.iptables {
        Ok(version) => found.ok(Id::Iptables, format!("{version} is there.")),
        Err(_) => found.ok(
            Id::Iptables,
            "There is no iptables; only kernels without nft_queue need it.",
        ),
    };
}

/// The release in `nftables v1.0.6 (Lester Gooch #5)`.
fn nft_release(version: &str) -> Option<KernelRelease> {
    let number = version
        .split_whitespace()
        .find_map(|word| word.strip_prefix('v'))?;
    Some(KernelRelease::parse(number))
}

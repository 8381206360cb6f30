//! From a case to its row: one real transfer, watched and judged.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::lab::error::Result;
use crate::lab::interrupt::Interrupt;
use crate::lab::joined::{Joined, WireReport, lost_by_accident};
use crate::lab::matrix::{Case, OpenedFrom, Path, Strict};
use crate::lab::process::Process;
use crate::lab::report::{Captures, Report};
use crate::lab::row::{Ended, Outcome, Row};
use crate::lab::scenario::Between;
use crate::lab::standing::Lab;
use crate::lab::tool::Tool;
use crate::lab::topology::Role;
use crate::lab::tuning::HostTuning;

/// How long flows may take to close after a tool is content.
const CLOSING: Duration = Duration::from_secs(10);
/// How often an interrupt is looked for while a tool runs.
const SLICE: Duration = Duration::from_millis(100);

/// What every transfer of a run has in common.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Bytes to carry.
    pub bytes: u64,
    /// When a transfer is given up as stalled.
    pub timeout: Duration,
    /// Round-trip time of the long leg.
    pub long_rtt: Duration,
    /// What the seeds of all wires are made from.
    pub seed: u64,
    /// The program under test; this very program if `None`.
    pub unmangle: Option<PathBuf>,
}

/// Makes transfers, one after the other, in labs it puts up as needed.
#[derive(Debug)]
pub struct Runner {
    terms: Terms,
    interrupt: Interrupt,
    lab: Option<(Key, Lab)>,
    report: Option<Report>,
    tuning: HostTuning,
}

/// Transfers that agree in this can share a lab, and with it the kernel's warm caches.
type Key = (&'static str, Strict, OpenedFrom);

/// What was said while a transfer ran.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// By the tool.
    pub tool: String,
    /// By sshd: who came, from which address and port.
    pub sshd: String,
    /// By the relay, or by what keeps the rules without one.
    pub relay: String,
    /// By the wires: the firewall, and the long leg.
    pub wires: Vec<WireReport>,
}

impl Runner {
    /// A runner that has not put up anything yet.
    pub fn new(terms: Terms, interrupt: Interrupt) -> Self {
        Self {
            terms,
            interrupt,
            lab: None,
            report: None,
            tuning: HostTuning::None,
        }
    }

    /// Whether the hosts are tuned for a leg without SACK.
    pub fn host_tuning(mut self, tuning: HostTuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// Keeps rows, logs and captures there.
    pub fn report_to(mut self, report: Report) -> Self {
        self.report = Some(report);
        self
    }

    /// Makes one transfer.
    ///
    /// The wires are new for each, with a seed that depends on the case alone. The hosts stay from
    /// one transfer to the next as long as they succeed: after one that failed, connections hang
    /// about that could disturb the next.
    pub fn run(&mut self, case: &Case) -> Result<(Row, Evidence)> {
        self.interrupt.check()?;
        let mut lab = self.lab_for(case)?;
        let mut captures = match &self.report {
            Some(report) => Some(report.capture(&lab, case)?),
            None => None,
        };
        let (row, evidence) = self.transfer(&mut lab, case, captures.as_mut())?;
        if let (Some(report), Some(captures)) = (&mut self.report, &captures) {
            report.add(captures, &row, &evidence)?;
        }
        if row.outcome == Outcome::Ok {
            self.lab = Some((key(case), lab));
        }
        Ok((row, evidence))
    }

    /// The lab of the last case if it suits this one, or else a new one.
    fn lab_for(&mut self, case: &Case) -> Result<Lab> {
        let [firewall, long_leg] = joined(case, self.terms.long_rtt);
        if let Some((had, mut lab)) = self.lab.take()
            && had == key(case)
        {
            lab.join(&firewall, &long_leg, case.seed(self.terms.seed))?;
            return Ok(lab);
        }
        let mut builder = Lab::builder()
            .firewall(firewall)
            .long_leg(long_leg)
            .seed(case.seed(self.terms.seed))
            .strict(case.strict)
            .sshd_on(case.opened_from.listener())
            .payload(self.terms.bytes);
        if let Some(program) = &self.terms.unmangle {
            builder = builder.unmangle(program);
        }
        builder.start()
    }

    fn transfer(
        &self,
        lab: &mut Lab,
        case: &Case,
        captures: Option<&mut Captures>,
    ) -> Result<(Row, Evidence)> {
        let sshd_said = lab.sshd().map_or(0, |sshd| sshd.log().len());
        lab.set_liberal(case.path == Path::Liberal)?;
        lab.tune(self.tuning)?;
        lab.reset_counts()?;
        let statistics = lab.conntrack_statistics()?;
        if case.tool == Tool::RsyncDaemon {
            lab.start_rsyncd(case.opened_from.listener())?;
        }
        let remedies = lab.deploy(case)?;

        let ended = self.carry(lab, case)?;
        if ended.outcome() == Outcome::Ok && !lab.flows_closed(CLOSING)? {
            tracing::warn!(case = %case, "connections were still open at the end");
        }
        let invalid = lab.invalid()?;
        compare(lab, statistics)?;

        let mut evidence = Evidence {
            tool: ended.stderr.clone(),
            ..Evidence::default()
        };
        for remedy in remedies {
            evidence.relay += &end(remedy, ended.outcome())?;
        }
        if let Some(sshd) = lab.sshd() {
            evidence.sshd = sshd.log().split_off(sshd_said);
        }
        if let Some(captures) = captures {
            captures.end()?;
        }
        evidence.wires = lab.part()?;
        let accidents: u64 = evidence.wires.iter().map(lost_by_accident).sum();
        if accidents > 0 {
            tracing::warn!(%case, accidents, "a wire lost packets it was not told to lose");
        }
        let bytes = case.tool.bytes(self.terms.bytes);
        Ok((Row::new(case, bytes, &ended, invalid), evidence))
    }

    /// Lets the tool carry the payload, and looks at how it ended and what arrived.
    fn carry(&self, lab: &Lab, case: &Case) -> Result<Ended> {
        let received = lab.received();
        let _ = std::fs::remove_file(&received);
        let mut command = lab.errand(case);
        let log = lab.directory().join("tool.log");
        // Silence is no stall.
        let timeout = match case.tool.is_bulk() {
            true => self.terms.timeout,
            false => self.terms.timeout + case.scenario.silence(),
        };
        let begun = Instant::now();
        let mut tool = Process::start("tool", &mut command, &log)?;
        let mut status = None;
        while status.is_none() && begun.elapsed() < timeout {
            self.interrupt.check()?;
            let left = timeout.saturating_sub(begun.elapsed());
            status = tool.wait(left.min(SLICE))?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Ended {
            success: status.map(|status| status.success()),
            stderr: tool.log(),
            seconds,
            equal: lab
                .payload()
                .is_some_and(|payload| case.tool.delivered(payload, &received)),
            resets: lab.counts(case.opened_from.opener())?.resets,
        })
    }
}

fn key(case: &Case) -> Key {
    (case.scenario.name, case.strict, case.opened_from)
}

/// What joins the hosts in this case: the scenario's wires, the long one with its delay.
fn joined(case: &Case, long_rtt: Duration) -> [Joined; 2] {
    let Between {
        mut client_to_server,
        mut server_to_client,
    } = case.scenario.long_leg.clone();
    client_to_server.delay += long_rtt / 2;
    server_to_client.delay += long_rtt / 2;
    let long_leg = Between {
        client_to_server,
        server_to_client,
    };
    [
        Joined::wire(case.scenario.firewall.clone()),
        Joined::wire(long_leg),
    ]
}

/// Ends what ran for a case and returns its log. After a failure a relay is not given time for
/// its sessions.
fn end(remedy: Process, outcome: Outcome) -> Result<String> {
    let log = remedy.log_path().to_owned();
    let patience = match outcome {
        Outcome::Ok => CLOSING,
        _ => SLICE,
    };
    if remedy.stop(patience)?.is_none() && outcome == Outcome::Ok {
        tracing::warn!("what ran for it did not stop when asked and was killed");
    }
    Ok(std::fs::read_to_string(log).unwrap_or_default())
}

/// Two counts of one thing: where one is zero and the other is not, something is worth a look.
fn compare(lab: &Lab, before: [u64; 3]) -> Result<()> {
    let after = lab.conntrack_statistics()?;
    for (index, role) in Role::ALL.into_iter().enumerate() {
        let statistics = after[index].saturating_sub(before[index]);
        let counted = lab.counts(role)?.invalid_sum();
        if (statistics == 0) != (counted == 0) {
            tracing::debug!(%role, counted, statistics, "nft and conntrack -S disagree on INVALID");
        }
    }
    Ok(())
}

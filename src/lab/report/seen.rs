//! What the captures of a transfer say: read from their files.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use crate::lab::error::{Error, Result};
use crate::lab::report::series::{Carried, Progress, Segment};
use crate::lab::report::transfer::Objection;
use crate::lab::row::Row;
use crate::lab::topology::Role;
use crate::packet::capture::Capture;
use crate::packet::link::Carried as Content;

/// What the tools dial: sshd and the rsync daemon.
const PORTS: &[u16] = &[22, 873];

/// What a transfer carried over time, by the capture of the host that opened the connection.
pub(super) fn carried(directory: &Path, row: &Row) -> Result<Option<Carried>> {
    let mut progress = Progress::new(PORTS, row.direction, row.bytes);
    let file = directory.join(format!("{}.pcap", row.opened_from.opener()));
    each(&file, |at, packet| {
        if let Some(segment) = Segment::read(packet) {
            progress.sees(at, &segment);
        }
    })?;
    Ok(progress.ended())
}

/// The first packet that was INVALID, on any host.
pub(super) fn objection(directory: &Path, begun: Duration) -> Result<Option<Objection>> {
    let mut first: Option<(Duration, Role)> = None;
    for role in Role::ALL {
        let file = directory.join(format!("{role}.invalid.pcap"));
        each(&file, |at, _| {
            if first.is_none_or(|(earliest, _)| at < earliest) {
                first = Some((at, role));
            }
        })?;
    }
    Ok(first.map(|(at, host)| Objection {
        host,
        at: at.saturating_sub(begun).as_secs_f64(),
    }))
}

/// Shows every IP packet of a capture.
fn each(file: &Path, mut show: impl FnMut(Duration, &[u8])) -> Result<()> {
    let what = || format!("reading {}", file.display());
    let opened = File::open(file).map_err(Error::file(file))?;
    let failed = |error| Error::Io {
        what: what(),
        source: std::io::Error::other(error),
    };
    let mut capture = Capture::open(BufReader::new(opened)).map_err(failed)?;
    while let Some(packet) = capture.next_packet().map_err(failed)? {
        if let Content::Ip(bytes) = packet.link.open(packet.bytes).carried {
            show(packet.at, bytes);
        }
    }
    Ok(())
}

//! What is told of a session: one line in the log at its end.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::addr::ClientAddr;
use super::dial::SourcePort;
use super::legs::Close;
use crate::metrics::PerDirection;
use crate::packet::Offer;
use crate::sys::tcp_info::TcpInfo;

/// What a session came to.
pub struct Told<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// Who opened it.
    pub client: ClientAddr,
    /// The proxy that said so; the client came itself if `None`.
    pub via: Option<SocketAddr>,
    /// Who was dialled.
    pub server: SocketAddr,
    /// Which port the server saw.
    pub port: SourcePort,
    /// How it ended.
    pub close: Close,
    /// Bytes that were passed on.
    pub passed: PerDirection<u64>,
    /// How long the dial took.
    pub connect_time: Duration,
    /// From accept to the end.
    pub lifetime: Duration,
    /// What the kernel knows of the downstream and of the upstream leg.
    pub infos: (io::Result<TcpInfo>, io::Result<TcpInfo>),
    /// What the client's SYN offered before anything was stripped from it, if that was seen.
    pub offer: Option<Offer>,
}

/// One line at the end of each session.
pub fn tell(told: &Told) {
    let (closed_by, how) = (told.close.by(), told.close.how().name());
    let down = told.infos.0.as_ref().copied().unwrap_or_default();
    let up = told.infos.1.as_ref().copied().unwrap_or_default();
    tracing::info!(
        target: "unmangle::session",
        listener = told.listener,
        client = %told.client,
        via = told.via.map(tracing::field::display),
        server = %told.server,
        port_kept = told.port == SourcePort::Kept,
        client_to_server_bytes = told.passed.client_to_server,
        server_to_client_bytes = told.passed.server_to_client,
        duration_ms = millis(told.lifetime),
        connect_ms = millis(told.connect_time),
        closed_by = closed_by.name(),
        how,
        client_offer = told.offer.map(|offer| offer.to_string()),
        downstream_agreed = agreed(&down).to_string(),
        upstream_agreed = agreed(&up).to_string(),
        downstream_rtt_ms = millis(down.rtt),
        downstream_retransmits = down.retransmits,
        upstream_rtt_ms = millis(up.rtt),
        upstream_retransmits = up.retransmits,
        "session ended"
    );
}

/// What both ends of a leg agreed on, as an offer of its peer; the MSS is what is sent at most, less where the
/// path was found to take less.
pub fn agreed(info: &TcpInfo) -> Offer {
    /// An option of ten bytes, padded, in every segment.
    const TIMESTAMPS: u32 = 12;
    let options = if info.timestamps { TIMESTAMPS } else { 0 };
    Offer {
        mss: u16::try_from(info.send_mss + options).ok(),
        window_scale: info.window_scale.map(|scale| scale.peer),
        sack: info.sack,
        timestamps: info.timestamps,
    }
}

/// Milliseconds to the microsecond, as a number that a script can read.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

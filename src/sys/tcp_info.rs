//! `TCP_INFO`: what the kernel knows of one leg.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// The part of the kernel's `struct tcp_info` (include/uapi/linux/tcp.h) that the relay reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// The shortest that was measured lately (net.ipv4.tcp_min_rtt_wlen, five minutes), if any was.
    pub min_rtt: Option<Duration>,
    /// Segments with data that were sent, those sent again included, over the life of the connection.
    pub segments_sent: u32,
    /// Segments that came, with data or without, over the life of the connection.
    pub segments_received: u32,
    /// Segments sent again, over the life of the connection.
    pub retransmits: u32,
    /// Bytes that the peer has acknowledged, over the life of the connection; the SYN counts as one.
    pub acknowledged: u64,
    /// Bytes that came from the peer in their order, over the life of the connection, read or not; an end counts
    /// as one.
    pub received: u64,
    /// Bytes that were written and not sent yet.
    pub unsent: u32,
    /// The window that the peer announced last, in bytes; kernels before 5.4 do not tell.
    pub peer_window: Option<u32>,
    /// Retransmissions in a row for want of any acknowledgement.
    pub timeouts: u8,
    /// Probes of a silent peer, or of one whose window is shut, that it has not answered.
    pub unanswered_probes: u8,
    /// How long ago the last acknowledgement came, of new bytes or not.
    pub last_acknowledgement: Duration,
    /// Largest segment that is sent, in bytes, TCP options not included.
    pub send_mss: u32,
    /// Segments that were sent and not acknowledged.
    pub in_flight: u32,
    /// Whether the connection is no more: nothing can be sent or received.
    pub closed: bool,
    /// Whether the peer has said that it sends no more, even if bytes before that are still to be read.
    pub peer_ended: bool,
    /// Whether the two ends agreed on SACK (RFC 2018).
    pub sack: bool,
    /// Whether the two ends agreed on timestamps (RFC 7323).
    pub timestamps: bool,
    /// The shift counts for the windows sent and received, if the two ends agreed on window scale (RFC 7323).
    pub window_scale: Option<WindowScale>,
}

/// The shift counts that both ends announced (RFC 7323), 0 to 14.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowScale {
    /// Applied to the windows that the peer announces.
    pub peer: u8,
    /// Applied to the windows that this socket announces.
    pub own: u8,
}

/// States of `enum tcp_state` (include/net/tcp_states.h): TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING.
const PEER_ENDED: [u8; 5] = [6, 7, 8, 9, 11];
/// TCP_CLOSE of the same.
const CLOSED: u8 = 7;
const OPT_TIMESTAMPS: u8 = 1;
const OPT_SACK: u8 = 2;
const OPT_WSCALE: u8 = 4;

/// Reads `TCP_INFO` from a socket.
///
/// # Errors
/// Whatever `getsockopt` says; a socket that is not TCP gives `EOPNOTSUPP`.
pub fn tcp_info(socket: impl AsFd) -> io::Result<TcpInfo> {
    let mut raw = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `raw`, which is that large.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            raw.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed before the call, and every bit pattern of its integer fields is valid.
    let raw = unsafe { raw.assume_init() };
    // A kernel writes as much of the structure as it knows.
    let up_to_window = offset_of!(libc::tcp_info, tcpi_snd_wnd) + size_of::<u32>();
    let tells_window = length as usize >= up_to_window;
    let has = |option: u8| raw.tcpi_options & option != 0;
    Ok(TcpInfo {
        rtt: Duration::from_micros(raw.tcpi_rtt.into()),
        // All ones stand for none.
        min_rtt: (raw.tcpi_min_rtt != u32::MAX)
            .then(|| Duration::from_micros(raw.tcpi_min_rtt.into())),
        segments_sent: raw.tcpi_data_segs_out,
        segments_received: raw.tcpi_segs_in,
        retransmits: raw.tcpi_total_retrans,
        acknowledged: raw.tcpi_bytes_acked,
        received: raw.tcpi_bytes_received,
        unsent: raw.tcpi_notsent_bytes,
        peer_window: tells_window.then_some(raw.tcpi_snd_wnd),
        timeouts: raw.tcpi_retransmits,
        unanswered_probes: raw.tcpi_probes,
        last_acknowledgement: Duration::from_millis(raw.tcpi_last_ack_recv.into()),
        send_mss: raw.tcpi_snd_mss,
        in_flight: raw.tcpi_unacked,
        closed: raw.tcpi_state == CLOSED,
        peer_ended: PEER_ENDED.contains(&raw.tcpi_state),
        sack: has(OPT_SACK),
        timestamps: has(OPT_TIMESTAMPS),
        // Two 4-bit fields share the byte; the first is the low half on little-endian machines.
        window_scale: has(OPT_WSCALE).then(|| {
            let (low, high) = (raw.tcpi_snd_rcv_wscale & 0x0f, raw.tcpi_snd_rcv_wscale >> 4);
            if cfg!(target_endian = "little") {
                WindowScale {
                    peer: low,
                    own: high,
                }
            } else {
                WindowScale {
                    peer: high,
                    own: low,
                }
            }
        }),
    })
}

/// How many bytes the peer has yet to acknowledge, an end of the stream counting as one.
///
/// # Errors
/// Whatever `ioctl` says.
pub fn unacknowledged(socket: impl AsFd) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: for a socket, SIOCOUTQ (the same number as TIOCOUTQ) writes one int.
    let result = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &mut bytes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_loopback_connection_tells_what_it_negotiated() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let info = tcp_info(&client).unwrap();
        assert!(info.send_mss >= 536);
        assert_eq!(info.retransmits, 0);
    }

    #[test]
    fn bytes_that_nobody_takes_stay_unacknowledged_after_the_end() {
        use std::io::Write;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(&client).unwrap(), 0);
        client.set_nonblocking(true).unwrap();
        while client.write(&[0; 1 << 16]).is_ok() {}
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(unacknowledged(&client).unwrap() > 1);
    }

    #[test]
    fn a_peer_that_does_not_read_is_seen_to_shut_its_window() {
        use std::io::Write;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let before = tcp_info(&client).unwrap();
        assert!(before.peer_window.is_none_or(|window| window > 0));
        assert_eq!(before.unsent, 0);
        client.set_nonblocking(true).unwrap();
        while client.write(&[0; 1 << 16]).is_ok() {}
        // The last acknowledgement takes a moment.
        let begun = std::time::Instant::now();
        let shut = loop {
            let info = tcp_info(&client).unwrap();
            if info.in_flight == 0 || begun.elapsed() > Duration::from_secs(20) {
                break info;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(shut.unsent > 0, "{shut:?}");
        // Too small for what is next, if it is not 0.
        let window = shut.peer_window.unwrap_or_default();
        assert!(window < shut.send_mss, "{shut:?}");
        assert!(tcp_info(&server).unwrap().received > 0);
    }

    #[test]
    fn the_end_of_a_peer_is_known_before_its_bytes_are_read() {
        use std::io::Write;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"last words").unwrap();
        assert!(!tcp_info(&server).unwrap().peer_ended);
        drop(client);
        // On the loopback interface what was sent has arrived when the call returns.
        assert!(tcp_info(&server).unwrap().peer_ended);
        assert!(!tcp_info(&server).unwrap().closed);
    }

    #[test]
    fn a_socket_that_is_not_tcp_is_an_error() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(tcp_info(&udp).is_err());
    }
}

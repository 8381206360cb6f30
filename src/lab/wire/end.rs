//! One end of a wire: a TUN device inside a network namespace.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::spec::End;
use crate::sys::tun::Tun;

/// Packets that wait in the kernel for the wire to read them. A sender's burst must fit: a window
/// of 32 MiB is 23,000 full packets.
const QUEUE_LEN: u32 = 65_536;

/// The device, and the namespace's own count of what it dropped.
#[derive(Debug)]
pub struct OpenEnd {
    /// Where packets are read and written.
    pub tun: Tun,
    device: String,
    /// `/proc/net/dev` as seen in the namespace; it stays that file wherever it is read from.
    statistics: File,
}

impl OpenEnd {
    /// Creates the device and brings it up. A thread of its own enters the namespace, so that the
    /// caller stays where it is.
    pub fn open(end: &End) -> io::Result<Self> {
        let open = || -> io::Result<Self> {
            let namespace = File::open(Path::new("/run/netns").join(&end.netns))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(Self {
                tun: bring_up(end)?,
                device: end.device.clone(),
                statistics: File::open("/proc/thread-self/net/dev")?,
            })
        };
        thread::scope(|scope| scope.spawn(open).join())
            .expect("opening a device does not panic")
            .map_err(|error| {
                let message = format!("device {} in namespace {}: {error}", end.device, end.netns);
                io::Error::new(error.kind(), message)
            })
    }

    /// How many packets the kernel dropped because they were not read in time.
    pub fn dropped(&mut self) -> io::Result<u64> {
        let mut table = String::new();
        self.statistics.rewind()?;
        self.statistics.read_to_string(&mut table)?;
        transmit_drops(&table, &self.device).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no statistics of {}", self.device),
            )
        })
    }
}

/// Creates the device. The rest is left to `ip`: without root the kernel takes the length of the queue
/// by netlink alone. It is set before the device is up, because then the kernel itself starts to send.
fn bring_up(end: &End) -> io::Result<Tun> {
    let tun = Tun::create(&end.device)?;
    let (mtu, queue) = (end.mtu.to_string(), QUEUE_LEN.to_string());
    let set = ["link", "set", "dev", &end.device, "mtu", &mtu];
    let mut ip = Command::new("ip");
    ip.args(set).args(["txqueuelen", &queue, "up"]);
    let ended = ip.output()?;
    if !ended.status.success() {
        let message = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(io::Error::other(message));
    }
    Ok(tun)
}

/// The column "drop" under "Transmit" of `/proc/net/dev`.
fn transmit_drops(table: &str, device: &str) -> Option<u64> {
    let line = table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    line.split_whitespace().nth(8 + 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_read_from_the_line_of_the_device() {
        let table = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
wire10:       1       2    3    4    5     6          7         8        9      10   11   99    0     0       0          0
 wire1:       1       2    3    4    5     6          7         8        9      10   11   12    0     0       0          0
";
        assert_eq!(transmit_drops(table, "wire1"), Some(12));
        assert_eq!(transmit_drops(table, "wire"), None);
    }
}

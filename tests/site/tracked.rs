//! What a host's connection tracking makes of every packet of TCP, told as it happens, and what the model says in
//! the same words.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use unmangle::diagnose::tracking::{Kernel, Settings, Verdict, Way};
use unmangle::lab::Host;
use unmangle::packet::nflog;
use unmangle::sys::netfilter;

use super::inside;

/// The group that brings verdicts; the kernel's own words come by group 0.
const VERDICTS: u16 = 0x554e;

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Word {
    /// None if it is INVALID.
    pub way: Option<Way>,
    /// What is logged.
    pub texts: Vec<String>,
}

/// A packet as the rules see it, and what became of it.
#[derive(Debug)]
pub struct Told {
    pub word: Word,
    /// Its first bytes.
    pub packet: Vec<u8>,
}

/// Hears what a host tells.
pub struct Ear {
    socket: OwnedFd,
    /// What the kernel has logged of a packet whose verdict is still to come.
    texts: Vec<String>,
}

// === impl Ear ===

impl Ear {
    /// Has a host tell of every packet of TCP right after it was tracked, on these hooks.
    pub fn at(host: &Host, hooks: &[&str]) -> Self {
        let mut rules = "table inet told {\n".to_owned();
        for hook in hooks {
            rules += &format!("chain {hook} {{ type filter hook {hook} priority -195;\n");
            for (what, prefix) in [
                ("state invalid", "invalid"),
                ("direction original", "original"),
                ("direction reply", "reply"),
            ] {
                rules += &format!(
                    "meta l4proto tcp ct {what} log prefix \"{prefix}\" group {VERDICTS} queue-threshold 1\n"
                );
            }
            rules += "}\n";
        }
        host.feed("nft", &["-f", "-"], &(rules + "}\n")).unwrap();
        host.set(&[
            ("net/netfilter/nf_log/2", "nfnetlink_log"),
            ("net/netfilter/nf_log/10", "nfnetlink_log"),
            ("net/netfilter/nf_conntrack_log_invalid", "6"),
        ])
        .unwrap();
        let socket = inside(host, || {
            let socket = netfilter::socket(1 << 22).unwrap();
            for group in [VERDICTS, 0] {
                netfilter::request(&socket, &nflog::bind(group, 128)).unwrap();
            }
            socket
        });
        let mut ear = Self {
            socket,
            texts: Vec::new(),
        };
        assert!(ear.hear().is_empty(), "nothing was sent yet");
        ear
    }

    /// Everything that was told since the last time.
    pub fn hear(&mut self) -> Vec<Told> {
        let mut buffer = netfilter::buffer();
        let mut told = Vec::new();
        loop {
            let datagram = match netfilter::receive(&self.socket, &mut buffer) {
                Ok(datagram) => datagram,
                Err(Errno::AGAIN) => return told,
                Err(error) => panic!("{error}"),
            };
            // A threshold of one: a datagram is a packet, or an answer.
            let Some(prefix) = nflog::prefixes(datagram).next() else {
                continue;
            };
            let text = String::from_utf8_lossy(prefix).trim_end().to_owned();
            let way = match text.as_str() {
                "invalid" => None,
                "original" => Some(Way::Original),
                "reply" => Some(Way::Reply),
                _ => {
                    self.texts.push(text);
                    continue;
                }
            };
            // That a connection will be forgotten sooner is no word about the packet.
            let mut texts = std::mem::take(&mut self.texts);
            texts.retain(|text| !text.contains(" timeout to "));
            told.push(Told {
                word: Word { way, texts },
                packet: payload(datagram),
            });
        }
    }
}

/// The packet in a message: after its header and the group come attributes, each with its length and kind.
fn payload(datagram: &[u8]) -> Vec<u8> {
    const PAYLOAD: u16 = 9;
    let mut rest = &datagram[20..];
    loop {
        let word = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
        let (length, kind) = (usize::from(word(0)), word(2));
        if kind == PAYLOAD {
            return rest[4..length].to_vec();
        }
        rest = &rest[length.next_multiple_of(4)..];
    }
}

// === the model ===

/// What the model says, in the kernel's words.
pub fn modelled(verdict: &Verdict, way: Way, kernel: Kernel) -> Word {
    let (way, text) = match verdict {
        Verdict::Invalid(invalid) => (None, invalid.logged(kernel)),
        Verdict::Ignored(ignored) => (Some(way), Some(ignored.logged(kernel))),
        Verdict::New(_) | Verdict::Tracked { .. } => (Some(way), None),
    };
    let texts = text.map(|text| format!("nf_ct_proto_6: {text}"));
    Word {
        way,
        texts: texts.into_iter().collect(),
    }
}

/// The rules of the kernel that runs here, with its defaults.
pub fn running() -> Settings {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    Settings::new(Kernel::running(release.trim()).unwrap().kernel)
}

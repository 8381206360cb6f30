//! Which flows a direction rewrites: all, or those of some ports.

use crate::packet::Tcp;

/// The ports whose flows are rewritten; `None` is everything, be it TCP or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(Option<Vec<u16>>);

/// Which of the two directions rewrites the flow of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered {
    /// The one in which it travels.
    pub own: bool,
    /// The other one, whose shifts are undone in what comes back.
    pub back: bool,
}

// === impl Scope ===

impl Scope {
    /// The flows from or to these ports, or everything.
    pub fn new(ports: Option<&[u16]>) -> Self {
        Self(ports.map(<[u16]>::to_vec))
    }

    /// Whether the flow of this segment is among them.
    pub fn covers<B: AsRef<[u8]>>(&self, tcp: &Tcp<B>) -> bool {
        self.0
            .as_ref()
            .is_none_or(|ports| Self::touches(ports, tcp))
    }

    /// Whether what has no ports is among them.
    pub fn covers_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a segment comes from or goes to one of these ports. Which end is the server is not asked:
    /// only its SYN would tell.
    pub fn touches<B: AsRef<[u8]>>(ports: &[u16], tcp: &Tcp<B>) -> bool {
        ports.contains(&tcp.source_port()) || ports.contains(&tcp.destination_port())
    }
}

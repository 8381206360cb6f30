//! The bits of a packet's mark that lead it to the relay.

use std::fmt;

/// The bits of a packet's mark that belong to the relay: they are set, and no other bit is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u32);

/// Free of the bits that kube-proxy (0xc000), Tailscale (0xff0000), Cilium (0xf00) and Weave (0x60000) use.
pub const DEFAULT_MARK: Mark = Mark(0x0200_0000);

/// Beside it, and as free: by this bit a packet of a sidecar's own dials is known.
pub const DEFAULT_DIAL_MARK: Mark = Mark(0x0400_0000);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

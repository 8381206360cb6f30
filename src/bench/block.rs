//! What a thread of either end sends from and receives into, one for all its connections.

use crate::bench::pattern;

/// How many bytes of payload one call sends: they stay in the processor's second cache.
pub const SENT_AT_ONCE: usize = 128 << 10;

/// How many bytes of payload one call reads into memory: the same.
pub const READ_AT_ONCE: usize = SENT_AT_ONCE;

/// How many bytes of payload one call receives where it throws them away.
pub const RECEIVED_AT_ONCE: usize = 1 << 20;

/// A new one: room for the `ahead` bytes that go out before payload, then payload to send, then room for
/// the rest of what one call may receive.
pub fn block(ahead: usize) -> Vec<u8> {
    let mut block = vec![0; ahead + RECEIVED_AT_ONCE];
    pattern::fill(0, 0, &mut block[..ahead + SENT_AT_ONCE]);
    block
}

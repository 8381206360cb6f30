//! Messages of rtnetlink(7) as bytes: what its users here have in common. `linux/netlink.h` and `linux/rtnetlink.h` have
//! the layout; numbers are in the host's order.

/// `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// The 16-bit number at `at`.
pub fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(two.try_into().ok()?))
}

/// The 32-bit number at `at`.
pub fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

/// The first attribute of this kind, of a message that has `body` bytes between its header and its attributes.
pub fn attribute(message: &[u8], body: usize, kind: u16) -> Option<&[u8]> {
    let mut rest = message.get(HEADER + body..)?;
    loop {
        let length = usize::from(short(rest, 0)?);
        let value = rest.get(4..length)?;
        if short(rest, 2)? == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

//! Conntrack's counters, as the kernel hands them out (ctnetlink): the message that asks for them, and those
//! that bring them, one for each CPU. `linux/netfilter/nfnetlink_conntrack.h` has the numbers.

use super::nflog::{attributes, messages};

/// What one datagram of the answer says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Of some CPUs each its counters: the number of the attribute, and its value.
    pub cpus: Vec<Vec<(u16, u32)>>,
    /// How it ends, if it does: 0, or what the kernel has against the question.
    pub end: Option<i32>,
}

mod wire {
    /// IPCTNL_MSG_CT_GET_STATS_CPU of the subsystem CTNETLINK (1).
    pub const STATISTICS: u16 = 1 << 8 | 4;
    /// `NLM_F_REQUEST | NLM_F_DUMP`.
    pub const DUMP: u16 = 1 | 0x300;
    /// `NLMSG_ERROR`.
    pub const ERROR: u16 = 2;
    /// `NLMSG_DONE`.
    pub const DONE: u16 = 3;
    /// Of `struct nlmsghdr` and `struct nfgenmsg`.
    pub const LENGTH: u32 = 20;
    /// Of the latter.
    pub const GENERAL: usize = 4;
}

/// Asks for the counters of every CPU, in the network namespace of the socket.
#[must_use]
pub fn ask() -> Vec<u8> {
    let mut message = Vec::with_capacity(wire::LENGTH as usize);
    message.extend(wire::LENGTH.to_ne_bytes());
    message.extend(wire::STATISTICS.to_ne_bytes());
    message.extend(wire::DUMP.to_ne_bytes());
    message.extend([0; 12]);
    message
}

// === impl Answer ===

impl Answer {
    /// Reads a datagram; what is not understood is left out.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Self {
        let mut answer = Self::default();
        for (kind, body) in messages(datagram) {
            match kind {
                wire::STATISTICS => {
                    let attributes = attributes(body.get(wire::GENERAL..).unwrap_or_default());
                    answer.cpus.push(attributes.filter_map(counter).collect());
                }
                wire::DONE | wire::ERROR => answer.end = Some(code(body)),
                _ => {}
            }
        }
        answer
    }
}

fn counter((kind, value): (u16, &[u8])) -> Option<(u16, u32)> {
    Some((kind, u32::from_be_bytes(value.try_into().ok()?)))
}

/// An error is told as a negative number.
fn code(body: &[u8]) -> i32 {
    let number = body.get(..4).and_then(|bytes| bytes.try_into().ok());
    number.map_or(0, |bytes| i32::from_ne_bytes(bytes).saturating_neg())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What Linux 6.18 said on a host of two CPUs, cut down to the first, and the end of it. Recorded on a machine whose
    /// lowest byte comes first.
    #[cfg(target_endian = "little")]
    const RECORDED: &str = "6400000004010200010000003040eaa6000000010800020000000000080004000000000a\
        0800080000000000080009000000000008000a000000000008000b000000000008000c000000000008000d0000000000\
        08000e000000000008000f00000000001400000003000200010000003040eaa600000000";

    #[cfg(target_endian = "little")]
    #[test]
    fn the_answer_of_a_kernel_is_read() {
        let digits: Vec<u8> = RECORDED.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect();
        let answer = Answer::parse(&bytes);
        assert_eq!(answer.end, Some(0));
        let [cpu] = &answer.cpus[..] else {
            panic!("{answer:?}");
        };
        assert_eq!(cpu.len(), 10);
        assert_eq!(cpu[1], (4, 10));
    }

    #[test]
    fn a_refusal_is_told_by_its_number() {
        let mut bytes = 20_u32.to_ne_bytes().to_vec();
        bytes.extend(wire::ERROR.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend((-1_i32).to_ne_bytes());
        assert_eq!(Answer::parse(&bytes).end, Some(1));
    }

    #[test]
    fn the_question_is_as_the_kernels_headers_say() {
        let message = ask();
        assert_eq!(message.len(), 20);
        assert_eq!(message[..4], 20_u32.to_ne_bytes());
        assert_eq!(message[4..6], 0x104_u16.to_ne_bytes());
        assert_eq!(message[6..8], 0x301_u16.to_ne_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_taken_for_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let cpus = Answer::parse(&bytes).cpus;
            prop_assert!(cpus.iter().map(Vec::len).sum::<usize>() <= bytes.len() / 8);
        }
    }
}

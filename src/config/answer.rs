//! How opening packets are held until the server has answered.

use std::fmt;

use super::choice::Answer;
use super::keys::{ConfigError, Keys};
use super::mark::Mark;
use super::settings::{Mode, number};

/// How opening packets are held, for the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// How many at a time, servers that wait for their client included; further ones are answered at once.
    pub most: usize,
    /// The packet queue that they wait in.
    pub queue: u16,
    /// What says what becomes of them.
    pub mark: AnswerMark,
}

/// Three bits of a packet's mark: *hold it*, *the server refused* and *it is unreachable*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerMark(u32);

/// Next to the relay's own and to those of its dials, and as free of other programs' bits.
const DEFAULT_ANSWER_MARK: u32 = 0x3800_0000;
const DEFAULT_MOST: usize = 4096;
/// "UM" in ASCII, as are the table and a zone.
const DEFAULT_QUEUE: u16 = 0x554d;

// === impl Hold ===

impl Default for Hold {
    fn default() -> Self {
        Self {
            most: DEFAULT_MOST,
            queue: DEFAULT_QUEUE,
            mark: AnswerMark(DEFAULT_ANSWER_MARK),
        }
    }
}

impl Hold {
    /// Reads the keys.
    pub(super) fn read(keys: &Keys) -> Result<Self, ConfigError> {
        let default = Self::default();
        let bits = keys.parse("answer-mark", |text| {
            let bits: u32 = number(text, 1, u32::MAX.into())?;
            match bits.count_ones() {
                3 => Ok(bits),
                _ => Err(format!(
                    "{text:?} has not three bits; give a number such as 0x38000000"
                )),
            }
        })?;
        Ok(Self {
            most: keys
                .parse("held-max", |text| number(text, 1, 65536))?
                .unwrap_or(default.most),
            queue: keys
                .parse("queue", |text| number(text, 0, 65535))?
                .unwrap_or(default.queue),
            mark: AnswerMark(bits.unwrap_or(DEFAULT_ANSWER_MARK)),
        })
    }

    /// Where packets are held: their marks must not be taken for the relay's own.
    pub(super) fn stands_apart(&self, keys: &Keys, mark: Mark) -> Result<(), ConfigError> {
        if self.mark.0 & mark.0 == 0 {
            return Ok(());
        }
        let given = keys.given("answer-mark").or_else(|| keys.given("mark"));
        let given = given.expect("the defaults share no bit");
        Err(given.origin.error(format!(
            "mark {mark} and answer-mark {:#010x} have a bit in common; give them bits of their own",
            self.mark.0
        )))
    }
}

/// When a listener answers.
pub(super) fn when(keys: &Keys, mode: &Mode) -> Result<Answer, ConfigError> {
    let answer = keys.parse("answer", str::parse)?.unwrap_or_default();
    let instead = match mode {
        Mode::Gateway(_) => None,
        Mode::Forward(forward) => Some(format!("clients connect to {} itself", forward.listen)),
        Mode::ServerSidecar(_) | Mode::ClientSidecar(_) => {
            Some("a sidecar's begin or end on its host".to_owned())
        }
    };
    match (answer, instead) {
        (Answer::AfterConnect, Some(instead)) => {
            let given = keys.given("answer").expect("it is not the default");
            Err(given.origin.error(format!(
                "after-connect holds packets that pass through a router, and {instead}; it is for a gateway"
            )))
        }
        (answer, _) => Ok(answer),
    }
}

// === impl AnswerMark ===

impl AnswerMark {
    /// All three bits.
    pub fn all(self) -> u32 {
        self.0
    }

    /// Hold it: set by the rules on what is to wait in the queue.
    pub fn hold(self) -> u32 {
        self.bit(0)
    }

    /// The server refused.
    pub fn refused(self) -> u32 {
        self.bit(1)
    }

    /// The server's host is unreachable, or silent.
    pub fn host_unreachable(self) -> u32 {
        self.bit(2)
    }

    /// The server's network is unreachable.
    pub fn network_unreachable(self) -> u32 {
        self.bit(1) | self.bit(2)
    }

    /// The bit with so many others below it.
    fn bit(self, others: u32) -> u32 {
        let mut bits = self.0;
        for _ in 0..others {
            bits &= bits - 1;
        }
        bits & bits.wrapping_neg()
    }
}

impl fmt::Display for AnswerMark {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bits_wherever_they_are_say_four_things() {
        let mark = AnswerMark(0x8000_0101);
        let said = [
            mark.hold(),
            mark.refused(),
            mark.host_unreachable(),
            mark.network_unreachable(),
        ];
        assert_eq!(said, [0x1, 0x100, 0x8000_0000, 0x8000_0100]);
    }

    #[test]
    fn bits_that_are_the_relays_own_are_refused_and_the_culprit_is_named() {
        let read = |key: &str, value: &str, mark: u32| {
            let mut keys = Keys::default();
            keys.set_flag(key, [value]);
            let hold = Hold::read(&keys).map_err(|error| error.to_string())?;
            let apart = hold.stands_apart(&keys, Mark(mark));
            apart.map(|()| hold).map_err(|error| error.to_string())
        };
        let error = read("answer-mark", "0x07000000", 0x0200_0000).unwrap_err();
        assert!(
            error.starts_with("--answer-mark: mark 0x02000000 and"),
            "{error}"
        );
        let error = read("mark", "0x08000000", 0x0800_0000).unwrap_err();
        assert!(error.starts_with("--mark: mark 0x08000000 and"), "{error}");
        let error = read("answer-mark", "3", 0x0200_0000).unwrap_err();
        assert!(error.contains("has not three bits"), "{error}");
        assert_eq!(read("answer-mark", "7", 0x0200_0000).unwrap().mark.all(), 7);
    }
}

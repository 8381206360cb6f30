//! Settings that are one of a few words.

use std::fmt;
use std::str::FromStr;

/// A word that is none of those that there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is none of: {choices}", choices = .choices.join(", "))]
pub struct NoChoice {
    given: String,
    choices: &'static [&'static str],
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every word, in the order in which they are told.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl FromStr for $name {
            type Err = NoChoice;

            fn from_str(text: &str) -> Result<Self, NoChoice> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(NoChoice { given: text.to_owned(), choices: Self::WORDS }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)+ })
            }
        }
    };
}

choice! {
    /// How a relay is deployed.
    Deployment {
        /// On a router; what passes through it is intercepted.
        #[default]
        Gateway = "gateway",
        /// On the host that serves; what comes to it is intercepted.
        ServerSidecar = "server-sidecar",
        /// On the host that opens connections; they are intercepted.
        ClientSidecar = "client-sidecar",
        /// Anywhere; clients come to it.
        Forward = "forward",
    }
}

choice! {
    /// How a server sidecar dials its service, and what the service sees.
    ServiceLeg {
        /// At the loopback address: it sees the client's address and port, and a loopback address of its own.
        #[default]
        Loopback = "loopback",
        /// At its own address: it sees that and the client's address, and another port.
        OwnAddress = "own-address",
        /// At its own address, from the client's address and port: it sees no difference.
        Transparent = "transparent",
    }
}

choice! {
    /// Whether times and sizes are recorded.
    Histograms {
        /// They are.
        #[default]
        On = "on",
        /// Only counters are kept.
        Off = "off",
    }
}

choice! {
    /// Whether workers stay on processors of their own.
    PinWorkers {
        /// They do if there are as many of them as processors.
        #[default]
        Auto = "auto",
        /// They are left to the scheduler.
        Off = "off",
    }
}

choice! {
    /// Whether packets that conntrack calls INVALID are counted by its reasons.
    InvalidReasons {
        /// They are, where the host logs them.
        #[default]
        On = "on",
        /// What is logged is left to other programs.
        Off = "off",
    }
}

choice! {
    /// What becomes of segments of intercepted ports that belong to no session of this gateway and to no connection
    /// that its conntrack knows: another gateway has relayed theirs.
    Strangers {
        /// They are routed on.
        #[default]
        Forward = "forward",
        /// Both ends are reset.
        Reset = "reset",
    }
}

choice! {
    /// What moves the bytes.
    Engine {
        /// Our own: a shared buffer for short messages, pooled pipes for bulk.
        #[default]
        Splice = "splice",
        /// The `tokio-splice` crate: two pipes a session, for as long as it lives.
        TokioSplice = "tokio-splice",
        /// `tokio::io::copy_bidirectional`: two buffers a session, every byte copied.
        Copy = "copy",
    }
}

choice! {
    /// When a client's opening packet is answered.
    Answer {
        /// As it comes; the server is dialled afterwards.
        #[default]
        AtOnce = "at-once",
        /// Once the server has answered the relay's own dial, and as it did.
        AfterConnect = "after-connect",
    }
}

choice! {
    /// What becomes of new connections when the relay is killed.
    Fail {
        /// They flow unrelayed, as they did before.
        #[default]
        Open = "open",
        /// They are dropped until the relay runs again or the rules are removed.
        Closed = "closed",
    }
}

choice! {
    /// Who puts the rules in place.
    RulesMode {
        /// The relay, and they vanish with it.
        #[default]
        Own = "own",
        /// Somebody else, who is shown them.
        Print = "print",
        /// Somebody else, who knows them.
        None = "none",
    }
}

choice! {
    /// How the two legs of a session are kept apart in conntrack.
    Track {
        /// Each leg has a zone of its own.
        #[default]
        Zones = "zones",
        /// They are not tracked.
        Notrack = "notrack",
    }
}

choice! {
    /// What becomes of the settings of the host that a profile wants changed.
    HostTuning {
        /// They are left as they are.
        #[default]
        Nothing = "none",
        /// They are shown.
        Print = "print",
        /// They are changed, and changed back at the end.
        Apply = "apply",
    }
}

choice! {
    /// Whose address the server of a forwarded connection sees.
    DialFrom {
        /// This host's.
        #[default]
        Relay = "relay",
        /// The client's own, and its port if that can be had.
        Client = "client",
    }
}

choice! {
    /// What becomes of a session that is stuck.
    StallAction {
        /// It is named in the log and counted, and goes on.
        #[default]
        Log = "log",
        /// It is reset, too.
        Reset = "reset",
    }
}

choice! {
    /// How the log is written.
    LogFormat {
        /// One line for people.
        #[default]
        Human = "human",
        /// One JSON object a line.
        Json = "json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_and_written_alike() {
        for word in Engine::WORDS {
            assert_eq!(word.parse::<Engine>().unwrap().to_string(), *word);
        }
    }

    #[test]
    fn another_word_is_answered_with_those_there_are() {
        let error = "ajar".parse::<Fail>().unwrap_err().to_string();
        assert_eq!(error, "\"ajar\" is none of: open, closed");
    }
}

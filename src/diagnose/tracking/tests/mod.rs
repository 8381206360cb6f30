//! Every rule with its numbers, and what must hold of all of them.

mod bounds;
mod closing;
mod opening;
mod properties;
mod remembering;

use std::time::Duration;

use super::*;
use crate::packet::Flags;

/// Where both begin.
const CLIENT: u32 = 1_000_000;
const SERVER: u32 = 5_000_000;

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const SYN_ACK: Flags = Flags(0x12);
const FIN_ACK: Flags = Flags(0x11);
const RST: Flags = Flags::RST;
const RST_ACK: Flags = Flags(0x14);

/// Two hosts and the tracker between them. Numbers are counted from the first of each side, which begins
/// where it is told to: nothing may depend on that.
struct Wire {
    table: Table,
    now: Duration,
    client: u32,
    server: u32,
}

/// A segment to be, with numbers counted from the first of each side.
#[derive(Debug, Clone, Copy)]
struct Said {
    from_server: bool,
    flags: Flags,
    seq: u32,
    ack: u32,
    window: u16,
    payload: u32,
    options: OptionsSeen,
}

// === impl Said ===

impl Said {
    fn client(flags: Flags, seq: u32, ack: u32) -> Self {
        Self {
            from_server: false,
            flags,
            seq,
            ack,
            window: 1000,
            payload: 0,
            options: OptionsSeen::default(),
        }
    }

    fn server(flags: Flags, seq: u32, ack: u32) -> Self {
        Self {
            from_server: true,
            ..Self::client(flags, seq, ack)
        }
    }

    fn with(self, payload: u32) -> Self {
        Self { payload, ..self }
    }

    fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    fn offers(mut self, scale: Option<u8>, sack_permitted: bool) -> Self {
        self.options = OptionsSeen {
            any: true,
            scale,
            sack_permitted,
            ..OptionsSeen::default()
        };
        self
    }

    /// With a SACK block from `left` to before `right`.
    fn sacks(mut self, left: u32, right: u32) -> Self {
        self.options.any = true;
        self.options.sack = Some(SackBlock {
            index: 0,
            left,
            right,
        });
        self
    }
}

// === impl Wire ===

impl Wire {
    fn new(kernel: Kernel) -> Self {
        Self::with(Settings::new(kernel))
    }

    fn with(settings: Settings) -> Self {
        Self {
            table: Table::new(settings),
            now: Duration::from_secs(1_000),
            client: CLIENT,
            server: SERVER,
        }
    }

    fn segment(&self, said: Said) -> Segment {
        let ends = ["192.0.2.2:40000", "198.51.100.2:22"].map(|end| end.parse().unwrap());
        let (from, to) = match said.from_server {
            true => (1, 0),
            false => (0, 1),
        };
        let bases = [self.client, self.server];
        let acked = bases[to];
        let mut options = said.options;
        if let Some(block) = &mut options.sack {
            block.left = block.left.wrapping_add(acked);
            block.right = block.right.wrapping_add(acked);
        }
        Segment {
            source: ends[from],
            destination: ends[to],
            zone: 0,
            sequence: said.seq.wrapping_add(bases[from]),
            acknowledgement: match said.flags.has(ACK) {
                true => said.ack.wrapping_add(acked),
                false => 0,
            },
            window: said.window,
            flags: said.flags,
            payload: said.payload,
            options,
            fault: None,
        }
    }

    fn see(&mut self, said: Said) -> Seen {
        let segment = self.segment(said);
        self.table.see(self.now, &segment)
    }

    fn say(&mut self, said: Said) -> Verdict {
        self.see(said).verdict
    }

    /// The state after a segment that is believed.
    fn state(&mut self, said: Said) -> State {
        match self.say(said) {
            Verdict::New(state)
            | Verdict::Tracked {
                state,
                forgiven: None,
                ..
            } => state,
            other => panic!("{other:?}"),
        }
    }

    fn invalid(&mut self, said: Said) -> Invalid {
        match self.say(said) {
            Verdict::Invalid(invalid) => invalid,
            other => panic!("{other:?}"),
        }
    }

    fn ignored(&mut self, said: Said) -> Ignored {
        match self.say(said) {
            Verdict::Ignored(ignored) => ignored,
            other => panic!("{other:?}"),
        }
    }

    /// A connection with SACK, windows of 1000 bytes and no scale; both have sent nothing yet.
    fn open(&mut self) {
        let syn = Said::client(SYN, 0, 0).offers(None, true);
        assert_eq!(self.state(syn), State::SynSent);
        let syn_ack = Said::server(SYN_ACK, 0, 1).offers(None, true);
        assert_eq!(self.state(syn_ack), State::SynRecv);
        assert_eq!(self.state(Said::client(ACK, 1, 1)), State::Established);
    }

    fn opened(kernel: Kernel) -> Self {
        let mut wire = Self::new(kernel);
        wire.open();
        wire
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

/// A number that was out of its bound, counted from where its side begins.
fn out(measured: Option<Measured>, base: u32) -> (u32, u32, u32) {
    let measured = measured.expect("the rule is about a number");
    let relative = |number: u32| number.wrapping_sub(base);
    (
        relative(measured.seen),
        relative(measured.allowed),
        measured.out_by,
    )
}

//! The old process's side, in three steps, each of which blocks: [`offer`], while it still relays; then
//! [`Willing::hand_over`], while it stands still; then [`Rest::run`], while the other relays.
//!
//! Until `Started` has arrived everything belongs to this process, and whatever goes wrong, it takes everything back.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::claim::Claim;
use super::line::{Batches, Failure, Line, Patience, Trouble, borrowed};
use super::message::{Hello, Message, OF_CLAIM, SESSIONS_VERSION, Totals};
use super::standing::Standing;
use crate::relay::{Carrier, MOST};

/// What the old process can do. Every method blocks until it is done.
pub trait Giver {
    /// Stops accepting; with [`Going::Over`] the sessions that are being relayed stand still, too, and with
    /// [`Going::Nowhere`] they go on until their end.
    ///
    /// # Errors
    /// If it cannot be done. [`Giver::go_on`] follows.
    fn stand_still(&mut self, sessions: Going) -> Result<(), Trouble>;

    /// Brings every session that stands still. They stay here as they are.
    ///
    /// # Errors
    /// If one was not brought; also if `carrier` fails, whose error is to be handed on. [`Giver::go_on`] follows.
    fn carry(&mut self, carrier: Box<dyn Carrier>) -> Result<(), Trouble>;

    /// What was recorded since the last time that [`Giver::let_go`] followed. Nothing is forgotten before that.
    fn totals(&mut self) -> Totals;

    /// Takes back what was not let go: what stands still, if anything does, is relayed on; before the first
    /// [`Giver::let_go`], listeners accept again.
    fn go_on(&mut self);

    /// What was brought is the other's, and the listeners and the rules from the first time on: closes all copies, sends
    /// nothing, undoes nothing.
    fn let_go(&mut self);

    /// Closes and removes the sockets where it is asked. Once, after the first [`Giver::let_go`].
    fn close_doors(&mut self);

    /// Waits until sessions that were only being dialled have come to relaying, and has them stand still; or until
    /// there will be none, because all that stayed have ended, or their time is over.
    fn more(&mut self) -> More;
}

/// Where the sessions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Going {
    /// To the other process.
    Over,
    /// They stay until their end: the other reads another version of them.
    Nowhere,
}

/// Whether sessions have come after the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// They stand still, to be brought.
    Some,
    /// None will.
    None,
}

/// The other is ready. Nothing has changed so far.
#[derive(Debug)]
pub struct Willing<L> {
    line: L,
    patience: Patience,
    claim: Claim,
    /// Who it is.
    hello: Hello,
}

/// The other relays, and here is what is left.
#[derive(Debug)]
pub struct Rest<L>(Willing<L>);

/// Offers everything: greets, tells what there is, and waits until the other is ready. `descriptors` are those of
/// [`Standing::descriptors`], as duplicates: they are closed when they are sent.
///
/// # Errors
/// If the other cannot or does not want to. It was told why, if it can be; nothing has changed here.
pub fn offer<L: Line>(
    line: L,
    patience: Patience,
    standing: Standing,
    descriptors: Vec<OwnedFd>,
) -> Result<Willing<L>, Failure> {
    let claim = match Claim::of_this_process() {
        Ok(claim) => claim,
        Err(error) => {
            let failure = Failure::Own(error.into());
            failure.tell(&line);
            return Err(failure);
        }
    };
    offer_with(line, patience, claim, standing, descriptors)
}

pub(super) fn offer_with<L: Line>(
    line: L,
    patience: Patience,
    claim: Claim,
    standing: Standing,
    descriptors: Vec<OwnedFd>,
) -> Result<Willing<L>, Failure> {
    match introduce(&line, &patience, &claim, standing, descriptors) {
        Ok(hello) => Ok(Willing {
            line,
            patience,
            claim,
            hello,
        }),
        Err(failure) => {
            claim.withdraw();
            failure.tell(&line);
            Err(failure)
        }
    }
}

fn introduce(
    line: &impl Line,
    patience: &Patience,
    claim: &Claim,
    standing: Standing,
    descriptors: Vec<OwnedFd>,
) -> Result<Hello, Failure> {
    let hello = match line.receive(patience.answer)? {
        (Message::Hello(hello), _) => hello,
        (message, _) => return Err(Failure::instead(message, "`Hello`")),
    };
    let own = Message::Hello(Hello::of_this_process());
    line.send(&own, &[], patience.answer)?;
    if descriptors.len() != standing.descriptors() {
        let (has, told) = (descriptors.len(), standing.descriptors());
        let error = format!("{has} descriptors were given for a standing that has {told}");
        return Err(Failure::Own(error.into()));
    }
    let mut all = claim.parts().to_vec();
    all.extend(borrowed(&descriptors));
    let (first, further) = all.split_at((OF_CLAIM + standing.descriptors()).min(MOST));
    line.send(&Message::Standing(standing), first, patience.answer)?;
    for some in further.chunks(MOST) {
        let message = Message::Further(some.len() as u16);
        line.send(&message, some, patience.answer)?;
    }
    match line.receive(patience.ready)? {
        (Message::Ready, _) => Ok(hello),
        (message, _) => Err(Failure::instead(message, "`Ready`")),
    }
}

// === impl Willing ===

impl<L: Line> Willing<L> {
    /// Who it is.
    pub fn other(&self) -> &Hello {
        &self.hello
    }

    /// Whether sessions go over.
    pub fn going(&self) -> Going {
        if self.hello.sessions_version == SESSIONS_VERSION {
            Going::Over
        } else {
            Going::Nowhere
        }
    }

    /// Sends the other away; nothing has changed here.
    pub fn send_away(self, why: &str) {
        self.take_back(&Failure::Own(why.into()));
    }

    /// Stands still, brings everything and lets it go, doors and all.
    ///
    /// # Errors
    /// If the other has not begun, and never will: `giver` goes on with everything.
    pub fn hand_over(self, giver: &mut impl Giver) -> Result<Rest<L>, Failure> {
        let brought = giver
            .stand_still(self.going())
            .map_err(Failure::Own)
            .and_then(|()| self.round(giver));
        if let Err(failure) = brought {
            self.take_back(&failure);
            giver.go_on();
            return Err(failure);
        }
        giver.let_go();
        giver.close_doors();
        Ok(Rest(self))
    }

    fn rounds(&self, giver: &mut impl Giver) -> Result<(), Failure> {
        self.line.send(&Message::Free, &[], self.patience.answer)?;
        while giver.more() == More::Some {
            self.round(giver)?;
            giver.let_go();
        }
        let bye = Message::Bye(Box::new(giver.totals()));
        Ok(self.line.send(&bye, &[], self.patience.answer)?)
    }

    /// Brings what stands still. It is the other's if this succeeds, and else it is not and will not be.
    fn round(&self, giver: &mut impl Giver) -> Result<(), Failure> {
        if self.going() == Going::Over {
            let carrier = Batches::over(self.line.clone(), self.patience);
            giver.carry(Box::new(carrier)).map_err(Failure::Own)?;
        }
        let yours = Message::Yours(Box::new(giver.totals()));
        self.line.send(&yours, &[], self.patience.answer)?;
        self.started()
    }

    /// Waits for `Started`.
    fn started(&self) -> Result<(), Failure> {
        let failure = match self.line.receive(self.patience.answer) {
            Ok((Message::Started, _)) => return Ok(()),
            Ok((message, _)) => Failure::instead(message, "`Started`"),
            Err(error) => error.into(),
        };
        // It can be written at this moment. From here on it cannot, and whoever tries knows that nothing is his.
        self.line.deafen();
        match self.line.receive(Duration::ZERO) {
            Ok((Message::Started, _)) => Ok(()),
            _ => Err(failure),
        }
    }

    /// From here on nothing that was not `Started` is the other's, even if it learns of it when this process is no more.
    fn take_back(&self, failure: &Failure) {
        self.claim.withdraw();
        failure.tell(&self.line);
    }
}

// === impl Rest ===

impl<L: Line> Rest<L> {
    /// Hands over what comes to relaying only now, until there is no more. This process has nothing to do after that.
    ///
    /// # Errors
    /// If the other is not to be reached any more: what is left is relayed here, to its end.
    pub fn run(self, giver: &mut impl Giver) -> Result<(), Failure> {
        let Self(other) = self;
        let ended = other.rounds(giver);
        if let Err(failure) = &ended {
            other.take_back(failure);
            giver.go_on();
        }
        ended
    }
}

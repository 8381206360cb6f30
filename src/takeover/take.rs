//! The new process's side, in two steps, each of which blocks: [`take`], until it relays; then [`Rest::run`], until the
//! old process has nothing more.
//!
//! Nothing that was received may be touched before `Started` is written, or before the old process is gone for sure
//! without having taken anything back.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::claim::{Claim, Fate};
use super::line::{Failure, Line, Patience, Trouble, parcels};
use super::message::{Hello, Message, OF_CLAIM, Totals};
use super::standing::Standing;
use crate::relay::Parcel;

/// What the new process can do. Every method blocks until it is done.
pub trait Taker {
    /// Makes everything ready that has to be ready before it could begin: reads the settings, compares them with what
    /// there is, starts workers that wait, takes hold of the listeners and of the rules. Nothing is changed yet that the
    /// old process would miss. `descriptors` are those of [`Standing::descriptors`].
    ///
    /// # Errors
    /// If it does not fit. [`Taker::discard`] follows.
    fn adopt(&mut self, standing: Standing, descriptors: Vec<OwnedFd>) -> Result<(), Trouble>;

    /// Keeps sessions, unused.
    ///
    /// # Errors
    /// If it cannot have them. [`Taker::discard`] follows, or, should the old process be gone by then, [`Taker::begin`]
    /// with those it has.
    fn keep(&mut self, sessions: Vec<Parcel<OwnedFd>>) -> Result<(), Trouble>;

    /// Carries on what was kept; the first time, it also begins to accept, and owns the rules.
    fn begin(&mut self);

    /// Adds to what is recorded. After a [`Taker::begin`], or without one at the end.
    fn add(&mut self, totals: Totals);

    /// Drops what was kept and not begun with: closes all copies, sends nothing, undoes nothing. Before the first
    /// [`Taker::begin`] that is everything.
    fn discard(&mut self);

    /// The sockets where a relay is asked can be opened. Once, after the first [`Taker::begin`]; if the old process was
    /// killed, it may have left some files.
    fn doors_free(&mut self);
}

/// This process relays, and here is what may come yet.
#[derive(Debug)]
pub struct Rest<L> {
    line: L,
    patience: Patience,
    claim: Claim,
    old: Old,
}

/// What the old process does meanwhile.
#[derive(Debug)]
enum Old {
    /// Has more, perhaps.
    Stays,
    /// Was killed in the middle.
    Gone(Failure),
}

/// How a takeover ended.
#[derive(Debug)]
pub enum End {
    /// The old process has nothing more.
    Complete,
    /// The old process was killed. What it had not handed over is lost.
    OldGone(Failure),
    /// The old process relays what it had not handed over.
    OldKeepsTheRest(Failure),
}

/// Takes over: greets, learns what there is, gets ready, receives the sessions, and begins.
///
/// # Errors
/// If the old process goes on with everything, or was killed before there was anything to carry on. `taker` has dropped
/// what it had.
pub fn take<L: Line>(
    line: L,
    patience: Patience,
    taker: &mut impl Taker,
) -> Result<Rest<L>, Failure> {
    let claim = match meet(&line, &patience, taker) {
        Ok(claim) => claim,
        Err(failure) => {
            failure.tell(&line);
            taker.discard();
            return Err(failure);
        }
    };
    let mut rest = Rest {
        line,
        patience,
        claim,
        old: Old::Stays,
    };
    let failure = match rest.until_begun(taker) {
        Ok(()) => return Ok(rest),
        Err(failure) => failure,
    };
    if rest.inherits(&failure) {
        taker.begin();
        rest.old = Old::Gone(failure);
        return Ok(rest);
    }
    taker.discard();
    Err(failure)
}

/// Until it holds what there is besides sessions.
fn meet(line: &impl Line, patience: &Patience, taker: &mut impl Taker) -> Result<Claim, Failure> {
    let own = Message::Hello(Hello::of_this_process());
    line.send(&own, &[], patience.answer)?;
    match line.receive(patience.answer)? {
        (Message::Hello(_), _) => {}
        (message, _) => return Err(Failure::instead(message, "`Hello`")),
    }
    let (standing, mut descriptors) = match line.receive(patience.answer)? {
        (Message::Standing(standing), descriptors) => (standing, descriptors),
        (message, _) => return Err(Failure::instead(message, "`Standing`")),
    };
    let wanted = OF_CLAIM + standing.descriptors();
    while descriptors.len() < wanted {
        match line.receive(patience.answer)? {
            (Message::Further(1..), more) if descriptors.len() + more.len() <= wanted => {
                descriptors.extend(more);
            }
            (message, _) => return Err(Failure::instead(message, "the rest of `Standing`")),
        }
    }
    let of_standing = descriptors.split_off(OF_CLAIM);
    let [life, withdrawn] = <[OwnedFd; OF_CLAIM]>::try_from(descriptors)
        .map_err(|_| Failure::Own("a claim has two descriptors".into()))?;
    taker.adopt(standing, of_standing).map_err(Failure::Own)?;
    Ok(Claim::from_parts(life, withdrawn))
}

// === impl Rest ===

impl<L: Line> Rest<L> {
    /// Takes what comes to relaying only now, until the old process has nothing more. `taker` may be asked from another
    /// thread than before.
    pub fn run(mut self, taker: &mut impl Taker) -> End {
        let mut doors = Doors::Taken;
        let end = match std::mem::replace(&mut self.old, Old::Stays) {
            Old::Gone(failure) => End::OldGone(failure),
            Old::Stays => match self.until_bye(taker, &mut doors) {
                Ok(()) => End::Complete,
                Err(failure) if self.inherits(&failure) => {
                    taker.begin();
                    End::OldGone(failure)
                }
                Err(failure) => {
                    taker.discard();
                    End::OldKeepsTheRest(failure)
                }
            },
        };
        // Who is gone has none, and who hangs up after `Started` has closed them.
        if doors == Doors::Taken {
            taker.doors_free();
        }
        end
    }

    fn until_begun(&self, taker: &mut impl Taker) -> Result<(), Failure> {
        self.line.send(&Message::Ready, &[], self.patience.answer)?;
        loop {
            let (message, descriptors) = self.line.receive(self.patience.ready)?;
            match message {
                Message::Sessions(notes) => self.keep(taker, parcels(notes, descriptors))?,
                Message::Yours(totals) => return self.start(taker, *totals),
                message => return Err(Failure::instead(message, "`Sessions` or `Yours`")),
            }
        }
    }

    fn until_bye(&self, taker: &mut impl Taker, doors: &mut Doors) -> Result<(), Failure> {
        loop {
            let (message, descriptors) = self.line.receive(Duration::MAX)?;
            match message {
                Message::Free if *doors == Doors::Taken => {
                    *doors = Doors::Free;
                    taker.doors_free();
                }
                Message::Sessions(notes) => self.keep(taker, parcels(notes, descriptors))?,
                Message::Yours(totals) => self.start(taker, *totals)?,
                Message::Bye(totals) => {
                    taker.add(*totals);
                    return Ok(());
                }
                message => return Err(Failure::instead(message, "`Sessions` or `Bye`")),
            }
        }
    }

    fn keep(&self, taker: &mut impl Taker, sessions: Vec<Parcel<OwnedFd>>) -> Result<(), Failure> {
        let have = Message::Have(sessions.len() as u32);
        taker.keep(sessions).map_err(Failure::Own)?;
        Ok(self.line.send(&have, &[], self.patience.answer)?)
    }

    /// It is ours by `Started`, and only if that could be written: an old process that took everything back is deaf.
    fn start(&self, taker: &mut impl Taker, totals: Totals) -> Result<(), Failure> {
        let answer = self.patience.answer;
        self.line.send(&Message::Started, &[], answer)?;
        taker.begin();
        taker.add(totals);
        Ok(())
    }

    /// Whether all that was lent is this process's now, because nobody else has it any more.
    fn inherits(&self, failure: &Failure) -> bool {
        // So that it takes everything back, if it lives; nothing is written to it any more.
        failure.tell(&self.line);
        match self.claim.fate(self.patience.gone) {
            Ok(fate) => fate == Fate::Gone,
            Err(error) => {
                tracing::error!(%error, "cannot tell whether the old process lives: it is left what it has");
                false
            }
        }
    }
}

/// Whether the addresses where a relay is asked are the old process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doors {
    Taken,
    Free,
}

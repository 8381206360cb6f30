//! What both sides of a takeover have in common: a line to the other, how long it is waited for, and what goes wrong.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::channel::ChannelError;
use super::frame::{HEAD, Kind, LONGEST};
use super::message::Message;
use crate::relay::{Carrier, MOST, Note, Parcel};

/// A line to the other process: [`Channel`](super::Channel), or in tests one that breaks. Clones are the same line.
pub trait Line: Clone + std::fmt::Debug + Send + 'static {
    /// Sends a message and its descriptors. One without a payload is sent as a whole or not at all.
    ///
    /// # Errors
    /// If it was not sent within that time; the other did not get it, then, or got a part, which is none.
    fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
        within: Duration,
    ) -> Result<(), ChannelError>;

    /// Receives a message and its descriptors; what has arrived already is received even if the other is gone, and with
    /// no time at all. [`Duration::MAX`] is for ever.
    ///
    /// # Errors
    /// If none came within that time.
    fn receive(&self, within: Duration) -> Result<(Message, Vec<OwnedFd>), ChannelError>;

    /// From now on the other cannot send; what it sent before can still be received. No message is in between.
    fn deafen(&self);

    /// From now on nobody can send; the other still gets what was sent before.
    fn hang_up(&self);
}

/// How long the other is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until it has read its settings, looked at the host and could begin; by it, until sessions begin to come.
    pub ready: Duration,
    /// For each other answer.
    pub answer: Duration,
    /// Until a process whose end of the line is closed is gone.
    pub gone: Duration,
}

/// Why a takeover came to nothing, or to its end too early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The other process wants no more.
    #[error("the other process says: {0}")]
    Off(String),
    /// The line failed.
    #[error(transparent)]
    Line(#[from] ChannelError),
    /// This process could not do its part.
    #[error("{0}")]
    Own(Trouble),
    /// A message that does not belong there.
    #[error("{came} came instead of {awaited}: use builds of releases for both processes")]
    Unexpected {
        /// What came.
        came: Kind,
        /// What should have.
        awaited: &'static str,
    },
    /// The other has not all that was sent.
    #[error("{has} of {sent} sessions have arrived")]
    Lost {
        /// As the other says.
        has: u32,
        /// As they were sent.
        sent: u32,
    },
}

/// What went wrong in a part that is not told here.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Brings sessions over a line and waits each time until they have arrived.
#[derive(Debug)]
pub struct Batches<L> {
    line: L,
    patience: Patience,
}

// === impl Patience ===

impl Default for Patience {
    fn default() -> Self {
        Self {
            ready: Duration::from_secs(30),
            answer: Duration::from_secs(5),
            gone: Duration::from_secs(2),
        }
    }
}

// === impl Failure ===

impl Failure {
    /// For a message that does not belong there; `Off` belongs everywhere.
    pub(super) fn instead(message: Message, awaited: &'static str) -> Self {
        match message {
            Message::Off(why) => Self::Off(why),
            message => Self::Unexpected {
                came: message.kind(),
                awaited,
            },
        }
    }

    /// Lets the other know, if that takes no time, and hangs up.
    pub(super) fn tell(&self, line: &impl Line) {
        // Who said `Off` knows. Whether the other gets it makes no difference to who has what.
        if !matches!(self, Self::Off(_)) {
            let _ = line.send(&Message::Off(self.to_string()), &[], Duration::ZERO);
        }
        line.hang_up();
    }
}

// === impl Batches ===

impl<L: Line> Batches<L> {
    /// Over this line.
    pub(super) fn over(line: L, patience: Patience) -> Self {
        Self { line, patience }
    }

    fn bring(&self, sessions: Vec<Parcel<BorrowedFd<'_>>>) -> Result<(), Failure> {
        let sent = sessions.len() as u32;
        let (notes, descriptors): (Vec<Note>, Vec<_>) = sessions
            .into_iter()
            .map(|Parcel { note, descriptors }| (note, descriptors))
            .unzip();
        let descriptors = descriptors.concat();
        let message = Message::Sessions(notes);
        self.line
            .send(&message, &descriptors, self.patience.answer)?;
        match self.line.receive(self.patience.answer)? {
            (Message::Have(has), _) if has == sent => Ok(()),
            (Message::Have(has), _) => Err(Failure::Lost { has, sent }),
            (message, _) => Err(Failure::instead(message, "`Have`")),
        }
    }
}

impl<L: Line> Carrier for Batches<L> {
    /// Further messages if one cannot have it all: a session can hold a mebibyte in each direction.
    fn carry<'a>(
        &mut self,
        sessions: &mut dyn Iterator<Item = Parcel<BorrowedFd<'a>>>,
    ) -> io::Result<()> {
        let mut batch = Vec::new();
        // The brackets of a list.
        let mut bytes = HEAD + 2;
        let mut descriptors = 0;
        for parcel in sessions {
            let more = serde_json::to_vec(&parcel.note)?.len() + 1;
            let full = bytes + more > LONGEST || descriptors + parcel.descriptors.len() > MOST;
            if full && !batch.is_empty() {
                self.bring(std::mem::take(&mut batch))
                    .map_err(io::Error::other)?;
                (bytes, descriptors) = (HEAD + 2, 0);
            }
            bytes += more;
            descriptors += parcel.descriptors.len();
            batch.push(parcel);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.bring(batch).map_err(io::Error::other)
    }
}

/// Sessions with their descriptors, of which there are as many as the notes say.
pub(super) fn parcels(notes: Vec<Note>, descriptors: Vec<OwnedFd>) -> Vec<Parcel<OwnedFd>> {
    let mut descriptors = descriptors.into_iter();
    notes
        .into_iter()
        .map(|note| Parcel {
            descriptors: descriptors.by_ref().take(note.descriptors()).collect(),
            note,
        })
        .collect()
}

/// Borrowed, as they are sent.
pub(super) fn borrowed(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(AsFd::as_fd).collect()
}

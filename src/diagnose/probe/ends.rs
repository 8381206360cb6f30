//! The two ends of the path, as an experiment uses them.

use std::time::Duration;

use super::order::{Answer, End, Order};

/// Both ends: real hosts, or a model of a path in a test.
pub trait Ends {
    /// Has one end do something, and waits for its answer. Meanwhile both go on with what they were told before.
    ///
    /// # Errors
    /// If that end cannot be asked any more. That it does not do it is an [`Answer::Refused`].
    fn ask(&mut self, end: End, order: Order) -> Result<Answer, Lost>;

    /// Lets time go by; both ends go on with what they were told.
    fn wait(&mut self, time: Duration);

    /// Time since the beginning.
    fn now(&self) -> Duration;
}

/// The other end cannot be asked any more, or this one cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lost(pub String);

//! Which way a packet travels.

use serde::{Deserialize, Serialize};

/// The way a packet travels on a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heading {
    /// From end `a` to end `b`.
    AToB,
    /// From end `b` to end `a`.
    BToA,
}

/// One `T` for each heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PerHeading<T> {
    /// What belongs to packets from `a` to `b`.
    pub a_to_b: T,
    /// What belongs to packets from `b` to `a`.
    pub b_to_a: T,
}

// === impl Heading ===

impl Heading {
    /// Both, to loop over.
    pub const BOTH: [Self; 2] = [Self::AToB, Self::BToA];

    /// The other way.
    #[must_use]
    pub fn back(self) -> Self {
        match self {
            Self::AToB => Self::BToA,
            Self::BToA => Self::AToB,
        }
    }
}

// === impl PerHeading ===

impl<T> PerHeading<T> {
    /// Makes one for each heading.
    pub fn new(mut make: impl FnMut(Heading) -> T) -> Self {
        Self {
            a_to_b: make(Heading::AToB),
            b_to_a: make(Heading::BToA),
        }
    }
}

impl<T> std::ops::Index<Heading> for PerHeading<T> {
    type Output = T;

    fn index(&self, heading: Heading) -> &T {
        match heading {
            Heading::AToB => &self.a_to_b,
            Heading::BToA => &self.b_to_a,
        }
    }
}

impl<T> std::ops::IndexMut<Heading> for PerHeading<T> {
    fn index_mut(&mut self, heading: Heading) -> &mut T {
        match heading {
            Heading::AToB => &mut self.a_to_b,
            Heading::BToA => &mut self.b_to_a,
        }
    }
}

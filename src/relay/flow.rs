//! The bytes of one direction of a session, counted.

use std::cell::Cell;

use super::stall::Counted;

/// The bytes of one direction; who moves them counts, others look.
#[derive(Debug, Default)]
pub struct Flow {
    read: Cell<u64>,
    passed: Cell<u64>,
}

// === impl Flow ===

impl Flow {
    /// Counts bytes that were read from the sender.
    pub fn has_read(&self, bytes: usize) {
        self.read.set(self.read.get() + bytes as u64);
    }

    /// Counts bytes that the receiver's socket has taken.
    pub fn has_passed(&self, bytes: usize) {
        self.passed.set(self.passed.get() + bytes as u64);
    }

    /// Begins with what another process has counted.
    pub fn is_at(&self, read: u64, passed: u64) {
        self.read.set(read);
        self.passed.set(passed);
    }

    /// Counts what an engine tells at its end.
    pub fn came_to(&self, bytes: u64) {
        self.read.set(bytes);
        self.passed.set(bytes);
    }

    /// What was counted so far.
    pub fn counted(&self) -> Counted {
        Counted {
            read: self.read.get(),
            passed: self.passed.get(),
        }
    }
}

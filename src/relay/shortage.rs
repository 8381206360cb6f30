//! What this host has run out of. It passes: who needs it rests and tries again.

use std::io;

use rustix::io::Errno;

use crate::metrics::Counters;

/// What has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Descriptors of this process (EMFILE).
    Descriptors,
    /// Open files of the whole system, or pages for pipes of this user (ENFILE).
    Files,
    /// Memory, or buffers for packets (ENOMEM, ENOBUFS).
    Memory,
}

/// How often each has run out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shortages([u64; 3]);

// === impl Shortage ===

impl Shortage {
    /// What an error says has run out; nothing if it is of another kind.
    pub fn of(error: Errno) -> Option<Self> {
        match error {
            Errno::MFILE => Some(Self::Descriptors),
            Errno::NFILE => Some(Self::Files),
            Errno::NOMEM | Errno::NOBUFS => Some(Self::Memory),
            _ => None,
        }
    }

    /// The same, of an error of the standard library.
    pub fn of_io(error: &io::Error) -> Option<Self> {
        Self::of(Errno::from_raw_os_error(error.raw_os_error()?))
    }

    /// Counts it.
    pub fn count(self, counters: &mut Counters) {
        let mut once = Shortages::default();
        once.add(self);
        once.count(counters);
    }
}

// === impl Shortages ===

impl Shortages {
    /// One more.
    pub fn add(&mut self, shortage: Shortage) {
        self.0[shortage as usize] += 1;
    }

    /// Adds them to the counters.
    pub fn count(self, counters: &mut Counters) {
        let [descriptors, files, memory] = self.0;
        counters.short_of_descriptors += descriptors;
        counters.short_of_files += files;
        counters.short_of_memory += memory;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_as_its_own() {
        let mut counters = Counters::default();
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::NOBUFS,
            Errno::NOMEM,
        ] {
            let error: io::Error = errno.into();
            Shortage::of_io(&error).unwrap().count(&mut counters);
        }
        let Counters {
            short_of_descriptors,
            short_of_files,
            short_of_memory,
            ..
        } = counters;
        assert_eq!(
            (short_of_descriptors, short_of_files, short_of_memory),
            (1, 2, 3)
        );
    }

    #[test]
    fn what_a_server_or_the_path_says_is_no_shortage_of_this_host() {
        for errno in [
            Errno::CONNREFUSED,
            Errno::ADDRNOTAVAIL,
            Errno::AGAIN,
            Errno::PERM,
        ] {
            assert_eq!(Shortage::of(errno), None);
        }
        assert_eq!(Shortage::of_io(&io::Error::other("no errno")), None);
    }
}

//! What is carried: random bytes that repeat, and their digest.

use std::fs;
use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::lab::error::{Error, Result};

/// A file of random bytes, and their digest.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Where it is.
    pub path: PathBuf,
    /// How many bytes it has.
    pub bytes: u64,
    sha256: [u8; 32],
}

// === impl Payload ===

impl Payload {
    /// Makes it; a payload of the same size has the same bytes.
    pub(crate) fn make(path: PathBuf, bytes: u64) -> Result<Self> {
        let mut content = vec![0; bytes as usize];
        rand::rngs::StdRng::seed_from_u64(bytes).fill_bytes(&mut content);
        fs::write(&path, &content).map_err(Error::file(&path))?;
        let sha256 = Sha256::digest(&content).into();
        Ok(Self {
            path,
            bytes,
            sha256,
        })
    }

    /// Whether the file at `path` holds the same bytes, by SHA-256; one that is missing does not.
    pub fn equals(&self, path: &Path) -> bool {
        fs::read(path).is_ok_and(|content| self.sha256 == <[u8; 32]>::from(Sha256::digest(content)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_repeats_and_one_flipped_byte_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
        let payload = Payload::make(one.clone(), 10_000).unwrap();
        Payload::make(two.clone(), 10_000).unwrap();
        assert!(payload.equals(&two));
        let mut content = fs::read(&two).unwrap();
        content[5000] ^= 1;
        fs::write(&two, content).unwrap();
        assert!(!payload.equals(&two));
        assert!(!payload.equals(&directory.path().join("three")));
    }
}

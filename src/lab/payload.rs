//! What is carried: random bytes that repeat, and their digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::lab::error::{Error, Result};

/// How much of it is in memory at a time.
const CHUNK: usize = 1 << 18;

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
        let sha256 = write(&path, bytes).map_err(Error::file(&path))?;
        Ok(Self {
            path,
            bytes,
            sha256,
        })
    }

    /// Whether the file at `path` holds the same bytes, by SHA-256; one that is missing does not.
    pub fn equals(&self, path: &Path) -> bool {
        digest(path).is_ok_and(|sha256| sha256 == self.sha256)
    }
}

/// Writes the random bytes and returns their digest.
fn write(path: &Path, bytes: u64) -> io::Result<[u8; 32]> {
    let mut file = File::create(path)?;
    let mut random = rand::rngs::StdRng::seed_from_u64(bytes);
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(CHUNK as u64);
        let part = &mut chunk[..length as usize];
        random.fill_bytes(part);
        file.write_all(part)?;
        hasher.update(part);
        left -= length;
    }
    Ok(hasher.finalize().into())
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(&chunk[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    #[test]
    fn a_payload_has_its_size_whether_or_not_that_is_whole_chunks() {
        let directory = tempfile::tempdir().unwrap();
        for bytes in [1, CHUNK as u64, 2 * CHUNK as u64 + 1] {
            let payload = Payload::make(directory.path().join("payload"), bytes).unwrap();
            assert_eq!(fs::metadata(&payload.path).unwrap().len(), bytes);
            assert!(payload.equals(&payload.path));
        }
    }
}

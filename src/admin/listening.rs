//! At which Unix sockets a process listens, as the kernel tells.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The paths of the Unix sockets at which a process listens, as they are called here.
///
/// # Errors
/// If there is no such process, or what it has open is not for this one to see.
pub fn listening(pid: u32) -> io::Result<Vec<PathBuf>> {
    let process = Path::new("/proc").join(pid.to_string());
    let open = sockets(&process)?;
    let table = fs::read_to_string(process.join("net/unix"))?;
    let seen_from = root(&process)?;
    let directory = fs::read_link(process.join("cwd"))?;
    let named = listeners(&table).filter(|(inode, _)| open.contains(inode));
    let paths = named.map(|(_, path)| whole(&seen_from, &directory.join(path)));
    Ok(paths.collect())
}

/// The numbers of the sockets that it has open.
fn sockets(process: &Path) -> io::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(process.join("fd"))? {
        // One that is closed meanwhile is none that it listens at.
        let Ok(target) = fs::read_link(entry?.path()) else {
            continue;
        };
        let number = target.to_str().and_then(|target| {
            let number = target.strip_prefix("socket:[")?.strip_suffix(']')?;
            number.parse().ok()
        });
        found.extend::<Option<u64>>(number);
    }
    Ok(found)
}

/// Where its files are seen from here: a service may have a `/tmp` of its own.
fn root(process: &Path) -> io::Result<PathBuf> {
    let mounts = |process: &Path| fs::read_link(process.join("ns/mnt"));
    match mounts(process)? == mounts(Path::new("/proc/self"))? {
        true => Ok(PathBuf::from("/")),
        false => Ok(process.join("root")),
    }
}

fn whole(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Of `/proc/net/unix` those that listen at a path, each with its number. Abstract names are no paths.
fn listeners(table: &str) -> impl Iterator<Item = (u64, &Path)> {
    /// `__SO_ACCEPTCON`.
    const LISTENS: u32 = 1 << 16;
    table.lines().filter_map(|line| {
        // Num RefCount Protocol Flags Type St Inode Path; a path may have spaces.
        let mut rest = line;
        let mut word = || {
            let (word, more) = rest.trim_start().split_once(' ')?;
            rest = more;
            Some(word)
        };
        let flags = u32::from_str_radix(word().and(word()).and(word()).and(word())?, 16).ok()?;
        let inode = word().and(word()).and(word())?.parse().ok()?;
        (flags & LISTENS != 0 && !rest.starts_with('@')).then(|| (inode, Path::new(rest)))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn of_the_table_those_count_that_listen_at_a_path() {
        let table = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01    71 /run/a b.sock
0000000000000000: 00000002 00000000 00010000 0001 01 21072 @unmangle-rules
0000000000000000: 00000003 00000000 00000000 0001 03 21073 /run/a b.sock
0000000000000000: 00000003 00000000 00000000 0001 03 21074
";
        let found: Vec<_> = listeners(table).collect();
        assert_eq!(found, [(71, Path::new("/run/a b.sock"))]);
    }

    #[test]
    fn a_process_listens_at_the_sockets_that_it_has_and_at_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let [mine, dead] = ["mine.sock", "dead.sock"].map(|name| directory.path().join(name));
        let _listener = UnixListener::bind(&mine).unwrap();
        let _connected = UnixStream::connect(&mine).unwrap();
        drop(UnixListener::bind(&dead).unwrap());
        let found = listening(std::process::id()).unwrap();
        assert!(found.contains(&mine), "{found:?}");
        assert!(!found.contains(&dead), "{found:?}");
        // No process has a number as high as that.
        let error = listening(4_194_999).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

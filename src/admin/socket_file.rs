//! The life of a Unix socket in the file system: it is nobody else's, it is never open to more than it may be, and
//! it goes with the process that made it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock};
use rustix::io::Errno;
use rustix::process::umask;
use socket2::{Domain, SockAddr, Socket, Type};

/// A socket that is there until this is dropped, if it is this process's.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    made: Identity,
    whose: Whose,
}

/// Who removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    /// Another process's: the one that may hand it over to this one, or that it was handed over to.
    Others,
    /// A service manager's, which has the same socket and goes on listening there.
    Managers,
}

/// Whoever has it may look what is at a path, replace it and listen there, and nobody else until it is dropped. Without
/// it, one that is between `bind` and `listen` would look as if it was dead.
#[derive(Debug)]
struct Turn {
    path: PathBuf,
    _locked: fs::File,
}

/// Which file it is, whatever its name.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody is there.
    #[error("another process answers there")]
    Taken,
    /// A file of another kind.
    #[error("there is something that is no socket, and it is left alone")]
    NoSocket,
    /// It was handed over as a socket that listens there.
    #[error("it is not a socket that listens there")]
    NotListening,
    /// A service manager made it so.
    #[error(
        "it was passed in, and everybody may connect to it (mode {0:04o}): write SocketMode=0660 in its socket unit"
    )]
    Open(u32),
    /// The kernel refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Its owner and its group may ask, and nobody else.
const MODE: u32 = 0o660;
/// Connections that nobody has accepted yet.
pub(super) const BACKLOG: i32 = 128;

/// Binds and listens. What a killed process has left there is replaced; whatever else is there stays.
pub fn bind(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file gets the mode of the socket: it is never open to others, not for a moment, and never has to be changed
    // by its name, which could be another file's by then.
    fchmod(&socket, Mode::from_raw_mode(MODE)).map_err(io::Error::from)?;
    let address = SockAddr::unix(path)?;
    let _turn = Turn::take(path)?;
    if let Err(error) = bind_with_its_mode(&socket, &address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error.into());
        }
        make_room(path)?;
        bind_with_its_mode(&socket, &address)?;
    }
    // From here on it is removed if anything fails.
    let file = SocketFile::of(path)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from(OwnedFd::from(socket)), file))
}

/// Binds, and the umask takes nothing from the mode.
fn bind_with_its_mode(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    /// The umask is the whole process's: one at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What another thread makes meanwhile is not open to others either.
    let before = umask(Mode::from_raw_mode(!MODE & 0o007));
    let bound = socket.bind(address);
    umask(before);
    bound
}

/// Removes a socket that nobody answers at.
fn make_room(path: &Path) -> Result<(), SocketError> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(SocketError::NoSocket);
    }
    if !is_dead(path)? {
        return Err(SocketError::Taken);
    }
    Ok(fs::remove_file(path)?)
}

/// Whether nobody answers at a socket.
fn is_dead(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A queue that is full is no reason to wait: somebody has it.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether somebody answers at a socket.
///
/// # Errors
/// If this process may not ask there.
pub fn answers(path: &Path) -> io::Result<bool> {
    match is_dead(path) {
        Ok(dead) => Ok(!dead),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The sockets of a directory that are named by processes, with their processes, in order.
pub fn by_process(directory: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let pid = name.strip_suffix(".sock")?.parse().ok()?;
            let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
            is_socket.then(|| (pid, entry.path()))
        })
        .collect();
    found.sort();
    found
}

/// Removes what processes that are gone have left in a directory.
pub fn sweep(directory: &Path) {
    for (pid, path) in by_process(directory) {
        // One that is between `bind` and `listen` refuses, too.
        let is_gone = !Path::new("/proc").join(pid.to_string()).exists();
        if is_gone && matches!(is_dead(&path), Ok(true)) {
            let _ = fs::remove_file(&path);
        }
    }
}

// === impl Turn ===

impl Turn {
    /// Waits for those that are binding there now, each for no longer than that takes.
    fn take(socket: &Path) -> io::Result<Self> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".starting");
        let path = PathBuf::from(path);
        // Nothing that others may have put there is followed or waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        loop {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let file = options.custom_flags(flags as i32).open(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            // Whoever had it before has removed it: then it keeps nobody out.
            let locked = Identity::from(&file.metadata()?);
            if Identity::of(&path).is_ok_and(|now| now == locked) {
                return Ok(Self {
                    path,
                    _locked: file,
                });
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a file that nobody needs stays");
        }
    }
}

// === impl SocketError ===

impl SocketError {
    /// Whether this process may not do it.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

// === impl SocketFile ===

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            made: Identity::of(path)?,
            whose: Whose::Ours,
        })
    }

    /// One that is there and that another process may hand over; it may as well keep it.
    pub(super) fn of_another(path: &Path) -> io::Result<Self> {
        let mut file = Self::of(path)?;
        file.whose = Whose::Others;
        Ok(file)
    }

    /// One of a service manager's: it stays, whatever becomes of the relays that answer there.
    ///
    /// # Errors
    /// If everybody could ask there.
    pub(super) fn of_a_manager(path: &Path) -> Result<Self, SocketError> {
        let mode = fs::metadata(path)?.mode() & 0o7777;
        if mode & 0o007 != 0 {
            return Err(SocketError::Open(mode));
        }
        let mut file = Self::of(path)?;
        file.whose = Whose::Managers;
        Ok(file)
    }

    /// Whether it stays when its process ends.
    pub(super) fn lasts(&self) -> bool {
        self.whose == Whose::Managers
    }

    /// It is this process's from now on, if it can be.
    pub(super) fn own(mut self) -> Self {
        if self.whose == Whose::Others {
            self.whose = Whose::Ours;
        }
        self
    }

    /// It stays, because it is another process's now.
    pub(super) fn leave(mut self) {
        if self.whose == Whose::Ours {
            self.whose = Whose::Others;
        }
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::symlink_metadata(path)?))
    }
}

impl From<&fs::Metadata> for Identity {
    fn from(found: &fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put another one there.
        if self.whose == Whose::Ours
            && Identity::of(&self.path).is_ok_and(|now| now == self.made)
            && let Err(error) = fs::remove_file(&self.path)
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "the socket stays, and nobody answers there");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_socket_is_for_owner_and_group_and_goes_with_its_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let (listener, file) = bind(&path).unwrap();
        assert_eq!(mode(&path), 0o660);
        assert!(answers(&path).unwrap());
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_at_which_nobody_answers_is_replaced_and_one_with_somebody_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let other = UnixListener::bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(SocketError::Taken)));
        assert!(answers(&path).unwrap());
        drop(other);
        assert!(path.exists() && !answers(&path).unwrap());
        let (_listener, _file) = bind(&path).unwrap();
        assert!(answers(&path).unwrap());
    }

    #[test]
    fn somebody_whose_queue_is_full_is_somebody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        assert!(matches!(bind(&path), Err(SocketError::Taken)));
        assert!(answers(&path).unwrap(), "and nobody waits for it");
    }

    #[test]
    fn of_several_that_start_at_once_one_has_the_socket_and_the_others_say_so() {
        const SEVERAL: usize = 8;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        for _ in 0..50 {
            // What a killed process has left is in their way.
            drop(UnixListener::bind(&path).unwrap());
            let start = std::sync::Barrier::new(SEVERAL);
            let bound: Vec<_> = std::thread::scope(|scope| {
                let one = || {
                    start.wait();
                    bind(&path)
                };
                let all: Vec<_> = (0..SEVERAL).map(|_| scope.spawn(one)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            let (have, others): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
            assert_eq!(have.len(), 1);
            let taken = |other| matches!(other, &Err(SocketError::Taken));
            assert!(others.iter().all(taken), "{others:?}");
            assert!(answers(&path).unwrap());
            drop(have);
            let left = fs::read_dir(directory.path()).unwrap().count();
            assert_eq!(left, 0);
        }
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("dead.sock");
        drop(UnixListener::bind(&socket).unwrap());
        let [file, link] = ["file", "link"].map(|name| directory.path().join(name));
        fs::write(&file, "mine").unwrap();
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        for path in [file.as_path(), link.as_path(), directory.path()] {
            assert!(
                matches!(bind(path), Err(SocketError::NoSocket)),
                "{}",
                path.display()
            );
            assert!(path.symlink_metadata().is_ok());
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn what_somebody_else_has_put_there_meanwhile_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let (_listener, file) = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // As long as the first one is listening its inode cannot be had again.
        let _other = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn only_what_processes_that_are_gone_have_left_is_swept_away() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let ours = format!("{}.sock", std::process::id());
        // No process has a number as high as that.
        let gone = "4194999.sock";
        for name in [gone, ours.as_str(), "admin.sock"] {
            drop(UnixListener::bind(at(name)).unwrap());
        }
        fs::write(at("4194998.sock"), "").unwrap();
        let _alive = UnixListener::bind(at("4194997.sock")).unwrap();
        sweep(directory.path());
        assert!(!at(gone).exists());
        for name in [ours.as_str(), "admin.sock", "4194998.sock", "4194997.sock"] {
            assert!(at(name).symlink_metadata().is_ok(), "{name}");
        }
        assert_eq!(by_process(directory.path()).len(), 2);
    }
}

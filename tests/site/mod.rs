//! A gateway under test: three hosts, a relay on the middle one, and sockets on the other two.
//!
//! A socket stays in the namespace it was made in, so only its making has to happen there; after that
//! the test's own threads use it, which is quicker and more precise than any tool.

// Each test file uses a part of this.
#![allow(dead_code)]

pub mod asked;
pub mod bare;
pub mod bench;
pub mod browser;
pub mod bulk;
pub mod faults;
pub mod faulty;
pub mod fresh;
pub mod hanging;
pub mod here;
pub mod lead;
pub mod machine;
pub mod package;
pub mod probed;
pub mod prometheus;
pub mod relay;
pub mod rules;
pub mod series;
pub mod tap;
pub mod terminal;
pub mod tracked;
pub mod upgrades;
pub mod ways;
pub mod web;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::LinkNameSpaceType;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use unmangle::lab::{self, Family, Host, Joined, Lab, OpenedFrom, Role, Strict, scenario};

#[allow(unused_imports)]
pub use here::Here;
pub use relay::Relay;
pub use ways::Way;
#[allow(unused_imports)]
pub(crate) use ways::{in_every_way, in_one_way, in_ways};

pub const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");

/// The program, where anybody may run it: a checkout can be where only its owner looks. Gone with the directory.
pub fn program_for_everybody() -> (tempfile::TempDir, String) {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    let program = directory.path().join("unmangle");
    std::fs::copy(UNMANGLE, &program).unwrap();
    let program = program.to_str().unwrap().to_owned();
    (directory, program)
}

/// Longer than anything here takes; what is not there by then does not come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Both families.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Both ways in which a connection can be opened.
pub const OPENED: [OpenedFrom; 2] = [OpenedFrom::Client, OpenedFrom::Server];

/// A lab joined by veth pairs, without a relay at first.
pub struct Site {
    pub lab: Lab,
    /// How its relay is run.
    pub way: Way,
}

/// Both ends of one connection.
pub struct Pair {
    /// The end that opened it: the client, for the relay.
    pub client: TcpStream,
    /// The end that accepted it.
    pub server: TcpStream,
}

// === impl Site ===

impl Site {
    /// Puts one up, unless labs cannot be put up here; in CI they must.
    pub fn put_up() -> Option<Self> {
        Self::put_up_for(Way::splice())
    }

    /// The same, for a relay that is run in another way.
    pub fn put_up_for(way: Way) -> Option<Self> {
        let veth = || Joined::Veth { offloads: true };
        let site = Self::joined_by(veth(), veth())?;
        Some(Self { way, ..site })
    }

    /// One that is joined by something else.
    pub fn joined_by(firewall: Joined, long_leg: Joined) -> Option<Self> {
        possible().then(|| {
            let lab = Lab::builder().unmangle(UNMANGLE);
            let lab = lab.firewall(firewall).long_leg(long_leg).start().unwrap();
            let way = Way::splice();
            Self { lab, way }
        })
    }

    /// Strict hosts, and the firewall of the story between client and relay host.
    pub fn behind_a_pix() -> Option<Self> {
        possible().then(|| {
            let pix = scenario::find("pix").unwrap();
            let lab = Lab::builder()
                .unmangle(UNMANGLE)
                .strict(Strict::Both)
                .firewall(Joined::wire(pix.firewall))
                .long_leg(Joined::Veth { offloads: true });
            let (lab, way) = (lab.start().unwrap(), Way::splice());
            Self { lab, way }
        })
    }

    /// A connection by way of a router, to a service that listens on all addresses of the server.
    pub fn connect_through(&self, family: Family) -> Pair {
        let listener = self.listen_at(Role::Server, everywhere(family));
        let to = (Role::Server.address(family), 22).into();
        let client = self.dial(Role::Client, to).unwrap();
        let server = accept(&listener);
        Pair { client, server }
    }

    /// Sockets on every host hold little, so that a direction stalls after few bytes.
    pub fn hold_little(&self) {
        let little = "4096 16384 65536";
        for host in Role::ALL.map(|role| self.lab.host(role)) {
            host.set(&[("net/ipv4/tcp_wmem", little), ("net/ipv4/tcp_rmem", little)])
                .unwrap();
        }
    }

    /// A listener on port 22 of a host.
    pub fn listen(&self, role: Role, family: Family) -> TcpListener {
        self.listen_at(role, (role.address(family), 22).into())
    }

    /// A listener on an address of a host.
    ///
    /// One that the test has just closed may live on for a moment in a child that another test's thread
    /// forked and that has not come to its `exec` yet; so an address in use is tried again.
    pub fn listen_at(&self, role: Role, address: SocketAddr) -> TcpListener {
        let listen = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.bind(&address.into())?;
            socket.listen(4096)?;
            Ok::<TcpListener, io::Error>(socket.into())
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match inside(self.lab.host(role), listen) {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                listener => return listener.unwrap(),
            }
        }
    }

    /// A connection from a host, or the reason why there is none.
    pub fn dial(&self, role: Role, to: SocketAddr) -> io::Result<TcpStream> {
        let stream = inside(self.lab.host(role), || {
            TcpStream::connect_timeout(&to, PATIENCE)
        })?;
        bounded(&stream);
        Ok(stream)
    }

    /// A connection from a port of one's own choice; 0 leaves it to the kernel.
    pub fn dial_from(&self, role: Role, port: u16, to: SocketAddr) -> io::Result<TcpStream> {
        let stream = inside(self.lab.host(role), || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            let own = role.address(if to.is_ipv4() { Family::V4 } else { Family::V6 });
            socket.bind(&SocketAddr::from((own, port)).into())?;
            socket.connect_timeout(&to.into(), PATIENCE)?;
            Ok::<_, io::Error>(TcpStream::from(socket))
        })?;
        bounded(&stream);
        Ok(stream)
    }

    /// A connection to this address, by the door if the relay has one.
    fn dial_in(&self, opened: OpenedFrom, to: SocketAddr) -> TcpStream {
        let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
        let to = match self.way {
            Way::Gateway(_) => to,
            Way::Forward => {
                assert_eq!(to.port(), 22, "it is what the doors lead to");
                self.door(opened.opener(), family)
            }
        };
        self.dial(opened.opener(), to).unwrap()
    }

    /// Sees that the relay host has no leg left that waits for something, whoever holds it.
    pub fn has_no_leg_left(&self) {
        let mut arguments = vec!["-Htn"];
        for state in [
            "established",
            "fin-wait-1",
            "fin-wait-2",
            "close-wait",
            "last-ack",
            "closing",
        ] {
            arguments.extend(["state", state]);
        }
        let mut left = String::new();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            left = self.lab.relay().run("ss", &arguments).unwrap();
            if left.trim().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("legs are left:\n{left}");
    }

    /// Makes a host drop all that comes to it, without a word.
    pub fn cut(&self, role: Role) {
        let deaf =
            "table inet cut { chain input { type filter hook input priority -300; drop; }; }";
        let host = self.lab.host(role);
        host.feed("nft", &["-f", "-"], deaf).unwrap();
    }

    /// Undoes [`Site::cut`].
    pub fn mend(&self, role: Role) {
        let host = self.lab.host(role);
        host.run("nft", &["delete", "table", "inet", "cut"])
            .unwrap();
    }

    /// A connection to port 22, and what was accepted for it at the other end.
    pub fn connect(&self, opened: OpenedFrom, family: Family) -> Pair {
        let listener = self.listen(opened.listener(), family);
        self.connect_to(&listener, opened)
    }

    /// The same, with a listener that stays.
    pub fn connect_to(&self, listener: &TcpListener, opened: OpenedFrom) -> Pair {
        let client = self.dial_in(opened, listener.local_addr().unwrap());
        Pair {
            server: accept(listener),
            client,
        }
    }
}

/// Port 22 of all addresses of a family.
pub fn everywhere(family: Family) -> SocketAddr {
    match family {
        Family::V4 => (Ipv4Addr::UNSPECIFIED, 22).into(),
        Family::V6 => (Ipv6Addr::UNSPECIFIED, 22).into(),
    }
}

/// Whether labs can be put up here; in CI they must.
pub fn possible() -> bool {
    match lab::require() {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

/// Does something on a host: in a thread that has entered its namespace.
pub fn inside<T: Send>(host: &Host, act: impl FnOnce() -> T + Send) -> T {
    inside_namespace(host.netns(), act)
}

/// The same, by the namespace's name.
pub fn inside_namespace<T: Send>(name: &str, act: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(Path::new("/run/netns").join(name)).unwrap();
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            use rustix::fd::AsFd;
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            act()
        });
        there.join().unwrap()
    })
}

/// Accepts within [`PATIENCE`].
pub fn accept(listener: &TcpListener) -> TcpStream {
    SockRef::from(listener)
        .set_read_timeout(Some(PATIENCE))
        .unwrap();
    let (stream, _) = listener.accept().expect("a connection arrives");
    bounded(&stream);
    stream
}

/// Whether nobody is waiting to be accepted.
pub fn is_unvisited(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    let accepted = listener.accept();
    listener.set_nonblocking(false).unwrap();
    accepted.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// A call that would hang fails instead.
fn bounded(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
}

// === bytes ===

/// Bytes that repeat nowhere and are the same for the same seed.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Sends bytes from one end and sees them arrive at the other.
pub fn carry(from: &TcpStream, to: &TcpStream, bytes: &[u8]) {
    std::thread::scope(|scope| {
        scope.spawn(|| (&mut &*from).write_all(bytes).expect("all bytes are taken"));
        let mut received = vec![0; bytes.len()];
        (&mut &*to)
            .read_exact(&mut received)
            .expect("all bytes arrive");
        assert!(received == bytes, "the bytes that arrived differ");
    });
}

/// A few bytes each way: the connection lives.
pub fn talk(pair: &Pair) {
    carry(&pair.client, &pair.server, b"are you there?");
    carry(&pair.server, &pair.client, b"I am.");
}

/// Everything up to a clean end.
pub fn read_to_end(mut from: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map(|_| bytes)
}

/// Sees a clean end, and nothing before it.
pub fn expect_end(from: &TcpStream) {
    let rest = read_to_end(from).expect("a clean end");
    assert!(rest.is_empty(), "{} bytes before the end", rest.len());
}

/// What a read says when the peer has reset; anything else, a clean end above all, is a failure.
pub fn expect_reset(mut stream: &TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("a clean end where a reset belongs"),
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
                return;
            }
        }
    }
}

/// Sees a connection that was accepted come to nothing, at once or soon.
pub fn expect_no_session(dialled: io::Result<TcpStream>) {
    match dialled {
        Ok(client) => expect_reset(&client),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
}

/// Everything up to a reset; a clean end is a failure.
pub fn read_until_reset(from: &TcpStream) -> Vec<u8> {
    read_in_pieces(from, Duration::ZERO)
}

/// The same, of somebody who takes a while for each piece.
pub fn read_slowly_until_reset(from: &TcpStream) -> Vec<u8> {
    read_in_pieces(from, Duration::from_millis(5))
}

fn read_in_pieces(mut from: &TcpStream, pause: Duration) -> Vec<u8> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match from.read(&mut piece) {
            Ok(0) => panic!(
                "a clean end where a reset belongs, after {} bytes",
                bytes.len()
            ),
            Ok(got) => bytes.extend_from_slice(&piece[..got]),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
                return bytes;
            }
        }
        std::thread::sleep(pause);
    }
}

/// Waits for a reset without reading a byte, as somebody would who does not read. One that waits for a
/// retransmission or a probe would take longer.
pub fn until_reset(stream: &TcpStream) {
    const AT_ONCE: Duration = Duration::from_secs(2);
    until("the reset arrives", AT_ONCE, || {
        let error: Option<io::Error> = stream.take_error().unwrap();
        // The kernel calls a reset after the peer's FIN a broken pipe.
        let reset = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        error.is_some_and(|error| reset.contains(&error.kind()))
    });
}

/// Closes by a reset instead of a FIN.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Writes over and over until nothing has been taken for a while; returns how much was taken.
pub fn write_until_stalled(mut stream: &TcpStream, bytes: &[u8]) -> usize {
    const A_WHILE: Duration = Duration::from_millis(400);
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut progress) = (0, Instant::now());
    while sent < bytes.len() && progress.elapsed() < A_WHILE {
        match stream.write(&bytes[sent..]) {
            Ok(n) => {
                sent += n;
                progress = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

/// Writes a little at a time, each of which is acknowledged, until it is enough.
pub fn fill_until(mut stream: &TcpStream, enough: impl Fn() -> bool) {
    let little = [7; 4096];
    let begun = Instant::now();
    while !enough() {
        assert!(begun.elapsed() < PATIENCE, "it is never enough");
        stream.write_all(&little).unwrap();
        until("it is acknowledged", PATIENCE, || {
            unmangle::sys::tcp_info::unacknowledged(stream).unwrap() == 0
        });
        // Whoever reads has read it by then.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a condition; one that does not come is a failure.
pub fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    begun.elapsed()
}

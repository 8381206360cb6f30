//! Sessions that one relay carries on for another: not a byte is lost or doubled, whatever they hold.
//!
//! Both relays are in this process, and what brings the sessions over only copies their descriptors.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use unmangle::config::{Contents, Keys, Settings};
use unmangle::metrics::{Counters, Gauges};
use unmangle::relay::{Begins, Carrier, Listeners, Parcel, Server, WayIn};

const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps what was carried, as another process would.
#[derive(Debug, Default, Clone)]
struct Kept(Arc<Mutex<Vec<Parcel<OwnedFd>>>>);

/// Another process that has died.
#[derive(Debug)]
struct Dead;

impl Carrier for Dead {
    fn carry<'a>(&mut self, _: &mut dyn Iterator<Item = Parcel<BorrowedFd<'a>>>) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl Carrier for Kept {
    fn carry<'a>(
        &mut self,
        sessions: &mut dyn Iterator<Item = Parcel<BorrowedFd<'a>>>,
    ) -> io::Result<()> {
        for Parcel { note, descriptors } in sessions {
            assert_eq!(descriptors.len(), note.descriptors());
            let copied = descriptors.iter().map(|each| each.try_clone_to_owned());
            self.0.lock().unwrap().push(Parcel {
                note,
                descriptors: copied.collect::<io::Result<_>>()?,
            });
        }
        Ok(())
    }
}

/// A relay in forward mode to a server that the test plays.
struct Site {
    settings: Settings,
    server: TcpListener,
    old: Server,
    door: SocketAddr,
}

impl Site {
    fn put_up(workers: usize) -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut process, mut listener) = (Keys::default(), Keys::default());
        process.set_flag("stall-after", ["off"]);
        listener.set_flag("listen", ["127.0.0.1:0"]);
        listener.set_flag("to", [server.local_addr().unwrap()]);
        let settings = Settings::resolve(Contents::default(), process, listener).unwrap();
        let listeners = Listeners::bind(
            &settings.listeners,
            workers,
            &mut unmangle::sys::passed::Passed::default(),
        )
        .unwrap();
        let &[WayIn::Listening(door)] = listeners.ways_in() else {
            panic!("{:?}", listeners.ways_in());
        };
        let old = Server::start(&settings.process, listeners, None, Begins::AtOnce).unwrap();
        Self {
            settings,
            server,
            old,
            door,
        }
    }

    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.door).unwrap();
        let (server, _) = self.server.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
        }
        (client, server)
    }

    /// A relay that has the listeners of the old one and does not accept yet.
    fn successor(&self, workers: usize) -> Server {
        let sockets = self.old.listening().unwrap();
        let listeners = Listeners::adopt(&self.settings.listeners, workers, sockets).unwrap();
        Server::start(&self.settings.process, listeners, None, Begins::WhenTold).unwrap()
    }

    /// Moves everything to a successor, which is the relay from then on; how many sessions went.
    fn move_on(&mut self, workers: usize) -> usize {
        let new = self.successor(workers);
        let kept = Kept::default();
        let (from, to) = (self.old.moving(), new.moving());
        from.stand_still();
        let carried = from.carry(Box::new(kept.clone())).unwrap();
        let records = block_on(from.take_records());
        assert_eq!(from.let_go(), carried);
        self.old.let_go_of_listeners();
        block_on(to.add_records(&records));
        let parcels = std::mem::take(&mut *kept.0.lock().unwrap());
        assert_eq!(to.take_over(parcels).len(), 0);
        to.begin();
        let old = std::mem::replace(&mut self.old, new);
        until(|| old.sessions() == 0);
        old.stop().unwrap();
        carried
    }

    fn told(&self) -> (Counters, Gauges) {
        let recorded = block_on(self.old.handle().recorded());
        (recorded.merged().counters, recorded.gauges)
    }
}

fn block_on<T>(told: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(told)
}

fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not come to that");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes that are told apart from each other at any distance.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes())
        .take(length)
        .collect()
}

fn exchange(client: &TcpStream, server: &TcpStream, text: &[u8]) {
    for (mut from, mut to) in [(client, server), (server, client)] {
        from.write_all(text).unwrap();
        let mut read = vec![0; text.len()];
        to.read_exact(&mut read).unwrap();
        assert_eq!(read, text);
    }
}

#[test]
fn idle_sessions_go_on_and_new_ones_come() {
    let mut site = Site::put_up(2);
    let pairs: Vec<_> = (0..40).map(|_| site.connect()).collect();
    for (client, server) in &pairs {
        exchange(client, server, b"before");
    }
    for _ in 0..3 {
        assert_eq!(site.move_on(2), 40);
        for (client, server) in &pairs {
            exchange(client, server, b"after");
        }
    }
    let (client, server) = site.connect();
    exchange(&client, &server, b"new");
    let (counters, gauges) = site.told();
    assert_eq!(counters.accepted, 41);
    let each = 40 * (6 + 3 * 5) + 3;
    assert_eq!(counters.bytes_client_to_server, each);
    assert_eq!(counters.bytes_server_to_client, each);
    assert_eq!(gauges.sessions, [41]);
    drop((client, server, pairs));
    until(|| site.told().0.sessions_closed == 41);
}

#[test]
fn what_a_stalled_session_holds_in_a_pipe_arrives_whole_and_in_order() {
    let mut site = Site::put_up(1);
    let (client, server) = site.connect();
    let bytes = pattern(48 << 20);
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || {
        (&client).write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client
    });
    until(|| site.told().1.pipes_in_use == 1);
    let mut received = vec![0; 1 << 20];
    for _ in 0..4 {
        assert_eq!(site.move_on(1), 1);
        until(|| site.told().1.pipes_in_use == 1);
        let at = received.len() - (1 << 20);
        (&server).read_exact(&mut received[at..]).unwrap();
        received.resize(received.len() + (1 << 20), 0);
        until(|| site.told().1.pipes_in_use == 1);
    }
    received.truncate(received.len() - (1 << 20));
    (&server).read_to_end(&mut received).unwrap();
    assert!(received == bytes);
    drop((server, writer.join().unwrap()));
    until(|| site.told().0.sessions_closed == 1);
    assert_eq!(site.told().0.bytes_client_to_server, bytes.len() as u64);
}

#[test]
fn a_session_that_is_half_closed_stays_so_and_ends_in_order() {
    let mut site = Site::put_up(1);
    let (client, server) = site.connect();
    exchange(&client, &server, b"before");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!((&server).read(&mut [0]).unwrap(), 0);
    assert_eq!(site.move_on(1), 1);
    let bytes = pattern(3 << 20);
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || (&server).write_all(&sent).unwrap());
    let mut received = Vec::new();
    (&client).read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == bytes);
    until(|| site.told().0.client_fin == 1);
}

#[test]
fn sessions_whose_successor_fails_go_on_where_they_are() {
    let site = Site::put_up(2);
    let pairs: Vec<_> = (0..10).map(|_| site.connect()).collect();
    for (client, server) in &pairs {
        exchange(client, server, b"before");
    }
    let new = site.successor(2);
    let kept = Kept::default();
    let from = site.old.moving();
    assert_eq!(from.stand_still(), 10);
    assert_eq!(from.carry(Box::new(kept.clone())).unwrap(), 10);
    // Who comes meanwhile waits.
    let waiting = TcpStream::connect(site.door).unwrap();
    drop(kept);
    new.stop().unwrap();
    from.go_on();
    for (client, server) in &pairs {
        exchange(client, server, b"after");
    }
    let (served, _) = site.server.accept().unwrap();
    exchange(&waiting, &served, b"who waited");

    from.stand_still();
    assert!(from.carry(Box::new(Dead)).is_err());
    from.go_on();
    for (client, server) in &pairs {
        exchange(client, server, b"once more");
    }
}

#[test]
fn a_session_that_is_opened_only_then_stands_still_once_it_relays() {
    let site = Site::put_up(1);
    let from = site.old.moving();
    let kept = Kept::default();
    let (client, server) = site.connect();
    // It may be on its way from the dial to relaying.
    from.stand_still();
    let mut carried = 0;
    until(|| {
        carried += from.carry(Box::new(kept.clone())).unwrap();
        carried == 1
    });
    from.go_on();
    exchange(&client, &server, b"after");
}

#[test]
fn sessions_that_went_on_while_nobody_was_accepted_hear_of_what_comes_later() {
    let site = Site::put_up(1);
    let (client, server) = site.connect();
    exchange(&client, &server, b"before");
    let from = site.old.moving();
    // As where the other process reads another version of sessions, and fails.
    from.shut();
    exchange(&client, &server, b"meanwhile");
    from.go_on();
    exchange(&client, &server, b"after");
    assert_eq!(from.stand_still(), 1);
    from.go_on();
    exchange(&client, &server, b"once more");
}

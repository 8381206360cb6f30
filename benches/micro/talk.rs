//! Two ends of a connection that talk in turn, and the proof that what they said went the way it should.

use std::hint::black_box;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;

use unmangle::config::Engine;
use unmangle::metrics::Counters;

use crate::relayed::Relayed;

/// What is said at a time.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// Bytes that are written at once.
    pub message: usize,
    /// How often, before an answer is waited for.
    pub times: usize,
    /// Bytes of the last message that come back when all have arrived.
    pub answer: usize,
}

/// What lies between the two ends.
#[derive(Debug, Clone, Copy)]
pub enum Path {
    /// Nothing but loopback.
    Direct,
    /// A relay with this engine.
    Relayed(Engine),
}

/// The near end of a connection, and what is known of the rest.
pub struct Talk {
    path: Path,
    exchange: Exchange,
    stream: TcpStream,
    message: Vec<u8>,
    answer: Vec<u8>,
    exchanges: u64,
    relayed: Option<Relayed>,
    /// Ends with the bytes that arrived.
    far_end: JoinHandle<u64>,
}

// === impl Exchange ===

impl Exchange {
    /// Bytes that go there.
    pub fn asked(self) -> u64 {
        (self.message * self.times) as u64
    }

    /// Bytes that come back.
    pub fn answered(self) -> u64 {
        self.answer as u64
    }
}

// === impl Path ===

impl Path {
    pub fn name(self) -> String {
        match self {
            Path::Direct => "direct".to_owned(),
            Path::Relayed(engine) => engine.to_string(),
        }
    }
}

// === impl Talk ===

impl Talk {
    /// Connects, and checks with one exchange that what comes back is what was sent.
    pub fn open(path: Path, exchange: Exchange) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let far_end = std::thread::spawn(move || answer(listener, exchange));
        let relayed = match path {
            Path::Direct => None,
            Path::Relayed(engine) => Some(Relayed::start(engine, address)),
        };
        let stream = TcpStream::connect(relayed.as_ref().map_or(address, Relayed::address));
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        // 251 is prime: a part that is lost or comes twice moves the pattern.
        let message: Vec<u8> = (0..exchange.message).map(|i| (i % 251) as u8).collect();
        let mut talk = Self {
            path,
            exchange,
            stream,
            message,
            answer: vec![0xff; exchange.answer],
            exchanges: 0,
            relayed,
            far_end,
        };
        talk.exchange();
        assert_eq!(talk.answer, talk.message[..exchange.answer], "{path:?}");
        talk
    }

    /// Says everything once and hears the answer: what is timed.
    pub fn exchange(&mut self) {
        for _ in 0..self.exchange.times {
            self.stream.write_all(black_box(&self.message)).unwrap();
        }
        self.stream.read_exact(&mut self.answer).unwrap();
        black_box(&self.answer);
        self.exchanges += 1;
    }

    /// Ends the connection in order.
    ///
    /// # Panics
    /// If a byte is missing, or one did not pass the relay as its engine moves bytes.
    pub fn close(mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(self.stream.read(&mut self.answer).unwrap(), 0);
        let asked = self.exchanges * self.exchange.asked();
        assert_eq!(self.far_end.join().unwrap(), asked);
        if let Some(relayed) = self.relayed {
            let counters = relayed.stop();
            assert_eq!(counters.sessions_closed, 1, "{counters:?}");
            assert_eq!(counters.bytes_client_to_server, asked);
            let answered = self.exchanges * self.exchange.answered();
            assert_eq!(counters.bytes_server_to_client, answered);
            check_engine(self.path, self.exchange, counters);
        }
    }
}

/// Whether the bytes went through pipes or the buffer as they should; only our engine counts that.
fn check_engine(path: Path, exchange: Exchange, counters: Counters) {
    let splices = counters.splices_client_to_server + counters.splices_server_to_client;
    let copies = counters.copies_client_to_server + counters.copies_server_to_client;
    match path {
        Path::Relayed(Engine::Splice) if exchange.message < 16 << 10 => {
            assert!(splices == 0 && copies > 0, "{counters:?}");
        }
        Path::Relayed(Engine::Splice) if exchange.message > 16 << 10 => {
            assert!(splices > 0, "{counters:?}");
        }
        Path::Relayed(Engine::TokioSplice | Engine::Copy) => {
            assert_eq!((splices, copies), (0, 0));
        }
        Path::Relayed(Engine::Splice) | Path::Direct => {}
    }
}

/// The far end: answers until the other one is done, and says how many bytes arrived.
fn answer(listener: TcpListener, exchange: Exchange) -> u64 {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nodelay(true).unwrap();
    let mut message = vec![0; exchange.message];
    let mut arrived = 0;
    loop {
        for _ in 0..exchange.times {
            match stream.read_exact(&mut message) {
                Ok(()) => arrived += message.len() as u64,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return arrived,
                Err(error) => panic!("the far end: {error}"),
            }
        }
        stream.write_all(&message[..exchange.answer]).unwrap();
    }
}

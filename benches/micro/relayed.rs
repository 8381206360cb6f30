//! A relay of one worker in this process, in forward mode.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use unmangle::config::{Contents, Engine, Keys, Settings};
use unmangle::metrics::Counters;
use unmangle::relay::{Begins, Listeners, Server, WayIn};

/// How long a session that was closed may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Relayed {
    server: Server,
    address: SocketAddr,
}

impl Relayed {
    /// Starts it; what comes goes to `target`.
    pub fn start(engine: Engine, target: SocketAddr) -> Self {
        let (mut process, mut listener) = (Keys::default(), Keys::default());
        process.set_flag("engine", [engine]);
        listener.set_flag("listen", ["127.0.0.1:0"]);
        listener.set_flag("to", [target]);
        let settings = Settings::resolve(Contents::default(), process, listener).unwrap();
        let listeners = Listeners::bind(
            &settings.listeners,
            1,
            &mut unmangle::sys::passed::Passed::default(),
        )
        .unwrap();
        let &[WayIn::Listening(address)] = listeners.ways_in() else {
            panic!("{:?}", listeners.ways_in());
        };
        let server = Server::start(&settings.process, listeners, None, Begins::AtOnce).unwrap();
        Self { server, address }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until no session is left, stops it, and says what it counted.
    pub fn stop(self) -> Counters {
        let deadline = Instant::now() + PATIENCE;
        while self.server.sessions() > 0 {
            assert!(Instant::now() < deadline, "a session does not end");
            sleep(Duration::from_millis(1));
        }
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let recorded = runtime.block_on(self.server.handle().recorded());
        self.server.stop().unwrap();
        recorded.merged().counters
    }
}

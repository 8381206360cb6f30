//! Both ends for real: the one beside the driver, and the other by the control connection.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::control::client::{Control, ControlError, Met};
use super::control::{Refused, Welcome};
use super::ends::{Ends, Lost};
use super::evidence::{EndMtu, Path};
use super::here::{Here, Ports};
use super::order::{Answer, End, Order};
use crate::diagnose::crafted::{self, Unable};

/// How long this end may take for an order beyond what that takes by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server may take so long to notice that the probe before has ended.
const LEAVES: Duration = Duration::from_secs(2);
/// So often it is asked meanwhile.
const ASKS: Duration = Duration::from_millis(200);

/// This host and a server.
#[derive(Debug)]
pub struct Pair {
    here: Here,
    control: Control,
    path: Path,
}

/// Why there is no pair.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// Because of the server, or the way there.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Because of this host.
    #[error("this host: {0}")]
    Here(#[from] Unable),
}

// === impl PairError ===

impl PairError {
    /// Whether another address of the same host may be better.
    #[must_use]
    pub fn is_of_the_address(&self) -> bool {
        use ControlError::{NobodyListens, Silent, Unreachable};
        matches!(
            self,
            Self::Control(NobodyListens(_) | Silent(_) | Unreachable(..))
        )
    }
}

// === impl Pair ===

impl Pair {
    /// Begins a session with a server.
    ///
    /// # Errors
    /// [`PairError`] says on which side what is missing.
    pub fn meet(server: SocketAddr) -> Result<Self, PairError> {
        crafted::permitted()?;
        let (control, met) = begin(server)?;
        let here = Here::open(End::Client, met.own, server, Ports::of_client())?;
        let path = path(
            met.own,
            server.ip(),
            &met.welcome,
            met.round_trip,
            here.mtu(),
        );
        Ok(Self {
            here,
            control,
            path,
        })
    }

    /// Between whom, and how often the connection was broken until now.
    #[must_use]
    pub fn path(&self) -> Path {
        Path {
            broken: self.control.broken(),
            ..self.path.clone()
        }
    }

    /// Ends the session.
    pub fn part(self) {
        self.control.bye();
    }

    fn ask_here(&mut self, order: Order) -> Result<Answer, Lost> {
        let until = self.here.now() + order.takes() + PATIENCE;
        self.here.order(order);
        loop {
            if let Some(answer) = self.here.answer() {
                return Ok(answer);
            }
            if self.here.now() >= until {
                return Err(Lost("this end does not come to an answer".to_owned()));
            }
            self.turn(until)?;
        }
    }

    /// One turn of this end, and the server is told that it is there.
    fn turn(&mut self, until: Duration) -> Result<(), Lost> {
        let keep = self.control.keep_by();
        let keep = keep.saturating_duration_since(Instant::now());
        let until = until.min(self.here.now() + keep);
        let turned = self.here.turn(until, &[]);
        turned.map_err(|error| Lost(format!("this host cannot go on: {error}")))?;
        self.control.keep();
        Ok(())
    }
}

fn begin(server: SocketAddr) -> Result<(Control, Met), ControlError> {
    let until = Instant::now() + LEAVES;
    loop {
        match Control::begin(server, rand::random()) {
            Err(ControlError::Refused(_, Refused::Running(_))) if Instant::now() < until => {
                std::thread::sleep(ASKS);
            }
            begun => return begun,
        }
    }
}

fn path(client: IpAddr, server: IpAddr, welcome: &Welcome, round_trip: Duration, mtu: u16) -> Path {
    Path {
        client,
        server,
        server_own: welcome.own,
        client_seen: welcome.peer,
        port: welcome.flow_port,
        round_trip,
        broken: 0,
        mtu: EndMtu {
            client: mtu,
            server: welcome.mtu,
        },
    }
}

impl Ends for Pair {
    fn ask(&mut self, end: End, order: Order) -> Result<Answer, Lost> {
        match end {
            End::Client => self.ask_here(order),
            End::Server => {
                let answer = self.control.ask(order, &mut self.here);
                answer.map_err(|error| Lost(error.to_string()))
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.here.now() + time;
        while self.here.now() < until {
            // What is wrong with this host is told by the next order.
            if self.turn(until).is_err() {
                return;
            }
        }
    }

    fn now(&self) -> Duration {
        self.here.now()
    }
}

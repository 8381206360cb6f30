//! How a session begins: from an accepted connection to two legs that are connected.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::Interest;

use super::addr::{ClientAddr, Destination, OriginalDst};
use super::admission::{Admitted, Gate, Seat};
use super::dial::{self, DialError, Dialled, SourcePort};
use super::halves::Halves;
use super::introduction::{self, Introduced, NotIntroduced};
use super::leg::TcpLeg;
use super::legs::Legs;
use super::listen::Accepted;
use super::parcel::Parcel;
use super::refusal::Refusal;
use super::sample::Sampled;
use super::sessions::{Begun, Session};
use super::sidecar;
use super::still::{Origin, Taken};
use super::waiting::Upstream;
use super::worker::{REST, Worker};
use crate::config::{Engine, Listener, Mode, Side};
use crate::metrics::{Counters, ListenerId};
use crate::packet::Offer;

/// A session whose legs are connected, and what is known of how that came about.
pub struct Opened {
    /// The session.
    pub session: Rc<Session>,
    /// How it came about.
    pub origin: Origin,
    /// The places that it takes.
    pub places: (Admitted, Seat),
    /// Whether it was relayed before, by another process.
    pub goes_on: bool,
}

/// A session that never came to relaying.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A socket cannot be used.
    #[error("the accepted socket, or its server's, is unusable: {0}")]
    Downstream(#[from] io::Error),
    /// It is not known who the client is.
    #[error(transparent)]
    NotIntroduced(#[from] NotIntroduced),
    /// The server was not to be had.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server could not be told who the client is.
    #[error("telling {server} who {client} is: {error}")]
    NotTold {
        server: SocketAddr,
        client: ClientAddr,
        error: io::Error,
    },
    /// The relay ended meanwhile.
    #[error("{peer} was reset before it was known who the client is: the drain deadline")]
    Unknown { peer: SocketAddr },
    /// The client is not let in.
    #[error("{client} was refused: {refusal}")]
    Refused {
        client: ClientAddr,
        via: Option<SocketAddr>,
        server: Option<SocketAddr>,
        refusal: Refusal,
    },
    /// The relay ended meanwhile.
    #[error("{client} was reset while {destination} was being dialled: the drain deadline")]
    Aborted {
        client: ClientAddr,
        destination: Destination,
    },
    /// The client went away meanwhile.
    #[error("{client} gave up while {destination} was being dialled")]
    ClientGone {
        client: ClientAddr,
        destination: Destination,
    },
}

// === impl SessionError ===

impl SessionError {
    /// Counts it, by whose side failed and what went wrong.
    pub fn count(&self, counters: &mut Counters) {
        let counter = match self {
            Self::Dial(error) => {
                counters.dial_failures += 1;
                return error.count(counters);
            }
            // Counted as it is told.
            Self::Refused { .. } => return,
            Self::Downstream(_) => &mut counters.legs_unusable,
            Self::NotIntroduced(_) => &mut counters.headers_refused,
            Self::NotTold { .. } => &mut counters.dials_otherwise_failed,
            Self::Unknown { .. } | Self::Aborted { .. } => &mut counters.dials_aborted,
            Self::ClientGone { .. } => &mut counters.clients_gone,
        };
        *counter += 1;
    }
}

/// Finds out who the client is and where it wants to go, and connects there if it may.
///
/// # Errors
/// Whatever keeps the session from being relayed; the client is reset.
pub async fn open(worker: &Worker, accepted: Accepted) -> Result<Opened, SessionError> {
    let Accepted {
        socket,
        peer,
        side,
        id,
        settings,
        gate,
        seat,
        at: began,
    } = accepted;
    let downstream = TcpLeg::new(socket, settings.profile(side))?;
    let local = downstream.local_addr()?;
    let introduced = tokio::select! {
        biased;
        introduced = introduction::introduce(&downstream, peer, local, &settings) => introduced,
        () = worker.word.ended() => return Err(SessionError::Unknown { peer }),
    };
    // Dropping the leg resets it: it lingers for zero seconds.
    let introduced = introduced?;
    let Introduced { client, via, .. } = introduced;
    let refuse = |server, refusal| SessionError::Refused {
        client,
        via,
        server,
        refusal,
    };
    // Dropping the leg resets a client that is refused: it lingers for zero seconds.
    let destination = destination(&downstream, OriginalDst(local), &settings)
        .ok_or_else(|| refuse(Some(local), Refusal::Own(local)))?;
    let waiting = waiting(worker, client, &destination);
    let asked = waiting.as_ref().map(|upstream| upstream.asked);
    let (dialled, connect_time, admitted): (_, _, Admitted) = match waiting {
        Some(upstream) => {
            let connect_time = upstream.connect_time;
            let (dialled, admitted) = upstream.into_dialled(settings.profile(side.other()))?;
            (Ok(dialled), connect_time, admitted)
        }
        None => {
            let meant = destination.meant(local);
            let admitted = gate
                .admit(client, meant, Instant::now())
                .map_err(|refusal| refuse(meant, refusal))?;
            let to = (&destination, side.other());
            let dialling = dial(worker, id, client, to, &settings, &gate);
            let since = Instant::now();
            let dialled = tokio::select! {
                biased;
                dialled = dialling => dialled,
                _ = downstream.ready(Interest::ERROR) => {
                    return Err(SessionError::ClientGone { client, destination });
                }
                () = worker.word.ended() => {
                    return Err(SessionError::Aborted { client, destination });
                }
            };
            (dialled, since.elapsed(), admitted)
        }
    };
    let Dialled {
        leg: upstream,
        server,
        port,
    } = match dialled {
        Ok(dialled) => dialled,
        Err(DialError::Refused { refusal, .. }) => {
            return Err(refuse(destination.address(), refusal));
        }
        // Dropping the downstream leg resets the client at once: it lingers for zero seconds.
        Err(error) => return Err(error.into()),
    };
    if let Some(version) = settings.identity().and_then(|identity| identity.send) {
        let told = introduced.pass_on(&upstream, version).await;
        told.map_err(|error| SessionError::NotTold {
            server,
            client,
            error,
        })?;
    }
    worker.recorded(id, |recorder| {
        recorder.connect.record(connect_time);
        // Who was held was dialled before it was accepted.
        let before = asked.map_or(Duration::ZERO, |_| connect_time);
        recorder.setup.record(before + began.elapsed());
    });
    worker.counters(id).port_fallbacks += u64::from(port == SourcePort::Fallback);
    let legs = Legs {
        downstream,
        upstream,
    };
    let session = Session::new(Begun {
        id,
        settings,
        engine: worker.engine,
        side,
        client,
        via,
        server,
        legs,
        began,
    });
    Ok(Opened {
        session,
        origin: Origin {
            local,
            port,
            connect_time,
            asked,
        },
        places: (admitted, seat),
        goes_on: false,
    })
}

/// A session of another process, as it left it.
///
/// # Errors
/// If a socket is unusable, or what the session holds is not what was noted. It is reset.
pub fn carry_on(worker: &Worker, taken: Taken) -> io::Result<(Opened, Halves)> {
    let Taken { served, parcel } = taken;
    let Parcel { note, descriptors } = parcel;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a leg is missing");
    let (settings, id) = (served.settings.now(), served.id);
    let side = match note.from_mangled_side {
        true => Side::Mangled,
        false => Side::Clean,
    };
    let mut descriptors = descriptors.into_iter();
    let mut leg = |side: Side, is_unpaced| {
        let socket = descriptors.next().ok_or_else(wrong)?;
        TcpLeg::carried_on(socket, settings.profile(side), is_unpaced)
    };
    let legs = Legs {
        downstream: leg(side, note.downstream_unpaced)?,
        upstream: leg(side.other(), note.upstream_unpaced)?,
    };
    let client = ClientAddr(note.client);
    let age = Duration::from_micros(note.age_us);
    let now = tokio::time::Instant::now();
    let began = now.checked_sub(age).unwrap_or(now);
    let offer = note.offer.map(Offer::from);
    let origin = Origin {
        local: note.local,
        port: note.port.into(),
        connect_time: Duration::from_micros(note.connect_us),
        asked: offer,
    };
    let places = (
        served.gate.readmit(client, Instant::now()),
        served.gate.seat_at_any_rate(),
    );
    let retransmits = (note.downstream_retransmits, note.upstream_retransmits);
    let session = Session::new(Begun {
        id,
        settings,
        engine: Engine::Splice,
        side,
        client,
        via: note.via,
        server: note.server,
        legs,
        began,
    });
    let pool = &mut worker.resources.borrow_mut().pipes;
    let from = (id, began.into_std());
    let halves = Halves::carried_on(from, session.flows(), note, descriptors, pool)?;
    let sampled = Sampled::continued(Instant::now(), session.passed(), retransmits);
    session.sampled.set(sampled);
    let opened = Opened {
        session,
        origin,
        places,
        goes_on: true,
    };
    Ok((opened, halves))
}

/// The server that was dialled before this client was answered, if it was held.
fn waiting(worker: &Worker, client: ClientAddr, destination: &Destination) -> Option<Upstream> {
    match (&worker.held, destination) {
        (Some(held), Destination::Original(server)) => held.claim(client, *server),
        _ => None,
    }
}

/// Where this client is to be passed on to; nothing if it asked for the relay's own listener.
fn destination(
    downstream: &TcpLeg,
    server: OriginalDst,
    settings: &Listener,
) -> Option<Destination> {
    match &settings.mode {
        Mode::Forward(forward) => Some(Destination::Fixed(forward.to.clone())),
        Mode::Gateway(_) if server.0.ip().is_loopback() => None,
        Mode::Gateway(_) => Some(Destination::Original(server)),
        Mode::ServerSidecar(settings) => sidecar::service(settings, server),
        Mode::ClientSidecar(_) => sidecar::meant(downstream),
    }
}

/// Dials; if this host has run out of something, again and again until the time for it is over.
async fn dial(
    worker: &Worker,
    id: ListenerId,
    client: ClientAddr,
    (destination, side): (&Destination, Side),
    settings: &Listener,
    gate: &Gate,
) -> Result<Dialled, DialError> {
    let began = tokio::time::Instant::now();
    loop {
        let dialled = dial::dial(client, destination, side, settings, gate, began).await;
        let Err(error) = &dialled else { return dialled };
        let Some(shortage) = error.shortage() else {
            return dialled;
        };
        {
            let mut counters = worker.counters(id);
            shortage.count(&mut counters);
            counters.dial_pauses += 1;
            match gate.troubles().next(Instant::now()) {
                Some(left_out) => tracing::warn!(%error, left_out, "cannot dial, resting"),
                None => counters.lines_left_out += 1,
            }
        }
        if began.elapsed() >= settings.connect_timeout {
            return dialled;
        }
        tokio::time::sleep(REST).await;
    }
}

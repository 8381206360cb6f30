//! Sockets that another process has listened at, and hands over.

use std::io;
use std::net::SocketAddr;

use socket2::Socket;

use super::listen::{Bound, CameBefore, Listeners, Listening, WayIn};
use crate::config::{Listener, Mode, Side};

/// Listeners of another process are not those of the settings.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// They come and go with the process.
    #[error("listener {0} is not in both the old and the new settings; restart instead")]
    Listener(String),
    /// The way to it differs.
    #[error(
        "listener {0}: connections would come another way by the new settings; restart instead"
    )]
    Way(String),
    /// A socket is unusable.
    #[error("a listening socket that was handed over is unusable: {0}")]
    Socket(#[from] io::Error),
}

// === impl Listeners ===

impl Listeners {
    /// Takes the sockets of another process for the listeners of these settings.
    ///
    /// # Errors
    /// If they are not for the same listeners, or come another way.
    pub fn adopt(
        listeners: &[Listener],
        workers: usize,
        sockets: Vec<Listening>,
    ) -> Result<Self, AdoptError> {
        let mut bound = Self::none(workers);
        let is_known = |name: &str| listeners.iter().any(|listener| listener.name == name);
        if let Some(gone) = sockets.iter().find(|each| !is_known(&each.listener)) {
            return Err(AdoptError::Listener(gone.listener.clone()));
        }
        let mut sockets = sockets;
        for (number, settings) in listeners.iter().enumerate() {
            let name = &settings.name;
            let served = bound.serve(number, settings);
            let (own, others): (Vec<_>, Vec<_>) =
                sockets.into_iter().partition(|each| each.listener == *name);
            sockets = others;
            if own.is_empty() {
                return Err(AdoptError::Listener(name.clone()));
            }
            let mut ports = (None, None);
            let mut known = None;
            for Listening {
                worker,
                side,
                socket,
                ..
            } in own
            {
                let socket = Socket::from(socket);
                let one = Bound {
                    socket,
                    side,
                    served: served.clone(),
                    came_before: CameBefore::None,
                };
                let address = one.address().map_err(|error| error.error)?;
                known = Some(address);
                match side {
                    Side::Mangled => ports.0 = Some(address.port()),
                    Side::Clean => ports.1 = Some(address.port()),
                }
                bound.per_worker[worker % workers].push(one);
            }
            let way_in = match (&settings.mode, ports, known) {
                (Mode::Forward(forward), _, Some(address)) if is_at(forward.listen, address) => {
                    WayIn::Listening(address)
                }
                (Mode::Gateway(_), (Some(mangled), Some(clean)), _) => {
                    WayIn::Intercepted { mangled, clean }
                }
                (Mode::ServerSidecar(_), (Some(port), None), _)
                | (Mode::ClientSidecar(_), (None, Some(port)), _) => WayIn::Intercepted {
                    mangled: port,
                    clean: port,
                },
                _ => return Err(AdoptError::Way(name.clone())),
            };
            bound.ways_in.push(way_in);
        }
        Ok(bound)
    }
}

/// Whether a socket that is bound there is what was asked for; port 0 is any.
fn is_at(asked: SocketAddr, bound: SocketAddr) -> bool {
    asked.ip() == bound.ip() && (asked.port() == 0 || asked.port() == bound.port())
}

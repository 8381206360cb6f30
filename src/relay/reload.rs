//! Settings that change while the relay runs: what is accepted from now on has the new ones, and a session
//! keeps those that it began with.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use socket2::{Domain, Socket, Type};

use super::admission::Gates;
use super::dial;
use super::listen::{Listeners, Listening, Served};
use crate::config::{Listener, Settings, Side};
use crate::sys::congestion_control;

/// A listener's settings as they are now, shared by all that serve it.
#[derive(Debug, Clone)]
pub struct Current(Arc<ArcSwap<Listener>>);

/// A listening socket that a worker has, to change what the sockets that it accepts inherit.
#[derive(Debug)]
pub struct Standing {
    socket: Socket,
    worker: usize,
    side: Side,
    settings: Current,
}

/// All that has to change with the settings.
#[derive(Debug)]
pub struct Reloadable {
    /// None once the relay drains: sockets that are held here would go on listening.
    sockets: Mutex<Vec<Standing>>,
    /// What each listener goes by.
    served: Vec<Served>,
    /// What all of them let in.
    gates: Gates,
}

// === impl Current ===

impl Current {
    /// Settings that may change.
    pub fn new(settings: Listener) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(settings)))
    }

    /// What they are now; whoever keeps it keeps it as it is.
    pub fn now(&self) -> Arc<Listener> {
        self.0.load_full()
    }

    /// Takes on others.
    fn adopt(&self, new: &Listener) {
        self.0.store(Arc::new(new.clone()));
    }
}

// === impl Standing ===

impl Standing {
    /// A second hold of a socket.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn new(socket: &Socket, worker: usize, side: Side, settings: &Current) -> io::Result<Self> {
        Ok(Self {
            socket: socket.try_clone()?,
            worker,
            side,
            settings: settings.clone(),
        })
    }
}

// === impl Reloadable ===

impl Reloadable {
    /// All that there is before the workers have it.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn of(listeners: &Listeners) -> io::Result<Self> {
        Ok(Self {
            sockets: Mutex::new(listeners.standing()?),
            served: listeners.served().to_vec(),
            gates: listeners.gates().clone(),
        })
    }

    /// Sees whether the kernel takes these settings; changes nothing.
    ///
    /// # Errors
    /// What it says of the first that it does not take, such as a congestion control.
    pub fn check(&self, listeners: &[Listener]) -> io::Result<()> {
        for listener in listeners {
            for side in Side::ALL {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                dial::set_options(&socket, listener.profile(side))?;
                dial::keep_alive(&socket, listener, listener.profile(side))?;
            }
        }
        Ok(())
    }

    /// Has everything that comes from now on go by these settings.
    ///
    /// # Errors
    /// If the kernel does not take what it took in [`Reloadable::check`].
    pub fn adopt(&self, settings: &Settings) -> io::Result<()> {
        let usual = congestion_control::usual()?;
        self.gates.limit(settings.process.max_connections);
        for served in &self.served {
            let name = &served.settings.now().name;
            let new = settings.listeners.iter().find(|new| new.name == *name);
            if let Some(new) = new {
                served.settings.adopt(new);
                served.gate.replace(new.admission.clone());
            }
        }
        let sockets = self.sockets();
        for Standing {
            socket,
            side,
            settings,
            ..
        } in sockets.iter()
        {
            let now = settings.now();
            dial::change_options(socket, now.profile(*side), &usual)?;
            dial::keep_alive(socket, &now, now.profile(*side))?;
        }
        Ok(())
    }

    /// What each listener goes by.
    pub fn served(&self) -> &[Served] {
        &self.served
    }

    /// The sockets, for another process.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn listening(&self) -> io::Result<Vec<Listening>> {
        let of = |standing: &Standing| {
            Ok(Listening {
                listener: standing.settings.now().name.clone(),
                worker: standing.worker,
                side: standing.side,
                socket: standing.socket.try_clone()?.into(),
            })
        };
        self.sockets().iter().map(of).collect()
    }

    /// Lets the sockets go: nothing is changed any more.
    pub fn close(&self) {
        self.sockets().clear();
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<Standing>> {
        // A thread that panics ends the process.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

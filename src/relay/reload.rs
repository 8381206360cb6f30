//! Settings that change while the relay runs: what is accepted from now on has the new ones, and a session
//! keeps those that it began with.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use socket2::{Domain, Socket, Type};

use super::dial;
use crate::config::{Listener, Side};

/// A listener's settings as they are now, shared by all that serve it.
#[derive(Debug, Clone)]
pub struct Current(Arc<RwLock<Arc<Listener>>>);

/// A listening socket that a worker has, to change what the sockets that it accepts inherit.
#[derive(Debug)]
pub struct Standing {
    socket: Socket,
    side: Side,
    settings: Current,
}

/// All that has to change with the settings.
#[derive(Debug)]
pub struct Reloadable {
    /// None once the relay drains: sockets that are held here would go on listening.
    sockets: Mutex<Vec<Standing>>,
    /// What those go by who open connections before they are accepted.
    held: Vec<Current>,
}

/// Where Linux says which congestion control a socket has by itself.
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

// === impl Current ===

impl Current {
    /// Settings that may change.
    pub fn new(settings: Listener) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(settings))))
    }

    /// What they are now; whoever keeps it keeps it as it is.
    pub fn now(&self) -> Arc<Listener> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes on the settings of that name, if they are among these.
    fn adopt(&self, listeners: &[Arc<Listener>]) {
        let name = &self.now().name;
        if let Some(new) = listeners.iter().find(|new| new.name == *name) {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
        }
    }
}

// === impl Standing ===

impl Standing {
    /// A second hold of a socket.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn new(socket: &Socket, side: Side, settings: &Current) -> io::Result<Self> {
        Ok(Self {
            socket: socket.try_clone()?,
            side,
            settings: settings.clone(),
        })
    }
}

// === impl Reloadable ===

impl Reloadable {
    /// All listening sockets, and what else goes by the settings.
    pub fn new(sockets: Vec<Standing>, held: Vec<Current>) -> Self {
        Self {
            sockets: Mutex::new(sockets),
            held,
        }
    }

    /// Sees whether the kernel takes these settings; changes nothing.
    ///
    /// # Errors
    /// What it says of the first that it does not take, such as a congestion control.
    pub fn check(&self, listeners: &[Listener]) -> io::Result<()> {
        for listener in listeners {
            for side in Side::ALL {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                dial::set_options(&socket, listener, listener.profile(side))?;
            }
        }
        Ok(())
    }

    /// Has everything that comes from now on go by these settings.
    ///
    /// # Errors
    /// If the kernel does not take what it took in [`Reloadable::check`].
    pub fn adopt(&self, listeners: &[Listener]) -> io::Result<()> {
        let usual = fs::read_to_string(CONGESTION_CONTROL)?;
        let new: Vec<_> = listeners.iter().cloned().map(Arc::new).collect();
        let sockets = self.sockets();
        for Standing {
            socket,
            side,
            settings,
        } in sockets.iter()
        {
            settings.adopt(&new);
            let now = settings.now();
            dial::change_options(socket, &now, now.profile(*side), usual.trim())?;
        }
        self.held.iter().for_each(|held| held.adopt(&new));
        Ok(())
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

//! The data path. The way of a byte: `listen` -> `session` -> `half`, and nothing else.
//!
//! | file | what it is about |
//! | --- | --- |
//! | `addr` | newtypes for the addresses that must not be mixed up |
//! | `server` | starts the workers, hands out, drains, gathers what they recorded |
//! | `worker` | one thread, one current-thread runtime: its sessions, its buffer, its pipes |
//! | `listen` | the sockets that intercepted connections arrive at, and the accept loop |
//! | `dial` | the other leg: to the original destination, from the client's own address and port |
//! | `session` | one pair of legs, from accept to the line in the log |
//! | `half` | one direction of a session: a state machine over two legs |
//! | `leg` | what a direction needs of a socket |
//! | `pipes` | the bounded pool of pipes |

mod addr;
mod dial;
mod half;
mod leg;
mod listen;
mod pipes;
mod server;
mod session;
mod worker;

pub use addr::{ClientAddr, OriginalDst};
pub use listen::{BindError, Listeners};
pub use server::{Outcome, Server};

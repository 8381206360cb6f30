//! The data path. The way of a byte: `listen` -> `session` -> `half`, and nothing else.
//!
//! | file | what it is about |
//! | --- | --- |
//! | `addr` | newtypes for the addresses that must not be mixed up |
//! | `server` | starts the workers, hands out, drains, gathers what they recorded |
//! | `worker` | one thread, one current-thread runtime: its sessions, its buffer, its pipes |
//! | `listen`, `accepting` | the sockets that connections arrive at, and the loops that accept them |
//! | `introduction` | who the client is, where a proxy says it |
//! | `admission`, `refusal` | who is let in: what is judged before the dial, and how a refusal is told |
//! | `seats`, `sources` | how many there may be; what each source has: a bounded table, pure |
//! | `shortage` | what this host has run out of |
//! | `dial` | the other leg: to the original destination as the client, or to a fixed target |
//! | `held`, `holder` | opening packets that wait until the server has answered: the table, and the thread; `waiting`: what came about |
//! | `answer` | what their clients are told if the server was not to be had |
//! | `opening` | from an accepted connection to two legs |
//! | `session` | one pair of legs, from accept to the line in the log (`told`) |
//! | `sidecar` | where a sidecar dials: the service behind it, or where a program of this host meant to go |
//! | `legs` | the two legs, and how they can end |
//! | `farewell` | what a peer still gets at the end, and for how long it is waited for |
//! | `halves`, `half` | our engine: two directions, each a state machine over two legs |
//! | `foreign` | engines that are not ours, under the same watch |
//! | `witness` | what the rules show of packets: clients' offers, the DSCP |
//! | `strangers` | connections that another gateway has relayed: the other end is told, too |
//! | `sessions`, `flow` | those that run, and what they have counted |
//! | `watchdog`, `stall` | looks at them once in a while: which are idle, which are stuck, and where |
//! | `handle`, `view`, `roll_call` | what can be asked while it runs: what was recorded, which sessions there are, whether every thread answers |
//! | `wake` | since when a message waits: when the worker was woken |
//! | `sample` | round-trip times and retransmissions, once in a while |
//! | `leg` | what a direction needs of a socket |
//! | `moving` | sessions that go to another process, or come from one |
//! | `word`, `still`, `parcel` | sessions are told to stand still; those that do are carried to another process, as parcels |
//! | `pipes` | the bounded pool of pipes |
//! | `reload` | settings that change while it runs |

mod accepting;
mod addr;
mod admission;
mod adopted;
mod answer;
mod cpus;
mod dial;
mod farewell;
mod flow;
mod foreign;
mod half;
mod halves;
mod handle;
mod held;
mod holder;
mod introduction;
mod leg;
mod legs;
mod listen;
mod moving;
mod opening;
mod pacing;
mod parcel;
// Public for the micro-benchmarks.
pub mod pipes;
mod refusal;
mod reload;
mod roll_call;
mod sample;
mod seats;
mod server;
mod session;
mod sessions;
mod shortage;
mod sidecar;
mod sources;
mod stall;
mod still;
mod strangers;
mod told;
mod view;
mod waiting;
mod wake;
mod watchdog;
mod witness;
mod word;
mod worker;

pub use addr::{ClientAddr, Destination, OriginalDst};
pub use admission::{Gate, Gates};
pub use adopted::AdoptError;
pub use handle::Handle;
pub use holder::{Queue, QueueError};
pub use legs::Party;
pub use listen::{BindError, Listeners, Listening, WayIn};
pub use moving::Move;
pub use parcel::{
    Carrier, MOST, Note, NotedDebt, NotedEnd, NotedHalf, NotedHeld, NotedOffer, NotedPort, Parcel,
};
pub use roll_call::RollCall;
pub use server::{Begins, Outcome, Server};
pub use stall::Why;
pub use view::{LegView, Order, Query, StuckView, View};
pub use witness::Witness;

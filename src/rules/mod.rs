//! How connections come to the relay: a pure plan, its text, and a process that owns it.
//!
//! | file | what it does |
//! | --- | --- |
//! | `plan` | says what is wanted: a pure value |
//! | `select`, `strip` | which packets are meant, and what they lose, as statements of nft |
//! | `show` | what the relay is shown of packets that no socket shows |
//! | `strangers` | segments of connections that another gateway has relayed are answered |
//! | `nft`, `iptables` | write the plan down |
//! | `by_hand` | the same for somebody else to load, with a head that says how |
//! | `sidecar`, `stand_in`, `cgroup` | the same for a relay on the strict host itself |
//! | `hold`, `queue_rule` | how opening packets come into the queue and are answered; the rule of iptables for it |
//! | `routes` | what leads marked packets to this host |
//! | `preflight`, `service`, `survey`, `survey_sidecar`, `check` | look at the host, and at what its other rules would do |
//! | `managed` | whose those are, where ufw or firewalld would undo a line that is added by hand |
//! | `observe` | what rules, routes and links of the host are, for `doctor` to judge |
//! | `lock` | keeps two of them apart |
//! | `own`, `owner`, `nft_process`, `leads` | apply the plan for as long as the relay lives, watch it, and take it away |
//! | `part` | the same one by one, for whoever looks: pure |
//! | `hand` | what goes over to another process, and what must be the same there |
//! | `fail_closed`, `mode` | what becomes of new connections when it is killed; whose the rules are |
//! | `leftovers` | finds and removes what a killed relay left |
//! | `normalise`, `normalise_iptables` | rules without a relay |
//! | `tuning` | settings of the host, applied and restored |

pub mod by_hand;
mod cgroup;
pub mod check;
pub mod fail_closed;
mod hand;
mod hold;
pub mod iptables;
mod leads;
pub mod leftovers;
mod lock;
mod managed;
pub mod mode;
pub mod nft;
mod nft_process;
pub mod normalise;
mod normalise_iptables;
pub mod observe;
pub mod own;
mod owner;
mod part;
pub mod plan;
pub mod preflight;
pub mod queue_rule;
mod replace;
pub mod routes;
mod select;
mod service;
mod show;
mod sidecar;
mod stand_in;
mod strangers;
mod strip;
pub mod survey;
mod survey_sidecar;
mod tool;
pub mod tuning;

pub use hand::{Handed, HandedNote, Lasting, LastingHold, Misfit};
pub use lock::Lock;
pub use mode::{Change, InPlace};
pub use own::{OwnError, Owned};
pub use part::Part;
pub use plan::{
    Capture, Conflict, Holding, Interception, ListenPorts, Plan, Queueing, Shown, Tracking, Zones,
};

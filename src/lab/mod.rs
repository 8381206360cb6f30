//! The place where it is proven: hosts in namespaces, an emulated firewall between them, scenarios.
//!
//! ```text
//!   client            relay host             server
//!   fw0 ---- wire ---- fw0  long0 ---- wire ---- long0
//!        the firewall              the long leg
//! ```
//!
//! From the ground up: [`Host`] is a namespace, [`Process`] something that runs in one,
//! [`topology`] the names and addresses, [`ground`] what a lab leaves on the machine and who sweeps
//! it up, [`Lab`] the whole that stands. A [`Scenario`] says what is wrong with the path, a
//! [`Matrix`] turns flags into [`Case`]s, the [`Runner`] turns a case into a [`Row`] and
//! [`verdict`] says whether the rows prove what they should. Tests and benchmarks start at
//! [`Lab::builder`]. A [`Chain`] is hosts for measuring speed alone: a router more, and no filters.

pub mod builder;
pub mod chain;
pub mod deployment;
pub mod error;
pub mod firewall;
pub mod ground;
pub mod host;
pub mod interrupt;
pub mod joined;
pub mod matrix;
pub mod payload;
pub mod process;
pub mod report;
pub mod requirements;
pub mod rootless;
pub mod row;
pub mod rsyncd;
pub mod runner;
pub mod scenario;
pub mod sshd;
pub mod standing;
pub mod tool;
pub mod topology;
pub mod tuning;
pub mod verdict;
pub mod wire;

pub use builder::Builder;
pub use chain::Chain;
pub use deployment::Shape;
pub use error::{Error, Result};
pub use host::Host;
pub use interrupt::Interrupt;
pub use joined::Joined;
pub use matrix::{Case, Family, FlowDirection, Matrix, OpenedFrom, Path, Strict};
pub use payload::Payload;
pub use process::Process;
pub use report::Report;
pub use requirements::require;
pub use row::{Invalid, Outcome, Row};
pub use runner::{Evidence, Runner};
pub use scenario::Scenario;
pub use standing::Lab;
pub use tool::Tool;
pub use topology::Role;
pub use tuning::HostTuning;

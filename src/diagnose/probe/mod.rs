//! Finds out what the path between two hosts does to TCP: both ends see what was sent and what arrived.
//!
//! | file | job |
//! | --- | --- |
//! | `order` | what an end is told to do, and what it answers |
//! | `drive` | the experiments: what both ends are told, one after another |
//! | `agent` | an end that carries it out: pure, packets and time in, packets and answers out |
//! | `ends` | the two ends, as an experiment uses them |
//! | `evidence` | what was seen, as plain values |

pub mod agent;
pub mod drive;
pub mod ends;
pub mod evidence;
pub mod order;

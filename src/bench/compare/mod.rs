//! Every peer and every engine beside each other, in one run: `unmangle bench compare`.
//!
//! [`plan`] says what is measured, [`candidate`] who takes part. Each candidate gets hosts of its own
//! ([`stand`]) and stays there, idle, while the others have their turn, so that turns can be short and close
//! in time: [`order`] deals them out, [`turn`] takes one with a [`generator`] on certain [`cores`], and with another
//! [`beside`] it, [`cost`] reads what it cost, [`idle`] counts what sessions cost that say nothing. [`paired`] compares
//! within each round, [`gathered`] keeps what was measured and turns it into a [`result`], which [`plot`] draws;
//! [`baseline`] says whether it is worse than another,
//! [`targets`] whether it is what is asked. [`conduct`] has the whole of it done.

pub mod baseline;
pub mod beside;
pub mod candidate;
pub mod conduct;
pub mod cores;
pub mod cost;
pub mod gathered;
pub mod generator;
pub mod idle;
pub mod order;
pub mod paired;
pub mod plan;
pub mod plot;
pub mod result;
pub mod stand;
pub mod targets;
pub mod turn;

//! (room under construction)
pub mod check;

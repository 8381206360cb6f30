//! Both sides over a real socket, with relays that are modelled: who carries on what, after what goes wrong where.

mod kills;
mod model;
mod mortal;
mod refusals;

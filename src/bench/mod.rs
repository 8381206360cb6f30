//! The benchmark: loads a TCP path and times it honestly, direct and by another way.
//!
//! From the ground up: [`work`] says what is asked for, [`schedule`] when each request is due,
//! [`hello`] and [`pattern`] what goes over a connection. [`serve`] is one end of it, [`load`] the
//! other: threads with a [`poller`] each, which fill [`tally`]s. A [`report`] is what they come to, read again only
//! as the version it is of ([`versioned`]);
//! [`merge`] adds the reports of several clients, [`hdr_log`] and [`plot`] write them for other tools and
//! for the eye. [`compare`] runs all of it against every peer in turn.
//!
//! The load is no asynchronous program: a timer of tokio ticks in milliseconds, and a schedule wants
//! microseconds; a ping-pong over one connection wants to wait in `recv` itself.

pub mod block;
pub mod compare;
pub mod failure;
pub mod hdr_log;
pub mod hello;
pub mod load;
pub mod merge;
pub mod paths;
pub mod pattern;
pub mod plot;
pub mod poller;
pub mod report;
pub mod schedule;
pub mod serve;
pub mod tally;
pub mod versioned;
pub mod work;

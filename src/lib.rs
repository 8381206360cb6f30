//! `unmangle`: a transparent TCP relay and normaliser for paths through firewalls that mangle TCP.
//!
//! The rooms, from the top floor down; a room imports only from lower floors, and
//! `tests/layering.rs` keeps it so:
//!
//! | room | what it does | floor |
//! | --- | --- | --- |
//! | [`cli`] | one file per subcommand: arguments, and what is printed | 5 |
//! | [`admin`] | who may ask gets an answer: metrics, status, sessions, readiness | 4 |
//! | [`bench`] | load generator, schedules, reports, comparisons | 4 |
//! | [`takeover`] | a running relay hands over to a newer one: messages, who owns what when | 4 |
//! | [`relay`] | the data path: server, listen, dial, session, halves, pipes | 3 |
//! | [`rules`] | a pure plan -> nft / iptables text -> own, apply, undo | 3 |
//! | [`lab`] | hosts in namespaces, the emulated firewall, scenarios | 3 |
//! | [`diagnose`] | what this host's conntrack counts, and why it called packets INVALID | 3 |
//! | [`config`] | file and flags -> checked settings; leg profiles and presets | 2 |
//! | [`metrics`] | every counter and histogram, and how they are told | 2 |
//! | [`chart`] | scales, colours and pages of everything that is drawn: pure | 1 |
//! | [`packet`] | IPv4, IPv6, TCP and ICMP as bytes: pure, no I/O | 1 |
//! | [`sys`] | the only `unsafe`: what rustix and socket2 lack | 1 |

pub mod admin;
pub mod bench;
pub mod chart;
pub mod cli;
pub mod config;
pub mod diagnose;
pub mod lab;
pub mod metrics;
pub mod packet;
pub mod relay;
pub mod rules;
pub mod sys;
pub mod takeover;

//! Who may ask gets an answer: HTTP/1.1 over Unix sockets (mode 0660) and, where it was asked for, TCP.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | the status page: for people with a browser |
//! | `GET /metrics` | everything that is measured: Prometheus' text format 0.0.4, or OpenMetrics 1.0 for those who prefer it (`Accept`) |
//! | `GET /api/status` | how the relay does, in JSON: [`Status`], `docs/api-status.schema.json` |
//! | `GET /api/sessions` | the sessions that run, in JSON: [`Sessions`], `docs/api-sessions.schema.json`. Parameters: `limit` (100; at most 10,000), `order` (`oldest`, `newest`, `bytes`, `rate`), `listener` (its name), `client` and `server` (an address), `stuck` (`true` or `false`), `older_than` (`90s`). What is unknown or wrong: 400 |
//! | `GET /api/figures` | what counts on, and times by percentile, in JSON: [`Figures`], `docs/api-figures.schema.json` |
//! | `GET /healthz` | 200 `ok`: the process answers |
//! | `GET /readyz` | 200 `ready`: it listens, its rules were verified and are in place, it is not draining; otherwise 503 and the reason |
//! | `POST /drain` | 202: what SIGTERM begins has begun. Over TCP: 403 |
//! | `POST /upgrade` | the relay starts its successor and hands everything over to it: 200 and [`Upgraded`] in JSON, or 409 and `{"error": "…"}`, and it goes on. Parameter: `program`, the whole path of what is started. Over TCP, and for anybody but the same user and root: 403 |
//! | `POST /takeover` | with `Connection: Upgrade` and `Upgrade: unmangle-takeover`: 101, and the connection is the one by which everything goes over. Without: 426. Who may: as for `/upgrade` |
//!
//! `HEAD` works where `GET` does. Another method is answered by 405 and `Allow`, another path by 404 and this list.
//! Errors are one line; below `/api`, and at `/upgrade`, `{"error": "…"}`. Nothing may be cached, and what is no `POST`
//! changes nothing.
//!
//! | file | what it is about |
//! | --- | --- |
//! | `doors`, `socket_file` | where it can be asked: bound at the start; the life of a socket in the file system |
//! | `server`, `connection`, `places` | the thread; one connection; how many there may be, and who makes room |
//! | `routes`, `query` | what is answered; which sessions are asked for |
//! | `succession`, `handed` | who may take over, and how that is asked for; sockets that listen, handed over |
//! | `source`, `standing` | what has to be known for that; how the relay stands, and whether that is ready |
//! | `process` | metrics of the process itself |
//! | `status`, `sessions`, `figures`, `told` | the answers in JSON, and how they are made |
//! | `page`, `page/` | the status page; its text, its style, its script |

mod connection;
mod doors;
mod figures;
mod handed;
mod page;
mod places;
mod process;
mod query;
mod routes;
mod server;
mod sessions;
mod socket_file;
mod source;
mod standing;
mod status;
mod succession;
mod told;

pub use doors::{Doors, directories, found, prepare};
pub use figures::{Both, Figures, LegFigures, Legs, Percentiles, Point};
pub use handed::HandedDoor;
pub use process::PROCESS;
pub use query::WrongQuery;
pub use server::Server;
pub use sessions::{Flow, Leg, LegName, Session, Sessions, Stuck, StuckSide, StuckWhy};
pub use source::{About, Ask, Source, Upgraded};
pub use standing::{NotReady, Phase, Rules, Standing};
pub use status::{
    AddedLatency, Limits, ListenerTold, Pipes, RuleTold, RulesStanding, RulesTold, Status, schema,
};

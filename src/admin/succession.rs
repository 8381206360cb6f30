//! Who may take over from this process, and how that is asked for.
//!
//! `POST /upgrade` has it start its successor; the successor then comes by itself, with `POST /takeover`, and its
//! connection becomes the one by which everything goes over.

use std::path::PathBuf;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper::body::Body;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::oneshot;

use super::connection::{Asker, Stream};
use super::routes::{Desk, error, json};
use super::source::Ask;
use super::standing::Phase;
use crate::sys::privileges;

/// What is spoken once the protocol is switched.
const PROTOCOL: &str = "unmangle-takeover";
/// A successor that does not come up must not keep whoever asks for ever.
pub(super) const UPGRADED_WITHIN: Duration = Duration::from_secs(120);

/// `POST /takeover`.
pub(super) async fn takeover(
    State(desk): State<Desk>,
    Extension(asker): Extension<Asker>,
    mut request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let permit = match permitted(&desk, asker) {
        Ok(permit) => permit,
        Err((status, why)) => return error(&path, status, &why),
    };
    if !request.body().is_end_stream() {
        return error(&path, StatusCode::BAD_REQUEST, "a takeover has no body");
    }
    let switching = request.extensions_mut().remove::<OnUpgrade>();
    let (Some(switching), true) = (switching, wants_takeover(request.headers())) else {
        let why = "ask with the headers Connection: Upgrade and Upgrade: unmangle-takeover";
        let refused = error(&path, StatusCode::UPGRADE_REQUIRED, why);
        return (switching_headers(), refused).into_response();
    };
    tokio::spawn(pass_on(switching, permit));
    (StatusCode::SWITCHING_PROTOCOLS, switching_headers()).into_response()
}

/// Passes the raw connection on, once the answer is on its way.
async fn pass_on(switching: OnUpgrade, permit: OwnedPermit<Ask>) {
    let switched = match switching.await {
        Ok(switched) => switched,
        Err(error) => {
            tracing::warn!(%error, "who asked to take over was gone");
            return;
        }
    };
    let parts = match switched.downcast::<TokioIo<Box<dyn Stream>>>() {
        Ok(parts) => parts,
        Err(_) => unreachable!("every connection here is one of these"),
    };
    if !parts.read_buf.is_empty() {
        // Descriptors that came with these bytes are lost: hyper does not receive any.
        tracing::warn!("who asked to take over spoke before it was answered: refused");
        return;
    }
    match parts.io.into_inner().into_descriptor() {
        Ok(socket) => {
            permit.send(Ask::Takeover(socket));
        }
        Err(error) => tracing::warn!(%error, "who asked to take over cannot be spoken to"),
    }
}

/// `POST /upgrade`.
pub(super) async fn upgrade(
    State(desk): State<Desk>,
    Extension(asker): Extension<Asker>,
    uri: Uri,
) -> Response {
    let path = uri.path();
    let permit = match permitted(&desk, asker) {
        Ok(permit) => permit,
        Err((status, why)) => return error(path, status, &why),
    };
    let program = match program(uri.query().unwrap_or_default()) {
        Ok(program) => program,
        Err(wrong) => return error(path, StatusCode::BAD_REQUEST, &wrong),
    };
    if program.is_some()
        && let Err(why) = may_name(asker, !privileges::held().is_empty())
    {
        return error(path, StatusCode::FORBIDDEN, &why);
    }
    let Ok(turn) = desk.upgrading.clone().try_acquire_owned() else {
        let why = "another upgrade is under way";
        return error(path, StatusCode::CONFLICT, why);
    };
    let (answer, answered) = oneshot::channel();
    permit.send(Ask::Upgrade { program, answer });
    // Whoever asked may be gone before it is over, and it is still under way.
    let answered = tokio::spawn(async move {
        let answered = answered.await;
        drop(turn);
        answered
    });
    match tokio::time::timeout(UPGRADED_WITHIN, answered).await {
        Ok(Ok(Ok(Ok(upgraded)))) => json(StatusCode::OK, &upgraded),
        Ok(Ok(Ok(Err(why)))) => error(path, StatusCode::CONFLICT, &why),
        Ok(_) => {
            let why = "the relay ended before it was upgraded";
            error(path, StatusCode::SERVICE_UNAVAILABLE, why)
        }
        Err(_) => {
            let why = "neither upgraded nor refused within 120 s: its log tells";
            error(path, StatusCode::GATEWAY_TIMEOUT, why)
        }
    }
}

/// What to ask the main thread by, if this one may; otherwise how that is refused.
fn permitted(desk: &Desk, asker: Asker) -> Result<OwnedPermit<Ask>, (StatusCode, String)> {
    let own = rustix::process::geteuid().as_raw();
    may_succeed(asker, own).map_err(|why| (StatusCode::FORBIDDEN, why))?;
    let why = match desk.source.standing.borrow().phase {
        Phase::Running => None,
        Phase::Starting => Some("starting: there is nothing to hand over yet"),
        Phase::Draining => Some("draining: what is left ends here"),
    };
    if let Some(why) = why {
        return Err((StatusCode::CONFLICT, why.to_owned()));
    }
    let permit = desk.source.asks.clone().try_reserve_owned();
    permit.map_err(|_| {
        let why = "the relay is busy with others who asked";
        (StatusCode::SERVICE_UNAVAILABLE, why.to_owned())
    })
}

/// Whether somebody may become, or start, what has all that a process of the user `own` has.
fn may_succeed(asker: Asker, own: u32) -> Result<(), String> {
    match asker {
        Asker::Tcp => Err(
            "whoever reaches this port could take the relay's place: ask over a Unix socket"
                .to_owned(),
        ),
        Asker::Unix(Some(uid)) if uid == 0 || uid == own => Ok(()),
        Asker::Unix(Some(uid)) => Err(format!(
            "user {uid} may not take the place of a relay of user {own}: that user may, and root"
        )),
        Asker::Unix(None) => Err("the kernel does not tell who asks".to_owned()),
    }
}

/// Whether somebody who may have this process upgraded may also say to what: what is started has the privileges that
/// this process has, and whoever is not root may have fewer.
fn may_name(asker: Asker, is_privileged: bool) -> Result<(), String> {
    match asker {
        Asker::Unix(Some(0)) => Ok(()),
        _ if !is_privileged => Ok(()),
        _ => Err(
            "what is started has the privileges of the relay: root alone may name a program"
                .to_owned(),
        ),
    }
}

/// Whether it is this switch that is asked for.
fn wants_takeover(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        let values = headers.get_all(name).into_iter();
        let mut words = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
        words.any(|each| each.trim().eq_ignore_ascii_case(word))
    };
    has(CONNECTION, "upgrade") && has(UPGRADE, PROTOCOL)
}

fn switching_headers() -> [(axum::http::HeaderName, HeaderValue); 2] {
    [
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static(PROTOCOL)),
    ]
}

/// The program that is to be started, if one is named.
fn program(query: &str) -> Result<Option<PathBuf>, String> {
    let mut program = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "program" {
            return Err(format!("there is no parameter {name:?}; there is: program"));
        }
        if !value.starts_with('/') || value.contains('\0') {
            return Err(format!(
                "program={value:?}: give the whole path of a program, such as /usr/local/bin/unmangle"
            ));
        }
        if program.replace(PathBuf::from(&*value)).is_some() {
            return Err("program is there twice".to_owned());
        }
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_user_and_root_may_take_over_and_nobody_else() {
        for (asker, may) in [
            (Asker::Unix(Some(0)), true),
            (Asker::Unix(Some(1000)), true),
            (Asker::Unix(Some(1001)), false),
            (Asker::Unix(None), false),
            (Asker::Tcp, false),
        ] {
            assert_eq!(may_succeed(asker, 1000).is_ok(), may, "{asker:?}");
        }
        assert!(may_succeed(Asker::Unix(Some(1000)), 0).is_err());
    }

    #[test]
    fn who_may_have_less_than_the_relay_names_no_program_for_it_to_start() {
        for (asker, is_privileged, may) in [
            (Asker::Unix(Some(0)), true, true),
            (Asker::Unix(Some(1000)), true, false),
            (Asker::Unix(Some(1000)), false, true),
        ] {
            assert_eq!(may_name(asker, is_privileged).is_ok(), may, "{asker:?}");
        }
    }

    #[test]
    fn a_program_is_named_once_and_by_its_whole_path() {
        assert_eq!(program(""), Ok(None));
        let path = PathBuf::from("/opt/un mangle");
        assert_eq!(program("program=/opt/un%20mangle"), Ok(Some(path)));
        for (query, message) in [
            (
                "path=/x",
                "there is no parameter \"path\"; there is: program",
            ),
            (
                "program=x",
                "program=\"x\": give the whole path of a program, such as /usr/local/bin/unmangle",
            ),
            (
                "program=/x%00",
                "program=\"/x\\0\": give the whole path of a program, such as /usr/local/bin/unmangle",
            ),
            ("program=/x&program=/y", "program is there twice"),
        ] {
            assert_eq!(program(query).unwrap_err(), message);
        }
    }
}

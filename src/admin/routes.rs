//! What is answered to each request. Nothing here changes anything, but `POST /drain`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use super::query::Query;
use super::source::Source;
use super::told;

/// By which kind of socket a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unix,
    Tcp,
}

#[derive(Clone)]
struct Desk {
    source: Arc<Source>,
    kind: Kind,
}

/// One for each endpoint: its methods, its path, what it tells.
const ENDPOINTS: &str = "\
GET  /metrics       everything that is measured, for Prometheus
GET  /api/status    how the relay does, in JSON
GET  /api/sessions  who is connected to whom, in JSON: ?limit= &listener= &client= &server= &stuck=
GET  /healthz       whether the process answers
GET  /readyz        whether new connections are relayed, and why not
POST /drain         take no new connection, end with the last one: over a Unix socket only
";

/// No request needs a body.
const LARGEST_BODY: u64 = 4096;
/// A worker that does not answer must not keep whoever asks.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// What answers the requests that come by sockets of this kind.
pub(super) fn router(source: Arc<Source>, kind: Kind) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/sessions", get(sessions))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/drain", post(drain))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_there)
        .layer(middleware::from_fn(guarded))
        .with_state(Desk { source, kind })
}

/// What holds for every request and every answer.
async fn guarded(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let body = request.body().size_hint();
    let mut response = if body.upper().is_none_or(|bytes| bytes > LARGEST_BODY) {
        let mut refused = error(
            &path,
            StatusCode::PAYLOAD_TOO_LARGE,
            "no request here needs a body",
        );
        // What follows is that body.
        let close = HeaderValue::from_static("close");
        refused.headers_mut().insert(CONNECTION, close);
        refused
    } else {
        match tokio::time::timeout(ANSWERED_WITHIN, next.run(request)).await {
            Ok(response) => response,
            Err(_) => error(
                &path,
                StatusCode::SERVICE_UNAVAILABLE,
                "a worker did not answer within 10 s",
            ),
        }
    };
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, never);
    response
}

async fn metrics(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let accept: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let accept = (!accept.is_empty()).then(|| accept.join(","));
    let metrics = desk.source.relayed.metrics(accept).await;
    ([(CONTENT_TYPE, metrics.content_type)], metrics.text).into_response()
}

async fn status(State(desk): State<Desk>) -> Response {
    let figures = desk.source.relayed.figures().await;
    let live = desk.source.relayed.live();
    let standing = desk.source.standing.borrow().clone();
    let now = Instant::now();
    json(
        StatusCode::OK,
        &told::status(&desk.source.about, &standing, live, &figures, now),
    )
}

async fn sessions(State(desk): State<Desk>, uri: Uri) -> Response {
    match Query::read(uri.query().unwrap_or_default()) {
        Ok(query) => json(StatusCode::OK, &desk.source.relayed.sessions(query).await),
        Err(wrong) => error(uri.path(), StatusCode::BAD_REQUEST, &wrong.to_string()),
    }
}

async fn ready(State(desk): State<Desk>) -> Response {
    let ready = desk.source.standing.borrow().ready(Instant::now());
    match ready {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn drain(State(desk): State<Desk>, uri: Uri) -> Response {
    if desk.kind == Kind::Tcp {
        let why = "whoever reaches this port could end the relay: ask over a Unix socket";
        return error(uri.path(), StatusCode::FORBIDDEN, why);
    }
    // Who asks a second time asks for what has begun.
    let _ = desk.source.drain.try_send(());
    (StatusCode::ACCEPTED, "draining\n").into_response()
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let right = if path == "/drain" { "POST" } else { "GET" };
    let why = format!("{method} is not for {path}: {right} is");
    let mut refused = error(path, StatusCode::METHOD_NOT_ALLOWED, &why);
    let allowed = if path == "/drain" { "POST" } else { "GET,HEAD" };
    refused
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    refused
}

async fn nothing_there(uri: Uri) -> Response {
    let path = uri.path();
    match path.starts_with("/api/") {
        true => error(
            path,
            StatusCode::NOT_FOUND,
            "there are /api/status and /api/sessions",
        ),
        false => {
            let text = format!("there is nothing at {path}. There are:\n\n{ENDPOINTS}");
            (StatusCode::NOT_FOUND, text).into_response()
        }
    }
}

#[derive(Serialize)]
struct Wrong<'a> {
    error: &'a str,
}

/// One line for people, an object where JSON is spoken.
fn error(path: &str, status: StatusCode, why: &str) -> Response {
    match path.starts_with("/api/") {
        true => json(status, &Wrong { error: why }),
        false => (status, format!("{why}\n")).into_response(),
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("these values have text for keys");
    let header = [(CONTENT_TYPE, "application/json")];
    (status, header, Body::from(text)).into_response()
}

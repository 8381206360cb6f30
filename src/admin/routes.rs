//! What is answered to each request. Nothing here changes anything, but what is asked for by `POST`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::connection::Asker;
use super::source::{Ask, Source};
use super::{figures, page, process, query, succession, told};
use crate::diagnose::Conntrack;
use crate::metrics::exposition::{Format, render};

/// What is needed to answer.
#[derive(Clone)]
pub(super) struct Desk {
    pub source: Arc<Source>,
    conntrack: Arc<Conntrack>,
    /// Whether the drain was asked for.
    drains: Arc<AtomicBool>,
    /// One upgrade at a time.
    pub upgrading: Arc<Semaphore>,
}

/// One for each endpoint: its methods, its path, what it tells.
const ENDPOINTS: &str = "\
GET  /              all of it on a page, for people with a browser
GET  /metrics       everything that is measured, for Prometheus
GET  /api/status    how the relay does, in JSON
GET  /api/sessions  who is connected to whom, in JSON: ?limit= &order= &listener= &client=
                    &server= &stuck= &older_than=
GET  /api/figures   what counts on, and times by percentile, in JSON
GET  /healthz       whether the process answers
GET  /readyz        whether new connections are relayed, and why not
POST /drain         take no new connection, end with the last one: over a Unix socket only
POST /upgrade       start a successor and hand everything over to it: ?program=; over a Unix
                    socket, for the same user and root only
POST /takeover      how that successor asks for it: Upgrade: unmangle-takeover
";

const UPGRADE: &str = "/upgrade";
/// What can be asked for by POST alone.
const POSTS: [&str; 3] = ["/drain", UPGRADE, "/takeover"];
/// No request needs a body.
const LARGEST_BODY: u64 = 4096;
/// A worker that does not answer must not keep whoever asks.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// What answers.
pub(super) fn router(source: Source, conntrack: Conntrack) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/sessions", get(sessions))
        .route("/api/figures", get(counted))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/drain", post(drain))
        .route(UPGRADE, post(succession::upgrade))
        .route("/takeover", post(succession::takeover))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_there)
        .layer(middleware::from_fn(guarded))
        .with_state(Desk {
            source: Arc::new(source),
            conntrack: Arc::new(conntrack),
            drains: Arc::default(),
            upgrading: Arc::new(Semaphore::new(1)),
        })
}

/// What holds for every request and every answer.
async fn guarded(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let body = request.body().size_hint();
    let from_a_page = request.headers().contains_key(ORIGIN) && request.method() == Method::POST;
    let mut response = if from_a_page {
        // Who has a way to the relay open in a browser must not end it by looking at somebody's page: browsers say
        // whose page it is that posts, and the page here never does.
        let why = "nothing is done that a page in a browser asks for";
        error(&path, StatusCode::FORBIDDEN, why)
    } else if body.upper().is_none_or(|bytes| bytes > LARGEST_BODY) {
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
        let answer = next.run(request);
        match path.as_str() {
            // It waits for no worker, and no longer than it may.
            UPGRADE => answer.await,
            _ => tokio::time::timeout(ANSWERED_WITHIN, answer)
                .await
                .unwrap_or_else(|_| {
                    let why = "a worker did not answer within 10 s";
                    error(&path, StatusCode::SERVICE_UNAVAILABLE, why)
                }),
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
    let format = Format::negotiate(Some(&accept.join(",")));
    let mut families = desk.source.relay.recorded().await.families();
    families.extend(desk.conntrack.families());
    families.extend(process::families(
        &desk.source.about,
        &desk.source.standing.borrow(),
    ));
    let header = [(CONTENT_TYPE, format.content_type())];
    (header, render(format, &families)).into_response()
}

async fn status(State(desk): State<Desk>) -> Response {
    let recorded = desk.source.relay.recorded().await;
    let Source {
        relay,
        about,
        standing,
        ..
    } = &*desk.source;
    let (live, now) = (relay.live(), Instant::now());
    let standing = standing.borrow().clone();
    let status = told::status(
        about,
        &standing,
        live,
        &recorded,
        desk.conntrack.summary(),
        now,
    );
    json(StatusCode::OK, &status)
}

async fn sessions(State(desk): State<Desk>, uri: Uri) -> Response {
    let mut query = match query::read(uri.query().unwrap_or_default()) {
        Ok(query) => query,
        Err(wrong) => return error(uri.path(), StatusCode::BAD_REQUEST, &wrong.to_string()),
    };
    let limit = query.limit;
    query.limit += 1;
    let relay = &desk.source.relay;
    let found = relay.sessions(query).await;
    let settings = desk.source.standing.borrow().settings.clone();
    json(
        StatusCode::OK,
        &told::sessions(found, limit, relay.live(), &settings),
    )
}

async fn counted(State(desk): State<Desk>) -> Response {
    let recorded = desk.source.relay.recorded().await;
    let figures = figures::figures(&recorded, SystemTime::now());
    json(StatusCode::OK, &figures)
}

async fn ready(State(desk): State<Desk>) -> Response {
    let ready = desk.source.standing.borrow().ready(Instant::now());
    match ready {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn drain(State(desk): State<Desk>, Extension(asker): Extension<Asker>, uri: Uri) -> Response {
    if asker == Asker::Tcp {
        let why = "whoever reaches this port could end the relay: ask over a Unix socket";
        return error(uri.path(), StatusCode::FORBIDDEN, why);
    }
    // Who asks a second time asks for what has begun.
    if !desk.drains.swap(true, Ordering::Relaxed) && desk.source.asks.try_send(Ask::Drain).is_err()
    {
        desk.drains.store(false, Ordering::Relaxed);
        let why = "the relay is busy with others who asked";
        return error(uri.path(), StatusCode::SERVICE_UNAVAILABLE, why);
    }
    (StatusCode::ACCEPTED, "draining\n").into_response()
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let posts = POSTS.contains(&path);
    let right = if posts { "POST" } else { "GET" };
    let why = format!("{method} is not for {path}: {right} is");
    let mut refused = error(path, StatusCode::METHOD_NOT_ALLOWED, &why);
    let allowed = if posts { "POST" } else { "GET,HEAD" };
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
            "there are /api/status, /api/sessions and /api/figures",
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
pub(super) fn error(path: &str, status: StatusCode, why: &str) -> Response {
    match path.starts_with("/api/") || path == UPGRADE {
        true => json(status, &Wrong { error: why }),
        false => (status, format!("{why}\n")).into_response(),
    }
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("these values have text for keys");
    let header = [(CONTENT_TYPE, "application/json")];
    (status, header, Body::from(text)).into_response()
}

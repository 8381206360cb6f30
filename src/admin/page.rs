//! `GET /`: the status page. One answer that fetches nothing but what `/api` tells: its style and its script are written
//! into it, and the browser is told by their hashes to run no other.

use std::sync::LazyLock;

use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The page, and what the browser may do with it.
struct Page {
    html: String,
    policy: String,
}

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
/// One program in parts, the first of which are used by those behind them.
const SCRIPT: &str = concat!(
    include_str!("page/format.js"),
    include_str!("page/charts.js"),
    include_str!("page/summary.js"),
    include_str!("page/sessions.js"),
    include_str!("page/keys.js"),
    include_str!("page/poll.js"),
);
/// Where they go.
const PLACES: [&str; 2] = ["{{style}}", "{{script}}"];

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let [style, script] = PLACES;
    Page {
        html: HTML.replace(style, STYLE).replace(script, SCRIPT),
        policy: format!(
            "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT)
        ),
    }
});

/// What a policy calls this text.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// The page.
pub(super) async fn page() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, PAGE.policy.as_str()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE.html.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_have_one_place_each_and_nothing_is_run_beside_them() {
        for place in PLACES {
            assert_eq!(HTML.matches(place).count(), 1, "{place}");
        }
        for inline in [" style=", " onclick=", "javascript:", "http://", "https://"] {
            assert!(!HTML.contains(inline), "{inline}");
        }
        // Text becomes text, never markup.
        for markup in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!SCRIPT.contains(markup), "{markup}");
        }
    }
}

//! The limit of open descriptors.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises it as far as this user may: a session of the relay takes two descriptors, and the usual limit of
/// 1024 is meant for programs that use select(2).
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open descriptors stays as it is");
    }
}

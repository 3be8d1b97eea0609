//! What an ingress is told at start.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::SignedDuration;

/// Settings of the door. Times are measured on our own monotonic clock, except the age of a callback.
#[derive(Debug, Clone)]
pub struct Settings {
    pub listen: SocketAddr,
    /// This path and all below it take callbacks; `/` takes every POST.
    pub path: String,
    /// What a proxy cut off the front of the path that Sinch signed.
    pub public_prefix: String,
    /// How far `x-timestamp` may be from our clock, either way; none for old recordings.
    pub max_age: Option<SignedDuration>,
    /// Whether signatures are required (`WEBHOOK_PROTECTION`).
    pub verify: bool,
    pub body_bytes_max: usize,
    /// Without a reply for this long, another worker is asked as well.
    pub hedge_after: Duration,
    /// Then the fallback answers.
    pub ask_within: Duration,
    /// A callback that is not durable by then gets 503.
    pub record_within: Duration,
}

impl Settings {
    /// The shipped defaults for an address.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            path: "/callbacks".to_owned(),
            public_prefix: String::new(),
            max_age: Some(SignedDuration::from_mins(5)),
            verify: true,
            body_bytes_max: 256 * 1024,
            hedge_after: Duration::from_millis(150),
            ask_within: Duration::from_millis(1_800),
            record_within: Duration::from_millis(2_500),
        }
    }

    pub(crate) fn takes(&self, path: &str) -> bool {
        let base = self.path.trim_end_matches('/');
        path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_and_all_below_it() {
        let mut settings = Settings::new(([127, 0, 0, 1], 0).into());
        for (path, taken) in [
            ("/callbacks", true),
            ("/callbacks/", true),
            ("/callbacks/ice", true),
            ("/callbacksx", false),
            ("/", false),
        ] {
            assert_eq!(settings.takes(path), taken, "{path}");
        }
        settings.path = "/".to_owned();
        assert!(settings.takes("/") && settings.takes("/anything"));
    }
}

//! Who gets in: `Host` and `Origin` against DNS rebinding and foreign pages, the token against everybody else.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HOST, ORIGIN, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use toolscout_core::Caller;
use toolscout_core::text::preview;

use crate::error::OpError;
use crate::serve::HttpOptions;

/// The lists and the token.
pub(crate) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    token: Option<[u8; 32]>,
}

impl Guard {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        let lower = |all: &[String]| all.iter().map(|one| one.trim().to_ascii_lowercase()).collect();
        Self {
            hosts: lower(&options.allowed_hosts),
            origins: lower(&options.allowed_origins),
            token: options.token.as_ref().map(|token| digest(token.expose().as_bytes())),
        }
    }

    /// Whether pages of this origin may ask. `*` in the list means any.
    pub(crate) fn admits_origin(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        let origin = origin.to_ascii_lowercase();
        self.origins.iter().any(|allowed| allowed == "*" || *allowed == origin || fits_any_port(allowed, &origin))
    }

    /// An empty list admits every host.
    fn admits_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = without_port(&host);
        self.hosts.is_empty() || self.hosts.iter().any(|allowed| *allowed == host || bare(allowed) == bare(name))
    }

    /// Whether the token is there and right, or none is wanted.
    pub(crate) fn admits_token(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = &self.token else { return true };
        let brought = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| digest(token.trim().as_bytes()));
        // Digests have one length, and every byte of them is looked at: time tells nothing about the token.
        brought.is_some_and(|brought| wanted.iter().zip(brought).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0)
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// `http://localhost:*` fits `http://localhost` and `http://localhost:5173`.
fn fits_any_port(allowed: &str, origin: &str) -> bool {
    let Some(stem) = allowed.strip_suffix(":*") else { return false };
    let Some(rest) = origin.strip_prefix(stem) else { return false };
    let is_port =
        rest.strip_prefix(':').is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    rest.is_empty() || is_port
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of a bare IPv6 address are no port's.
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The middleware. Whoever passes carries a [`Caller`].
pub(crate) async fn check(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host =
        headers.get(HOST).and_then(|host| host.to_str().ok()).or_else(|| request.uri().authority().map(|a| a.as_str()));
    if !host.is_some_and(|host| guard.admits_host(host)) {
        return OpError::Forbidden { header: "Host" }.into_response();
    }
    if headers.get_all(ORIGIN).iter().any(|origin| !guard.admits_origin(origin)) {
        return OpError::Forbidden { header: "Origin" }.into_response();
    }
    if !guard.admits_token(headers) {
        return OpError::Unauthorized.into_response();
    }
    let client = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).map(preview).unwrap_or_default();
    request.extensions_mut().insert(Caller::local(&client));
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use toolscout_core::Secret;

    use super::*;

    fn guard(hosts: &[&str], origins: &[&str]) -> Guard {
        let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        let options =
            HttpOptions { allowed_hosts: owned(hosts), allowed_origins: owned(origins), ..HttpOptions::default() };
        Guard::new(&options)
    }

    #[test]
    fn only_listed_hosts_get_in() {
        let loopback = Guard::new(&HttpOptions::default());
        for good in ["localhost", "LOCALHOST:7411", "127.0.0.1:1", "[::1]:7411", "::1"] {
            assert!(loopback.admits_host(good), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "10.0.0.1", "[::2]:1"] {
            assert!(!loopback.admits_host(bad), "{bad}");
        }
        let public = guard(&["tools.example:8443"], &[]);
        assert!(public.admits_host("tools.example:8443") && !public.admits_host("tools.example:1"));
        assert!(guard(&[], &[]).admits_host("any.example"));
    }

    #[test]
    fn only_listed_origins_get_in() {
        let loopback = Guard::new(&HttpOptions::default());
        let admits = |guard: &Guard, origin: &str| guard.admits_origin(&HeaderValue::from_str(origin).unwrap());
        for good in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:1"] {
            assert!(admits(&loopback, good), "{good}");
        }
        for bad in [
            "http://evil.example",
            "http://localhost.evil.example",
            "http://localhost:3000.evil.example",
            "null",
            "http://localhost:",
        ] {
            assert!(!admits(&loopback, bad), "{bad}");
        }
        assert!(admits(&guard(&[], &["https://app.example"]), "https://app.example"));
        assert!(!admits(&guard(&[], &["https://app.example"]), "https://app.example:444"));
        assert!(admits(&guard(&[], &["*"]), "https://any.example"));
    }

    #[test]
    fn only_the_token_opens() {
        let options = HttpOptions { token: Some(Secret::new("hunter2")), ..HttpOptions::default() };
        let guard = Guard::new(&options);
        let brings = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            guard.admits_token(&headers)
        };
        assert!(brings("Bearer hunter2") && brings("bearer  hunter2"));
        assert!(!brings("Bearer hunter3") && !brings("Bearer") && !brings("Basic hunter2") && !brings("hunter2"));
        assert!(!guard.admits_token(&HeaderMap::new()));
    }
}

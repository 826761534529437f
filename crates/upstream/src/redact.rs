//! Keeping configured secrets out of what we repeat of a server's words, and keeping those words short.

use std::collections::VecDeque;

use parking_lot::Mutex;
use toolscout_core::sounds_secret;
use toolscout_core::text::sanitize;

use crate::{Transport, UpstreamSpec};

/// Shorter values are no secrets but switches (`1`, `yes`), and starring them out would shred every text.
const MIN_SECRET: usize = 4;

/// The secrets of one upstream, to be starred out wherever its words are repeated.
#[derive(Default)]
pub(crate) struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    pub(crate) fn of(spec: &UpstreamSpec) -> Self {
        let mut secrets = Vec::new();
        match &spec.transport {
            Transport::Stdio { env, args, .. } => {
                secrets.extend(env.values().map(|value| value.expose().to_owned()));
                of_args(args, &mut secrets);
            }
            Transport::Http { url, headers, .. } => {
                headers.values().for_each(|value| of_header(value.expose(), &mut secrets));
                of_url(url, &mut secrets);
            }
        }
        secrets.retain(|secret| secret.len() >= MIN_SECRET);
        // The longest first: one secret may contain another.
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets }
    }

    fn starred(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    /// A stranger's text without secrets, cleaned, at most `max_chars`.
    pub(crate) fn clean(&self, text: &str, max_chars: usize) -> String {
        // Once more after cleaning: hidden characters inside a secret would have kept it from matching.
        self.starred(&sanitize(&self.starred(text), max_chars))
    }
}

/// `--api-key K`, `--token=T`, `-e TOKEN=T`, `--header "Authorization: Bearer T"`, and addresses wherever they stand.
fn of_args(args: &[String], secrets: &mut Vec<String>) {
    let mut is_value = false;
    for arg in args {
        of_url(arg, secrets);
        if is_value {
            secrets.push(arg.clone());
        }
        if let Some((name, value)) = arg.split_once('=').filter(|(name, _)| !name.contains("://")) {
            of_url(value, secrets);
            secrets.extend(sounds_secret(name).then(|| value.to_owned()));
        } else if let Some((name, value)) = arg.split_once(':')
            && sounds_secret(name)
        {
            of_header(value.trim(), secrets);
        }
        is_value = arg.starts_with('-') && !arg.contains('=') && sounds_secret(arg);
    }
}

fn of_header(value: &str, secrets: &mut Vec<String>) {
    secrets.push(value.to_owned());
    // `Bearer abc`: a server may repeat `abc` alone.
    secrets.extend(value.split_whitespace().skip(1).map(str::to_owned));
}

/// Password and query, if it is an address with any.
fn of_url(text: &str, secrets: &mut Vec<String>) {
    if let Ok(url) = url::Url::parse(text) {
        secrets.extend(url.password().map(str::to_owned));
        secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        secrets.extend(url.query().map(str::to_owned));
    }
}

/// The last bytes of a child's standard error.
pub(crate) struct Ring {
    capacity: usize,
    inner: Mutex<(VecDeque<u8>, Overflow)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Overflow {
    No,
    Yes,
}

impl Ring {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::new((VecDeque::new(), Overflow::No)) }
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        let bytes = &bytes[bytes.len().saturating_sub(self.capacity)..];
        let excess = (inner.0.len() + bytes.len()).saturating_sub(self.capacity);
        if excess > 0 {
            inner.0.drain(..excess);
            inner.1 = Overflow::Yes;
        }
        inner.0.extend(bytes);
    }

    /// The last lines, without secrets, cleaned, at most 2,000 characters.
    pub(crate) fn tail(&self, redactor: &Redactor) -> String {
        let (bytes, overflow) = {
            let inner = self.inner.lock();
            (inner.0.iter().copied().collect::<Vec<u8>>(), inner.1)
        };
        let text = String::from_utf8_lossy(&bytes);
        // The ring may have cut a line in the middle of a secret, whose rest would not match: leave the line out.
        let whole = match overflow {
            Overflow::No => text.as_ref(),
            Overflow::Yes => text.split_once('\n').map_or("", |(_, rest)| rest),
        };
        let whole = redactor.clean(whole, usize::MAX / 4);
        let n_chars = whole.chars().count();
        let mut tail: String = whole.chars().skip(n_chars.saturating_sub(2_000)).collect();
        if n_chars > 2_000 {
            tail = tail.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or(tail);
        }
        tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use toolscout_core::{Secret, UpstreamId};

    fn redactor() -> Redactor {
        let mut spec = UpstreamSpec::http(UpstreamId::new("u").unwrap(), "https://me:pass-word@x.org/mcp?key=q-secret");
        let Transport::Http { headers, .. } = &mut spec.transport else { unreachable!() };
        headers.insert("Authorization".to_owned(), Secret::new("Bearer tok-123"));
        headers.insert("X-Flag".to_owned(), Secret::new("on"));
        Redactor::of(&spec)
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(redactor().clean(text, 200), expect);
    }

    #[test]
    fn secrets_are_starred_out() {
        check("sent Bearer tok-123", "sent ***");
        check("token tok-123 is bad", "token *** is bad");
        check("tok\u{200b}-123", "***");
        check("GET /mcp?key=q-secret by pass-word", "GET /mcp?*** by ***");
        check("on and on", "on and on");
    }

    #[test]
    fn secrets_among_the_arguments_are_starred_out() {
        let args = [
            "-y",
            "pkg",
            "--api-key",
            "k-111",
            "--token=t-222",
            "-e",
            "DB_PASSWORD=p-333",
            "--header",
            "Authorization: Bearer h-444",
            "postgres://me:u-555@h/db",
            "--url=https://x.org/?key=q-666",
            "--port",
            "8080",
        ];
        let redactor = Redactor::of(&UpstreamSpec::stdio(UpstreamId::new("u").unwrap(), "npx", args));
        let said = "pkg on 8080: k-111 t-222 p-333 h-444 u-555 q-666";
        assert_eq!(redactor.clean(said, 200), "pkg on 8080: *** *** *** *** *** ***");
    }

    #[test]
    fn the_ring_keeps_the_end_and_no_half_line_after_an_overflow() {
        let ring = Ring::new(20);
        ring.push(b"short\n");
        assert_eq!(ring.tail(&Redactor::default()), "short");
        ring.push(b"a line with tok-123 in it\nend\n");
        assert_eq!(ring.tail(&Redactor::default()), "end");
        ring.push(&[b'x'; 100]);
        assert_eq!(ring.tail(&Redactor::default()), "");
    }
}

//! Definitions as they may be shown: what could be a secret is `***`.

use std::collections::BTreeMap;

use toolscout_core::sounds_secret;

use crate::config::RawUpstream;
use crate::config::dialect::RawTransport;

/// The definition with values hidden that may be secrets. Variables stay: `${TOKEN}` gives nothing away.
pub(crate) fn masked(upstream: &RawUpstream) -> RawUpstream {
    let mut upstream = upstream.clone();
    match &mut upstream.transport {
        Some(RawTransport::Stdio { args, env, .. }) => {
            *args = mask_args(args);
            mask_map(env);
        }
        Some(RawTransport::Http { url, headers, .. }) => {
            *url = mask_url(url);
            mask_map(headers);
        }
        None => {}
    }
    upstream
}

/// One line that says how an upstream is reached.
pub(crate) fn way(upstream: &RawUpstream) -> String {
    match masked(upstream).transport {
        Some(RawTransport::Stdio { command, args, .. }) => {
            std::iter::once(command).chain(args).collect::<Vec<_>>().join(" ")
        }
        Some(RawTransport::Http { url, .. }) => url,
        None => "(switched off)".to_owned(),
    }
}

/// Whether a value stands in the file in clear though its name says that it is a secret.
pub(crate) fn is_bare_secret(name: &str, text: &str) -> bool {
    !text.contains("${") && !text.is_empty() && sounds_secret(name)
}

fn mask_map(map: &mut BTreeMap<String, String>) {
    for text in map.values_mut().filter(|text| !text.contains("${")) {
        *text = "***".to_owned();
    }
}

fn mask_args(args: &[String]) -> Vec<String> {
    let mut masked = Vec::new();
    let mut is_value = false;
    for arg in args {
        let option = arg.split_once('=').filter(|(name, _)| !name.contains("://"));
        let shown = match option {
            _ if is_value && !arg.contains("${") => "***".to_owned(),
            Some((name, value)) if is_bare_secret(name, value) => format!("{name}=***"),
            Some((name, value)) if value.contains("://") => format!("{name}={}", mask_url(value)),
            _ if arg.contains("://") => mask_url(arg),
            // `mcp-remote URL --header "Authorization: Bearer …"`
            _ => match arg.split_once(':') {
                Some((name, value)) if is_bare_secret(name, value) => format!("{name}: ***"),
                _ => arg.clone(),
            },
        };
        is_value = arg.starts_with('-') && !arg.contains('=') && sounds_secret(arg);
        masked.push(shown);
    }
    masked
}

/// The address without what may be secret in it: user and password, and the query.
fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => authority.to_owned(),
    };
    let path = match path.split_once('?') {
        Some((path, query)) if !query.contains("${") => format!("{path}?***"),
        _ => path.to_owned(),
    };
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_addresses_lose_what_may_be_secret() {
        let check = |args: &[&str], expect: &str| {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            assert_eq!(mask_args(&args).join(" "), expect);
        };
        check(&["-y", "pkg", "/tmp"], "-y pkg /tmp");
        check(&["--api-key", "abc", "x"], "--api-key *** x");
        check(&["--api-key", "${KEY}"], "--api-key ${KEY}");
        check(&["--token=abc", "--port=1"], "--token=*** --port=1");
        check(&["--url=https://x/mcp?key=1", "--key=${KEY}"], "--url=https://x/mcp?*** --key=${KEY}");
        check(&["--header", "Authorization: Bearer abc"], "--header Authorization: ***");
        check(&["postgres://u:p@h/db", "https://x/mcp?key=1"], "postgres://***@h/db https://x/mcp?***");
        assert_eq!(mask_url("https://x/mcp"), "https://x/mcp");
    }
}

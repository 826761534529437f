//! Wraps an upstream's `requestState` so that it can only come back to where it came from.
//!
//! A multi-round-trip call (`resultType: "input_required"`) hands the caller an opaque state that the caller returns with its
//! answers. Between upstream and caller we put our own envelope around it: which tool, for which tenant, until when, and an
//! HMAC-SHA256 over all of that. A state that was altered, that belongs to another tool or tenant, or that is too old is
//! refused, and the upstream never sees it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use toolscout_core::{Timestamp, ToolId};

/// How long a caller may take to answer, in milliseconds.
pub const STATE_TTL_MS: u64 = 30 * 60 * 1000;
/// Longest sealed state that is looked at, in bytes.
pub const MAX_SEALED: usize = 1024 * 1024;

/// Why a state does not open. All of them mean: start the call again, without a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not of our making, or altered.
    #[error("the request state was not made by this gateway, or was altered")]
    Forged,
    /// Made for another tool or another caller.
    #[error("the request state belongs to another call")]
    Foreign,
    /// Made too long ago.
    #[error("the request state has expired")]
    Expired,
}

/// The key that seals. Lives as long as the process: a state does not survive a restart.
#[derive(Clone)]
pub struct Sealer {
    key: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    tool: ToolId,
    tenant: String,
    until: Timestamp,
    state: Option<String>,
}

impl Sealer {
    /// A sealer with this secret.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The caller's form of an upstream's state.
    pub fn seal(&self, tool: &ToolId, tenant: &str, state: Option<String>, now: Timestamp) -> String {
        let envelope = Envelope { tool: tool.clone(), tenant: tenant.to_owned(), until: now.plus(STATE_TTL_MS), state };
        // Plain strings and a number: there is nothing in it that cannot be written as JSON.
        let body = serde_json::to_vec(&envelope).unwrap_or_default();
        let tag = self.mac(&body).finalize().into_bytes();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&body), URL_SAFE_NO_PAD.encode(tag))
    }

    /// The upstream's own state, if the seal is whole and meant for this tool and tenant.
    pub fn open(&self, tool: &ToolId, tenant: &str, sealed: &str, now: Timestamp) -> Result<Option<String>, SealError> {
        if sealed.len() > MAX_SEALED {
            return Err(SealError::Forged);
        }
        let (body, tag) = sealed.split_once('.').ok_or(SealError::Forged)?;
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| SealError::Forged)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| SealError::Forged)?;
        // Compares in constant time.
        self.mac(&body).verify_slice(&tag).map_err(|_| SealError::Forged)?;
        let envelope: Envelope = serde_json::from_slice(&body).map_err(|_| SealError::Forged)?;
        if envelope.tool != *tool || envelope.tenant != tenant {
            return Err(SealError::Foreign);
        }
        if envelope.until < now {
            return Err(SealError::Expired);
        }
        Ok(envelope.state)
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(b"toolscout request state v1\0");
        mac.update(body);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_opens_only_where_it_was_sealed() {
        let sealer = Sealer::new([7; 32]);
        let (tool, other): (ToolId, ToolId) = ("a:b".parse().unwrap(), "a:c".parse().unwrap());
        let now = Timestamp(1_000);
        let sealed = sealer.seal(&tool, "local", Some("step 1".into()), now);
        assert_eq!(sealer.open(&tool, "local", &sealed, now), Ok(Some("step 1".to_owned())));
        assert_eq!(sealer.open(&other, "local", &sealed, now), Err(SealError::Foreign));
        assert_eq!(sealer.open(&tool, "other", &sealed, now), Err(SealError::Foreign));
        assert_eq!(sealer.open(&tool, "local", &sealed, now.plus(STATE_TTL_MS + 1)), Err(SealError::Expired));
        assert_eq!(Sealer::new([8; 32]).open(&tool, "local", &sealed, now), Err(SealError::Forged));
        for forged in ["", ".", "abc", &sealed[1..], &sealed[..sealed.len() - 2], &sealed.replace('.', "A.")] {
            assert_eq!(sealer.open(&tool, "local", forged, now), Err(SealError::Forged), "{forged}");
        }
    }
}

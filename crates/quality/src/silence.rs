//! What was put aside because nobody answered, and what a listing says of that. Without a clock.
//!
//! A listing proves that a server answers, and nothing of its tools: servers list well and fail every call. So it never heals.
//! One without an answer says before any agent pays for it that a call would have none either; one with an answer after one
//! without says that what broke is mended, and the call that decides may come at once.

use serde::{Deserialize, Serialize};
use toolscout_core::{Timestamp, UpstreamId};

/// So many milliseconds before the time aside is over, at most in its last third, a server is listed, so that who calls then need
/// not find out.
const LEAD_MS: u64 = 5_000;
/// After so many listings in a row without an answer a call tries it all the same: a server may list badly and work well.
const MAX_UNLISTED: u32 = 7;
/// A server that did not list is listed again after so many milliseconds, however long its tools stay aside: nobody pays for it.
const AGAIN_MS: u64 = 60_000;

/// Why a tool, or a whole server, stays aside after a listing without an answer.
pub(crate) const UNLISTED: &str = "its server did not answer when it was asked for its tools";

/// A server was asked for its tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Which.
    pub upstream: UpstreamId,
    /// Whether it answered, whatever it said: an error is an answer.
    pub answered: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// When it ended.
    pub at: Timestamp,
}

impl Listing {
    fn started(&self) -> Timestamp {
        Timestamp(self.at.0.saturating_sub(self.took_ms))
    }
}

/// Why nothing is heard of what was put aside, and what listings have said since.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Silence {
    /// It was put aside for calls without an answer.
    pub is_cause: bool,
    /// When.
    pub began: Timestamp,
    /// Listings in a row without an answer that kept it aside.
    pub unlisted: u32,
    /// The last listing since then had no answer.
    pub is_gone: bool,
    /// When the last listing ended.
    pub listed_at: Timestamp,
    /// A listing near the end had one: nothing is left but to call.
    pub has_answered: bool,
}

/// What follows from a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing.
    Nothing,
    /// It stays aside, twice as long.
    Silence,
    /// A call may try it now.
    Return,
}

impl Silence {
    /// Of something put aside at this moment.
    pub(crate) fn new(is_cause: bool, began: Timestamp) -> Self {
        Self { is_cause, began, ..Self::default() }
    }

    /// From when on a listing is wanted, if one is. `until`: when the time aside is over.
    pub(crate) fn wants_from(&self, until: Timestamp) -> Option<Timestamp> {
        if !self.is_cause || self.has_answered {
            return None;
        }
        let near = (self.unlisted < MAX_UNLISTED).then(|| self.near(until));
        let again = self.is_gone.then(|| self.listed_at.plus(AGAIN_MS));
        near.into_iter().chain(again).min()
    }

    fn near(&self, until: Timestamp) -> Timestamp {
        let lead = (until.since(self.began) / 3).min(LEAD_MS);
        Timestamp(until.0.saturating_sub(lead))
    }

    /// Takes a listing in.
    pub(crate) fn hear(&mut self, listing: &Listing, until: Timestamp) -> Heard {
        if !self.is_cause || listing.started() < self.began {
            return Heard::Nothing;
        }
        let is_near = listing.started() >= self.near(until);
        self.listed_at = listing.at;
        if listing.answered {
            let returns = std::mem::take(&mut self.is_gone);
            self.has_answered |= is_near || returns;
            return if returns { Heard::Return } else { Heard::Nothing };
        }
        self.is_gone = true;
        if !is_near || self.unlisted >= MAX_UNLISTED {
            return Heard::Nothing;
        }
        self.unlisted += 1;
        Heard::Silence
    }

    /// The same thing, put aside again at this moment because a listing had no answer.
    pub(crate) fn goes_on(self, began: Timestamp) -> Self {
        Self { began, has_answered: false, ..self }
    }
}

//! Who asks.

use serde::{Deserialize, Serialize};

/// The party a selection or call is for. Decided by the gateway from credentials, never from what a model wrote.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// Whose data and policy apply. `local` without authentication.
    pub tenant: String,
    /// Which client program speaks, for budgets and audit. For display only.
    pub client: String,
    /// What the credentials allow, sorted.
    pub scopes: Vec<String>,
}

impl Caller {
    /// The one caller there is when nobody has to authenticate: the person at this machine.
    pub fn local(client: &str) -> Self {
        Self { tenant: "local".to_owned(), client: client.to_owned(), scopes: Vec::new() }
    }
}

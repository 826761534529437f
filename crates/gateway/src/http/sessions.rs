//! Legacy MCP sessions, bounded in number.
//!
//! rmcp keeps every session that a client opened until it was idle for long. A client that only ever opens new ones would
//! fill the memory meanwhile. So there are at most so many; for a new one the longest idle goes, if it was idle for some
//! time, and else the new one is refused.

use std::collections::HashMap;
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, LocalSessionManagerError};
use rmcp::transport::streamable_http_server::session::{
    EventStore, RestoreOutcome, ServerSseMessage, SessionId, SessionManager,
};
use tokio::time::Instant;

/// For how long a session must have been idle to give way to a new one.
const GIVES_WAY: Duration = Duration::from_secs(10 * 60);

/// rmcp's sessions and when each was last used.
pub(super) struct Sessions {
    inner: LocalSessionManager,
    max: usize,
    used: Mutex<HashMap<SessionId, Instant>>,
}

/// Why a session cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionsError {
    /// All places are taken by sessions in use: try again later.
    #[error("{max} sessions are open")]
    Full {
        /// The bound.
        max: usize,
    },
    /// What rmcp says.
    #[error(transparent)]
    Inner(#[from] LocalSessionManagerError),
}

impl Sessions {
    /// At most `max` of them.
    pub(super) fn new(inner: LocalSessionManager, max: usize) -> Self {
        Self { inner, max: max.max(1), used: Mutex::default() }
    }

    /// Whether a new session would be refused now.
    pub(super) async fn is_full(&self) -> bool {
        self.forget_ended().await;
        let used = self.used.lock();
        used.len() >= self.max && longest_idle(&used).is_none()
    }

    fn touch(&self, id: &SessionId) {
        if let Some(at) = self.used.lock().get_mut(id) {
            *at = Instant::now();
        }
    }

    async fn forget_ended(&self) {
        let sessions = self.inner.sessions.read().await;
        self.used.lock().retain(|id, _| sessions.contains_key(id));
    }

    async fn make_room(&self) -> Result<(), SessionsError> {
        self.forget_ended().await;
        let gives_way = {
            let used = self.used.lock();
            if used.len() < self.max {
                return Ok(());
            }
            longest_idle(&used).ok_or(SessionsError::Full { max: self.max })?
        };
        tracing::debug!("a session idle for long gives way to a new one");
        self.close_session(&gives_way).await
    }
}

/// The session that was idle longest, if it was for long enough; among equals by id.
fn longest_idle(used: &HashMap<SessionId, Instant>) -> Option<SessionId> {
    let (id, at) = used.iter().min_by(|a, b| a.1.cmp(b.1).then_with(|| a.0.cmp(b.0)))?;
    (at.elapsed() >= GIVES_WAY).then(|| id.clone())
}

impl SessionManager for Sessions {
    type Error = SessionsError;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), SessionsError> {
        self.make_room().await?;
        let (id, transport) = self.inner.create_session().await?;
        self.used.lock().insert(id.clone(), Instant::now());
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, SessionsError> {
        Ok(self.inner.initialize_session(id, message).await?)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, SessionsError> {
        self.touch(id);
        Ok(self.inner.has_session(id).await?)
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), SessionsError> {
        self.used.lock().remove(id);
        Ok(self.inner.close_session(id).await?)
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        self.touch(id);
        Ok(self.inner.create_stream(id, message).await?)
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), SessionsError> {
        self.touch(id);
        Ok(self.inner.accept_message(id, message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        self.touch(id);
        Ok(self.inner.create_standalone_stream(id).await?)
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        self.touch(id);
        Ok(self.inner.resume(id, last_event_id).await?)
    }

    async fn restore_session(&self, id: SessionId) -> Result<RestoreOutcome<Self::Transport>, SessionsError> {
        Ok(self.inner.restore_session(id).await?)
    }

    fn event_store(&self) -> Option<std::sync::Arc<dyn EventStore>> {
        self.inner.event_store()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_new_session_takes_the_place_of_one_long_idle_or_none() {
        let mut inner = LocalSessionManager::default();
        (inner.session_config.keep_alive, inner.session_config.init_timeout) = (None, None);
        let sessions = Sessions::new(inner, 2);
        let (first, _a) = sessions.create_session().await.unwrap();
        let (second, _b) = sessions.create_session().await.unwrap();
        assert!(sessions.is_full().await);
        assert!(matches!(sessions.create_session().await, Err(SessionsError::Full { max: 2 })));
        tokio::time::advance(GIVES_WAY).await;
        assert!(sessions.has_session(&first).await.unwrap());
        assert!(!sessions.is_full().await);
        let (third, _c) = sessions.create_session().await.unwrap();
        assert!(sessions.is_full().await);
        let there = [&first, &second, &third].map(|id| sessions.inner.sessions.try_read().unwrap().contains_key(id));
        assert_eq!(there, [true, false, true]);
        // One that its client closed makes room at once.
        sessions.close_session(&first).await.unwrap();
        sessions.create_session().await.unwrap();
    }
}

//! Which era a server speaks: our own probe.
//!
//! rmcp's automatic mode waits ten seconds for `server/discover` and then takes whatever comes next for the answer to
//! `initialize`; a server that starts slowly fails there. Here every answer is told apart by its id, so a late one is
//! welcome, and whoever drives this starts the server anew where the probe killed or wedged it.

use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{
    ClientConfig, ClientJsonRpcMessage, ClientNotification, ClientRequest, ClientResult, DiscoverRequest,
    DiscoverRequestParams, DiscoverResult, Implementation, InitializeRequest, InitializeResult,
    InitializedNotification, NumberOrString, ProtocolVersion, RequestMetaObject, ServerJsonRpcMessage, ServerPeerInfo,
    ServerRequest, ServerResult,
};
use rmcp::transport::Transport;
use serde_json::Value;

use crate::Era;

/// How to greet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// `server/discover`; where that is refused, or stays unanswered for so long, `initialize` on the same connection.
    Both { probe: Duration },
    /// `server/discover` only.
    Modern,
    /// `initialize` only.
    Legacy,
}

/// A server that answered.
pub(crate) struct Greeted {
    pub(crate) era: Era,
    pub(crate) info: ServerPeerInfo,
}

/// Why a server could not be greeted.
#[derive(Debug)]
pub(crate) enum GreetError<E> {
    /// The transport failed.
    Send(E),
    /// The connection ended.
    Closed,
    /// It answered with an error.
    Refused { code: i64, message: String },
    /// It answered something else.
    NotMcp(&'static str),
}

const UNSUPPORTED_VERSION: i32 = -32022;
const DISCOVER: &str = "greet-discover";
const INITIALIZE: &str = "greet-initialize";

/// Greets a server. The caller brings the deadline.
pub(crate) async fn greet<T>(transport: &mut T, me: &ClientConfig, plan: Plan) -> Result<Greeted, GreetError<T::Error>>
where
    T: Transport<RoleClient>,
{
    let probe = match plan {
        Plan::Both { probe } => Some(probe),
        Plan::Modern | Plan::Legacy => None,
    };
    let mut initialized = false;
    let mut discovering = plan != Plan::Legacy;
    let mut discovered_twice = false;
    if discovering {
        transport.send(discover(me)).await.map_err(GreetError::Send)?;
    } else {
        transport.send(initialize(me)).await.map_err(GreetError::Send)?;
        initialized = true;
    }
    let patience = tokio::time::sleep(probe.unwrap_or(Duration::MAX / 4));
    tokio::pin!(patience);
    let mut waiting = probe.is_some();
    loop {
        let message = tokio::select! {
            message = transport.receive() => message.ok_or(GreetError::Closed)?,
            () = &mut patience, if waiting => {
                waiting = false;
                transport.send(initialize(me)).await.map_err(GreetError::Send)?;
                initialized = true;
                continue;
            }
        };
        let refused = match message {
            ServerJsonRpcMessage::Response(response) if is(&response.id, DISCOVER) => match discovered(response.result)
            {
                Some(info) => return Ok(Greeted { era: Era::Modern, info }),
                None => {
                    discovering = false;
                    GreetError::NotMcp("its answer to server/discover is none")
                }
            },
            ServerJsonRpcMessage::Response(response) if is(&response.id, INITIALIZE) => {
                let Some(info) = agreed(response.result) else {
                    return Err(GreetError::NotMcp("its answer to initialize is none"));
                };
                let note = ClientNotification::InitializedNotification(InitializedNotification::default());
                transport.send(ClientJsonRpcMessage::notification(note)).await.map_err(GreetError::Send)?;
                let era = if info.protocol_version.has_initialize() { Era::Legacy } else { Era::Modern };
                return Ok(Greeted { era, info });
            }
            ServerJsonRpcMessage::Error(error) => {
                let answers_initialize = match &error.id {
                    Some(id) if is(id, DISCOVER) => false,
                    Some(id) if is(id, INITIALIZE) => true,
                    // Without an id it can only mean what we asked last.
                    None => initialized,
                    Some(_) => continue,
                };
                if answers_initialize {
                    initialized = false;
                } else if !discovered_twice && offers_ours(error.error.code.0, error.error.data.as_ref()) {
                    // It refuses a revision that it says it has: the specification has us ask once more.
                    discovered_twice = true;
                    transport.send(discover(me)).await.map_err(GreetError::Send)?;
                    continue;
                } else {
                    discovering = false;
                }
                GreetError::Refused { code: error.error.code.0.into(), message: error.error.message.into_owned() }
            }
            ServerJsonRpcMessage::Request(request) if matches!(request.request, ServerRequest::PingRequest(_)) => {
                let pong = ClientJsonRpcMessage::response(ClientResult::empty(()), request.id);
                transport.send(pong).await.map_err(GreetError::Send)?;
                continue;
            }
            // Logging and the like before the handshake: not for us.
            _ => continue,
        };
        if waiting {
            // The probe was refused: the server is legacy, and this connection is as good as a new one.
            waiting = false;
            transport.send(initialize(me)).await.map_err(GreetError::Send)?;
            initialized = true;
        } else if !initialized && !discovering {
            return Err(refused);
        }
    }
}

/// Whether an error names 2026-07-28 among the revisions supported.
fn offers_ours(code: i32, data: Option<&Value>) -> bool {
    let supported = data.and_then(|data| data.get("supported")).and_then(Value::as_array);
    code == UNSUPPORTED_VERSION
        && supported.is_some_and(|all| all.iter().any(|version| version == ProtocolVersion::V_2026_07_28.as_str()))
}

fn is(id: &NumberOrString, name: &str) -> bool {
    matches!(id, NumberOrString::String(text) if &**text == name)
}

fn discover(me: &ClientConfig) -> ClientJsonRpcMessage {
    let mut request = DiscoverRequest::new(DiscoverRequestParams {});
    let version = ProtocolVersion::V_2026_07_28;
    let context = RequestMetaObject::with_client_context(version, me.client_info.clone(), me.capabilities.clone());
    request.extensions.insert(context);
    ClientJsonRpcMessage::request(ClientRequest::DiscoverRequest(request), NumberOrString::String(DISCOVER.into()))
}

fn initialize(me: &ClientConfig) -> ClientJsonRpcMessage {
    let params = me.clone().with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
    let request = InitializeRequest::new(params);
    ClientJsonRpcMessage::request(ClientRequest::InitializeRequest(request), NumberOrString::String(INITIALIZE.into()))
}

/// Takes a discovery that offers a revision we speak. Missing cache hints are no reason to refuse a server.
fn discovered(result: ServerResult) -> Option<ServerPeerInfo> {
    let result = match result {
        ServerResult::DiscoverResult(result) => result,
        other => {
            let mut value = serde_json::to_value(other).ok()?;
            let object = value.as_object_mut()?;
            for (key, value) in
                [("resultType", "complete".into()), ("ttlMs", Value::from(0)), ("cacheScope", "private".into())]
            {
                object.entry(key).or_insert(value);
            }
            object.entry("capabilities").or_insert_with(|| serde_json::json!({}));
            serde_json::from_value::<DiscoverResult>(value).ok()?
        }
    };
    let ours = ProtocolVersion::V_2026_07_28;
    result.supported_versions.contains(&ours).then(|| ServerPeerInfo::from_discover_result(ours, result))
}

/// Takes an initialisation. A server that says too little of itself is still one.
fn agreed(result: ServerResult) -> Option<ServerPeerInfo> {
    let result = match result {
        ServerResult::InitializeResult(result) => return Some(result.into()),
        other => serde_json::to_value(other).ok()?,
    };
    let version = result.get("protocolVersion")?.clone();
    let version: ProtocolVersion = serde_json::from_value(version).ok()?;
    let text = |pointer: &str| result.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let capabilities = result.get("capabilities").cloned().unwrap_or_default();
    let mut info = InitializeResult::new(serde_json::from_value(capabilities).unwrap_or_default());
    info.protocol_version = version;
    info.server_info = Implementation::new(text("/serverInfo/name"), text("/serverInfo/version"));
    info.instructions = result.get("instructions").and_then(Value::as_str).map(str::to_owned);
    Some(info.into())
}

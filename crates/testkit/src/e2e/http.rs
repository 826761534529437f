//! The least HTTP client that can see what a server really sends: one request, one connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

/// One HTTP answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, and their values.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the body when it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}) in a {}: {}", self.status, self.text()))
    }

    /// The JSON-RPC messages of the body, be it one JSON object or a stream of server-sent events.
    #[track_caller]
    pub fn messages(&self) -> Vec<Value> {
        let streamed = self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        if !streamed {
            return if self.body.is_empty() { Vec::new() } else { vec![self.json()] };
        }
        let text = self.text().replace("\r\n", "\n");
        let data = text.split("\n\n").map(|event| {
            event
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(str::trim_start)
                .collect::<Vec<_>>()
                .join("\n")
        });
        data.filter(|data| !data.is_empty())
            .map(|data| serde_json::from_str(&data).unwrap_or_else(|error| panic!("no JSON ({error}) in event {data}")))
            .collect()
    }
}

/// Sends one request and reads the answer until the server closes; panics when the server cannot be reached or hangs.
#[track_caller]
pub fn request(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    try_request(addr, method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path} at {addr}: {error}"))
}

/// As [`request`], for a server that may be away.
pub fn try_request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(super::PATIENCE))?;
    stream.set_write_timeout(Some(super::PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw)?;
    parse(&raw).ok_or_else(|| {
        let start = String::from_utf8_lossy(&raw[..raw.len().min(200)]).into_owned();
        std::io::Error::new(std::io::ErrorKind::InvalidData, format!("not an HTTP answer: {start:?}"))
    })
}

fn parse(raw: &[u8]) -> Option<Reply> {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&raw[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let rest = &raw[end + 4..];
    let body = if chunked { dechunk(rest)? } else { rest.to_vec() };
    Some(Reply { status, headers, body })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_events_come_out_joined() {
        let raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
            e\r\n: hi\n\ndata: {\"\r\nc\r\na\":1}\n\ndata: \r\n3\r\n2\n\n\r\n0\r\n\r\n";
        let reply = parse(raw).unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.messages(), [serde_json::json!({"a": 1}), serde_json::json!(2)]);
    }
}

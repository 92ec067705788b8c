//! As much of HTTP/1 as the metrics endpoint needs (RFC 9112): where the head of a request ends, what it asks for, and how the
//! answer begins.
//!
//! A line may end with LF alone, and empty lines before a request are skipped: people type requests, and old scripts send
//! them so. Fields of the head are not looked at.

use crate::server::exposition::CONTENT_TYPE;

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Code and reason.
    pub status: &'static str,
    /// What follows its head.
    body: Body,
    /// Whether the body is left out.
    pub is_head: bool,
}

/// What an answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Metrics,
    Health,
    /// What is wrong with the request, in one line.
    Error(&'static str),
}

/// Methods that are served.
pub const ALLOWED: &str = "GET, HEAD";

/// Bytes of the head, the empty line behind it included; `None` while it is not whole.
pub fn head_bytes(request: &[u8]) -> Option<usize> {
    let (mut at, mut has_line) = (0, false);
    for line in request.split_inclusive(|&byte| byte == b'\n') {
        let content = line.strip_suffix(b"\n")?;
        at += line.len();
        match without_return(content) {
            [] if has_line => return Some(at),
            [] => {}
            _ => has_line = true,
        }
    }
    None
}

/// The answer to the request with this head, which may be cut off.
pub fn answer(head: &[u8]) -> Answer {
    let lines = head.split(|&byte| byte == b'\n').map(without_return);
    let line = lines.into_iter().find(|line| !line.is_empty()).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let &[method, target, version] = &words[..] else {
        return Answer::error("400 Bad Request", "the first line is no request: METHOD PATH HTTP/1.1", false);
    };
    let is_head = method == b"HEAD";
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] => {}
        _ if version.starts_with(b"HTTP/") => {
            return Answer::error("505 HTTP Version Not Supported", "this server speaks HTTP/1.1", is_head);
        }
        _ => return Answer::error("400 Bad Request", "the first line has no version: HTTP/1.1", is_head),
    }
    let body = match path(target) {
        b"/metrics" => Body::Metrics,
        b"/healthz" => Body::Health,
        _ => {
            let known = "metrics are at /metrics, and whether the server serves at /healthz";
            return Answer::error("404 Not Found", known, is_head);
        }
    };
    if is_head || method == b"GET" {
        Answer { status: "200 OK", body, is_head }
    } else {
        Answer::error("405 Method Not Allowed", "this can be read with GET and HEAD", false)
    }
}

impl Answer {
    /// To a request whose head is longer than is taken.
    pub const TOO_LONG: Answer =
        Answer::error("431 Request Header Fields Too Large", "the head of the request is too long", false);

    const fn error(status: &'static str, error: &'static str, is_head: bool) -> Answer {
        Answer { status, body: Body::Error(error), is_head }
    }

    /// Whether the request was wrong.
    pub fn is_error(self) -> bool {
        matches!(self.body, Body::Error(_))
    }

    /// The whole message; `metrics` is asked for what the request asked for, `health` says why the server does not serve.
    pub fn message(self, metrics: impl FnOnce() -> String, health: Result<(), &'static str>) -> Vec<u8> {
        let (status, body, kind) = match (self.body, health) {
            (Body::Metrics, _) => (self.status, metrics(), CONTENT_TYPE),
            (Body::Health, Ok(())) => (self.status, "ok\n".to_owned(), PLAIN),
            (Body::Health, Err(why)) => ("503 Service Unavailable", format!("{why}\n"), PLAIN),
            (Body::Error(why), _) => (self.status, format!("{why}\n"), PLAIN),
        };
        let allow = if status.starts_with("405") { format!("allow: {ALLOWED}\r\n") } else { String::new() };
        let length = body.len();
        let shown = if self.is_head { "" } else { &body };
        format!(
            "HTTP/1.1 {status}\r\n{allow}content-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{shown}"
        )
        .into_bytes()
    }
}

/// The type of lines for people.
const PLAIN: &str = "text/plain; charset=utf-8";

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The path of a target: without what follows `?`, and without the server, which a proxy names.
fn path(target: &[u8]) -> &[u8] {
    let target = match target.strip_prefix(b"http://") {
        Some(rest) => &rest[rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())..],
        None => target,
    };
    target.split(|&byte| byte == b'?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line() {
        for (request, want) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Some(18)),
            (b"GET / HTTP/1.1\n\n", Some(16)),
            (b"GET / HTTP/1.1\nHost: x\r\n\nbody", Some(25)),
            (b"\r\n\nGET / HTTP/1.1\r\n\r\n", Some(21)),
            (b"\r\n\r\n\n\n", None),
            (b"GET / HTTP/1.1\r\n", None),
            (b"GET / HTTP/1.1\r\n\r", None),
            (b"GET / HTTP/1.1\r\n \r\n", None),
            (b"GET / HTTP/1.1\r\r\n", None),
            (b"", None),
        ] {
            assert_eq!(head_bytes(request), want, "{}", request.escape_ascii());
        }
    }

    #[test]
    fn each_fault_has_its_status() {
        for (line, want) in [
            ("GET /metrics HTTP/1.1", "200"),
            ("GET /metrics HTTP/1.0", "200"),
            ("HEAD /metrics?all=1 HTTP/1.1", "200"),
            ("GET http://host:9100/metrics HTTP/1.1", "200"),
            ("GET http://host:9100 HTTP/1.1", "404"),
            ("GET /healthz HTTP/1.1", "200"),
            ("HEAD /healthz HTTP/1.0", "200"),
            ("POST /healthz HTTP/1.1", "405"),
            ("GET / HTTP/1.1", "404"),
            ("GET /metricsandmore HTTP/1.1", "404"),
            ("GET /metrics/ HTTP/1.1", "404"),
            ("GET /../metrics HTTP/1.1", "404"),
            ("POST / HTTP/1.1", "404"),
            ("POST /metrics HTTP/1.1", "405"),
            ("PUT /metrics HTTP/1.1", "405"),
            ("DELETE /metrics HTTP/1.1", "405"),
            ("OPTIONS /metrics HTTP/1.1", "405"),
            ("get /metrics HTTP/1.1", "405"),
            ("GET /metrics HTTP/2.0", "505"),
            ("PRI * HTTP/2.0", "505"),
            ("GET /metrics", "400"),
            ("GET /metrics ICE/1.0", "400"),
            ("GET  /metrics HTTP/1.1", "400"),
            ("nonsense", "400"),
            ("", "400"),
        ] {
            for end in ["\r\n\r\n", "\n\n", "\r\nHost: x\r\n\r\n"] {
                let answer = answer(format!("{line}{end}").as_bytes());
                let is_host = line.is_empty() && end.len() > 4;
                assert!(is_host || answer.status.starts_with(want), "{line}: {answer:?}");
            }
        }
    }

    #[test]
    fn a_message_says_its_length_and_what_is_allowed() {
        let text = |line: &str| {
            String::from_utf8(answer(line.as_bytes()).message(|| "m 1\n".into(), Ok(()))).unwrap()
        };
        assert!(
            text("GET /metrics HTTP/1.1\n\n")
                .ends_with("content-length: 4\r\nconnection: close\r\n\r\nm 1\n")
        );
        let head = text("HEAD /metrics HTTP/1.1\n\n");
        assert!(head.contains("content-length: 4\r\n") && head.ends_with("\r\n\r\n"));
        assert!(text("POST /metrics HTTP/1.1\n\n").contains("\r\nallow: GET, HEAD\r\n"));
        assert!(!text("GET / HTTP/1.1\n\n").contains("allow"));
        assert!(
            text("GET /metrics HTTP/1.1\n\n")
                .contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n")
        );
    }

    #[test]
    fn a_server_that_does_not_serve_says_why() {
        let text = |line: &str, health| {
            let message = answer(line.as_bytes()).message(|| unreachable!(), health);
            String::from_utf8(message).unwrap()
        };
        let well = text("GET /healthz HTTP/1.1\n\n", Ok(()));
        assert!(well.starts_with("HTTP/1.1 200 OK\r\n") && well.ends_with("\r\n\r\nok\n"), "{well}");
        let ill = text("GET /healthz HTTP/1.1\n\n", Err("it drains"));
        assert!(
            ill.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && ill.ends_with("\r\n\r\nit drains\n")
        );
        let head = text("HEAD /healthz HTTP/1.1\n\n", Err("it drains"));
        assert!(head.starts_with("HTTP/1.1 503 ") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains("content-length: 10\r\n"));
    }
}

//! A blocking HTTP/1.1 client without a mind of its own: no redirects, no retries, no caches.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use data_encoding::BASE64;

/// One request, ready to be sent as often as wanted.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub fn get(target: impl Into<String>) -> Request {
        Request { method: "GET", target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// For the headers alone.
    pub fn head(target: impl Into<String>) -> Request {
        Request { method: "HEAD", ..Request::get(target) }
    }

    /// To a forward proxy, for a tunnel to host and port.
    pub fn connect(authority: impl Into<String>) -> Request {
        Request { method: "CONNECT", ..Request::get(authority) }
    }

    /// With another method.
    pub fn method(mut self, method: &'static str) -> Request {
        self.method = method;
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Request {
        self.body = body.as_ref().to_vec();
        self
    }

    /// A form as a browser submits it; `form` is already encoded.
    pub fn post(target: impl Into<String>, form: &str) -> Request {
        let mut request = Request::get(target);
        request.method = "POST";
        request.body = form.as_bytes().to_vec();
        request.header("Content-Type", "application/x-www-form-urlencoded")
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Request {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// RFC 7617 credentials. Bytes, because a server has to cope with any.
    pub fn basic(self, user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> Request {
        let authorization = basic(user, password);
        self.header("Authorization", authorization)
    }

    /// The client address that the server shall see; the tests' servers trust this header from
    /// loopback.
    pub fn from(self, address: &str) -> Request {
        self.header("X-Forwarded-For", address)
    }

    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn bytes(&self, keep_alive: bool) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() {
            text += &format!("Content-Length: {}\r\n", self.body.len());
        }
        if !keep_alive {
            text += "Connection: close\r\n";
        }
        text += "\r\n";
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The value of an `Authorization` header.
pub fn basic(user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> String {
    let pair = [user.as_ref(), b":", password.as_ref()].concat();
    format!("Basic {}", BASE64.encode(&pair))
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All headers of that name, in order.
    pub fn headers_of(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection, open for one or many requests.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub fn open(port: u16) -> std::io::Result<Connection> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        // A server that hangs is a failed test, not a test run that never ends.
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Connection(BufReader::new(stream)))
    }

    /// Sends a request and reads the answer; the connection is used up unless `keep_alive`.
    pub fn send(&mut self, request: &Request, keep_alive: bool) -> std::io::Result<Response> {
        self.ask(request, keep_alive)?;
        if request.method == "HEAD" { self.receive_head() } else { self.receive() }
    }

    /// Sends a request and leaves the answer to [`Connection::receive`].
    pub fn ask(&mut self, request: &Request, keep_alive: bool) -> std::io::Result<()> {
        self.0.get_mut().write_all(&request.bytes(keep_alive))
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Whether something of an answer is there, or the server has closed the connection.
    pub fn has_answer(&self) -> bool {
        let stream = self.0.get_ref();
        stream.set_nonblocking(true).expect("our own socket");
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("our own socket");
        !peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Status and headers; the body is still to come, if there is one.
    fn receive_head(&mut self) -> std::io::Result<Response> {
        let status_line = self.line()?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| malformed(&status_line))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok(Response { status, headers, body: Vec::new() })
    }

    pub fn receive(&mut self) -> std::io::Result<Response> {
        let mut response = self.receive_head()?;
        let length = response.header("Content-Length").map(str::to_owned);
        if response.header("Transfer-Encoding") == Some("chunked") {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(&line, 16).map_err(|_| malformed(&line))?;
                let begin = response.body.len();
                response.body.resize(begin + size, 0);
                self.0.read_exact(&mut response.body[begin..])?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = length {
            let length = length.parse().map_err(|_| malformed(&length))?;
            response.body.resize(length, 0);
            self.0.read_exact(&mut response.body)?;
        } else if response.status >= 200 && response.status != 204 && response.status != 304 {
            self.0.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

fn malformed(what: &str) -> std::io::Error {
    std::io::Error::other(format!("malformed answer: {what}"))
}

/// One request on a connection of its own.
#[track_caller]
pub fn fetch(port: u16, request: &Request) -> Response {
    Connection::open(port)
        .and_then(|mut connection| connection.send(request, false))
        .unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.target))
}

/// The same to another host of the server.
#[track_caller]
pub fn fetch_of_host(port: u16, host: &str, request: &Request) -> Response {
    let text = String::from_utf8(request.bytes(false)).expect("no body that isn't text");
    let text = text.replacen("Host: localhost", &format!("Host: {host}"), 1);
    let mut connection = Connection::open(port).expect("a connection");
    connection.0.get_mut().write_all(text.as_bytes()).expect("sent");
    connection.receive().expect("an answer")
}

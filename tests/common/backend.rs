//! What stands behind a reverse proxy: it keeps what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Names and values of a request's headers.
pub type Headers = Vec<(String, String)>;

/// An HTTP server of a few lines that answers every request and keeps its headers.
pub struct Backend {
    port: u16,
    seen: Arc<Mutex<Vec<Headers>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    pub fn start() -> Backend {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("the port").port();
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let stopping: Arc<AtomicBool> = Arc::default();
        let thread = std::thread::spawn({
            let (seen, stopping) = (seen.clone(), stopping.clone());
            move || {
                for stream in listener.incoming().flatten() {
                    if stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    // A client that goes away is no fault of ours.
                    let _ = answer(stream, &seen);
                }
            }
        });
        Backend { port, seen, stopping, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The `Authorization` of every request since the last call.
    pub fn take_seen(&self) -> Vec<Option<String>> {
        self.take_values("Authorization")
    }

    /// The header of that name of every request since the last call.
    pub fn take_values(&self, name: &str) -> Vec<Option<String>> {
        let value = |headers: Headers| {
            headers
                .into_iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        };
        self.take_headers().into_iter().map(value).collect()
    }

    /// All headers of every request since the last call.
    pub fn take_headers(&self) -> Vec<Headers> {
        std::mem::take(&mut self.seen.lock().expect("no panic inside"))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a connection.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: TcpStream, seen: &Mutex<Vec<Headers>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    // Before the answer: whoever has it may look.
    seen.lock().expect("no panic inside").push(headers);
    let text = super::server::PAGE_TEXT;
    write!(
        reader.get_mut(),
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )?;
    reader.get_mut().shutdown(Shutdown::Write)
}

//! Kept-alive HTTP/1.1 clients, as bare as they can be: on two cores the generator's own cost is part of the figure.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

/// What every request proves itself with: a server that asks for no key doesn't look at it.
pub const KEY: &str = "the-key-of-the-benches";

/// One connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("the server does not take connections")?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Posts JSON and returns status and body.
    pub async fn post(&mut self, path: &str, body: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        self.send("POST", path, "application/json", body).await
    }

    /// Puts a graph file.
    pub async fn put(&mut self, path: &str, body: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        self.send("PUT", path, "application/yaml", body).await
    }

    /// Posts nothing, under a key.
    pub async fn post_under(&mut self, path: &str, key: &str) -> anyhow::Result<u16> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).await?;
        Ok(self.response().await?.0)
    }

    async fn send(&mut self, method: &str, path: &str, media: &str, body: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nx-api-key: {KEY}\r\nx-user-id: bench\r\ncontent-type: \
             {media}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.response().await
    }

    pub async fn get(&mut self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes()).await?;
        self.response().await
    }

    async fn response(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        self.buffer.clear();
        let head = loop {
            self.more().await?;
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = std::str::from_utf8(&self.buffer[..head])?.to_ascii_lowercase();
        let status = text.get(9..12).and_then(|code| code.parse().ok()).context("no status line")?;
        if text.contains("transfer-encoding: chunked") {
            return Ok((status, self.chunks(head).await?));
        }
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .context("neither a length nor chunks")?
            .trim()
            .parse()?;
        while self.buffer.len() < head + length {
            self.more().await?;
        }
        Ok((status, self.buffer[head..head + length].to_vec()))
    }

    async fn chunks(&mut self, mut at: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = find(&self.buffer[at..], b"\r\n") {
                    break at + end;
                }
                self.more().await?;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[at..end])?.trim(), 16)?;
            while self.buffer.len() < end + 2 + size + 2 {
                self.more().await?;
            }
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&self.buffer[end + 2..end + 2 + size]);
            at = end + 2 + size + 2;
        }
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// What a load gave.
pub struct Measured {
    pub seconds: f64,
    /// Microseconds.
    pub latency: Histogram<u64>,
}

impl Measured {
    pub fn nothing() -> anyhow::Result<Self> {
        Ok(Measured { seconds: 0.0, latency: Histogram::new(3)? })
    }

    /// Takes another turn of the same load in.
    pub fn add(&mut self, turn: &Measured) -> anyhow::Result<()> {
        self.seconds += turn.seconds;
        Ok(self.latency.add(&turn.latency)?)
    }

    /// What is spent of something by the second, for each answer, in microseconds.
    pub fn microseconds_each(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.latency.len() as f64
    }

    pub fn per_second(&self) -> f64 {
        self.latency.len() as f64 / self.seconds
    }

    pub fn milliseconds(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// `clients` connections, each asking again as soon as it is answered, for `duration`.
///
/// `ask` gets its client's number and a count, which together make every request different, and judges the answer.
pub async fn closed_loop<F>(clients: usize, duration: Duration, address: SocketAddr, ask: F) -> anyhow::Result<Measured>
where
    F: AsyncFn(&mut Client, usize, u64) -> anyhow::Result<()> + Clone + 'static,
{
    closed_loop_with_pause(clients, duration, Duration::ZERO, address, ask).await
}

/// [`closed_loop`] whose clients pause after each answer.
pub async fn closed_loop_with_pause<F>(
    clients: usize,
    duration: Duration,
    pause: Duration,
    address: SocketAddr,
    ask: F,
) -> anyhow::Result<Measured>
where
    F: AsyncFn(&mut Client, usize, u64) -> anyhow::Result<()> + Clone + 'static,
{
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            let began = Instant::now();
            let until = began + duration;
            let mut tasks = Vec::new();
            for number in 0..clients {
                let ask = ask.clone();
                tasks.push(tokio::task::spawn_local(async move {
                    let mut client = Client::connect(address).await?;
                    let mut latency = Histogram::<u64>::new(3)?;
                    let mut count = 0;
                    while Instant::now() < until {
                        let sent = Instant::now();
                        ask(&mut client, number, count).await?;
                        latency.record(sent.elapsed().as_micros() as u64)?;
                        count += 1;
                        if !pause.is_zero() {
                            tokio::time::sleep(pause).await;
                        }
                    }
                    anyhow::Ok(latency)
                }));
            }
            let mut latency = Histogram::<u64>::new(3)?;
            for task in tasks {
                latency.add(task.await??)?;
            }
            Ok(Measured { seconds: began.elapsed().as_secs_f64(), latency })
        })
        .await
}

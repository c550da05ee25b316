//! A connection from a client on to a server, and what toxics do to the bytes of each direction.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::effect::Effect;
use super::{List, Toxic};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks that wait in one direction; when they are more, nothing is read.
const CHUNKS_MAX: usize = 256;
/// Bytes of a segment that may be lost.
const SEGMENT_BYTES: usize = 1460;
/// A limited line is fed so often.
const BANDWIDTH_STEPS_PER_SEC: u64 = 10;

/// How a connection ends other than in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

/// Where bytes go.
#[derive(Clone, Copy, Debug)]
enum Direction {
    To,
    From,
}

/// Bytes, and when they came.
type Chunk = (Instant, Vec<u8>);

/// Carries a connection until it ends.
pub(super) async fn connection(mut client: TcpStream, upstream: SocketAddr, toxics: watch::Receiver<List>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let to = carry(from_client, to_server, Stream::new(Direction::To, toxics.clone()));
    let from = carry(from_server, to_client, Stream::new(Direction::From, toxics));
    if tokio::try_join!(to, from) == Err(End::Reset) {
        for socket in [&client, &server] {
            let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
    }
}

async fn carry(mut from: ReadHalf<'_>, to: WriteHalf<'_>, stream: Stream) -> Result<(), End> {
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let read = async move {
        loop {
            let mut bytes = vec![0; CHUNK_BYTES];
            let count = from.read(&mut bytes).await.unwrap_or_default();
            bytes.truncate(count);
            if count == 0 || sender.send((Instant::now(), bytes)).await.is_err() {
                return;
            }
        }
    };
    let mut write = pin!(stream.run(chunks, to));
    tokio::select! {
        end = &mut write => end,
        () = read => write.await,
    }
}

/// A toxic as one stream meets it.
struct Active {
    toxic: Arc<Toxic>,
    acts: bool,
    /// Bytes that passed since it is there.
    passed: u64,
    dropped: bool,
    /// Since when nothing came.
    quiet_since: Instant,
}

impl Active {
    fn new(toxic: &Arc<Toxic>) -> Self {
        let acts = rand::random::<f64>() < toxic.toxicity;
        let toxic = Arc::clone(toxic);
        Self { toxic, acts, passed: 0, dropped: false, quiet_since: Instant::now() }
    }
}

/// One direction of a connection.
struct Stream {
    direction: Direction,
    toxics: watch::Receiver<List>,
    active: Vec<Active>,
}

impl Stream {
    fn new(direction: Direction, mut toxics: watch::Receiver<List>) -> Self {
        let list = List::clone(&toxics.borrow_and_update());
        let mut stream = Self { direction, toxics, active: Vec::new() };
        stream.active = list.iter().filter(|toxic| stream.meets(toxic)).map(Active::new).collect();
        stream
    }

    fn meets(&self, toxic: &Toxic) -> bool {
        match self.direction {
            Direction::To => toxic.to,
            Direction::From => toxic.from,
        }
    }

    /// What acts now.
    fn effects(&self) -> impl Iterator<Item = Effect> {
        self.active.iter().filter(|active| active.acts).map(|active| active.toxic.effect)
    }

    async fn run(mut self, mut chunks: mpsc::Receiver<Chunk>, mut to: WriteHalf<'_>) -> Result<(), End> {
        loop {
            let quiet = self.quiet_until();
            tokio::select! {
                chunk = chunks.recv() => match chunk {
                    Some(chunk) => self.pass(chunk, &mut to).await?,
                    None => break,
                },
                changed = self.toxics.changed() => {
                    changed.map_err(|_| End::Closed)?;
                    self.change()?;
                }
                () = until(quiet) => return Err(End::Closed),
            }
        }
        let delays = self.effects().map(|effect| match effect {
            Effect::SlowClose { delay } => delay,
            _ => Duration::ZERO,
        });
        let delay = delays.sum();
        self.rest(delay).await?;
        to.shutdown().await.map_err(|_| End::Closed)
    }

    /// When the connection ends because nothing comes.
    fn quiet_until(&self) -> Option<Instant> {
        let deadlines = self.active.iter().filter(|active| active.acts).filter_map(|active| {
            let Effect::Timeout { quiet } = active.toxic.effect else { return None };
            (!quiet.is_zero()).then(|| active.quiet_since + quiet)
        });
        deadlines.min()
    }

    /// Takes the toxics that there are now. Whoever lost bytes to one that is gone cannot go on.
    fn change(&mut self) -> Result<(), End> {
        let list = List::clone(&self.toxics.borrow_and_update());
        let is_there = |active: &Active| list.iter().any(|toxic| Arc::ptr_eq(toxic, &active.toxic));
        let ends = |active: &&Active| match active.toxic.effect {
            Effect::Cut => active.dropped,
            Effect::Timeout { .. } => active.acts,
            _ => false,
        };
        if self.active.iter().filter(ends).any(|active| !is_there(active)) {
            return Err(End::Closed);
        }
        let mut before = std::mem::take(&mut self.active);
        let mut now = Vec::new();
        for toxic in list.iter().filter(|toxic| self.meets(toxic)) {
            let known = before.iter().position(|active| Arc::ptr_eq(toxic, &active.toxic));
            let mut active = known.map_or_else(|| Active::new(toxic), |at| before.swap_remove(at));
            // The chance is taken anew with each change, but for one whose losses would begin anew.
            if known.is_some() && !matches!(toxic.effect, Effect::Lossy { .. }) && !active.dropped {
                active.acts = rand::random::<f64>() < toxic.toxicity;
            }
            now.push(active);
        }
        self.active = now;
        Ok(())
    }

    /// Waits, or until the toxics change.
    async fn rest(&mut self, time: Duration) -> Result<(), End> {
        if time.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            changed = self.toxics.changed() => {
                changed.map_err(|_| End::Closed)?;
                self.change()
            }
        }
    }

    async fn pass(&mut self, (came, mut bytes): Chunk, to: &mut WriteHalf<'_>) -> Result<(), End> {
        // What was there before these bytes came acts on them.
        if self.toxics.has_changed().map_err(|_| End::Closed)? {
            self.change()?;
        }
        let chance: f64 = rand::random_range(-1.0..=1.0);
        loop {
            let left = (came + self.latency(chance)).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.rest(left).await?;
        }
        let mut drops = false;
        for active in self.active.iter_mut().filter(|active| active.acts) {
            if let Effect::Cut | Effect::Timeout { .. } = active.toxic.effect {
                (active.dropped, active.quiet_since, drops) = (true, Instant::now(), true);
            }
        }
        if drops {
            return Ok(());
        }
        let reset = self.effects().find_map(|effect| match effect {
            Effect::ResetPeer { after } => Some(after),
            _ => None,
        });
        if let Some(after) = reset {
            tokio::time::sleep(after).await;
            return Err(End::Reset);
        }
        let is_last = self.limit(&mut bytes);
        self.write(&bytes, to).await?;
        if is_last { Err(End::Closed) } else { Ok(()) }
    }

    fn latency(&self, chance: f64) -> Duration {
        let delays = self.effects().map(|effect| match effect {
            Effect::Latency { by, jitter } => {
                let secs = by.as_secs_f64() + jitter.as_secs_f64() * chance;
                Duration::try_from_secs_f64(secs.max(0.0)).unwrap_or_default()
            }
            _ => Duration::ZERO,
        });
        delays.sum()
    }

    /// Cuts off what no longer passes. Gives whether the connection ends behind it.
    fn limit(&mut self, bytes: &mut Vec<u8>) -> bool {
        let mut is_last = false;
        for active in self.active.iter_mut().filter(|active| active.acts) {
            let Effect::LimitData { bytes: limit } = active.toxic.effect else { continue };
            let left = usize::try_from(limit.saturating_sub(active.passed)).unwrap_or(usize::MAX);
            is_last |= bytes.len() >= left;
            bytes.truncate(left);
            active.passed += u64::try_from(bytes.len()).unwrap_or_default();
        }
        is_last
    }

    /// Writes bytes, as fast and in such pieces as toxics have it.
    async fn write(&mut self, bytes: &[u8], to: &mut WriteHalf<'_>) -> Result<(), End> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (mut piece_len, mut pause, mut behind) = (rest.len(), Duration::ZERO, Duration::ZERO);
            for effect in self.effects() {
                match effect {
                    Effect::Slicer { average_bytes, variation_bytes, delay } => {
                        let least = average_bytes.saturating_sub(variation_bytes).max(1);
                        let most = average_bytes.saturating_add(variation_bytes);
                        piece_len = piece_len.min(rand::random_range(least..=most));
                        behind += delay;
                    }
                    Effect::Lossy { loss, wait, wait_max } => {
                        piece_len = piece_len.min(SEGMENT_BYTES);
                        pause += lost_for(loss, wait, wait_max);
                    }
                    Effect::Bandwidth { bytes_per_sec } => {
                        let step = usize::try_from(bytes_per_sec / BANDWIDTH_STEPS_PER_SEC);
                        piece_len = piece_len.min(step.unwrap_or(usize::MAX).max(1));
                    }
                    _ => {}
                }
            }
            let rates = self.effects().filter_map(|effect| match effect {
                Effect::Bandwidth { bytes_per_sec } => Some(bytes_per_sec.max(1)),
                _ => None,
            });
            let nanos = u64::try_from(piece_len).unwrap_or(u64::MAX).saturating_mul(1_000_000_000);
            pause += rates.map(|rate| Duration::from_nanos(nanos / rate)).sum::<Duration>();
            self.rest(pause).await?;
            let (piece, after) = rest.split_at_checked(piece_len).unwrap_or((rest, &[]));
            to.write_all(piece).await.map_err(|_| End::Closed)?;
            if !after.is_empty() {
                self.rest(behind).await?;
            }
            rest = after;
        }
        Ok(())
    }
}

/// How long a segment is away that is lost by chance, sent again, and may be lost again.
fn lost_for(loss: f64, wait: Duration, wait_max: Duration) -> Duration {
    let (mut away, mut wait) = (Duration::ZERO, wait);
    // A loss that goes on for longer than a day is no longer told apart from a cut.
    while rand::random::<f64>() < loss && away < DAY {
        away += wait;
        wait = (wait * 2).min(wait_max);
    }
    away
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

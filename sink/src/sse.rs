//! One client's stream as bytes: facts rendered as they come, comments while none do, and a word when it is cut.

use std::{convert::Infallible, sync::Arc, time::Duration, vec};

use ::metrics::{Counter, Gauge, counter, gauge};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use schemas::stream::{Rendering, moved_chunk};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    dialects::Stream,
    facts::{Fact, Resumed, Shown},
    live::{Ending, EndingCell, Filter, Joined, Viewing},
    metrics::{self, Cut, SSE_CONNECTIONS, SSE_EVENTS},
    position::Position,
    seek::{Found, Seek},
};

/// Facts in one chunk of a body.
const FACTS_PER_CHUNK: usize = 256;

/// A run that nobody has told of yet. It is looked up once, for it may be long over.
pub struct Unknown {
    pub seek: Seek,
    pub look_up_at: Instant,
}

pub struct Sse {
    stream: Stream,
    keep_alive: Duration,
    prelude: vec::IntoIter<Arc<Shown>>,
    filter: Filter,
    facts: Option<mpsc::Receiver<Arc<Shown>>>,
    ending: Arc<EndingCell>,
    unknown: Option<Unknown>,
    /// The id that the client has last.
    last: Position,
    over: bool,
    events: Counter,
    _open: Open,
}

/// Counts a stream as open for as long as it lives.
struct Open(Gauge);

impl Open {
    fn new() -> Self {
        let open = gauge!(SSE_CONNECTIONS);
        open.increment(1.0);
        Open(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Sse {
    pub fn new(
        rendering: Rendering,
        keep_alive: Duration,
        after: Option<Position>,
        viewing: Viewing,
        unknown: Option<Unknown>,
    ) -> Self {
        let Viewing { prelude, filter, facts, ending } = viewing;
        Sse {
            stream: Stream::new(rendering),
            keep_alive,
            prelude: prelude.into_iter(),
            filter,
            facts,
            ending,
            unknown,
            last: after.unwrap_or_default(),
            over: false,
            events: counter!(SSE_EVENTS),
            _open: Open::new(),
        }
    }

    pub fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, async |mut sse| {
            let chunk = sse.next().await?;
            Some((Ok::<_, Infallible>(chunk), sse))
        }))
    }

    /// The next bytes; None at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over {
                return None;
            }
            let mut out = Vec::new();
            for shown in self.prelude.by_ref().take(FACTS_PER_CHUNK).collect::<Vec<_>>() {
                self.render(&shown, &mut out);
            }
            if !out.is_empty() {
                return Some(out.into());
            }
            if self.prelude.len() > 0 {
                continue;
            }
            self.facts.as_ref()?;
            if let Some(chunk) = self.receive().await {
                return Some(chunk);
            }
        }
    }

    /// Waits for facts. None where there is nothing to say yet.
    async fn receive(&mut self) -> Option<Bytes> {
        let silent_at = Instant::now() + self.keep_alive;
        let until = self.unknown.as_ref().map_or(silent_at, |unknown| unknown.look_up_at.min(silent_at));
        let facts = self.facts.as_mut()?;
        match tokio::time::timeout_at(until, facts.recv()).await {
            Ok(Some(shown)) => {
                self.unknown = None;
                let mut out = Vec::new();
                self.render(&shown, &mut out);
                for _ in 1..FACTS_PER_CHUNK {
                    let Some(shown) = self.facts.as_mut().and_then(|facts| facts.try_recv().ok()) else { break };
                    self.render(&shown, &mut out);
                }
                (!out.is_empty()).then(|| out.into())
            }
            Ok(None) => {
                self.over = true;
                Some(self.farewell())
            }
            Err(_) => match self.unknown.take() {
                Some(unknown) => {
                    self.look_up(unknown).await;
                    None
                }
                None => Some(Bytes::from_owner(self.stream.heartbeat())),
            },
        }
    }

    async fn look_up(&mut self, unknown: Unknown) {
        // Where the store does not answer, or knows nothing, the stream waits on.
        // One that goes on joins this very stream.
        let Ok(Found::Over(mut run)) = unknown.seek.find().await else { return };
        match run.join(None, 1, Duration::ZERO) {
            Joined::Whole => self.over = true,
            Joined::Stream(viewing) => {
                let Viewing { prelude, filter, facts, ending } = *viewing;
                (self.prelude, self.filter, self.facts, self.ending) = (prelude.into_iter(), filter, facts, ending);
            }
        }
    }

    fn render(&mut self, shown: &Shown, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        let Sse { stream, filter, last, over, events, .. } = self;
        stream.see(shown);
        filter.pass(shown, |shown| {
            if let Fact::Metadata { resumed: Some(resumed), .. } = &shown.fact {
                metrics::stream_resumed(matches!(resumed, Resumed::Recovered));
            }
            stream.render(shown, out);
            events.increment(1);
            *last = shown.position;
            *over = matches!(shown.fact, Fact::Final(_));
        });
    }

    /// Why the stream ends before the run does.
    fn farewell(&self) -> Bytes {
        let id = self.last;
        match self.ending.get() {
            Ending::Slow => {
                metrics::stream_cut(Cut::Slow);
                let why = format!("this client reads too slowly; connect again with Last-Event-ID {id}");
                self.stream.cut(why).into()
            }
            Ending::Unknown => {
                metrics::stream_cut(Cut::Unknown);
                self.stream.cut("there is no such run".to_owned()).into()
            }
            Ending::Moved | Ending::None => {
                metrics::stream_cut(Cut::Moved);
                moved_chunk(&id.to_string()).into()
            }
        }
    }
}

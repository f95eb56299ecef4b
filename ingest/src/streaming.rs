//! A run's stream as the client's own: passed on as it comes, and taken up at another sink when the partition moves.

use axum::{
    body::{Body, BodyDataStream},
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use graph::envelope::RunId;
use http::{HeaderName, HeaderValue, StatusCode, header};
use schemas::stream::{Dialect, moved_after};

use crate::{ingest::Ingest, layers::Asked, sinks::segment};

/// Moves without an event between them, after which the client has to come back by itself.
const MOVES_MAX: u32 = 20;

/// Which stream of which run, and for whom.
#[derive(Clone)]
pub(crate) struct Watch {
    pub ingest: Ingest,
    pub asked: Asked,
    pub run: RunId,
    pub dialect: Dialect,
}

impl Watch {
    /// The stream's path at a sink, behind what the client has.
    pub fn path(&self, after: Option<&str>) -> String {
        let dialect = match self.dialect {
            Dialect::Events => "events",
            Dialect::Text => "text",
        };
        let mut path = format!("/internal/runs/{}/stream?dialect={dialect}", self.run);
        if let Some(after) = after.filter(|after| !after.is_empty()) {
            path.push_str(&format!("&after={}", segment(after)));
        }
        path
    }

    /// The sink's answer with the client's headers.
    pub fn passed_on(self, answer: Response, location: String) -> Response {
        let (parts, body) = answer.into_parts();
        let body = if parts.status == StatusCode::OK { self.followed(body) } else { Body::empty() };
        let mut response = Response::new(body);
        *response.status_mut() = parts.status;
        for name in [header::CONTENT_TYPE, header::CACHE_CONTROL, HeaderName::from_static("x-accel-buffering")] {
            if let Some(value) = parts.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    fn followed(self, body: Body) -> Body {
        let start = (self, body.into_data_stream(), 0);
        Body::from_stream(stream::unfold(start, |(watch, mut body, mut moves)| async move {
            loop {
                let chunk = match body.next().await? {
                    Ok(chunk) => chunk,
                    Err(error) => return Some((Err(error), (watch, body, moves))),
                };
                let Some(last) = moved_after(&chunk) else { return Some((Ok::<Bytes, _>(chunk), (watch, body, 0))) };
                moves += 1;
                body = watch.taken_up(last, moves).await?;
            }
        }))
    }

    /// The rest of the stream at the partition's new sink. None ends the client's: it asks again behind its last id.
    async fn taken_up(&self, last: &str, moves: u32) -> Option<BodyDataStream> {
        if moves > MOVES_MAX {
            return None;
        }
        let path = format!("{}&register=true", self.path(Some(last)));
        let answer = self.ingest.find(&self.asked, self.ingest.partition_of(self.run), &path).await.ok()??;
        (answer.status() == StatusCode::OK).then(|| answer.into_body().into_data_stream())
    }
}

//! A run's stream as the client's own: passed on as it comes, and taken up at another sink when the partition moves.

use axum::{
    body::{Body, BodyDataStream},
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use graph::envelope::RunId;
use http::{HeaderName, HeaderValue, StatusCode, header};
use schemas::{
    error::{Code, ErrorBody},
    openai::error_frame,
    stream::{Rendering, moved_after},
};

use crate::{ingest::Ingest, layers::Asked, leaving::Leaving, sinks::segment};

/// Moves without an event between them, after which the client has to come back by itself.
const MOVES_MAX: u32 = 20;

/// Which stream of which run, and for whom.
#[derive(Clone)]
pub(crate) struct Watch {
    pub ingest: Ingest,
    pub asked: Asked,
    pub run: RunId,
    pub rendering: Rendering,
}

impl Watch {
    /// The stream's path at a sink, behind what the client has.
    pub fn path(&self, after: Option<&str>) -> String {
        let mut path = format!("/internal/runs/{}/stream?{}", self.run, self.rendering.query());
        if let Some(after) = after.filter(|after| !after.is_empty()) {
            path.push_str(&format!("&after={}", segment(after)));
        }
        path
    }

    /// The sink's answer with the client's headers. `cancels`: the run is cancelled when the client goes away.
    pub fn passed_on(self, answer: Response, location: String, cancels: bool) -> Response {
        let (parts, body) = answer.into_parts();
        let body = if parts.status == StatusCode::OK { self.followed(body, cancels) } else { Body::empty() };
        let mut response = Response::new(body);
        *response.status_mut() = parts.status;
        for name in [header::CONTENT_TYPE, header::CACHE_CONTROL, HeaderName::from_static("x-accel-buffering")] {
            if let Some(value) = parts.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        if let (false, Ok(location)) = (location.is_empty(), HeaderValue::try_from(&location)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    fn followed(self, body: Body, cancels: bool) -> Body {
        let leaving = cancels.then(|| Leaving::new(&self.ingest, &self.asked, self.run));
        let start = (self, body.into_data_stream(), 0, leaving);
        Body::from_stream(stream::unfold(start, |(watch, mut body, mut moves, leaving)| async move {
            loop {
                let Some(chunk) = body.next().await else {
                    if let Some(leaving) = leaving {
                        leaving.stays();
                    }
                    return None;
                };
                let chunk = match chunk {
                    Ok(chunk) => chunk,
                    Err(error) => return Some((Err(error), (watch, body, moves, leaving))),
                };
                let Some(last) = moved_after(&chunk) else {
                    return Some((Ok::<Bytes, _>(chunk), (watch, body, 0, leaving)));
                };
                moves += 1;
                match watch.taken_up(last, moves).await {
                    Some(taken_up) => body = taken_up,
                    // Others see that the end is missing, and come back behind their last id.
                    None if !matches!(watch.rendering, Rendering::Completions { .. }) => return None,
                    None => {
                        let error =
                            ErrorBody::new(Code::StreamCut, "the stream broke off, the run goes on").run_id(watch.run);
                        let rest = (watch, Body::empty().into_data_stream(), 0, leaving);
                        return Some((Ok(error_frame(&error).into()), rest));
                    }
                }
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

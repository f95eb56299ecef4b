//! OpenAI's embeddings, for search by meaning in the long-term store.

use std::time::Duration;

use async_trait::async_trait;
use run_store::items::{EmbedError, Embedder};
use serde_json::{Value, json};

use super::address::Address;
use crate::models::{
    Cause, ModelError,
    http::{ServerSettings, read_bounded, unreachable},
    refusal,
};

/// Somebody waits for the item that is put.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
const ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Bytes of an answer: 256 vectors of 4,096 numbers.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// One model of a server that speaks `POST /v1/embeddings`.
pub struct OpenAiEmbeddings {
    provider: String,
    address: Address,
    model: String,
    http: reqwest::Client,
}

impl OpenAiEmbeddings {
    pub fn new(settings: ServerSettings, model: impl Into<String>, http: reqwest::Client) -> Self {
        OpenAiEmbeddings { address: Address::new(&settings), provider: settings.name, model: model.into(), http }
    }

    async fn ask(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
        let late = |_| ModelError::new(Cause::Timeout, format!("no answer within {ANSWER_WITHIN:?}"));
        tokio::time::timeout(ANSWER_WITHIN, self.ask_once(texts)).await.map_err(late)?
    }

    async fn ask_once(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
        let asked = json!({"model": self.model, "input": texts, "encoding_format": "float"});
        let call = self.http.post(self.address.of("embeddings", &self.model)).json(&asked);
        let response = self.address.authorize(call).send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_bounded(response, ANSWER_BYTES_MAX, ANSWER_WITHIN).await?;
        if !status.is_success() {
            return Err(refusal::of_status(status.as_u16(), &headers, &body));
        }
        vectors(&body, texts.len())
            .ok_or_else(|| ModelError::new(Cause::ServerError, "the answer is no list of embeddings, or was cut off"))
    }
}

#[async_trait]
impl Embedder for OpenAiEmbeddings {
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut wait = FIRST_WAIT;
        for attempt in 1.. {
            match self.ask(texts).await {
                Ok(vectors) => return Ok(vectors),
                Err(error) if error.cause.is_retryable() && attempt < ATTEMPTS => {
                    tokio::time::sleep(error.retry_after.unwrap_or(wait).min(LONGEST_WAIT)).await;
                    wait *= 2;
                }
                Err(error) => {
                    let message = format!("{}/{}: {}", self.provider, self.model, error.message);
                    return Err(EmbedError { message, retryable: error.cause.is_retryable() });
                }
            }
        }
        unreachable!("the last attempt gives what it came to")
    }
}

/// In the order of the texts, whatever the order of the answer.
fn vectors(body: &[u8], count: usize) -> Option<Vec<Vec<f32>>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let mut vectors = vec![Vec::new(); count];
    for (place, embedding) in answer.get("data")?.as_array()?.iter().enumerate() {
        let index = embedding.get("index").and_then(Value::as_u64).map_or(place, |index| index as usize);
        let numbers = embedding.get("embedding")?.as_array()?.iter();
        *vectors.get_mut(index)? = numbers.map(|n| n.as_f64().map(|n| n as f32)).collect::<Option<_>>()?;
    }
    vectors.iter().all(|vector| !vector.is_empty()).then_some(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_in_the_order_of_the_texts() {
        let read = |data: Value, count| vectors(json!({"data": data}).to_string().as_bytes(), count);
        let swapped = json!([{"index": 1, "embedding": [2, 0.5]}, {"index": 0, "embedding": [1.0, 0]}]);
        assert_eq!(read(swapped.clone(), 2), Some(vec![vec![1.0, 0.0], vec![2.0, 0.5]]));
        assert_eq!(read(json!([{"embedding": [1]}, {"embedding": [2]}]), 2), Some(vec![vec![1.0], vec![2.0]]));
        for (wrong, count) in
            [(swapped.clone(), 1), (swapped, 3), (json!([{"embedding": "AAAA"}]), 1), (json!([{"embedding": []}]), 1)]
        {
            assert_eq!(read(wrong.clone(), count), None, "{wrong}");
        }
        assert_eq!(vectors(b"{\"data\": [{\"emb", 1), None);
    }
}

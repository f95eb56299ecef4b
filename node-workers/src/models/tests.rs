//! What holds for requests of every dialect.

use serde_json::json;

use super::*;

#[test]
fn an_image_is_more_than_its_address() {
    let most = |content: Value| {
        let message = json!({"type": "human", "content": content});
        input_tokens_max(&ModelRequest { messages: [Arc::new(message)].into(), ..ModelRequest::default() })
    };
    let text = json!({"type": "text", "text": "what is it?"});
    assert!(most(json!([text])) < 200);
    let by_address = json!({"type": "image_url", "image_url": {"url": "https://a/b.png"}});
    assert!(most(json!([text, by_address])) > 48_169, "the most that gpt-4o-mini counts for one");
    assert!(most(json!([{"type": "image", "base64": "AAAA", "mime_type": "image/png"}, by_address])) > 2 * 48_169);
}

//! Stored messages (LangChain's JSON, or an object with a `role`) as dialects see them.

use graph::message;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

pub fn role(stored: &Value) -> Role {
    let field = |name: &str| stored.get(name).and_then(Value::as_str);
    match field("role").or_else(|| field("type")).unwrap_or("human") {
        "ai" | "AIMessageChunk" | "assistant" => Role::Assistant,
        "system" | "developer" => Role::System,
        "tool" | "function" => Role::Tool,
        _ => Role::User,
    }
}

/// A part of what a user or a tool shows.
#[derive(Debug, PartialEq)]
pub enum Part<'a> {
    Text(&'a str),
    Image(Image<'a>),
    /// A block of one dialect's own: it goes as it is.
    Other(&'a Value),
}

#[derive(Debug, PartialEq)]
pub enum Image<'a> {
    Url(&'a str),
    Base64 { media_type: &'a str, data: &'a str },
}

pub fn parts(stored: &Value) -> Vec<Part<'_>> {
    match stored.get("content") {
        Some(Value::String(text)) => vec![Part::Text(text)],
        Some(Value::Array(blocks)) => blocks.iter().map(part).collect(),
        Some(_) | None => Vec::new(),
    }
}

pub fn part(block: &Value) -> Part<'_> {
    let field = |pointer: &str| block.pointer(pointer).and_then(Value::as_str);
    if let Some(text) = block.as_str() {
        return Part::Text(text);
    }
    match field("/type") {
        Some("text") if block.get("cache_control").is_none() => Part::Text(field("/text").unwrap_or_default()),
        Some("image" | "image_url") => image(block).map_or(Part::Other(block), Part::Image),
        Some(_) | None => Part::Other(block),
    }
}

/// As LangChain's blocks of either version have it, OpenAI's, or Anthropic's.
fn image(block: &Value) -> Option<Image<'_>> {
    let field = |pointer: &str| block.pointer(pointer).and_then(Value::as_str);
    if let Some(data) = ["/base64", "/data", "/source/data"].iter().find_map(|place| field(place)) {
        let media_type = field("/mime_type").or_else(|| field("/source/media_type"));
        return Some(Image::Base64 { media_type: media_type.unwrap_or("image/png"), data });
    }
    let places = ["/image_url/url", "/image_url", "/url", "/source/url"];
    let url = places.iter().find_map(|place| field(place))?;
    Some(in_data_url(url).unwrap_or(Image::Url(url)))
}

fn in_data_url(url: &str) -> Option<Image<'_>> {
    let (media_type, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    Some(Image::Base64 { media_type, data })
}

/// Images above all: what is not counted by its letters.
pub fn blocks_beside_text(stored: &Value) -> usize {
    let is_text = |block: &Value| block.is_string() || block.get("type").is_some_and(|kind| kind == "text");
    let blocks = stored.get("content").and_then(Value::as_array);
    blocks.into_iter().flatten().filter(|block| !is_text(block)).count()
}

/// A call that the assistant made: LangChain's, or OpenAI's with its arguments as text.
pub struct Called<'a> {
    pub id: Option<&'a str>,
    pub name: Option<&'a str>,
    pub arguments: Value,
}

pub fn tool_calls(stored: &Value) -> Vec<Called<'_>> {
    let calls = stored.get("tool_calls").and_then(Value::as_array);
    calls.into_iter().flatten().map(called).collect()
}

fn called(call: &Value) -> Called<'_> {
    let field = |pointer: &str| call.pointer(pointer).and_then(Value::as_str);
    let in_text = || field("/function/arguments").and_then(|text| serde_json::from_str(text).ok());
    let arguments = call.get("args").cloned().or_else(in_text).unwrap_or_else(|| Value::Object(Default::default()));
    Called { id: field("/id"), name: field("/name").or_else(|| field("/function/name")), arguments }
}

/// The text of all that tells the model how to behave.
pub fn system_text<'a>(messages: impl Iterator<Item = &'a Value>) -> Option<String> {
    let texts: Vec<String> = messages.filter(|stored| role(stored) == Role::System).map(message::text).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_is_found_in_every_shape() {
        let inline = Image::Base64 { media_type: "image/jpeg", data: "AAAA" };
        let table = [
            (json!({"type": "image", "base64": "AAAA", "mime_type": "image/jpeg"}), &inline),
            (json!({"type": "image", "source_type": "base64", "data": "AAAA", "mime_type": "image/jpeg"}), &inline),
            (json!({"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}}), &inline),
            (json!({"type": "image_url", "image_url": "data:image/jpeg;base64,AAAA"}), &inline),
            (
                json!({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}}),
                &inline,
            ),
            (json!({"type": "image", "url": "https://a/b.png"}), &Image::Url("https://a/b.png")),
            (json!({"type": "image_url", "image_url": {"url": "https://a/b.png"}}), &Image::Url("https://a/b.png")),
            (
                json!({"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}),
                &Image::Url("https://a/b.png"),
            ),
        ];
        for (block, expect) in &table {
            let Part::Image(image) = part(block) else { panic!("{block} is no image") };
            assert_eq!(&image, *expect, "{block}");
        }
        let unknown = json!({"type": "image", "file_id": "f"});
        assert_eq!(part(&unknown), Part::Other(&unknown));
    }
}

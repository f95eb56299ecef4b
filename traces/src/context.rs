//! W3C trace context, as it travels in headers: `00-<trace id>-<span id>-<flags>`.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Which span of which trace something belongs to, and whether that trace is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: TraceId,
    pub span: SpanId,
    pub sampled: bool,
}

impl TraceContext {
    /// None for what the standard calls malformed: such a header is as good as none.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace, span, flags, rest @ ..] = &parts[..] else { return None };
        let lengths = [version.len(), trace.len(), span.len(), flags.len()];
        let is_hex = |part: &&&str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        // Versions to come may say more behind the flags; the first one may not.
        let more = *version == "00" && !rest.is_empty();
        if lengths != [2, 32, 16, 2] || *version == "ff" || more || ![version, trace, span, flags].iter().all(is_hex) {
            return None;
        }
        let trace = TraceId::from_hex(trace).ok().filter(|id| *id != TraceId::INVALID)?;
        let span = SpanId::from_hex(span).ok().filter(|id| *id != SpanId::INVALID)?;
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        Some(TraceContext { trace, span, sampled })
    }

    pub(crate) fn of(context: &SpanContext) -> Self {
        TraceContext { trace: context.trace_id(), span: context.span_id(), sampled: context.is_sampled() }
    }

    pub(crate) fn remote(self) -> SpanContext {
        let flags = TraceFlags::default().with_sampled(self.sampled);
        SpanContext::new(self.trace, self.span, flags, true, TraceState::NONE)
    }
}

/// As `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_read_and_written() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(TraceContext::parse(text).unwrap().to_string(), text);
        let unsampled = text.replace("-01", "-00");
        assert_eq!(TraceContext::parse(&unsampled).unwrap().to_string(), unsampled);
        let newer = format!("{}-more", text.replace("00-4b", "01-4b"));
        assert_eq!(
            TraceContext::parse(&newer).unwrap().to_string(),
            text,
            "what is newer is read as far as it is known"
        );
    }

    #[test]
    fn what_is_malformed_is_none() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let bad = [
            String::new(),
            "00".to_owned(),
            format!("{text}-more"),
            text.replace("00-4b", "ff-4b"),
            text.replace("4bf9", "4BF9"),
            text.replace("4bf9", "+bf9"),
            text.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            text.replace("00f067aa0ba902b7", &"0".repeat(16)),
            text.replace("4bf92f3577", "4bf92f35"),
        ];
        for text in bad {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }
}

use std::sync::Arc;

use serde_json::json;

use super::*;

fn render(text: &str, state: Value) -> Result<String, TaskError> {
    let Value::Object(state) = state else { panic!("a state is an object") };
    let state = state.into_iter().map(|(name, value)| (name, Arc::new(value))).collect();
    let context = json!({"locale": "en"});
    let item = json!({"id": 7});
    let scope = Scope { items: &[("item", &item)], ..Scope::new(&state, &context) };
    Template::compile(text).unwrap().render(&scope)
}

fn check(text: &str, state: Value, expect: &str) {
    assert_eq!(render(text, state).as_deref(), Ok(expect), "{text}");
}

#[test]
fn sees_channels_state_context_and_items() {
    check("{{ topic }} {{ state.topic }} {{ context.locale }} {{ item.id }}", json!({"topic": "x"}), "x x en 7");
    check("{{ last(messages).content }}", json!({"messages": [{"content": "a<b"}]}), "a<b");
    check("{% for j in jokes %}- {{ j }}\n{% endfor %}", json!({"jokes": ["a", "b"]}), "- a\n- b\n");
    check("{{ has_tool_calls(m) }} {{ tokens('hello') }}", json!({"m": [{"tool_calls": [1]}]}), "True 2");
    check("{{ state }}", json!({"b": 1, "a": 2}), "{'a': 2, 'b': 1}");
    check("{% if maybe %}x{% endif %}{{ maybe | default('none') }}", json!({}), "none");
}

#[test]
fn a_value_that_is_not_there_is_named() {
    let error = render("one\n{{ topic }}", json!({})).unwrap_err();
    assert_eq!(error.class, "node_failed");
    assert_eq!(error.message, "line 2 of the template: undefined value (without a value: topic)");
}

#[test]
fn says_what_it_reads() {
    let found =
        Template::compile("{{ a.b }} {{ state.c.d }} {{ context.e }} {% for f in range(3) %}{{ f }}{% endfor %}");
    let found = found.unwrap().references().clone();
    assert_eq!(found.names.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "range"]);
    assert_eq!(found.channels.iter().map(String::as_str).collect::<Vec<_>>(), ["c"]);
    assert!(found.context && !found.whole_state);
}

#[test]
fn says_where_a_text_is_wrong() {
    assert_eq!(Template::compile("one\n{% if %}").unwrap_err().line, 2);
    let error = Template::compile("{{ 'a|b' }}\n{{ a | uper | trim }}").unwrap_err();
    assert_eq!((error.line, error.message.as_str()), (2, "there is no filter `uper`: did you mean `upper`?"));
    assert_eq!(Template::compile("{% raw %}{{ a | uper }}{% endraw %}{# a | uper #}").map(|_| ()), Ok(()));
    assert!(Template::compile(&format!("{{{{ 1{} }}}}", "+1".repeat(9_000))).unwrap_err().message.contains("bytes"));
}

#[test]
fn rendering_is_bounded() {
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert!(render(loops, json!({})).unwrap_err().message.contains("instructions"));
    let long = "{% for a in range(99) %}{{ 'x' * 1000000 }}{% endfor %}";
    assert!(render(long, json!({})).unwrap_err().message.contains("bytes"));
    let recursive = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    assert!(render(recursive, json!({})).is_err());
    assert!(render("{% include 'template' %}", json!({})).is_err());
    for depth in [100, 1_000, 64_000] {
        for (open, close) in [("(", ")"), ("[", "]"), ("not ", ""), ("-", "")] {
            let text = format!("{{{{ {}1{} }}}}", open.repeat(depth), close.repeat(depth));
            if let Ok(template) = Template::compile(&text) {
                let _ = template.render(&Scope::new(&crate::by_name::ChannelValues::new(), &Value::Null));
            }
        }
        let text = format!("{}{}", "{% if 1 %}".repeat(depth), "{% endif %}".repeat(depth));
        let _ = Template::compile(&text);
        let _ = Template::compile(&format!("{{{{ 1{} }}}}", "+1".repeat(depth)));
    }
}

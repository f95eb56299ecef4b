//! A graph as a Mermaid flowchart, for pages, terminals and READMEs.

use std::fmt::Write;

use crate::spec::{Case, END, EdgeSpec, GraphSpec, NodeKind, START, SendSpec, Target};

/// Characters of a condition that an arrow carries.
const LABEL_CHARS_MAX: usize = 60;

/// Ids are made here and names only ever stand in quoted labels, so that no name can change the chart.
pub fn mermaid(spec: &GraphSpec) -> String {
    let mut chart = String::from("flowchart TD\n");
    chart.push_str("    start([\"START\"])\n");
    for (index, node) in spec.nodes.iter().enumerate() {
        let label = format!("{}<br/><small>{}</small>", escaped(&node.name), node.kind.as_str());
        let (open, close) = shape(&node.kind);
        let _ = writeln!(chart, "    n{index}{open}\"{label}\"{close}");
    }
    chart.push_str("    end_([\"END\"])\n");
    for edge in &spec.edges {
        self::edge(&mut chart, spec, edge);
    }
    for (index, _) in spec.nodes.iter().enumerate().filter(|(_, node)| node.defer) {
        let _ = writeln!(chart, "    style n{index} stroke-dasharray: 4 4");
    }
    chart
}

fn edge(chart: &mut String, spec: &GraphSpec, edge: &EdgeSpec) {
    match edge {
        EdgeSpec::Plain { from, to } if from.len() == 1 => arrow(chart, spec, &from[0], "-->", to),
        EdgeSpec::Plain { from, to } => {
            for source in from {
                arrow(chart, spec, source, "-- \"all\" -->", to);
            }
        }
        EdgeSpec::When { from, cases } | EdgeSpec::Every { from, cases } => {
            for case in cases {
                let dashed = format!("-. \"{}\" .->", label(case));
                for target in &case.to {
                    match target {
                        Target::Node(name) => arrow(chart, spec, from, &dashed, name),
                        Target::Send(send) => arrow(chart, spec, from, &dashed, &send.to),
                    }
                }
            }
        }
        EdgeSpec::Send { from, send } => {
            let SendSpec { to, each, .. } = send;
            let dashed = format!("-. \"each {}\" .->", escaped(&shortened(each.as_deref().unwrap_or_default())));
            arrow(chart, spec, from, &dashed, to);
        }
        EdgeSpec::Decide { from, decide, .. } => {
            let _ = writeln!(chart, "    {} -. \"{}\" .-> end_", id(spec, from), escaped(&shortened(&decide.url)));
        }
    }
}

fn arrow(chart: &mut String, spec: &GraphSpec, from: &str, arrow: &str, to: &str) {
    let _ = writeln!(chart, "    {} {arrow} {}", id(spec, from), id(spec, to));
}

fn id(spec: &GraphSpec, name: &str) -> String {
    match spec.nodes.iter().position(|node| node.name == name) {
        Some(index) => format!("n{index}"),
        None if name == START => "start".to_owned(),
        None => {
            debug_assert_eq!(name, END, "a checked spec names no other node");
            "end_".to_owned()
        }
    }
}

fn shape(kind: &NodeKind) -> (&'static str, &'static str) {
    match kind {
        NodeKind::Model(_) => ("[", "]"),
        NodeKind::Transform | NodeKind::Rust(_) => ("[/", "/]"),
        NodeKind::Http(_) => ("[[", "]]"),
        NodeKind::Human(_) => ("{{", "}}"),
        NodeKind::Subgraph(_) => ("[(", ")]"),
    }
}

fn label(case: &Case) -> String {
    match &case.condition {
        Some(condition) => escaped(&shortened(condition)),
        None => "else".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LABEL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Mermaid's entities: what isn't a letter, a digit or plain punctuation can't end a label or begin Markdown.
fn escaped(text: &str) -> String {
    let mut label = String::new();
    for char in text.chars() {
        match char {
            char if char.is_alphanumeric() || " .,-_=!()[]{}/+*'?:…".contains(char) => label.push(char),
            char if char.is_whitespace() || char.is_control() => label.push(' '),
            char => {
                let _ = write!(label, "#{};", u32::from(char));
            }
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::mermaid;

    #[test]
    fn draws_nodes_and_edges() {
        let text = include_str!("../../examples/support.yaml");
        let chart = mermaid(&crate::file::read(text, None).spec.unwrap());
        let expect = r##"flowchart TD
    start(["START"])
    n0["classify<br/><small>model</small>"]
    n1["billing<br/><small>model</small>"]
    n2["order<br/><small>model</small>"]
    n3["other<br/><small>model</small>"]
    n4[/"record<br/><small>transform</small>"/]
    end_(["END"])
    start --> n0
    n0 -. "state.topic == #34;billing#34;" .-> n1
    n0 -. "state.topic == #34;order#34;" .-> n2
    n0 -. "else" .-> n3
    n1 --> n4
    n2 --> n4
    n3 --> n4
    n4 --> end_
"##;
        assert_eq!(chart, expect);
    }

    #[test]
    fn no_name_can_change_the_chart() {
        let mut spec = crate::spec::GraphSpec::default();
        spec.nodes.push(crate::spec::NodeSpec {
            name: "a\"] --> end_; <script>`#quot;".to_owned(),
            ..serde_json::from_value(serde_json::json!({"name": "a", "kind": "transform"})).unwrap()
        });
        let chart = mermaid(&spec);
        assert!(chart.contains("n0[/\"a#34;] --#62; end_#59; #60;script#62;#96;#35;quot#59;<br/>"), "{chart}");
    }
}

//! A graph as a Mermaid flowchart, for pages, terminals and READMEs.

use std::{collections::BTreeMap, fmt::Write};

use crate::{
    check::jumps::jumps,
    spec::{Case, END, EdgeSpec, GraphSpec, NodeKind, NodeSpec, START, SendSpec, Target},
};

/// Characters of a condition that an arrow carries.
const LABEL_CHARS_MAX: usize = 60;

/// Ids are made here and names only ever stand in quoted labels, so that no name can change the chart. `subgraphs` are
/// those that are drawn within their nodes; one that isn't there is a node like any other.
pub fn mermaid(spec: &GraphSpec, subgraphs: &[GraphSpec]) -> String {
    let by_hash: BTreeMap<String, &GraphSpec> = subgraphs.iter().map(|spec| (spec.hash(), spec)).collect();
    let mut chart = Chart { text: String::from("flowchart TD\n"), subgraphs: &by_hash };
    chart.graph(spec, "", 1);
    chart.text
}

struct Chart<'s> {
    text: String,
    subgraphs: &'s BTreeMap<String, &'s GraphSpec>,
}

/// One graph on the chart: its ids begin with those of the nodes that it stands in.
struct Drawn<'s> {
    spec: &'s GraphSpec,
    prefix: &'s str,
    depth: usize,
}

impl Chart<'_> {
    fn graph(&mut self, spec: &GraphSpec, prefix: &str, depth: usize) {
        let drawn = Drawn { spec, prefix, depth };
        self.line(&drawn, &format!("{prefix}start([\"START\"])"));
        for (index, node) in spec.nodes.iter().enumerate() {
            self.node(&drawn, &format!("{prefix}n{index}"), node);
        }
        self.line(&drawn, &format!("{prefix}end_([\"END\"])"));
        for edge in &spec.edges {
            self.edge(&drawn, edge);
        }
        for node in &spec.nodes {
            for jump in jumps(node) {
                self.arrow(&drawn, &node.name, "-. \"goto\" .->", &jump.to);
            }
            if let Some(handler) = &node.on_error {
                self.arrow(&drawn, &node.name, "-. \"on error\" .->", handler);
            }
        }
        for (index, _) in spec.nodes.iter().enumerate().filter(|(_, node)| node.defer) {
            self.line(&drawn, &format!("style {prefix}n{index} stroke-dasharray: 4 4"));
        }
    }

    fn node(&mut self, drawn: &Drawn<'_>, id: &str, node: &NodeSpec) {
        let mut kind = node.kind.as_str().to_owned();
        for (stops, names) in [("before", &drawn.spec.interrupt_before), ("after", &drawn.spec.interrupt_after)] {
            if names.iter().any(|name| *name == node.name || name == "*") {
                let _ = write!(kind, ", stops {stops}");
            }
        }
        let label = format!("{}<br/><small>{kind}</small>", escaped(&node.name));
        let inner = match &node.kind {
            NodeKind::Subgraph(subgraph) => self.subgraphs.get(&subgraph.hash).copied(),
            _ => None,
        };
        let Some(inner) = inner else {
            let (open, close) = shape(&node.kind);
            return self.line(drawn, &format!("{id}{open}\"{label}\"{close}"));
        };
        self.line(drawn, &format!("subgraph {id}[\"{label}\"]"));
        self.graph(inner, &format!("{id}_"), drawn.depth + 1);
        self.line(drawn, "end");
    }

    fn edge(&mut self, drawn: &Drawn<'_>, edge: &EdgeSpec) {
        match edge {
            EdgeSpec::Plain { from, to } if from.len() == 1 => self.arrow(drawn, &from[0], "-->", to),
            EdgeSpec::Plain { from, to } => {
                for source in from {
                    self.arrow(drawn, source, "-- \"all\" -->", to);
                }
            }
            EdgeSpec::When { from, cases } | EdgeSpec::Every { from, cases } => {
                for case in cases {
                    let dashed = format!("-. \"{}\" .->", label(case));
                    for target in &case.to {
                        match target {
                            Target::Node(name) => self.arrow(drawn, from, &dashed, name),
                            Target::Send(send) => self.arrow(drawn, from, &dashed, &send.to),
                        }
                    }
                }
            }
            EdgeSpec::Send { from, send: SendSpec { to, each, .. } } => {
                let dashed = match each {
                    Some(each) => format!("-. \"each {}\" .->", escaped(&shortened(each))),
                    None => "-. \"send\" .->".to_owned(),
                };
                self.arrow(drawn, from, &dashed, to);
            }
            EdgeSpec::Decide { from, decide, to } => {
                let dashed = format!("-. \"{}\" .->", escaped(&shortened(&decide.url)));
                match to {
                    Some(to) => to.iter().for_each(|to| self.arrow(drawn, from, &dashed, to)),
                    // It may lead to any node: the chart says that it decides.
                    None => self.arrow(drawn, from, &dashed, END),
                }
            }
        }
    }

    fn arrow(&mut self, drawn: &Drawn<'_>, from: &str, arrow: &str, to: &str) {
        let line = format!("{} {arrow} {}", id(drawn, from), id(drawn, to));
        self.line(drawn, &line);
    }

    fn line(&mut self, drawn: &Drawn<'_>, line: &str) {
        let _ = writeln!(self.text, "{}{line}", "    ".repeat(drawn.depth));
    }
}

fn id(drawn: &Drawn<'_>, name: &str) -> String {
    let Drawn { spec, prefix, .. } = drawn;
    match spec.nodes.iter().position(|node| node.name == name) {
        Some(index) => format!("{prefix}n{index}"),
        None if name == START => format!("{prefix}start"),
        None => {
            debug_assert_eq!(name, END, "a checked spec names no other node");
            format!("{prefix}end_")
        }
    }
}

fn shape(kind: &NodeKind) -> (&'static str, &'static str) {
    match kind {
        NodeKind::Model(_) => ("[", "]"),
        NodeKind::Transform | NodeKind::Rust(_) => ("[/", "/]"),
        NodeKind::Http(_) => ("[[", "]]"),
        NodeKind::Human(_) => ("{{", "}}"),
        NodeKind::Classify(_) => ("{", "}"),
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
        let chart = mermaid(&crate::file::read(text, None).spec.unwrap(), &[]);
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
    fn draws_graphs_within_handlers_and_ways_that_nodes_choose() {
        let text = r#"
version: 1
name: outer
state: {question: string, found: string}
nodes:
  research:
    kind: subgraph
    graph:
      state: {question: string, found: string}
      nodes:
        look: {kind: transform, update: {found: state.question}}
      edges: [START -> look, look -> END]
    on_error: sorry
  ask: {kind: human, question: "{{ found }}?", answer: boolean, goto: "answer ? 'sorry' : 'END'"}
  sorry: {kind: transform, update: {found: failure.message}}
edges:
  - START -> research
  - {from: research, decide: {url: "http://x/y", to: [ask, END]}}
interrupt_before: [ask]
"#;
        let checked = crate::file::read(text, None);
        assert_eq!(checked.report("outer"), "");
        let spec = checked.spec.unwrap();
        let expect = r##"flowchart TD
    start(["START"])
    subgraph n0["research<br/><small>subgraph</small>"]
        n0_start(["START"])
        n0_n0[/"look<br/><small>transform</small>"/]
        n0_end_(["END"])
        n0_start --> n0_n0
        n0_n0 --> n0_end_
    end
    n1{{"ask<br/><small>human, stops before</small>"}}
    n2[/"sorry<br/><small>transform</small>"/]
    end_(["END"])
    start --> n0
    n0 -. "http://x/y" .-> n1
    n0 -. "http://x/y" .-> end_
    n0 -. "on error" .-> n2
    n1 -. "goto" .-> n2
    n1 -. "goto" .-> end_
"##;
        assert_eq!(mermaid(&spec, &checked.subgraphs), expect);
    }

    #[test]
    fn no_name_can_change_the_chart() {
        let mut spec = crate::spec::GraphSpec::default();
        spec.nodes.push(crate::spec::NodeSpec {
            name: "a\"] --> end_; <script>`#quot;".to_owned(),
            ..serde_json::from_value(serde_json::json!({"name": "a", "kind": "transform"})).unwrap()
        });
        let chart = mermaid(&spec, &[]);
        assert!(chart.contains("n0[/\"a#34;] --#62; end_#59; #60;script#62;#96;#35;quot#59;<br/>"), "{chart}");
    }
}

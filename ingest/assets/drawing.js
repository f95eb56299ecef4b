// A graph's spec as a small SVG: layers from START down, plain edges solid, conditional ones dashed.

const WIDTH = 140, HEIGHT = 44, GAP_X = 28, GAP_Y = 46;
const SVG = "http://www.w3.org/2000/svg";

export function edgesOf(spec) {
  const edges = [];
  for (const edge of spec.edges) {
    const [form, it] = Object.entries(edge)[0];
    if (form === "plain") for (const from of it.from) edges.push({ from, to: it.to });
    else if (form === "send") edges.push({ from: it.from, to: it.send.to, maybe: true });
    else for (const one of it.cases ?? []) for (const target of one.to) {
      edges.push({ from: it.from, to: target.node ?? target.send.to, maybe: true, says: one.if ?? "else" });
    }
  }
  return edges;
}

export function draw(spec) {
  const edges = edgesOf(spec);
  const layers = layered(["START", ...spec.nodes.map((node) => node.name), "END"], edges);
  const places = new Map();
  const widest = Math.max(...layers.map((layer) => layer.length));
  const width = widest * (WIDTH + GAP_X) + GAP_X;
  layers.forEach((layer, row) => layer.forEach((name, column) => places.set(name, {
    x: (width - layer.length * (WIDTH + GAP_X) + GAP_X) / 2 + column * (WIDTH + GAP_X),
    y: GAP_Y / 2 + row * (HEIGHT + GAP_Y),
    row,
  })));
  const height = layers.length * (HEIGHT + GAP_Y);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  svg.append(titled(`The graph ${spec.name}: ${edges.map((edge) => `${edge.from} to ${edge.to}`).join(", ")}`));
  const marker = element("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" });
  marker.append(element("path", { d: "M0 0 L8 4 L0 8 Z" }));
  const defs = element("defs", {});
  defs.append(marker);
  svg.append(defs);
  for (const edge of edges) if (places.has(edge.from) && places.has(edge.to)) svg.append(arrow(edge, places, width));
  const kinds = new Map(spec.nodes.map((node) => [node.name, node.kind]));
  for (const [name, place] of places) svg.append(box(name, kinds.get(name), place));
  return svg;
}

// The longest way from START, where a way back (to a node that is still open) doesn't count.
function layered(names, edges) {
  const next = new Map(names.map((name) => [name, []]));
  for (const { from, to } of edges) next.get(from)?.push(to);
  const depth = new Map(), open = new Set();
  const visit = (name, at) => {
    if (open.has(name) || (depth.get(name) ?? -1) >= at || !next.has(name)) return;
    depth.set(name, at);
    open.add(name);
    for (const to of next.get(name)) visit(to, at + 1);
    open.delete(name);
  };
  visit("START", 0);
  const last = Math.max(0, ...[...depth].filter(([name]) => name !== "END").map(([, at]) => at)) + 1;
  depth.set("END", last);
  const layers = [];
  for (const name of names) (layers[depth.get(name) ?? last] ??= []).push(name);
  return layers.filter((layer) => layer?.length);
}

function arrow(edge, places, width) {
  const from = places.get(edge.from), to = places.get(edge.to);
  const [x1, y1, x2, y2] = [from.x + WIDTH / 2, from.y + HEIGHT, to.x + WIDTH / 2, to.y];
  const side = Math.min(width - 4, Math.max(from.x, to.x) + WIDTH + GAP_X * 0.8);
  const back = `M${from.x + WIDTH} ${from.y + HEIGHT / 2} C${side} ${from.y + HEIGHT / 2} ${side} ${to.y + HEIGHT / 2} ${to.x + WIDTH} ${to.y + HEIGHT / 2}`;
  const down = `M${x1} ${y1} C${x1} ${y1 + GAP_Y / 2} ${x2} ${y2 - GAP_Y / 2} ${x2} ${y2}`;
  const path = element("path", { d: to.row > from.row ? down : back, "marker-end": "url(#tip)", class: edge.maybe ? "maybe" : "" });
  if (edge.says) path.append(titled(edge.says));
  return path;
}

function box(name, kind, { x, y }) {
  const ends = !kind;
  const group = element("g", { "data-node": name });
  group.append(element("rect", { x, y, width: WIDTH, height: HEIGHT, rx: ends ? HEIGHT / 2 : 8 }));
  const text = element("text", { x: x + WIDTH / 2, y: y + (ends ? 27 : 21), "text-anchor": "middle" });
  text.textContent = name.length > 18 ? `${name.slice(0, 17)}…` : name;
  group.append(text, titled(name));
  if (kind) {
    const small = element("text", { x: x + WIDTH / 2, y: y + 35, "text-anchor": "middle", class: "kind" });
    small.textContent = kind;
    group.append(small);
  }
  return group;
}

function titled(says) {
  const title = element("title", {});
  title.textContent = says;
  return title;
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

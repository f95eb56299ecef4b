// Server-sent events over fetch: resumed behind the last id when the connection breaks.

const TRIES_MAX = 5;

// Calls `on(name, data)` for each event until [DONE]; `ask(url, options)` is fetch with the key.
export async function follow(ask, response, on, signal) {
  const address = response.headers.get("location");
  let last = "", tries = 0;
  for (;;) {
    try {
      for await (const event of read(response.body)) {
        tries = 0;
        if (event.id) last = event.id;
        if (event.data === "[DONE]") return;
        on(event.name, JSON.parse(event.data));
      }
    } catch (error) {
      if (signal.aborted || error instanceof SyntaxError) throw error;
    }
    if (!address || ++tries > TRIES_MAX) throw new Error("the stream broke off");
    await new Promise((done) => setTimeout(done, 300 * tries));
    response = await ask(last ? `${address}?after=${encodeURIComponent(last)}` : address, { signal }).catch((error) => {
      if (signal.aborted) throw error;
      return null;
    });
    if (!response) { response = { body: new ReadableStream({ start: (c) => c.close() }) }; continue; }
    if (response.status === 204) return;
    if (!response.ok) throw new Error(`the stream can't be resumed (${response.status})`);
  }
}

export async function* read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text = (text + value).replaceAll("\r\n", "\n");
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const event = parse(text.slice(0, end));
      text = text.slice(end + 2);
      if (event.data !== undefined) yield event;
    }
  }
}

export function parse(block) {
  const event = { name: "message" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.data = event.data === undefined ? value : `${event.data}\n${value}`;
  }
  return event;
}

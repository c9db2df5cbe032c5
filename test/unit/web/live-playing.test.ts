/** The playground as its script sees it: candidates as they grow, then the page's new content. */
import { describe, expect, it } from "vitest";
import { noLimits } from "../../../src/access/key-limits.ts";
import { gate, type Script } from "../scripted-engine.ts";
import { type GatewayOptions, gateway } from "../scripted-gateway.ts";

const scored = "demonstrations: set\nretriever: { type: bm25 }\nscore: { type: contrast, negative: rejected }\n";

interface LiveEvent {
  readonly type: string;
  readonly place?: number | "plain";
  readonly [field: string]: unknown;
}

/** Several policies beside the usual ones. */
async function opened(script: Script = {}, options: GatewayOptions = {}) {
  const policies = {
    pruned: `${scored}candidates: 4\nprune: { every: 4, keep: 0.5 }\n`,
    blocks: `${scored}block: { tokens: 8 }\n`,
  };
  const made = await gateway(script, options, policies);
  const fields = { message: "How do I brew coffee?", route: "icdpo", compare: "on", history: "[]" };
  const play = (more: Record<string, string> = {}, signal?: AbortSignal) =>
    made.app.request("/play", {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded", origin: "http://localhost" },
      body: new URLSearchParams({ ...fields, ...more }).toString(),
      ...(signal && { signal }),
    });
  return { ...made, play };
}

async function eventsOf(response: Response): Promise<LiveEvent[]> {
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  const text = await response.text();
  return text.split("\n").flatMap((line) => (line.startsWith("data: ") ? [JSON.parse(line.slice(6))] : []));
}

/** What came until then. */
async function readUntil(reader: ReadableStreamDefaultReader<Uint8Array>, mark: string): Promise<string> {
  let text = "";
  while (!text.includes(mark)) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`${mark} never came: ${text}`);
    text += new TextDecoder().decode(value);
  }
  return text;
}

const textAt = (events: readonly LiveEvent[], at: number | "plain"): string =>
  events
    .filter(({ type, place }) => type === "text" && place === at)
    .map(({ text }) => text)
    .join("");

describe("the playground's events", () => {
  it("show each candidate's text, its score, plain sampling, and the page's new content", async () => {
    const { play, app } = await opened();
    const events = await eventsOf(await play());
    expect(events[0]).toEqual({ type: "begin", candidates: 3, unit: " nats" });
    for (const at of [0, 1, 2]) expect(textAt(events, at)).toBe(`Candidate number ${at}.`);
    expect(textAt(events, "plain")).toBe("Candidate number 0.");
    const standings = events.filter(({ type }) => type === "standing");
    expect(standings.toSorted((a, b) => Number(a.place) - Number(b.place))).toEqual(
      [2, 10, 2].map((score, place) => ({
        type: "standing",
        place,
        score: expect.closeTo(score, 9),
        text: expect.any(String),
        isDropped: false,
      })),
    );
    const { type, html } = events.at(-1) as LiveEvent;
    expect(type).toBe("end");
    expect(html).toMatch(/Candidate 2 <span class="mark">chosen<\/span>/u);
    expect(html).toContain("Plain sampling");
    // What the page holds without the script, but for an answer's id.
    const form = { message: "How do I brew coffee?", route: "icdpo", compare: "on", history: "[]" };
    const page = await app.request("/", {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded", origin: "http://localhost" },
      body: new URLSearchParams(form).toString(),
    });
    const withoutIds = (text: unknown) => String(text).replace(/play-\d+/gu, "");
    expect(withoutIds(await page.text())).toContain(withoutIds(html));
  });

  it("come while candidates are sampled", async () => {
    const { opened: mayScore, open } = gate();
    const { play } = await opened({ pause: (what) => (what === "score" ? mayScore : Promise.resolve()) });
    const response = await play();
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let text = await readUntil(reader, '"place":2');
    expect(text).not.toContain("standing");
    open();
    for (let done = false; !done; ) {
      const read = await reader.read();
      done = read.done;
      text += new TextDecoder().decode(read.value);
    }
    expect(text).toContain('"type":"end"');
  });

  it("tell who is dropped where a policy prunes, and what blocks make", async () => {
    const letters: Script = {
      sample: (index, _, { maxTokens }) => ({
        text: "abcd".charAt(index).repeat(Math.min(12, maxTokens)),
        finish: "length",
      }),
    };
    const { play } = await opened(letters);
    const pruned = await eventsOf(await play({ route: "pruned" }));
    expect(pruned.filter(({ isDropped }) => isDropped === true).length).toBeGreaterThan(1);
    const blocks = await eventsOf(await play({ route: "blocks" }));
    const standings = blocks.filter(({ type }) => type === "standing");
    expect(standings.length).toBeGreaterThan(1);
    expect(standings.every(({ place }) => place === 0)).toBe(true);
  });

  it("of a plain route are its one answer, with nothing beside it", async () => {
    const { play } = await opened();
    const events = await eventsOf(await play({ route: "plain" }));
    expect(textAt(events, 0)).toBe("Candidate number 0.");
    expect(events.some(({ place }) => place === "plain")).toBe(false);
  });

  it("put what somebody says into the page as text alone", async () => {
    const { play } = await opened({ sample: () => ({ text: "<img src=x onerror=alert(1)>" }) });
    const { html } = (await eventsOf(await play({ message: "<script>alert(2)</script>" }))).at(-1) as LiveEvent;
    expect(html).toContain("&lt;script&gt;alert(2)");
    expect(html).not.toMatch(/<script|<img/u);
  });

  it("end in an error where something goes wrong", async () => {
    const { play, reported } = await opened({
      pause: (what) => (what === "score" ? Promise.reject(new Error("secret")) : Promise.resolve()),
    });
    const events = await eventsOf(await play());
    expect(events.at(-1)).toMatchObject({ type: "error", message: expect.not.stringContaining("secret") });
    expect(reported).toHaveLength(1);
  });

  it.each([
    [404, { route: "gone" }],
    [400, { message: " " }],
    [400, { history: "{" }],
  ])("do not begin where the form is wrong: %i", async (status, fields) => {
    const response = await (await opened()).play(fields as Record<string, string>);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { message: expect.any(String) } });
  });

  it("stop the work when nobody reads them any more, and what was done is charged", async () => {
    const settled: number[] = [];
    const limiter = {
      ...noLimits,
      reserve: async () => ({
        tokens: Number.POSITIVE_INFINITY,
        settle: async (tokens: number) => void settled.push(tokens),
      }),
    } as never;
    const never = new Promise<void>(() => {});
    const { play, engine, requests } = await opened(
      { pause: (what) => (what === "score" ? never : Promise.resolve()) },
      { limiter },
    );
    const reader = ((await play()).body as ReadableStream<Uint8Array>).getReader();
    await readUntil(reader, '"place":2');
    await reader.cancel();
    await expect.poll(() => engine.calls.every(({ state }) => state !== "open")).toBe(true);
    await expect.poll(requests).toBe(0);
    expect(settled).toHaveLength(1);
    expect(settled[0]).toBeGreaterThan(0);
  });
});

describe("the playground's script", () => {
  it("is JavaScript of the gateway's own, and puts no text in as HTML", async () => {
    const { app } = await opened();
    const response = await app.request("/playground.js");
    expect(response.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    const script = await response.text();
    expect(() => new Function(script)).not.toThrow();
    expect(script.match(/innerHTML = (\w+)/gu)).toEqual(["innerHTML = html"]);
    expect(script).not.toMatch(/\beval\b|https?:/u);
  });
});

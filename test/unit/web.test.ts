/** The pages, as any browser gets them. */
import { describe, expect, it } from "vitest";
import { noStore } from "../../src/experiment/no-store.ts";
import type { RecordStore } from "../../src/experiment/record.ts";
import { hashKey } from "../../src/http/access.ts";
import { gateway, SilentObserver } from "./scripted-gateway.ts";

const form = (fields: Record<string, string>, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/x-www-form-urlencoded", origin: "http://localhost", ...headers },
  body: new URLSearchParams(fields).toString(),
});
const ask = { message: "How do I brew coffee?", route: "icdpo", compare: "on", history: "[]" };

describe("the pages", () => {
  it.each(["/", "/experiments", "/policies", "/status"])("are whole documents that run nothing: %s", async (path) => {
    const { app } = await gateway();
    const response = await app.request(path);
    expect(response.status).toBe(200);
    const text = await response.text();
    expect(text).toMatch(/^<!doctype html><html lang="en">/u);
    expect(text).toContain(`<a href="${path}" aria-current="page">`);
    expect(text).not.toContain("<script");
    expect(text).not.toMatch(/ style=/u);
    expect(response.headers.get("content-security-policy")).toContain("default-src 'none'; style-src 'self'");
    expect((await app.request("/style.css")).headers.get("content-type")).toContain("text/css");
  });

  it("show each candidate with its sums, the demonstrations, and plain sampling's answer beside them", async () => {
    const { app } = await gateway();
    const text = await (await app.request("/", form(ask))).text();
    for (const shown of [
      "Candidate number 0.",
      "Candidate number 1.",
      "Candidate number 2.",
      "Plain sampling",
      "similarity",
      "Warm the pot first.",
    ])
      expect(text).toContain(shown);
    expect(text).toMatch(/Candidate 2 <span class="mark">chosen<\/span>/u);
    expect(text).toContain("score 10.000 nats");
    expect(text.match(/<svg class="bar"/gu)).toHaveLength(3);
  });

  it("go on with the conversation", async () => {
    const { app, engine } = await gateway();
    const first = await (await app.request("/", form({ ...ask, route: "plain" }))).text();
    const [, history = ""] = /name="history" value="([^"]*)"/u.exec(first) ?? [];
    const turns = history.replaceAll("&quot;", '"');
    expect(JSON.parse(turns)).toEqual([
      { role: "user", content: "How do I brew coffee?" },
      { role: "assistant", content: "Candidate number 0." },
    ]);
    await app.request("/", form({ ...ask, route: "plain", message: "And tea?", history: turns }));
    expect(engine.calls.at(-1)?.context).toContain("<assistant>Candidate number 0.</assistant><user>And tea?");
  });

  it("escape what anybody says", async () => {
    const { app } = await gateway({ sample: () => ({ text: "<img src=x onerror=alert(1)>" }) });
    const text = await (await app.request("/", form({ ...ask, message: "<script>alert(2)</script>" }))).text();
    expect(text).toContain("&lt;script&gt;alert(2)");
    expect(text).toContain("&lt;img src=x");
    expect(text).not.toMatch(/<script|<img/u);
  });

  it("say what went wrong, and keep the conversation", async () => {
    const { app } = await gateway();
    const gone = await app.request(
      "/",
      form({ ...ask, route: "gone", history: JSON.stringify([{ role: "user", content: "Earlier words" }]) }),
    );
    expect(gone.status).toBe(404);
    const text = await gone.text();
    expect(text).toContain('role="alert"');
    expect(text).toContain("Earlier words");
    expect((await app.request("/", form({ ...ask, message: "  " }))).status).toBe(400);
    expect((await app.request("/", form({ ...ask, history: "{" }))).status).toBe(400);
    expect((await app.request("/experiments/gone")).status).toBe(404);
  });

  it("take no form from another site", async () => {
    const { app } = await gateway();
    expect((await app.request("/", form(ask, { origin: "https://elsewhere.example" }))).status).toBe(403);
  });

  it("leave the API's own errors alone", async () => {
    const { app } = await gateway();
    const response = await app.request("/gone");
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ error: { code: "unknown_url" } });
  });

  it("ask for the key where there are keys, and show what it may see", async () => {
    const key = { name: "team", hash: await hashKey("a-long-secret-key"), routes: new Set(["plain"]), limits: {} };
    const { app } = await gateway({}, { keys: [key] });
    expect((await app.request("/")).status).toBe(401);
    expect(await (await app.request("/policies")).text()).toContain('type="password"');
    expect((await app.request("/", form(ask))).status).toBe(401);
    expect((await app.request("/sign-in", form({ key: "wrong" }))).status).toBe(401);
    const signedIn = await app.request("/sign-in", form({ key: "a-long-secret-key" }));
    expect(signedIn.status).toBe(303);
    const cookie = signedIn.headers.get("set-cookie") ?? "";
    expect(cookie).toMatch(/HttpOnly.*SameSite=Strict/u);
    const page = await (await app.request("/", { headers: { cookie: cookie.split(";")[0] ?? "" } })).text();
    expect(page).toContain('value="plain"');
    expect(page).not.toContain('value="icdpo"');
    expect((await app.request("/", form(ask, { cookie: cookie.split(";")[0] ?? "" }))).status).toBe(404);
  });

  it("offer an experiment's arms one by one, and count none of it as traffic", async () => {
    const routes = "routes: { ab: { experiment: { arms: { treatment: { policy: scored }, control: { policy: plain } } } } }\n";
    const noted: object[] = [];
    const observer = Object.assign(new SilentObserver(), { note: (facts: object) => void noted.push(facts) });
    const telemetry = { observe: () => observer, metrics: async () => ({ contentType: "text/plain", body: "" }) };
    const { app } = await gateway({}, { telemetry }, {}, routes);
    const page = await (await app.request("/")).text();
    expect(page).toContain('value="ab/treatment"');
    const text = await (await app.request("/", form({ ...ask, route: "ab/treatment" }))).text();
    expect(text).toContain("Candidate number 2.");
    expect(noted.some((facts) => "experiment" in facts)).toBe(false);
  });

  it("say that records are lost, and keep ratings", async () => {
    const kept: unknown[] = [];
    const records: RecordStore = {
      ...noStore,
      state: () => ({ status: "ok", error: null, written: 1, waiting: 0, lost: 7 }),
      feedback: async (row) => {
        kept.push(row);
        return "kept";
      },
    };
    const { app } = await gateway({}, { records });
    expect(await (await app.request("/status")).text()).toContain("7 records were lost.");
    const played = await (await app.request("/", form(ask))).text();
    const [, id = ""] = /name="id" value="([^"]*)"/u.exec(played) ?? [];
    expect((await app.request("/rate", form({ id, rating: "down" }))).status).toBe(200);
    expect(kept).toEqual([{ answer: id, metric: "rating", value: 0, comment: null, at: 1_700_000_000_000 }]);
  });
});

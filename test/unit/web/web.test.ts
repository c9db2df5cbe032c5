/** The pages, as any browser gets them. */
import type { Hono } from "hono";
import { describe, expect, it } from "vitest";
import { type ApiKey, hashKey } from "../../../src/access/access.ts";
import { MemoryRateLimiter } from "../../../src/access/minute-counts.ts";
import { Sessions } from "../../../src/access/sessions.ts";
import { noStore } from "../../../src/records/no-records.ts";
import type { RecordStore } from "../../../src/records/record.ts";
import { gateway, SilentObserver } from "../scripted-gateway.ts";

const form = (fields: Record<string, string>, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/x-www-form-urlencoded", origin: "http://localhost", ...headers },
  body: new URLSearchParams(fields).toString(),
});
const ask = { message: "How do I brew coffee?", route: "icdpo", compare: "on", history: "[]" };

/** All that may run in a page. */
const script = '<script src="/playground.js" defer="">';

describe("the pages", () => {
  it.each(["/", "/experiments", "/policies", "/status"])(
    "are whole documents that run nothing of others: %s",
    async (path) => {
      const { app } = await gateway();
      const response = await app.request(path);
      expect(response.status).toBe(200);
      const text = await response.text();
      expect(text).toMatch(/^<!doctype html><html lang="en">/u);
      expect(text).toContain(`<a href="${path}" aria-current="page">`);
      expect(text.match(/<script[^>]*>/gu) ?? []).toEqual(path === "/" ? [script] : []);
      expect(text).not.toMatch(/ style=/u);
      expect(response.headers.get("content-security-policy")).toBe(
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
      );
      expect((await app.request("/style.css")).headers.get("content-type")).toContain("text/css");
    },
  );

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
    expect(text.replace(script, "")).not.toMatch(/<script|<img/u);
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
    expect(cookie).toMatch(/^icdpo_session=.*HttpOnly.*SameSite=Strict/u);
    expect(cookie).not.toContain("secret");
    const page = await (await app.request("/", { headers: { cookie: cookie.split(";")[0] ?? "" } })).text();
    expect(page).toContain('value="plain"');
    expect(page).not.toContain('value="icdpo"');
    expect((await app.request("/", form(ask, { cookie: cookie.split(";")[0] ?? "" }))).status).toBe(404);
  });

  describe("'s sessions", () => {
    const secretKey = "a-long-secret-key";
    const team = async (name = "team", text = secretKey) => ({
      name,
      hash: await hashKey(text),
      routes: null,
      limits: {},
    });
    const cookieOf = (response: Response): string => (response.headers.get("set-cookie") ?? "").split(";")[0] ?? "";
    const signIn = async (app: Hono, headers: Record<string, string> = {}): Promise<Response> =>
      app.request("/sign-in", form({ key: secretKey }, headers));
    const shown = async (app: Hono, cookie: string, headers: Record<string, string> = {}): Promise<number> =>
      (await app.request("/experiments", { headers: { cookie, ...headers } })).status;

    it("are not the key, nor anything it could be found by", async () => {
      const { app, chat } = await gateway({}, { keys: [await team()] });
      const cookie = cookieOf(await signIn(app));
      const [, session = ""] = cookie.split("=");
      expect(await shown(app, cookie)).toBe(200);
      expect((await chat({ model: "plain" }, { authorization: `Bearer ${session}` })).status).toBe(401);
      expect(await shown(app, `icdpo_session=${secretKey}`)).toBe(401);
      expect(await shown(app, `icdpo_key=${secretKey}`)).toBe(401);
      expect(cookieOf(await signIn(app))).not.toBe(cookie);
    });

    it("end when somebody signs out, also for whoever has kept the cookie", async () => {
      const { app } = await gateway({}, { keys: [await team()] });
      const [cookie, another] = [cookieOf(await signIn(app)), cookieOf(await signIn(app))];
      const out = await app.request("/sign-out", form({}, { cookie }));
      expect(out.status).toBe(303);
      expect(out.headers.get("set-cookie")).toContain("Max-Age=0");
      expect(await shown(app, cookie)).toBe(401);
      expect(await shown(app, another)).toBe(200);
    });

    it("end by themselves, with their key, and with its renewal", async () => {
      let time = 1_700_000_000;
      const sessions = new Sessions({ secret: new Uint8Array(32), unixTime: () => time });
      const opened = (keys: readonly ApiKey[]) => gateway({}, { keys, sessions });
      const cookie = cookieOf(await signIn((await opened([await team()])).app));
      const { app } = await opened([await team("other", "another-secret-key"), await team()]);
      expect(await shown(app, cookie)).toBe(200);
      expect(await shown((await opened([await team("other")])).app, cookie)).toBe(401);
      expect(await shown((await opened([await team("team", "a-newer-secret-key")])).app, cookie)).toBe(401);
      time += 12 * 60 * 60;
      expect(await shown(app, cookie)).toBe(401);
    });

    it("cannot be made or changed by who does not know the secret", async () => {
      const { app } = await gateway({}, { keys: [await team(), await team("admin", "another-secret-key")] });
      const cookie = cookieOf(await signIn(app));
      const [id = "", end = "", name = "", signature = ""] = cookie.split("=")[1]?.split(".") ?? [];
      const admin = btoa("admin").replaceAll("=", "");
      const forged = new Sessions({ secret: new Uint8Array(32).fill(1), unixTime: () => 1_700_000_000 });
      for (const session of [
        [id, end, admin, signature],
        [id, `${Number(end) + 1}`, name, signature],
        [id, end, name, `A${signature.slice(1)}`],
        [id, end, name, ""],
        [id, end, name],
        [id, end, "!", signature],
        [await forged.open(await team())],
        [""],
        ["....."],
      ])
        expect(await shown(app, `icdpo_session=${session.join(".")}`)).toBe(
          session.join(".") === cookie.split("=")[1] ? 200 : 401,
        );
    });

    it.each([
      ["TLS that a proxy speaks", { "x-forwarded-proto": "https" }, true],
      ["TLS that the first of several proxies speaks", { "x-forwarded-proto": "https, http" }, true],
      ["TLS that nobody tells of but the page's origin", { origin: "https://localhost" }, true],
      ["no TLS", {}, false],
    ])("are kept for this host and for TLS alone where there is %s", async (_, headers, isSecure) => {
      const { app } = await gateway({}, { keys: [await team()] });
      const given = headers as unknown as Record<string, string>;
      const response = await signIn(app, given);
      const attributes = response.headers.get("set-cookie") ?? "";
      expect(attributes).toMatch(
        isSecure
          ? /^__Host-icdpo_session=.*Path=\/; HttpOnly; Secure; SameSite=Strict/u
          : /^icdpo_session=(?!.*Secure)/u,
      );
      expect(attributes).not.toContain("Domain");
      const cookie = cookieOf(response);
      expect(await shown(app, cookie, given)).toBe(200);
      // Whoever can set cookies without TLS cannot put one in its place.
      if (isSecure) expect(await shown(app, cookie.replace("__Host-", ""), given)).toBe(401);
    });

    it("leave nothing in a browser's or a proxy's store", async () => {
      const { app } = await gateway({}, { keys: [await team()] });
      const cookie = cookieOf(await signIn(app));
      for (const path of ["/", "/status", "/policies"])
        for (const headers of [{ cookie }, { cookie: "" }])
          expect((await app.request(path, { headers })).headers.get("cache-control")).toBe("no-store");
    });
  });

  it("take only their own forms", async () => {
    const { app } = await gateway();
    const post = async (type: string, body: string): Promise<number> =>
      (await app.request("/", { method: "POST", headers: { "content-type": type, origin: "http://localhost" }, body }))
        .status;
    expect(await post("application/x-www-form-urlencoded", "a&".repeat(40_000))).toBe(400);
    expect(await post("multipart/form-data; boundary=a", "--a--")).toBe(400);
    expect(await post("text/plain", "message=hello")).toBe(400);
  });

  it("offer an experiment's arms one by one, and count none of it as traffic", async () => {
    const routes =
      "routes: { ab: { experiment: { arms: { treatment: { policy: scored }, control: { policy: plain } } } } }\n";
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

  it.each<[string, RequestInit]>([
    ["/experiments", {}],
    ["/experiments/ab", {}],
    ["/rate", form({ id: "play-none", rating: "up" })],
    ["/", form({ ...ask, route: "ab/control" })],
    ["/play", form({ ...ask, route: "ab/control" })],
  ])("count against a key's limit what takes work, and do none beyond it: %s", async (path, asked) => {
    const routes = "routes: { ab: { experiment: { arms: { a: { policy: scored }, control: { policy: plain } } } } }\n";
    let touched = 0;
    const records: RecordStore = {
      ...noStore,
      report: async (...given) => {
        touched += 1;
        return noStore.report(...given);
      },
      feedback: async () => {
        touched += 1;
        return "kept";
      },
    };
    const limits = { requestsPerMinute: 1 };
    const keys = [{ name: "team", hash: await hashKey("a-long-secret-key"), routes: null, limits }];
    const { app, engine } = await gateway({}, { keys, records, limiter: new MemoryRateLimiter({}) }, {}, routes);
    const signedIn = await app.request("/sign-in", form({ key: "a-long-secret-key" }));
    const cookie = (signedIn.headers.get("set-cookie") ?? "").split(";")[0] ?? "";
    const visit = () => app.request(path, { ...asked, headers: { ...asked.headers, cookie } });
    const first = await visit();
    expect(first.headers.get("x-ratelimit-remaining-requests")).toBe("0");
    // Nothing is recorded here that there could be a report of.
    expect(first.status).toBe(path === "/experiments/ab" ? 404 : 200);
    const worked = [touched, engine.calls.length];
    const second = await visit();
    expect(second.status).toBe(429);
    expect(Number(second.headers.get("retry-after"))).toBeGreaterThan(0);
    expect([touched, engine.calls.length]).toEqual(worked);
    // What takes none is shown all the same.
    expect((await app.request("/", { headers: { cookie } })).status).toBe(200);
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

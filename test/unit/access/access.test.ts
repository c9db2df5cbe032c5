import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import { afterEach, describe, expect, it } from "vitest";
import { type ApiKey, findKey, hashKey } from "../../../src/access/access.ts";
import { createKey, KeyRing, type KeySettings, modeComplaint } from "../../../src/access/keys-file.ts";
import { MemoryRateLimiter } from "../../../src/access/minute-counts.ts";
import { clientAddress } from "../../../src/node/http-server.ts";
import { readAccess } from "../../../src/node/open-access.ts";
import { readSettings } from "../../../src/node/settings.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { gateway, json } from "../scripted-gateway.ts";

const secret = "icdpo_a-long-enough-secret";
const other = "icdpo_another-long-secret";

async function key(name: string, text: string, more: Partial<ApiKey> = {}): Promise<ApiKey> {
  return { name, hash: await hashKey(text), routes: null, limits: {}, ...more };
}

const bearer = (text: string) => ({ authorization: `Bearer ${text}` });

async function withKeys(...keys: ApiKey[]) {
  return gateway({}, { keys, limiter: new MemoryRateLimiter({}) });
}

describe("API keys", () => {
  it.each([
    ["none", {}],
    ["a wrong one", bearer("icdpo_wrong")],
    ["another scheme", { authorization: `Basic ${secret}` }],
    ["nothing after the scheme", { authorization: "Bearer " }],
  ])("refuses a request with %s as OpenAI does", async (_, headers) => {
    const { chat, engine } = await withKeys(await key("alice", secret));
    const response = await chat({}, headers);
    expect(response.status).toBe(401);
    expect(response.headers.get("www-authenticate")).toBe("Bearer");
    const { error } = await json(response);
    expect(error).toMatchObject({ type: "invalid_request_error", code: "invalid_api_key", param: null });
    expect(error.message).not.toContain("icdpo_wrong");
    expect(engine.calls).toEqual([]);
  });

  it("takes each of several keys, whatever the scheme's case", async () => {
    const { chat } = await withKeys(await key("alice", secret), await key("bob", other));
    expect((await chat({}, bearer(secret))).status).toBe(200);
    expect((await chat({}, { authorization: `bearer ${other}` })).status).toBe(200);
  });

  it("asks for them on every path of the API, before the body is read", async () => {
    const { app, post } = await withKeys(await key("alice", secret));
    for (const path of ["/v1/models", "/v1/models/icdpo", "/routes/plain/v1/models"])
      expect((await app.request(path)).status).toBe(401);
    for (const path of ["/v1/score", "/routes/icdpo/v1/chat/completions"])
      expect((await post(path, "not JSON")).status).toBe(401);
  });

  it("shows strangers and clients whether the gateway lives, and no more", async () => {
    const { app } = await withKeys(await key("alice", secret), await key("root", other, { admin: true }));
    for (const headers of [{}, bearer("icdpo_wrong"), bearer(secret)]) {
      expect(await json(await app.request("/health", { headers }))).toEqual({ status: "ok" });
      expect(await json(await app.request("/ready", { headers }))).toEqual({ status: "ready" });
    }
    expect(await json(await app.request("/health", { headers: bearer(other) }))).toHaveProperty("routes");
  });

  it("may be an operator's: only such a one sees traffic", async () => {
    const { app } = await withKeys(await key("alice", secret), await key("root", other, { admin: true }));
    expect((await app.request("/metrics")).status).toBe(401);
    const refused = await app.request("/metrics", { headers: bearer(secret) });
    expect(refused.status).toBe(403);
    expect((await json(refused)).error.code).toBe("forbidden");
    expect((await app.request("/metrics", { headers: bearer(other) })).status).toBe(200);
  });

  it("are not needed on loopback to see it; elsewhere nobody sees it without", async () => {
    const local = await gateway();
    expect((await local.app.request("/metrics")).status).toBe(200);
    expect(await json(await local.app.request("/health"))).toHaveProperty("routes");
    const open = await gateway({}, { isLocal: false });
    for (const path of ["/metrics", "/policies", "/status"]) expect((await open.app.request(path)).status).toBe(403);
    expect(await json(await open.app.request("/ready"))).toEqual({ status: "ready" });
    expect((await open.chat({})).status).toBe(200);
  });

  it("show the page's status and policies to operators", async () => {
    const { app } = await withKeys(await key("alice", secret), await key("root", other, { admin: true }));
    for (const [text, status] of [
      [secret, 403],
      [other, 200],
    ] as const) {
      const form = { "content-type": "application/x-www-form-urlencoded", origin: "http://localhost" };
      const signedIn = await app.request("/sign-in", {
        method: "POST",
        headers: form,
        body: new URLSearchParams({ key: text }),
      });
      const headers = { cookie: signedIn.headers.get("set-cookie")?.split(";")[0] ?? "" };
      expect((await app.request("/", { headers })).status).toBe(200);
      for (const path of ["/policies", "/status"]) expect((await app.request(path, { headers })).status).toBe(status);
    }
  });

  it("expire", async () => {
    const at = 1_700_000_000_000; // what the gateway takes for now
    const { chat } = await withKeys(
      await key("alice", secret, { expires: at }),
      await key("bob", other, { expires: at + 1 }),
    );
    const refused = await chat({}, bearer(secret));
    expect(refused.status).toBe(401);
    expect((await json(refused)).error.message).toContain("expired on 2023-11-14T22:13:20.000Z");
    expect((await chat({}, bearer(other))).status).toBe(200);
  });

  it("let nobody in where there are none of them left", async () => {
    let keys = [await key("alice", secret)];
    const { chat, app } = await gateway({}, { keys: () => keys });
    expect((await chat({}, bearer(secret))).status).toBe(200);
    keys = [];
    expect((await chat({}, bearer(secret))).status).toBe(401);
    expect((await chat({})).status).toBe(401);
    expect((await app.request("/")).status).toBe(401);
    expect(await json(await app.request("/health"))).toEqual({ status: "ok" });
  });

  it("of clients are not told of other routes by errors", async () => {
    const { post } = await withKeys(await key("alice", secret, { routes: new Set(["icdpo"]) }));
    const { error } = await json(await post("/v1/completions", { model: "icdpo", prompt: "a" }, bearer(secret)));
    expect(error.message).toContain("plain routes");
    expect(error.message).not.toContain(": plain");
  });

  it("compares with every key, whichever it is", async () => {
    const keys = await Promise.all(["a", "b", "c"].map((name) => key(name, `secret of ${name}`)));
    const read: string[] = [];
    const watched = keys.map((one) => ({
      ...one,
      get hash() {
        read.push(one.name);
        return one.hash;
      },
    }));
    expect(findKey(watched, await hashKey("secret of a"))?.name).toBe("a");
    const bytes = 32;
    expect(read.filter((name) => name === "c").length).toBeGreaterThanOrEqual(bytes);
    expect(findKey(keys, await hashKey("secret of d"))).toBeUndefined();
  });

  it("hides the routes that a key may not use", async () => {
    const { app, chat, post } = await withKeys(await key("alice", secret, { routes: new Set(["plain"]) }));
    const models = await json(await app.request("/v1/models", { headers: bearer(secret) }));
    expect(models.data.map(({ id }: { id: string }) => id)).toEqual(["plain"]);
    expect((await app.request("/v1/models/icdpo", { headers: bearer(secret) })).status).toBe(404);
    expect((await chat({ model: "plain" }, bearer(secret))).status).toBe(200);
    for (const model of ["icdpo", "gpt-4o-mini"]) {
      const response = await chat({ model }, bearer(secret));
      expect(response.status).toBe(404);
      expect((await json(response)).error.message).toBe(`The model "${model}" does not exist. Available: plain.`);
    }
    expect(
      (
        await post(
          "/routes/icdpo/v1/score",
          { model: "x", messages: [{ role: "user", content: "a" }], completions: ["b"] },
          bearer(secret),
        )
      ).status,
    ).toBe(404);
  });
});

describe("limits of a key", () => {
  it("counts requests, and says in OpenAI's headers what is left", async () => {
    const { chat } = await withKeys(
      await key("alice", secret, { limits: { requestsPerMinute: 2 } }),
      await key("bob", other),
    );
    const first = await chat({ model: "plain" }, bearer(secret));
    expect(first.headers.get("x-ratelimit-limit-requests")).toBe("2");
    expect(first.headers.get("x-ratelimit-remaining-requests")).toBe("1");
    expect(first.headers.get("x-ratelimit-reset-requests")).toMatch(/^\d+s$/u);
    await chat({ model: "plain" }, bearer(secret));
    const third = await chat({ model: "plain" }, bearer(secret));
    expect(third.status).toBe(429);
    expect(Number(third.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await json(third)).error).toMatchObject({
      code: "rate_limit_exceeded",
      message: expect.stringContaining("2 requests a minute"),
    });
    expect((await chat({ model: "plain" }, bearer(other))).status).toBe(200);
  });

  it("counts the tokens that were worked through, the hidden ones too, against the next request", async () => {
    const { chat } = await withKeys(await key("alice", secret, { limits: { tokensPerMinute: 400 } }));
    expect((await chat({ max_tokens: 2 }, bearer(secret))).status).toBe(200);
    const next = await chat({ max_tokens: 2 }, bearer(secret));
    expect(next.status).toBe(429);
    expect((await json(next)).error.message).toContain("400 tokens a minute");
  });

  it("applies the defaults where a key has none", async () => {
    const limiter = new MemoryRateLimiter({ requestsPerMinute: 1 });
    const { chat } = await gateway({}, { keys: [await key("alice", secret)], limiter });
    expect((await chat({ model: "plain" }, bearer(secret))).status).toBe(200);
    expect((await chat({ model: "plain" }, bearer(secret))).status).toBe(429);
  });
});

describe("reading keys", () => {
  const folders: string[] = [];
  afterEach(async () => {
    for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
  });
  const file = async (text: string): Promise<string> => {
    const folder = await mkdtemp(path.join(tmpdir(), "keys-"));
    folders.push(folder);
    await writeFile(path.join(folder, "keys.yaml"), text, { mode: 0o600 });
    return path.join(folder, "keys.yaml");
  };
  const said: string[] = [];
  const open = (settings: Partial<KeySettings>) => {
    said.length = 0;
    const none = { ICDPO_KEYS_FILE: undefined, ICDPO_API_KEYS: undefined, ICDPO_ADMIN_KEYS: undefined };
    return KeyRing.open({ ...none, ...settings }, (line) => said.push(line));
  };
  const readKeys = async (settings: Partial<KeySettings>): Promise<readonly ApiKey[]> =>
    (await open(settings)).keys ?? [];
  const refusal = async (settings: Partial<KeySettings>): Promise<string> =>
    readKeys(settings).then(
      () => "none",
      (error: unknown) => (error instanceof GatewayError ? error.message : String(error)),
    );

  it("finds the keys that `icdpo keys new` made in the file, with routes and limits", async () => {
    const { key: made, entry } = await createKey("alice");
    expect(made).toMatch(/^icdpo_[\w-]{43}$/u);
    const text = `keys:\n  - { name: alice, hash: "${entry.hash}", routes: [plain], limits: { requests_per_minute: 3, tokens_per_minute: 500 } }\n`;
    const keys = await readKeys({ ICDPO_KEYS_FILE: await file(text), ICDPO_API_KEYS: undefined });
    expect(findKey(keys, await hashKey(made))).toMatchObject({
      name: "alice",
      routes: new Set(["plain"]),
      limits: { requestsPerMinute: 3, tokensPerMinute: 500 },
    });
  });

  it("reads names and keys from the variable, and keeps hashes only", async () => {
    const keys = await readKeys({ ICDPO_KEYS_FILE: undefined, ICDPO_API_KEYS: `alice=${secret}, ${other}` });
    expect(keys.map(({ name }) => name)).toEqual(["alice", "key-2"]);
    expect(findKey(keys, await hashKey(other))?.name).toBe("key-2");
    expect(JSON.stringify(keys)).not.toContain("secret");
  });

  it("says what is wrong, and where", async () => {
    const wrong = await file("keys:\n  - { name: alice, hash: abc }\n");
    expect(await refusal({ ICDPO_KEYS_FILE: wrong, ICDPO_API_KEYS: undefined })).toMatch(
      /keys\.yaml:2: keys\.0\.hash: must be sha256/u,
    );
    expect(await refusal({ ICDPO_KEYS_FILE: "/nowhere/keys.yaml", ICDPO_API_KEYS: undefined })).toContain(
      "ICDPO_KEYS_FILE cannot be read",
    );
    expect(await refusal({ ICDPO_KEYS_FILE: undefined, ICDPO_API_KEYS: "short" })).toContain("at least 16 characters");
    expect(await refusal({ ICDPO_KEYS_FILE: undefined, ICDPO_API_KEYS: `a=${secret},a=${other}` })).toContain(
      'Two API keys are named "a"',
    );
    expect(await refusal({ ICDPO_API_KEYS: `a=${secret},b=${secret}` })).toContain('"a" and "b" are the same key');
    expect(await refusal({ ICDPO_API_KEYS: `a=${secret}`, ICDPO_ADMIN_KEYS: `b=${secret}` })).toContain(
      "are the same key",
    );
    const { entry } = await createKey("alice");
    const twice = await file(
      `keys:\n  - { name: a, hash: "${entry.hash}" }\n  - { name: b, hash: "${entry.hash}", routes: [plain] }\n`,
    );
    expect(await refusal({ ICDPO_KEYS_FILE: twice })).toContain('"a" and "b" are the same key');
  });

  it("reads until when a key holds, how much at once, and whose it is", async () => {
    const { entry } = await createKey("alice");
    const of = async (more: string) => {
      const [one] = await readKeys({
        ICDPO_KEYS_FILE: await file(`keys:\n  - { name: alice, hash: "${entry.hash}", ${more} }\n`),
      });
      return one;
    };
    expect(await of("admin: true, parallel: 3")).toMatchObject({ admin: true, limits: { parallel: 3 } });
    expect((await of("routes: [plain]"))?.admin).toBe(false);
    expect((await of("expires: 2027-01-31"))?.expires).toBe(Date.parse("2027-02-01T00:00:00Z"));
    expect((await of("expires: 2027-01-31T12:00:00+02:00"))?.expires).toBe(Date.parse("2027-01-31T10:00:00Z"));
    for (const wrong of ["tomorrow", "2027-02-30", "1798675200"])
      expect(await of(`expires: ${wrong}`).catch(({ message }) => message)).toMatch(
        /keys\.yaml:2: keys\.0\.expires: must be a date/u,
      );
    const [admin] = await readKeys({ ICDPO_ADMIN_KEYS: other });
    expect(admin).toMatchObject({ name: "admin-1", admin: true });
  });

  it.each([
    [
      "the key itself",
      async () => {
        const { key: made, entry } = await createKey("alice");
        return {
          settings: { ICDPO_KEYS_FILE: await file(`keys:\n  - { name: "${made}", hash: "${entry.hash}" }\n`) },
          made,
        };
      },
    ],
    [
      "the key itself, which looks like a name",
      async () => {
        const made = "correct.horse.battery.staple";
        const hash = Buffer.from(await hashKey(made)).toString("hex");
        return {
          settings: { ICDPO_KEYS_FILE: await file(`keys:\n  - { name: "${made}", hash: "sha256:${hash}" }\n`) },
          made,
        };
      },
    ],
    [
      "another key",
      async () => {
        const { key: made } = await createKey("alice");
        return { settings: { ICDPO_API_KEYS: `${made}=${secret}` }, made };
      },
    ],
    [
      "a hexadecimal one",
      async () => ({
        settings: { ICDPO_API_KEYS: `9f86d081884c7d659a2feaa0c55ad015=${secret}` },
        made: "9f86d081884c7d65",
      }),
    ],
    [
      "the beginning of one that ends in =",
      async () => ({ settings: { ICDPO_API_KEYS: "c2VjcmV0LW9mLWFs1aWNl2M9QrT==" }, made: "c2VjcmV0" }),
    ],
    [
      "a hash's place",
      async () => {
        const { key: made } = await createKey("alice");
        return { settings: { ICDPO_KEYS_FILE: await file(`keys:\n  - { name: alice, hash: "${made}" }\n`) }, made };
      },
    ],
  ])("never tells a key that stands in the place of a name: %s", async (_, wrong) => {
    const { settings, made } = await wrong();
    const message = await refusal(settings);
    expect(message).not.toBe("none");
    expect(message).not.toContain(made);
    expect(said.join()).not.toContain(made);
  });

  it("takes names that people give", async () => {
    for (const name of [
      "alice",
      "batch-worker-2024-eu-west-1",
      "team.search+ranking@example.com",
      "Ümläut der Großen 7",
      "ci",
    ])
      expect((await createKey(name)).entry.name).toBe(name);
    await expect(createKey((await createKey("a")).key)).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("takes a file's changes into use, and keeps the last good keys where it is broken or away", async () => {
    const { key: first, entry: alice } = await createKey("alice");
    const { key: second, entry: bob } = await createKey("bob");
    const lineOf = ({ name, hash }: { name: string; hash: string }): string =>
      `  - { name: ${name}, hash: "${hash}" }\n`;
    const where = await file(`keys:\n${lineOf(alice)}${lineOf(bob)}`);
    const ring = await open({ ICDPO_KEYS_FILE: where });
    const may = async (given: string): Promise<boolean> => findKey(ring.keys ?? [], await hashKey(given)) !== undefined;
    const look = async (text: string | null) => {
      if (text === null) await rm(where);
      else await writeFile(where, text, { mode: 0o600 });
      await ring.look();
      return [await may(first), await may(second), ring.state.error !== null];
    };
    expect(await look(`keys:\n${lineOf(alice)}${lineOf(bob)}`)).toEqual([true, true, false]);
    expect(said).toEqual([]);
    expect(await look(`keys:\n${lineOf(bob)}`)).toEqual([false, true, false]);
    expect(said).toEqual(["keys reloaded: 1 count now"]);
    expect(await look("keys: [")).toEqual([false, true, true]);
    await ring.look();
    expect(said.slice(1)).toEqual([expect.stringContaining("keys that were taken out of it still count")]);
    expect(await look(null)).toEqual([false, true, true]);
    expect(await look(`keys:\n${lineOf(bob)}`)).toEqual([false, true, false]);
    expect(said.at(-1)).toContain("again what is in force");
    expect(await look(`keys:\n${lineOf(alice)}${lineOf(alice)}`)).toEqual([false, true, true]);
    // The last key is gone: nobody may come, rather than everybody.
    expect(await look("keys: []\n")).toEqual([false, false, false]);
    expect(ring.keys).toEqual([]);
    await chmod(where, 0o666);
    await ring.look();
    expect(ring.state.error).toContain("chmod go-w");
    await chmod(where, 0o600);
    await ring.look();
    expect(ring.state).toMatchObject({ error: null, reloads: 2 });
    for (const secretKey of [first, second]) expect(said.join()).not.toContain(secretKey);
  });

  it("is closed with a file that names nobody, and open where nothing asks for keys", async () => {
    expect((await open({ ICDPO_KEYS_FILE: await file("keys: []\n") })).keys).toEqual([]);
    expect(said).toEqual([expect.stringContaining("nobody can use the gateway")]);
    expect((await open({})).keys).toBeNull();
  });

  it.each([
    [0o600, true, null],
    [0o640, true, "chmod 600"],
    [0o644, true, "chmod 600"],
    [0o640, false, null],
    [0o644, false, null],
    [0o620, true, "chmod go-w"],
    [0o602, false, "chmod go-w"],
  ])("looks at the file's mode as ssh does: %o, one's own: %s", (mode, isOwner, remedy) => {
    const complaint = modeComplaint("keys.yaml", mode, isOwner);
    if (remedy === null) expect(complaint).toBeNull();
    else expect(complaint).toEqual({ text: expect.stringContaining(remedy), isRefused: remedy.includes("go-w") });
  });

  it("refuses a file that others can write, and tells of one that others can read", async () => {
    const where = await file("keys: []\n");
    await chmod(where, 0o664);
    expect(await refusal({ ICDPO_KEYS_FILE: where })).toContain("could let themselves in");
    await chmod(where, 0o644);
    await open({ ICDPO_KEYS_FILE: where });
    expect(said[0]).toContain("chmod 600");
  });
});

describe("access as the settings have it", () => {
  const open = async (environment: Record<string, string>) => {
    const access = await readAccess(readSettings({ ...environment, ICDPO_CACHE: tmpdir() }, tmpdir()), () => {});
    access.close();
    return { keys: access.keys()?.map(({ name, admin }) => [name, admin]) ?? null, isLocal: access.isLocal };
  };

  it.each([
    ["a keyless gateway on loopback is its user's own", {}, null, true],
    ["one behind a proxy is not", { ICDPO_TRUST_PROXY: "1" }, null, false],
    ["one that strangers reach is not", { HOST: "0.0.0.0", ICDPO_ALLOW_ANONYMOUS: "1" }, null, false],
    [
      "keys are clients' and operators'",
      { ICDPO_API_KEYS: `a=${secret}`, ICDPO_ADMIN_KEYS: `b=${other}` },
      [
        ["a", false],
        ["b", true],
      ],
      true,
    ],
  ])("%s", async (_, environment, keys, isLocal) => {
    expect(await open(environment as unknown as Record<string, string>)).toEqual({ keys, isLocal });
  });

  it("is refused where shared limits cannot be had, or strangers could come", async () => {
    await expect(open({ ICDPO_LIMITS: "file:/dev/null/limits.db" })).rejects.toMatchObject({
      code: "configuration",
      message: expect.stringContaining("ICDPO_LIMITS cannot be opened"),
    });
    await expect(open({ HOST: "0.0.0.0" })).rejects.toMatchObject({
      message: expect.stringContaining("ICDPO_ALLOW_ANONYMOUS"),
    });
  });
});

describe("browsers", () => {
  it.each([
    ["an origin of another site", { origin: "https://evil.example" }, 403],
    ["an origin of the same name and another port", { origin: "http://localhost:3000" }, 403],
    ["no origin at all to speak of", { origin: "null" }, 403],
    ["nothing but the browser's word for another site", { "sec-fetch-site": "cross-site" }, 403],
    ["the gateway's own origin", { origin: "http://localhost", "sec-fetch-site": "same-origin" }, 200],
    ["the gateway's own origin, behind TLS", { origin: "https://localhost" }, 200],
    ["an origin that is allowed", { origin: "https://chat.example.com", "sec-fetch-site": "cross-site" }, 200],
    ["none, as programs do", {}, 200],
  ])("may keep the engine at work only from where they may read the answer: %s", async (_, headers, status) => {
    const { chat, engine } = await gateway({}, { corsOrigins: ["https://chat.example.com"] });
    const response = await chat({ model: "plain" }, headers as unknown as Record<string, string>);
    expect(response.status).toBe(status);
    expect(engine.calls).toHaveLength(status === 200 ? 1 : 0);
    if (status === 403)
      expect((await json(response)).error).toMatchObject({
        code: "forbidden_origin",
        message: expect.stringContaining("ICDPO_CORS_ORIGINS"),
      });
  });

  it("may come from anywhere where that is allowed", async () => {
    const { chat } = await gateway({}, { corsOrigins: ["*"] });
    expect((await chat({ model: "plain" }, { origin: "https://any.example" })).status).toBe(200);
  });

  it("are told nothing of other origins unless they are allowed", async () => {
    const ask = {
      method: "OPTIONS",
      headers: { origin: "https://chat.example.com", "access-control-request-method": "POST" },
    };
    const closed = await gateway();
    expect(
      (await closed.app.request("/v1/chat/completions", ask)).headers.get("access-control-allow-origin"),
    ).toBeNull();
    const open = await gateway({}, { corsOrigins: ["https://chat.example.com"] });
    const preflight = await open.app.request("/v1/chat/completions", ask);
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("https://chat.example.com");
    expect(
      (await open.chat({}, { origin: "https://chat.example.com" })).headers.get("access-control-expose-headers"),
    ).toContain("x-icdpo-score");
    expect(
      (await open.chat({}, { origin: "https://evil.example.com" })).headers.get("access-control-allow-origin"),
    ).toBeNull();
  });

  it("get headers that keep answers from being taken for pages", async () => {
    const { headers } = await (await gateway()).chat({});
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("content-security-policy")).toContain("default-src 'none'");
  });

  it("cannot reach a gateway without keys by another site's name", async () => {
    const { app } = await gateway({}, { allowedHosts: new Set(["localhost"]) });
    expect((await app.request("http://localhost:8080/health")).status).toBe(200);
    const response = await app.request("http://evil.example.com/v1/models");
    expect(response.status).toBe(403);
    expect((await json(response)).error.message).toContain("ICDPO_ALLOWED_HOSTS");
  });

  it.each([
    ["a name as it is given", "chat.example.com", 200],
    ["with a port", "chat.example.com:8443", 200],
    ["in capitals", "Chat.Example.COM", 200],
    ["with the dot of a whole name", "chat.example.com.", 200],
    ["a name that was given in capitals, with a port", "Other.Example.com", 200],
    ["a name that was given as an origin", "third.example.com", 200],
    ["an address", "192.168.1.5:8080", 200],
    ["an IPv6 address", "[fe80::1]:8080", 200],
    ["an address as browsers shorten it", "2130706433", 200],
    ["another name", "evil.example", 403],
    ["a name that ends as one that is given", "evilchat.example.com", 403],
    ["a name that begins as one that is given", "chat.example.com.evil.example", 403],
    ["a name that looks like an address", "127.0.0.1.evil.example", 403],
    ["a name without dots", "gateway", 403],
  ])("are told by the name they call it by: %s", async (_, host, status) => {
    const { app } = await gateway(
      {},
      { allowedHosts: new Set(["chat.example.com", "OTHER.example.com:9000", "https://third.example.com"]) },
    );
    expect((await app.request(`http://${host}/health`)).status).toBe(status);
  });

  const listening = (environment: Record<string, string>) =>
    readAccess(readSettings({ ICDPO_DATABASE: "off", ...environment }, "/nowhere"), () => {}).then(
      ({ allowedHosts }) => allowedHosts,
    );
  const aKey = { ICDPO_API_KEYS: `one=${secret}` };

  it.each([
    ["on loopback", {}, true],
    ["everywhere, which is meant", { HOST: "0.0.0.0", ICDPO_ALLOW_ANONYMOUS: "1" }, true],
    ["everywhere, which is meant, for IPv6", { HOST: "::", ICDPO_ALLOW_ANONYMOUS: "1" }, true],
    ["with keys", { HOST: "0.0.0.0", ...aKey }, false],
    ["with keys and names", { HOST: "0.0.0.0", ICDPO_ALLOWED_HOSTS: "chat.example.com", ...aKey }, true],
    ["where any name is allowed", { HOST: "0.0.0.0", ICDPO_ALLOW_ANONYMOUS: "1", ICDPO_ALLOWED_HOSTS: "*" }, false],
  ])("cannot make another site's name its own: %s", async (_, environment, isChecked) => {
    const allowedHosts = await listening(environment as unknown as Record<string, string>);
    const { app } = await gateway({}, { allowedHosts });
    expect((await app.request("http://localhost:8080/health")).status).toBe(200);
    expect((await app.request("http://[::1]:8080/health")).status).toBe(200);
    expect((await app.request("http://192.168.1.5:8080/health")).status).toBe(200);
    const rebound = {
      method: "POST",
      headers: { origin: "http://evil.example:8080", "content-type": "application/json" },
      body: "{}",
    };
    expect((await app.request("http://evil.example:8080/v1/chat/completions", rebound)).status).toBe(
      isChecked ? 403 : 400,
    );
  });

  it("allows the names that are given", async () => {
    const allowedHosts = await listening({
      HOST: "0.0.0.0",
      ICDPO_ALLOW_ANONYMOUS: "1",
      ICDPO_ALLOWED_HOSTS: "gateway.test, ::1",
    });
    expect(allowedHosts).toContain("gateway.test");
    expect((await (await gateway({}, { allowedHosts })).app.request("http://Gateway.test:8080/health")).status).toBe(
      200,
    );
  });

  const paths = [
    "/",
    "/experiments",
    "/status",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/v1/models",
    "/v1/experiments/ab",
  ];

  it.each(paths)("of other sites load nothing of it, not even what they cannot read: %s", async (path) => {
    const { app, engine } = await gateway();
    const ask = async (headers: Record<string, string>, method = "GET"): Promise<number> =>
      (await app.request(path, { method, headers })).status;
    for (const site of ["cross-site", "same-site"]) {
      for (const dest of ["image", "empty", "script", "iframe"])
        expect(await ask({ "sec-fetch-site": site, "sec-fetch-dest": dest })).toBe(403);
      // A link leads where it leads.
      expect(
        await ask({ "sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" }),
      ).not.toBe(403);
      expect(await ask({ "sec-fetch-site": site, "sec-fetch-dest": "document" }, "POST")).toBe(403);
    }
    for (const site of ["same-origin", "none"])
      expect(await ask({ "sec-fetch-site": site, "sec-fetch-dest": "empty" })).not.toBe(403);
    expect(engine.calls).toEqual([]);
  });

  it("of an allowed origin load what they ask for by script", async () => {
    const { app } = await gateway({}, { corsOrigins: ["https://chat.example.com"] });
    const headers = { "sec-fetch-site": "cross-site", "sec-fetch-dest": "empty", origin: "https://chat.example.com" };
    expect((await app.request("/v1/models", { headers })).status).toBe(200);
    expect((await app.request("/v1/models", { headers: { ...headers, origin: "https://evil.example" } })).status).toBe(
      403,
    );
  });

  it.each([
    "/",
    "/play",
    "/rate",
    "/sign-in",
    "/sign-out",
    "/v1/feedback",
    "/v1/score",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/responses",
  ])("of other sites send nothing to %s", async (path) => {
    const { app, engine } = await gateway();
    for (const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=a",
      "application/json",
    ])
      for (const headers of [
        { origin: "https://evil.example" },
        { origin: "null" },
        { "sec-fetch-site": "same-site" },
      ]) {
        const response = await app.request(path, {
          method: "POST",
          headers: { "content-type": type, ...headers } as Record<string, string>,
          body: "a=b",
        });
        expect(response.status).toBe(403);
      }
    expect(engine.calls).toEqual([]);
  });
});

describe("bodies", () => {
  it.each([
    ["empty", ""],
    ["not JSON", "{"],
    ["no object", "[1]"],
    ["too deep", `{"messages": ${"[".repeat(200)}${"]".repeat(200)}}`],
    ["far too deep", "[".repeat(90_000)],
    ["full of small objects", `{"messages": [${"{},".repeat(33_000)}{}]}`],
    ["full of small lists that nobody reads", `{"x": [${"[],".repeat(33_000)}[]]}`],
    ["full of values", `{"x": [${"null,".repeat(33_000)}null]}`],
    ["full of numbers", `{"x": [${"1,".repeat(263_000)}1]}`],
    [
      "of a model of a long name",
      JSON.stringify({ model: "x".repeat(257), messages: [{ role: "user", content: "a" }] }),
    ],
    [
      "full of messages",
      JSON.stringify({
        model: "plain",
        messages: Array.from({ length: 2_049 }, () => ({ role: "user", content: "a" })),
      }),
    ],
  ])("that are %s are refused", async (_, body) => {
    const { post, engine } = await gateway({}, { maxBodyBytes: 2 ** 20 });
    const response = await post("/v1/chat/completions", body);
    expect(response.status).toBe(400);
    expect((await json(response)).error.message).not.toBe("");
    expect(engine.calls).toEqual([]);
  });

  it("that are not UTF-8 are refused", async () => {
    const { app } = await gateway();
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: Uint8Array.of(0x22, 0xff, 0x22),
    };
    const response = await app.request("/v1/chat/completions", init);
    expect((await json(response)).error.message).toBe("The body is not UTF-8.");
  });

  it("may hold half a surrogate pair, which becomes a replacement character", async () => {
    const { post, engine } = await gateway();
    const response = await post(
      "/v1/chat/completions",
      '{"model": "plain", "messages": [{"role": "user", "content": "a\\ud83d b\\ud83d\\ude00"}]}',
    );
    expect(response.status).toBe(200);
    expect(engine.calls[0]?.context).toContain("a\ufffd b😀");
  });

  it("may hold many token ids", async () => {
    const { post } = await gateway({ contextSize: 1_000_000 }, { maxBodyBytes: 2 ** 20 });
    const prompt = Array.from({ length: 100_000 }, (_, i) => 97 + (i % 26));
    expect((await post("/v1/completions", { model: "plain", prompt })).status).toBe(200);
    expect((await post("/v1/completions", { model: "plain", prompt: prompt.map((id) => -id) })).status).toBe(400);
  });

  it.each([
    ["logit_bias", { logit_bias: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [i, 1])) }, 200],
    ["logit_bias", { logit_bias: Object.fromEntries(Array.from({ length: 301 }, (_, i) => [i, 1])) }, 400],
    [
      "metadata",
      { metadata: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`${i}`.padEnd(64, "k"), "v".repeat(512)])) },
      200,
    ],
    ["metadata", { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`${i}`, "v"])) }, 400],
    ["metadata", { metadata: { ["k".repeat(65)]: "v" } }, 400],
    ["metadata", { metadata: { k: "v".repeat(513) } }, 400],
    ["stop", { stop: Array.from({ length: 17 }, (_, i) => `end ${i}`) }, 400],
    [
      "tools",
      { tools: Array.from({ length: 129 }, (_, i) => ({ type: "function", function: { name: `f${i}` } })) },
      400,
    ],
    [
      "messages.0.tool_calls",
      {
        messages: [
          {
            role: "assistant",
            tool_calls: Array.from({ length: 129 }, (_, i) => ({
              id: `${i}`,
              type: "function",
              function: { name: "f", arguments: "" },
            })),
          },
        ],
      },
      400,
    ],
  ])("hold as much of %s as OpenAI or other servers take, and no more", async (param, fields, status) => {
    const { chat } = await gateway();
    const response = await chat({ model: "plain", ...fields });
    expect(response.status).toBe(status);
    if (status === 400) expect((await json(response)).error.param.startsWith(param)).toBe(true);
  });

  it("are answered in few words however long theirs are", async () => {
    const { chat } = await gateway();
    const response = await chat({ logit_bias: { ["x".repeat(50_000)]: 1 } });
    expect(response.status).toBe(400);
    expect((await response.text()).length).toBeLessThan(1_000);
  });

  it("brackets in strings do not count as depth", async () => {
    const { chat } = await gateway();
    expect((await chat({ messages: [{ role: "user", content: `\\"${"[".repeat(500)}` }] })).status).toBe(200);
  });

  it("are cut off at the limit even where their length is not announced", async () => {
    const { app } = await gateway({}, { maxBodyBytes: 1_000 });
    const server: Server = createServer(getRequestListener(app.fetch));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const sent = request(
        {
          port,
          method: "POST",
          path: "/v1/chat/completions",
          headers: { "content-type": "application/json", "transfer-encoding": "chunked" },
        },
        (response) => {
          response.resume();
          resolve(response.statusCode);
        },
      );
      sent.on("error", reject);
      for (let i = 0; i < 20; i++) sent.write(`"${"a".repeat(100)}",`);
      sent.end();
    });
    server.close();
    server.closeAllConnections();
    expect(status).toBe(413);
  });
});

describe("a client's address", () => {
  it.each([
    ["the connection's, whatever a header says", false, "9.9.9.9", "127.0.0.1"],
    ["what the trusted proxy added last", true, "6.6.6.6, 9.9.9.9", "9.9.9.9"],
    ["the connection's where the proxy says nothing", true, undefined, "127.0.0.1"],
  ])("is %s", async (_, trusts, forwarded, expected) => {
    const app = new Hono().get("/", (c) => c.text(clientAddress(trusts)(c) ?? "none"));
    const server: Server = createServer(getRequestListener(app.fetch));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const headers = forwarded === undefined ? {} : { "x-forwarded-for": forwarded };
    const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, { headers });
    expect(await response.text()).toBe(expected);
    server.close();
    server.closeAllConnections();
  });
});

describe("what errors say of the inside", () => {
  const inside =
    'The server at http://10.1.2.3:8000 answered /v1/completions with 400: "/models/secret.gguf: no such thing".';
  const codes = [
    "engine_unavailable",
    "engine_failure",
    "configuration",
    "model_unavailable",
    "records_unavailable",
  ] as const;
  const errors: readonly GatewayError[] = [
    ...codes.map((code) => new GatewayError(code, inside)),
    ...(["overloaded", "invalid_request", "context_length_exceeded"] as const).map(
      (code) => new GatewayError(code, inside, { isInternal: true }),
    ),
    new GatewayError("invalid_request", "It is at https://10.1.2.3/x, or at 10.1.2.3:8000."),
  ];
  const failing = (error: GatewayError) => ({
    pause: async (what: string, _: unknown, index: number) => {
      if (what === "sample" && index === 1) throw error;
    },
  });

  it.each(errors.map((error) => [error.code, error] as const))(
    "is for who runs the gateway only: %s",
    async (_, error) => {
      const keys = [await key("alice", secret), await key("root", other, { admin: true })];
      for (const stream of [false, true])
        for (const [path, body] of [
          ["/v1/chat/completions", { model: "plain", messages: [{ role: "user", content: "Hi" }], n: 2 }],
          ["/v1/completions", { model: "plain", prompt: "Hi", n: 2 }],
          ["/v1/responses", { model: "icdpo", input: "Hi" }],
          ["/v1/messages", { model: "icdpo", messages: [{ role: "user", content: "Hi" }], max_tokens: 9 }],
        ] as const) {
          const told = async (text: string): Promise<string> => {
            const { post } = await gateway(failing(error), { keys });
            return (await post(path, { ...body, stream }, bearer(text))).text();
          };
          const [forClient, forAdmin] = [await told(secret), await told(other)];
          expect(forClient).toMatch(/"error":\s*\{/u);
          for (const word of ["10.1.2.3", "8000", "secret.gguf", "http"]) expect(forClient).not.toContain(word);
          expect(forAdmin).toContain("10.1.2.3");
        }
    },
  );

  it("is for nobody where there are no keys, and strangers can come", async () => {
    for (const [isLocal, tells] of [
      [true, true],
      [false, false],
    ] as const) {
      const { chat } = await gateway(failing(errors[0] as GatewayError), { isLocal });
      const { error } = await json(await chat({ model: "plain", n: 2 }));
      expect(error.message.includes("10.1.2.3")).toBe(tells);
      expect(error.code).toBe("engine_unavailable");
    }
  });

  it("is no part of the page for clients", async () => {
    const { app } = await gateway(failing(new GatewayError("engine_failure", inside)), { isLocal: false });
    const form = { "content-type": "application/x-www-form-urlencoded", origin: "http://localhost" };
    const body = new URLSearchParams({ message: "Hello?", route: "icdpo", history: "[]" });
    const response = await app.request("/", { method: "POST", headers: form, body });
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("10.1.2.3");
  });
});

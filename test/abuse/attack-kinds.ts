/** @module Kinds of attacks: each a way to be a burden, with what can be drawn of it. */
import { deflateSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import {
  chat,
  type Draw,
  type Drawn,
  entries,
  json,
  many,
  messages,
  short,
  text,
  underSchema,
  units,
} from "./attack-parts.ts";
import { megabyte } from "./measures.ts";
import { oddBody, oddContentType, oddPath } from "./odd-bodies.ts";
import { randomSchema, randomSize, type Schema, schemaKinds } from "./schemas.ts";

/** Each with how often it comes, beside the others. */
export const attackKinds: Readonly<Record<string, readonly [number, (draw: Draw) => Drawn]>> = {
  "nothing odd": [
    6,
    ({ pick, random }) =>
      json(
        chat,
        { ...short, model: pick(["plain", "icdpo", "ab"]), stream: random(2) === 0, user: `u${random(20)}` },
        { isHarmless: true },
      ),
  ],
  "odd fields": [
    8,
    ({ sample }) => {
      const [path, bytes, type] = sample(fc.tuple(oddPath, oddBody, oddContentType));
      return { path: `/v1/${path}`, headers: { "content-type": type }, sent: { type: "whole", bytes } };
    },
  ],
  "a schema of a kind": [
    8,
    (draw) =>
      underSchema(
        draw,
        (schemaKinds[draw.pick(Object.keys(schemaKinds))] as (size: number) => Schema)(randomSize(draw.random, 20_000)),
      ),
  ],
  "a schema of anything": [8, (draw) => underSchema(draw, randomSchema(draw.random))],
  "stop strings": [
    4,
    ({ pick, random }) => {
      const unit = (): string => pick(["a", " ", "ab", "aab", "e", "\n", "😀", "\ud83d", "the", "."]);
      const stop = () => text(1 + random(random(4) === 0 ? 200 : 128), unit());
      return json(chat, {
        ...short,
        max_tokens: 1 + random(20),
        stop: pick([stop(), many(1 + random(5), stop)]),
        stream: random(2) === 0,
      });
    },
  ],
  "bytes that are no JSON": [
    3,
    ({ pick, sample, random }) => {
      const good = JSON.stringify(short);
      const [bytes, headers] = pick<() => [string | Uint8Array, Record<string, string>]>([
        () => [sample(fc.uint8Array({ maxLength: 2_000 })), {}],
        () => [Buffer.from(good, "utf16le"), { "content-type": "application/json; charset=utf-16le" }],
        () => [Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(good)]), {}],
        () => [gzipSync(good), { "content-encoding": "gzip" }],
        () => [gzipSync(Buffer.alloc(16 * megabyte)), { "content-encoding": "gzip" }],
        () => [deflateSync(good), { "content-encoding": "deflate" }],
        () => [
          good,
          {
            "content-type": pick([
              "text/plain",
              "application/x-www-form-urlencoded",
              "multipart/form-data; boundary=x",
              "",
            ]),
          },
        ],
        () => [good.slice(0, random(good.length)), {}],
        () => [`${good}${good}`, {}],
      ])();
      return {
        path: pick([chat, "/v1/responses", "/v1/embeddings", "/v1/score", "/v1/feedback"]),
        headers,
        sent: { type: "whole", bytes },
      };
    },
  ],
  "JSON that is large": [
    3,
    ({ pick, random }) => {
      const size = randomSize(random, 3_000_000);
      const few = Math.min(size, 100_000);
      const bytes = pick([
        () => `${"[".repeat(size)}${"]".repeat(size)}`,
        () => `${'{"a":'.repeat(few)}1${"}".repeat(few)}`,
        () => JSON.stringify({ ...short, metadata: entries(few, "x") }),
        () => JSON.stringify({ ...short, logit_bias: entries(few, -1) }),
        () => JSON.stringify({ ...short, ...entries(few, 1) }),
        () => JSON.stringify({ ...short, messages: many(few, () => short.messages[0]) }),
        () => JSON.stringify({ ...short, messages: messages(many(few, () => ({ type: "text", text: "a" }))) }),
        () =>
          JSON.stringify({ ...short, tools: many(few, (i) => ({ type: "function", function: { name: `f${i}` } })) }),
        () => JSON.stringify({ ...short, user: text(size, "u") }),
        () => `{"model":"plain","messages":[],"max_tokens":1${"0".repeat(size)}}`,
        () => `{"model":"plain","x":"${"\\ud83d".repeat(few)}"}`,
        () => `${" ".repeat(size)}${JSON.stringify(short)}`,
        () => `{${'"a":1,'.repeat(few)}"b":1}`,
      ])();
      return { path: pick([chat, "/v1/messages", "/v1/responses"]), sent: { type: "whole", bytes } };
    },
  ],
  "a long text": [
    2,
    ({ pick, random }) => {
      const long = text(randomSize(random, 9_000_000), pick(units));
      return pick([
        () => json(chat, { ...short, model: pick(["plain", "icdpo"]), messages: messages(long) }),
        () => json("/v1/responses", { model: "icdpo", input: long }),
        () => json("/v1/messages", { model: "plain", max_tokens: 2, messages: messages(long) }),
        () => json("/v1/messages/count_tokens", { model: "plain", messages: messages(long) }),
        () => json("/v1/completions", { model: "plain", prompt: long, max_tokens: 2 }),
        () => json("/v1/embeddings", { model: "plain", input: long }),
        () => json("/v1/score", { model: "icdpo", messages: messages("Hi"), completions: [long] }),
      ])();
    },
  ],
  "a body without end": [
    1,
    ({ pick, random }) => ({
      path: pick([chat, "/v1/nobody", "/sign-in", "/"]),
      sent: { type: "endless", megabytes: 11 + randomSize(random, 600), isAnnounced: random(2) === 0 },
    }),
  ],
  "a body that does not end": [
    1,
    ({ pick, random }) => ({
      path: pick([chat, "/v1/embeddings"]),
      sent: {
        type: "unfinished",
        bytes: JSON.stringify(short).slice(0, random(60)),
        announced: pick([100, 1_000_000, 9_000_000]),
      },
      reader: { type: "leaves", afterMs: random(8_000) },
    }),
  ],
  "a body in small pieces": [
    1,
    ({ random }) => ({
      path: chat,
      sent: { type: "pieces", bytes: JSON.stringify(short), size: 1 + random(30), everyMs: random(300) },
    }),
  ],
  "a crowd with large bodies": [
    0.5,
    ({ random }) =>
      json(chat, { ...short, messages: messages(text(1 + random(4 * megabyte), "a ")) }, { times: 2 + random(30) }),
  ],
  "completions of many prompts": [
    2,
    ({ pick, random }) =>
      json("/v1/completions", {
        model: pick(["plain", "icdpo"]),
        prompt: pick([
          many(randomSize(random, 300), (i) => `Once ${i}`),
          many(random(20), () => many(1 + random(20), () => random(50_000))),
          many(3, () => -random(2)),
          "Bread is",
        ]),
        max_tokens: pick([0, 1, 4, 1e9]),
        n: pick([1, 2, 16, 17, 1e9]),
        echo: random(2) === 0,
        logprobs: pick([null, 0, 20, 21]),
        stream: random(2) === 0,
      }),
  ],
  "scores of many completions": [
    2,
    ({ pick, random }) =>
      json("/v1/score", {
        model: pick(["plain", "icdpo"]),
        messages: messages("Name a fruit."),
        completions: many(randomSize(random, 270), () => text(random(20), pick(units))),
        prompt: pick(["chat", "hh-rlhf", "nobody"]),
      }),
  ],
  "embeddings of many texts": [
    2,
    ({ pick, random }) =>
      json("/v1/embeddings", {
        model: "plain",
        input: many(randomSize(random, 2_100), (i) => `${i} ${text(random(40), pick(units))}`),
        encoding_format: pick(["float", "base64"]),
      }),
  ],
  feedback: [
    3,
    ({ pick, random, answers }) =>
      json("/v1/feedback", {
        id: pick(["chatcmpl-none", ...answers]),
        ...pick<object>([
          { rating: "up" },
          { rating: "down" },
          { metric: "rating", value: 1e6 },
          { metric: text(random(80), "m"), value: pick<unknown>([1e308, -1e308, 0.5, "1"]) },
          { metric: `m${random(40)}`, value: random(2) },
        ]),
        comment: text(random(3_000), pick(units)),
      }),
  ],
  experiments: [
    1,
    ({ pick }) => ({
      method: "GET",
      path: pick([
        "/v1/experiments",
        "/v1/experiments/ab",
        "/v1/experiments/ab",
        "/v1/experiments/plain",
        "/v1/experiments/%00",
        "/v1/models",
        "/v1/models/icdpo",
      ]),
    }),
  ],
  "much to read": [
    4,
    ({ pick, random }) =>
      json(chat, {
        ...short,
        model: pick(["plain", "icdpo"]),
        messages: messages("Tell me a long story."),
        max_tokens: 10 + random(40),
        n: 1 + random(2),
        stream: random(4) > 0,
        logprobs: true,
        top_logprobs: 20,
      }),
  ],
  "the page": [
    3,
    ({ pick, random }) => {
      const form = (fields: Record<string, string>): Drawn => ({
        headers: { "content-type": "application/x-www-form-urlencoded", origin: "OWN" },
        sent: { type: "whole", bytes: new URLSearchParams(fields).toString() },
      });
      return pick<() => Drawn>([
        () => ({
          method: "GET",
          path: pick([
            "/",
            "/policies",
            "/status",
            "/experiments",
            "/experiments/ab",
            "/style.css",
            "/experiments/%ZZ",
            "/openapi.json",
          ]),
        }),
        () => ({ path: "/sign-in", ...form({ key: text(random(12_000), "k") }) }),
        () => ({
          path: pick(["/", "/play"]),
          ...form({
            message: text(1 + random(30), "Hi "),
            route: pick(["icdpo", "plain", "ab/treatment", "nobody"]),
            history: pick(["[]", "[", '[{"role":"nobody"}]', text(random(600_000), "[")]),
            compare: "on",
          }),
        }),
        () => ({ path: "/rate", ...form({ id: "play-none", rating: pick(["up", "sideways"]) }) }),
        () => ({
          path: "/",
          ...form({ message: "Hi" }),
          headers: { "content-type": "application/x-www-form-urlencoded", origin: "http://evil.example" },
        }),
      ])();
    },
  ],
  "odd addresses": [
    2,
    ({ pick, random }) => ({
      method: pick(["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "PROPFIND"]),
      path: pick([
        chat,
        "/v1/%ZZ",
        "/v1/models/%00",
        "/routes/%2e%2e/v1/models",
        `/${text(random(12_000), "a/")}`,
        "/v1//models",
        "/routes/plain/v1/models",
        "/metrics?a=%",
        "/health",
        "/ready",
        "/v1/models?x[]=1",
      ]),
      headers: pick<Record<string, string>>([
        { host: "evil.example" },
        { origin: "null" },
        { "x-icdpo-route": text(random(500), "r") },
        { traceparent: text(random(200), "0") },
        { cookie: text(random(8_000), "icdpo_key=a; ") },
        { "x-forwarded-for": text(random(1_000), "1,") },
        { expect: "100-continue" },
      ]),
    }),
  ],
  "other sites": [
    1,
    ({ pick }) =>
      json(chat, short, {
        headers: pick<Record<string, string>>([
          { origin: "http://evil.example" },
          { "sec-fetch-site": "cross-site" },
          { "content-type": "text/plain" },
        ]),
      }),
  ],
  "no HTTP": [
    1,
    ({ pick, random, sample }) => ({
      sent: {
        type: "wire",
        bytes: pick<() => string | Uint8Array>([
          () => sample(fc.uint8Array({ maxLength: 3_000 })),
          () => `GET / HTTP/1.1\r\n${text(random(40_000), "a: b\r\n")}\r\n\r\n`,
          () =>
            `POST ${chat} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /`,
          () => `POST ${chat} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n`,
          () =>
            `POST ${chat} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n${text(random(60_000), "1;x=y\r\na\r\n")}`,
          () => `POST ${chat} HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n`,
          () => text(random(200), "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"),
          () => "CONNECT localhost:22 HTTP/1.1\r\nhost: localhost\r\n\r\n",
          () => "GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
          () => "",
        ])(),
      },
      reader: { type: "leaves", afterMs: 200 + random(4_000) },
    }),
  ],
};

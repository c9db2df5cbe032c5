/** @module Stands between a client and the gateway, and keeps what they said: `{ path, headers, body, status, answer }`. */
import http from "node:http";

/** Resolves to `{ url, calls, close }`; a call is listed when it has ended. */
export async function startRecorder(target) {
  const calls = [];
  const server = http.createServer(async (request, response) => {
    const { method, url: path, headers } = request;
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const body = Buffer.concat(pieces);
    const call = { method, path, headers, body: parsed(body.toString()), status: 0, answer: "", answerHeaders: {} };
    const upstream = http.request(target + path, { method, headers: { ...headers, host: new URL(target).host } });
    upstream.on("response", (answer) => {
      Object.assign(call, { status: answer.statusCode, answerHeaders: answer.headers });
      response.writeHead(answer.statusCode, answer.headers);
      answer.on("data", (piece) => {
        call.answer += piece;
        response.write(piece);
      });
      answer.on("end", () => response.end());
    });
    upstream.on("error", () => response.destroy());
    response.on("close", () => {
      calls.push(call);
      upstream.destroy();
    });
    upstream.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, calls, close: () => server.close() };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/**
 * @module Open WebUI: its server as its page of docs/clients.md starts it, its own page in Chromium as a person uses
 * it. What it asks of the gateway is read on the way.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { chromium } from "playwright-core";
import { assert, blocksIn, eventually, runFeatures } from "./harness.mjs";
import { startRecorder } from "./recorder.mjs";

const {
  HOME: home,
  ICDPO_KEY: key,
  ICDPO_URL: gateway,
  ICDPO_TEST_CHROMIUM: chromiumProgram = "/usr/bin/chromium",
} = process.env;
/** How long an answer may take: its 28 tools are 5,300 tokens, which a slow machine reads for minutes. */
const patience = 1500;
const recorder = await startRecorder(gateway);
const port = 20_000 + (process.pid % 10_000);
const url = `http://127.0.0.1:${port}`;
const server = startServer();
process.on("exit", () => server.kill("SIGKILL"));
const { version } = await eventually(
  () =>
    fetch(`${url}/api/config`).then(
      (answer) => answer.json(),
      () => undefined,
    ),
  {
    what: "Its server",
  },
);
let token;
({ token } = await api("/api/v1/auths/signin", { email: "", password: "" }));
const asked = () => recorder.calls.filter(({ path }) => path === "/v1/chat/completions");
/** What it asks for beside the conversation. */
const tasks = () => asked().filter(({ body }) => !body.stream);
const answers = () => asked().filter(({ body }) => body.stream);
let browser;
let page;

await runFeatures(`Open WebUI ${version}`, {
  models: async () => {
    const ids = (await api("/api/models")).data.map(({ id }) => id);
    assert(
      ["icdpo", "plain"].every((id) => ids.includes(id)),
      `Its models: ${ids}`,
    );
  },
  "first message, plain": () => firstMessage("plain"),
  "first message, scored": () => firstMessage("icdpo"),
  "its tools": () => {
    const { body, status } = answers()[0];
    assert(body.tools?.length > 20 && status === 200, `${body.tools?.length} tools, ${status}`);
  },
  stream: () => {
    const { answer, answerHeaders } = answers()[0];
    assert(answerHeaders["content-type"].startsWith("text/event-stream"), "No stream");
    assert(answer.includes("[DONE]") && answer.split("\n\n").length > 3, answer.slice(0, 400));
  },
  "second message": async () => {
    const before = answers().length;
    await say("And another one?");
    const { body, status, answer } = await eventually(() => answers()[before], {
      what: "An answer",
      seconds: patience,
    });
    assert(status === 200 && body.messages.length >= 3, `${status}: ${answer.slice(0, 300)}`);
  },
  "title, tags, follow-ups": async () => {
    const seen = await eventually(() => (tasks().length >= 3 ? tasks() : undefined), {
      what: "Three tasks",
      seconds: patience,
    });
    for (const { status, answer, answerHeaders } of seen) {
      assert(status === 200, `${status}: ${answer.slice(0, 300)}`);
      assert(["1", undefined].includes(answerHeaders["x-icdpo-candidates"]), "A task had several candidates");
    }
  },
  "who asks": () => assert(answers()[0].headers["x-openwebui-user-id"], "Its headers do not say"),
  "thumbs up is feedback": async () => {
    for (const content of blocksIn("python")) await installFunction(content);
    await firstMessage("plain");
    await page.locator('button[aria-label="Good Response"]').last().click();
    const { body, status, answer } = await eventually(
      () => recorder.calls.find(({ path }) => path === "/v1/feedback"),
      { what: "Feedback", seconds: 60 },
    );
    assert(status === 200 && body.rating === "up" && body.id.startsWith("chatcmpl-"), `${status}: ${answer}`);
  },
  "embeddings of a document": async () => {
    const text = { name: "fruit.txt", content: "Bananas are yellow. ".repeat(20), collection_name: "fruit" };
    const { status } = await api("/api/v1/retrieval/process/text", text);
    const call = recorder.calls.find(({ path }) => path === "/v1/embeddings");
    assert(status && call?.status === 200, `${call?.status}: ${call?.answer.slice(0, 300)}`);
  },
});
await browser?.close();
server.kill("SIGTERM");
process.exit();

function startServer() {
  const [code] = blocksIn("sh").map((text) =>
    text
      .replaceAll(gateway, recorder.url)
      .replace("--port 3000", `--port ${port}`)
      .replace("open-webui serve", "exec open-webui serve"),
  );
  const env = {
    ...process.env,
    DATA_DIR: path.join(home, "data"),
    WEBUI_AUTH: "false",
    WEBUI_SECRET_KEY: "a-secret-for-the-client-checks",
    // It would ask for models and news, which a machine without a way out waits for.
    OFFLINE_MODE: "true",
    HF_HUB_OFFLINE: "1",
    ENABLE_VERSION_UPDATE_CHECK: "false",
    ANONYMIZED_TELEMETRY: "false",
  };
  const child = spawn("bash", ["-euc", `mkdir -p "$DATA_DIR"; ${code}`], { env, stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [child.stdout, child.stderr]) stream.on("data", () => {});
  return child;
}

async function api(path, body) {
  const headers = {
    "content-type": "application/json",
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  };
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const answer = await fetch(url + path, options);
  assert(answer.ok, `${path}: ${answer.status} ${(await answer.clone().text()).slice(0, 300)}`);
  return answer.json();
}

/** As a person does: a new chat, the model, a question. */
async function firstMessage(model) {
  await open(`/?models=${model}`);
  const before = answers().length;
  await say("Name a fruit.");
  const { body, status, answer } = await eventually(() => answers()[before], { what: "An answer", seconds: patience });
  assert(body.model === model && status === 200, `${status}: ${answer.slice(0, 400)}`);
  await page.locator('button[aria-label="Good Response"]').last().waitFor({ timeout: 60_000 });
  const shown = await page.locator(".chat-assistant").last().textContent();
  assert(shown?.trim(), "The page shows no text");
}

async function open(where) {
  assert(existsSync(chromiumProgram), "Chromium is not there: ICDPO_TEST_CHROMIUM");
  browser ??= await chromium.launch({ executablePath: chromiumProgram, args: ["--no-sandbox"] });
  page ??= await browser.newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(url + where, { timeout: 300_000 });
  const news = page.getByText("Okay, Let's Go!");
  await page.locator("#chat-input").waitFor();
  await pause(2000);
  if (await news.isVisible()) await news.click();
}

async function say(text) {
  await page.locator("#chat-input").click();
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
}

/** As an administrator does on its page "Functions": pasted, given the key, switched on. */
async function installFunction(content) {
  const id = /^title: (\S+)/mu.exec(content)[1];
  const { type } = await api("/api/v1/functions/create", { id, name: id, content, meta: { description: id } });
  await api(`/api/v1/functions/id/${id}/toggle`, {});
  if (type === "filter") await api(`/api/v1/functions/id/${id}/toggle/global`, {});
  else await api(`/api/v1/functions/id/${id}/valves/update`, { url: `${recorder.url}/v1`, key });
}

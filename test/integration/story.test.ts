/** A whole story in a real browser, on the real model: ask, edit a policy, compare two arms, read the verdict. */

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chromiumProgram, needing } from "../needs.ts";
import { type Gateway, startGateway } from "./gateway.ts";

/** `npm run check -- story` sends 200. */
const requests = Number(process.env["ICDPO_TEST_AB"] ?? "12");
const patienceMs = 300_000;
const screenshots = process.env["ICDPO_TEST_SCREENSHOTS"];
const root = fileURLToPath(new URL("../../", import.meta.url));

describe("a story in a browser", { ...needing("chromium"), timeout: 600_000 }, () => {
  let folder: string;
  let gateway: Gateway;
  let browser: Browser;
  let page: Page;
  const problems: string[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "icdpo-story-"));
    await mkdir(path.join(folder, "policies"));
    await cp(path.join(root, "demos"), path.join(folder, "demos"), { recursive: true });
    for (const name of ["everyday", "plain"]) {
      const policy = await readFile(path.join(root, `policies/${name}.yaml`), "utf8");
      const short = policy.replace("sampling: {", "sampling: { max_tokens: 24,");
      expect(short).not.toBe(policy);
      await writeFile(path.join(folder, `policies/${name}.yaml`), short);
    }
    await writeFile(
      path.join(folder, "policies/kind.yaml"),
      "candidates: 2\ninstructions: {}\nscore: { type: contrast, negative: rejected }\nsampling: { max_tokens: 12 }\n",
    );
    await writeFile(
      path.join(folder, "policies/short.yaml"),
      "candidates: 1\nscore: { type: none }\nsampling: { max_tokens: 12 }\n",
    );
    await writeFile(
      path.join(folder, "policies/routes.yaml"),
      "routes:\n  icdpo: { policy: everyday }\n  plain: { policy: plain }\n" +
        "  ab: { experiment: { arms: { treatment: { policy: kind }, control: { policy: short } } } }\n",
    );
    const environment = {
      ICDPO_DATABASE: path.join(folder, "records.db"),
      ICDPO_RELOAD_MS: "100",
      ICDPO_ALLOWED_HOSTS: "gateway.test",
    };
    gateway = await startGateway(environment, folder);
    browser = await chromium.launch({ executablePath: chromiumProgram as string, args: ["--no-sandbox"] });
    page = await browser.newPage({ viewport: { width: 1100, height: 900 } });
    page.setDefaultTimeout(patienceMs);
    page.on("console", (message) => {
      if (message.type() === "error") problems.push(message.text());
    });
    page.on("pageerror", (error) => problems.push(error.message));
  });

  afterAll(async () => {
    await browser?.close();
    await gateway?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const picture = async (name: string): Promise<void> => {
    if (screenshots !== undefined)
      await page.screenshot({ path: path.join(screenshots, `${name}.png`), fullPage: true });
  };

  const alertsAfterReload = async (): Promise<number> => {
    await page.reload();
    return page.getByRole("alert").count();
  };

  it("asks in the playground, by the keyboard, and sees the candidates", async () => {
    await page.goto(gateway.url);
    await picture("1-playground");
    // The message has the focus; then route, checkbox, button.
    await page.keyboard.type("How do I keep basil alive indoors?");
    for (let i = 0; i < 3; i++) await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Ask");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Candidates" }).waitFor();
    await picture("2-candidates");
    expect(await page.getByRole("img", { name: /^Score/u }).count()).toBe(3);
    expect(await page.getByText("chosen", { exact: true }).count()).toBe(1);
    expect(await page.getByRole("heading", { name: "Plain sampling" }).count()).toBe(1);
    expect(await page.locator("details").count()).toBe(2);
    await page.getByRole("button", { name: "Good answer" }).click();
    await page.getByText("Your rating is kept").waitFor();
  });

  it("edits a policy, badly and then well, and sees it", async () => {
    const file = path.join(folder, "policies/everyday.yaml");
    const before = await readFile(file, "utf8");
    await page.goto(`${gateway.url}/policies`);
    const hash = await page
      .getByText(/^everyday@/u)
      .first()
      .textContent();
    await writeFile(file, before.replace("candidates: 3", "candidates: lots"));
    await expect.poll(alertsAfterReload).toBe(1);
    expect(await page.getByRole("alert").textContent()).toMatch(/policies\/everyday\.yaml:\d+: candidates: /u);
    expect(
      await page
        .getByText(/^everyday@/u)
        .first()
        .textContent(),
    ).toBe(hash);
    await picture("3-policies-refused");
    await writeFile(file, before.replace("candidates: 3", "candidates: 2"));
    await expect.poll(alertsAfterReload).toBe(0);
    expect(
      await page
        .getByText(/^everyday@/u)
        .first()
        .textContent(),
    ).not.toBe(hash);
    await picture("4-policies");
  });

  it(`sends ${requests} requests to two arms with feedback, and reads the verdict`, async () => {
    const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: "none" });
    const left = Array.from({ length: requests }, (_, i) => i);
    const arms = new Map<string, number>();
    const work = async (): Promise<void> => {
      for (let i = left.shift(); i !== undefined; i = left.shift()) {
        const body = {
          model: "ab",
          user: `user-${i}`,
          messages: [{ role: "user" as const, content: `Say something about the number ${i}.` }],
        };
        const { data, response } = await client.chat.completions.create(body).withResponse();
        const arm = response.headers.get("x-icdpo-arm") ?? "none";
        arms.set(arm, (arms.get(arm) ?? 0) + 1);
        // Readers like the treatment's answers nine times in ten, the control's four times.
        const rating = (i * 7) % 10 < (arm === "treatment" ? 9 : 4) ? "up" : "down";
        const feedback = await fetch(`${gateway.url}/v1/feedback`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ id: data.id, rating }),
        });
        expect(feedback.status).toBe(200);
      }
    };
    await Promise.all(Array.from({ length: 6 }, work));
    expect([...arms.keys()].toSorted()).toEqual(["control", "treatment"]);
    await page.goto(`${gateway.url}/experiments`);
    await page.getByRole("link", { name: "ab" }).click();
    await page.getByRole("heading", { name: "rating" }).waitFor();
    const verdict = await page.locator(".verdict").textContent();
    await picture("5-experiment");
    if (requests >= 200) {
      expect(verdict).toMatch(/^treatment is better than control on rating/u);
      expect(await page.getByRole("img", { name: /^rating: treatment less control/u }).count()).toBe(1);
    } else expect(verdict).toMatch(/treatment/u);
    const report = (await (await fetch(`${gateway.url}/v1/experiments/ab`)).json()) as {
      arms: { name: string; answers: number }[];
    };
    expect(Object.fromEntries(report.arms.map(({ name, answers }) => [name, answers]))).toEqual(
      Object.fromEntries(arms),
    );
  });

  it("works under another name, where browsers say less of where a form comes from", async () => {
    const args = ["--no-sandbox", "--host-resolver-rules=MAP gateway.test 127.0.0.1"];
    const elsewhere = await chromium.launch({ executablePath: chromiumProgram as string, args });
    try {
      const other = await elsewhere.newPage();
      other.setDefaultTimeout(patienceMs);
      await other.goto(gateway.url.replace("127.0.0.1", "gateway.test"));
      await other.getByLabel("Message").fill("Say one word.");
      await other.getByLabel("Route").selectOption("ab/control");
      await other.getByRole("button", { name: "Ask" }).click();
      await other.getByRole("heading", { name: "Candidates" }).waitFor();
    } finally {
      await elsewhere.close();
    }
  });

  it("looks at the status, on a phone and in the dark", async () => {
    await page.setViewportSize({ width: 390, height: 800 });
    await page.emulateMedia({ colorScheme: "dark" });
    for (const section of ["", "experiments/ab", "policies", "status"]) {
      await page.goto(`${gateway.url}/${section}`);
      expect(
        await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"),
        section,
      ).toBe(true);
    }
    await picture("6-status-phone-dark");
    await page.goto(`${gateway.url}/experiments/ab`);
    await picture("7-experiment-phone-dark");
    expect(problems).toEqual([]);
  });
});

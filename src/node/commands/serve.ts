/** @module `icdpo serve`. */
import { Command } from "commander";
import { serve } from "../serve.ts";
import { type World, withRuntime } from "./world.ts";

export function serveCommand(world: World): Command {
  return new Command("serve").description("start the gateway (settings: environment variables, see .env.example)").action(() =>
    withRuntime(world, async (runtime, signal) => {
      const settings = world.settings();
      const server = await serve(runtime, settings, world.version, world.report);
      greet(world, server.url, runtime.policies.routes);
      await aborted(signal);
      world.report("stopping; once more to stop at once");
      process.once("SIGINT", () => process.exit(130)).once("SIGTERM", () => process.exit(143));
      await server.close();
    }),
  );
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function greet(
  { report }: World,
  url: string,
  routes: ReadonlyMap<string, { readonly id: string; readonly settings: { readonly description?: string | undefined } }>,
): void {
  report(`\nThe gateway listens. Base URL for OpenAI clients: ${url}/v1`);
  report("Routes (the request's model):");
  for (const [route, { id, settings }] of routes)
    report(`  ${route.padEnd(12)} ${id}${settings.description === undefined ? "" : `  ${settings.description}`}`);
  report(`Try:\n  curl ${url}/v1/chat/completions -H 'content-type: application/json' \\`);
  report(
    `    -d '{"model": "${[...routes.keys()][0]}", "messages": [{"role": "user", "content": "How do I keep basil alive indoors?"}]}'\n`,
  );
}

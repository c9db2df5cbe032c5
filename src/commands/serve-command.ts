/** @module `icdpo serve`. */
import { Command } from "commander";
import { watchKeys } from "../access/keys-file.ts";
import { readAccess } from "../node/open-access.ts";
import { serve } from "../node/serve.ts";
import type { Experiment, Policy, Route } from "../policy/policy.ts";
import { watchPolicies } from "../policy/policy-watcher.ts";
import { type World, withRuntime } from "./world.ts";

export function serveCommand(world: World): Command {
  return new Command("serve")
    .description("start the gateway (settings: environment variables, see .env.example)")
    .action(async () => {
      const settings = world.settings();
      const access = await readAccess(settings, world.report); // before anything is fetched or loaded
      await withRuntime(world, async (runtime, signal) => {
        const server = await serve(runtime, settings, access, world.version, world.report);
        greet(world, server.url, runtime.policies.current.routes);
        const { ICDPO_RELOAD_MS: everyMs } = settings;
        const watcher =
          everyMs > 0 ? watchPolicies(runtime.policies, runtime.policyFolder, everyMs, world.report) : null;
        const keyWatcher = everyMs > 0 ? watchKeys(access.ring, everyMs) : null;
        await aborted(signal);
        keyWatcher?.close();
        // A reload that is under way ends with the engines.
        void watcher?.close();
        world.report("stopping; once more to stop at once");
        process.once("SIGINT", () => process.exit(130)).once("SIGTERM", () => process.exit(143));
        await server.close();
      });
    });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function greet({ report }: World, url: string, routes: ReadonlyMap<string, Route>): void {
  report(`\nThe gateway listens. Base URL for OpenAI clients: ${url}/v1`);
  report(`The page, to try it and watch it: ${url}/`);
  report("Routes (the request's model):");
  for (const { name, policy, experiment } of routes.values())
    report(
      `  ${name.padEnd(12)} ${experiment === null ? describePolicy(policy) : `experiment: ${describeArms(experiment)}`}`,
    );
  report(`Try:\n  curl ${url}/v1/chat/completions -H 'content-type: application/json' \\`);
  report(
    `    -d '{"model": "${[...routes.keys()][0]}", "messages": [{"role": "user", "content": "How do I keep basil alive indoors?"}]}'\n`,
  );
}

function describePolicy({ id, settings: { description } }: Policy): string {
  return description === undefined ? id : `${id}  ${description}`;
}

function describeArms({ arms }: Experiment): string {
  return arms.map(({ name, policy, weight }) => `${name} (${weight}) ${policy.id}`).join(", ");
}

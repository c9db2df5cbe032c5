/** @module The playground's work as it happens: events for its script, the last of which is the page's new content. */
import type { Context } from "hono";
import type { AppDependencies } from "../gateway/dependencies.ts";
import { generateWatched } from "../gateway/generate.ts";
import type { Generated } from "../gateway/generation.ts";
import type { ResolvedRoute } from "../gateway/route.ts";
import { askerOf, type Reader, streamWork } from "../gateway/work.ts";
import { streamAnswer } from "../http/sse.ts";
import { isBySums } from "../policy/score-schema.ts";
import { PlaygroundContent, unitOf } from "./playground-page.tsx";
import {
  type Asked,
  plainBeside,
  plainGeneration,
  playedOf,
  propsOf,
  readAsked,
  resolve,
  stateAfter,
} from "./playing.tsx";

/** As the script reads them. `place` is a candidate's index, or plain sampling. */
type LiveEvent =
  /** So many candidates compete; they have scores in this unit. */
  | { readonly type: "begin"; readonly candidates: number; readonly unit: string }
  /** A piece of text. */
  | { readonly type: "text"; readonly place: number | "plain"; readonly text: string }
  /** All of a candidate's text so far, and its score. */
  | {
      readonly type: "standing";
      readonly place: number;
      readonly text: string;
      readonly score: number | null;
      readonly isDropped?: boolean;
    }
  /** What the playground holds now. */
  | { readonly type: "end"; readonly html: string };

/** What is wrong before the first event is thrown. */
export function playLive(dependencies: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const asked = await readAsked(c);
    const resolved = resolve(c, dependencies.policies(), asked.chosen);
    c.get("observer").note({ route: resolved.route, policy: resolved.policy.id });
    return streamAnswer<LiveEvent>(c, dependencies, {
      events: (reader) => liveEvents(c, dependencies, { asked, resolved, reader }),
      write: async function* (events) {
        for await (const data of events) yield { data };
      },
      fail: ({ error: { message } }) => [{ data: { type: "error", message } }],
    });
  };
}

interface Live {
  readonly asked: Asked;
  readonly resolved: ResolvedRoute;
  readonly reader: Reader;
}

async function* liveEvents(c: Context, dependencies: AppDependencies, live: Live): AsyncGenerator<LiveEvent> {
  const { asked, resolved } = live;
  const id = dependencies.newId("play-");
  const started = dependencies.now();
  const generated = yield* candidatesEvents(c, dependencies, live, id);
  const ms = dependencies.now() - started;
  const plain = asked.compare ? yield* plainEvents(c, dependencies, live) : null;
  const state = stateAfter(asked, playedOf(resolved, generated, { id, plain, ms }));
  yield { type: "end", html: String(await (<PlaygroundContent {...propsOf(c, dependencies, state)} />)) };
}

async function* candidatesEvents(
  c: Context,
  dependencies: AppDependencies,
  { asked, resolved, reader }: Live,
  id: string,
): AsyncGenerator<LiveEvent, Generated> {
  const generation = plainGeneration(asked.conversation);
  for await (const event of generateWatched(c, dependencies, resolved, generation, id, goingOn(reader))) {
    if (event.type === "end") return event.generated;
    if (event.type === "begin") yield { ...event, unit: unitOf(isBySums(resolved.policy.settings.score)) };
    else {
      const { index: place, ...what } = event;
      yield { ...what, place };
    }
  }
  throw new Error("An answer's events ended without an end");
}

async function* plainEvents(
  c: Context,
  dependencies: AppDependencies,
  { asked, resolved, reader }: Live,
): AsyncGenerator<LiveEvent, string | null> {
  const beside = plainBeside(c, dependencies, resolved.policy, asked.conversation);
  if (beside === null) return null;
  type Said = { readonly type: "text"; readonly text: string } | { readonly type: "whole"; readonly text: string };
  const events = streamWork<Said>(askerOf(c), reader, dependencies, beside.demand, async (work, { push }) => {
    const text = await beside.answer(work, (_, piece) => push({ type: "text", text: piece }, piece.length));
    return { rest: [{ type: "whole", text }] };
  });
  for await (const { type, text } of events) {
    if (type === "whole") return text;
    yield { type, text, place: "plain" };
  }
  throw new Error("Plain sampling's events ended without an end");
}

/** Who reads on after this work: its place is free as soon as it is done. */
function goingOn({ left, leave }: Reader): Reader {
  return { left, leave, read: Promise.resolve(), hurry() {} };
}

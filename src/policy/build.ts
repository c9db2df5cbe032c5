/**
 * @module Policies and routes, built whole from the text of their files: a set is either good in every part or not made
 * at all.
 */
import type { Engine } from "../engine/engine.ts";
import { type Engines, engineName } from "../engine/engines.ts";
import { bm25Retriever } from "../retrieval/bm25.ts";
import { embeddingRetriever } from "../retrieval/embedding.ts";
import type { TurnStyle } from "../retrieval/question.ts";
import { randomRetriever } from "../retrieval/random.ts";
import type { ArtifactStore, Embedder, Retriever } from "../retrieval/retriever.ts";
import { twoStageRetriever } from "../retrieval/two-stage.ts";
import type { RewardModel, Rewards } from "../reward/reward-model.ts";
import { sha256HexAsync } from "../text/bytes.ts";
import type { Demonstration } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { complaintAt } from "./parse.ts";
import { type CapabilitiesOf, type PolicyFiles, parsePolicyFiles } from "./parsed-policies.ts";
import type { Models, Policy, PolicySet, PolicySource } from "./policy.ts";
import { contextSizesOf, modelReferences, openModels, weightsOf } from "./policy-models.ts";
import { buildRoute, parseRoutes, policiesOf } from "./routes.ts";
import { type RateKeeping, RunningRate } from "./running-rate.ts";
import type { PolicySettings, RetrieverSettings } from "./schema.ts";
import { isBySums, rewardAsked, wantsConsensus } from "./score-schema.ts";

export interface PolicyDependencies extends Pick<RateKeeping, "background"> {
  readonly engines: Engines;
  /** Called when a policy first needs sentence embeddings. */
  readonly embedder: () => Promise<Embedder>;
  /** Reward models by name; absent: there are none. */
  readonly rewards?: Rewards | undefined;
  /** Where indexes and running means are kept between starts; absent: they begin anew. */
  readonly artifacts?: ArtifactStore | undefined;
}

/** Builds sets of policies one after another; demonstrations and indexes that have not changed are used again. */
export class PolicyBuilder {
  readonly #dependencies: PolicyDependencies;
  /** By the hash of their file. */
  #sets = new Map<string, Promise<readonly Demonstration[]>>();
  /** By the hash of the file, the retriever's settings, how it sees turns, and the engine that tokenises for it. */
  #retrievers = new Map<string, Promise<Retriever | null>>();
  /** By the policy's id. */
  #rates = new Map<string, Promise<RunningRate>>();

  constructor(dependencies: PolicyDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Builds every route with its policies, and those of the names in `also`; the others are checked as far as that can
   * be done without beginning the models they name. Throws "configuration", naming file, line and field of all that is
   * wrong.
   */
  async build(files: PolicyFiles, also: readonly string[] = []): Promise<PolicySet> {
    const { engines } = this.#dependencies;
    const wanted = new Set([...also, ...routedPolicies(files)]);
    const load = (hash: string, read: () => Promise<readonly Demonstration[]>) => kept(this.#sets, hash, read);
    const capabilities: CapabilitiesOf = async (model, policy) =>
      wanted.has(policy) ? (await (await engines.open(model)).info()).capabilities : engines.declared(model);
    const parsed = await parsePolicyFiles(files, capabilities, this.#dependencies.rewards, load);
    const policies = new Map<string, Policy>();
    const used = new Set<string>();
    for (const [name, { settings, formats, demonstrations, hash }] of parsed.policies) {
      if (!wanted.has(name)) continue;
      const models = await openModels(engines, settings, formats);
      const embedder = await this.#embedderOf(name, settings, files);
      const reward = await this.#rewardOf(name, settings, files);
      const { engine } = models.sampler;
      const { model, capabilities } = await engine.info();
      const tokenizer = { demonstrations: hash, model };
      // A retriever goes on with the engine that it was made with: of two with the same weights, one may be closed.
      const key = JSON.stringify([
        hash,
        settings.retriever,
        styleOf(models),
        tokenizer.model,
        engineName(modelReferences(settings).sampler),
      ]);
      used.add(hash).add(key);
      const make = () =>
        buildRetriever(settings.retriever, demonstrations, tokenizer, {
          ...this.#dependencies,
          engine,
          style: styleOf(models),
        });
      const retriever = await kept(this.#retrievers, key, make);
      const source = await sourceOf(settings, models, hash, { embedder, reward });
      const policy = { name, settings, goesOn: capabilities.score, ...models, source };
      const id = await policyId(policy);
      const rate = await this.#rateOf(id, settings);
      used.add(id);
      policies.set(name, { ...policy, id, demonstrations, retriever, embedder, reward, rate });
    }
    this.#sets = new Map([...this.#sets].filter(([hash]) => used.has(hash)));
    this.#retrievers = new Map([...this.#retrievers].filter(([key]) => used.has(key)));
    this.#rates = new Map([...this.#rates].filter(([id]) => used.has(id)));
    const { default: defaultRoute, aliases } = parsed.routes;
    const routes = Object.entries(parsed.routes.routes).map(
      ([name, route]) => [name, buildRoute(name, route, policies)] as const,
    );
    return { policies, routes: new Map(routes), defaultRoute, aliases: new Map(Object.entries(aliases)) };
  }

  /** Requests of a policy that stays the same go on with the same mean. */
  async #rateOf(id: string, { score }: PolicySettings): Promise<RunningRate | undefined> {
    if (!isBySums(score) || score.normalize !== "length" || score.nats_per_token !== undefined) return undefined;
    return kept(this.#rates, id, () => RunningRate.open(id, this.#dependencies));
  }

  /** Undefined where the policy asks for none. Throws "configuration" by the line that does, where it cannot be had. */
  async #embedderOf(name: string, settings: PolicySettings, files: PolicyFiles): Promise<Embedder | undefined> {
    const asks = embeds(settings.retriever)
      ? ["retriever"]
      : wantsConsensus(settings.score)
        ? ["score", "consensus"]
        : null;
    return asks === null
      ? undefined
      : this.#dependencies.embedder().catch((error: unknown) => {
          throw atField(name, files, asks, error);
        });
  }

  /** Undefined where the policy asks for none. Throws "configuration" by the line that does. */
  async #rewardOf(name: string, { score }: PolicySettings, files: PolicyFiles): Promise<RewardModel | undefined> {
    const asked = rewardAsked(score);
    try {
      return asked === null ? undefined : await this.#dependencies.rewards?.get(asked.model)?.();
    } catch (error) {
      throw atField(name, files, asked?.path ?? [], error);
    }
  }
}

/** What is wrong with a policy's settings, by the line of the field that asks for it. */
function atField(name: string, files: PolicyFiles, path: readonly string[], error: unknown): unknown {
  if (!(error instanceof GatewayError) || error.code !== "configuration") return error;
  return complaintAt(`policies/${name}.yaml`, files.policies.get(name) ?? "", path, error.message);
}

async function sourceOf(
  { retriever }: PolicySettings,
  models: Models,
  demonstrations: string,
  { embedder, reward }: Pick<Policy, "embedder" | "reward">,
): Promise<PolicySource> {
  return {
    demonstrations,
    model: await weightsOf(models),
    ...(embedder && { embedder: embedder.model }),
    ...(reward && { reward: reward.id }),
    ...(retriever.type !== "none" && { contextSizes: await contextSizesOf(models) }),
  };
}

export async function buildPolicySet(
  files: PolicyFiles,
  dependencies: PolicyDependencies,
  also: readonly string[] = [],
): Promise<PolicySet> {
  return new PolicyBuilder(dependencies).build(files, also);
}

/** None where the routes cannot be read: that is complained of when everything is parsed. */
function routedPolicies({ routes, policies }: PolicyFiles): string[] {
  try {
    return policiesOf(parseRoutes(routes, policies));
  } catch {
    return [];
  }
}

/**
 * `<name>@<12 hex digits>`, over all that an answer depends on beside the request and the program: settings, prompt
 * formats (`auto` resolved), weights, demonstrations' content, and where there are some, the embedder that retrieves
 * them, the context that drops them, and the reward model. Not over what only tells people something: the description,
 * and the demonstrations' file name.
 */
export async function policyId({
  name,
  settings,
  source,
  ...models
}: Pick<Policy, "name" | "settings" | "source" | keyof Models>): Promise<string> {
  const { description, demonstrations, prompt, ...effective } = settings;
  const formats = [models.sampler.format, models.scorer.format, models.reference?.format ?? null];
  const { embedder = null, contextSizes = null, reward } = source;
  const others = reward === undefined ? [] : [reward];
  const parts = [effective, formats, source.model, source.demonstrations, embedder, contextSizes, ...others];
  return `${name}@${(await sha256HexAsync(JSON.stringify(parts))).slice(0, 12)}`;
}

function embeds({ type }: RetrieverSettings): boolean {
  return type === "embedding" || type === "two-stage";
}

/** The paper's formats are retrieved for as its code does it. */
function styleOf({ sampler }: Models): TurnStyle {
  return sampler.format === "chat" ? "lines" : "marked";
}

async function buildRetriever(
  settings: RetrieverSettings,
  demonstrations: readonly Demonstration[],
  source: Pick<PolicySource, "demonstrations" | "model">,
  {
    engine,
    embedder,
    artifacts,
    style,
  }: Omit<PolicyDependencies, "engines"> & { readonly engine: Engine; readonly style: TurnStyle },
): Promise<Retriever | null> {
  const bm25 = { engine, artifacts, source: JSON.stringify(source), style };
  switch (settings.type) {
    case "none":
      return null;
    case "random":
      return randomRetriever(demonstrations);
    case "bm25":
      return bm25Retriever(demonstrations, bm25, settings.window);
    case "embedding":
      return embeddingRetriever(demonstrations, await embedder(), settings);
    case "two-stage":
      return twoStageRetriever(demonstrations, bm25, await embedder(), settings);
  }
}

/** Made once for a key, and kept; a failure is not. */
function kept<Value>(values: Map<string, Promise<Value>>, key: string, make: () => Promise<Value>): Promise<Value> {
  const value = values.get(key) ?? make();
  values.set(key, value);
  value.catch(() => values.delete(key));
  return value;
}

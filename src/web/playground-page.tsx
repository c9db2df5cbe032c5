/** @module The playground: one message, and everything that happens on the way to its answer. */
import type { Answer } from "../gateway/generation.ts";
import type { IcdpoOutcome } from "../icdpo/pipeline.ts";
import type { ScoredResponse } from "../icdpo/response.ts";
import type { Conversation, Message } from "../types/conversation.ts";
import { Alert } from "./layout.tsx";

/** A route, or an arm of one, as it can be chosen. */
export interface Choice {
  /** `route` or `route/arm`. */
  readonly value: string;
  readonly label: string;
}

export interface Played {
  readonly id: string;
  readonly policy: string;
  readonly answer: Answer;
  readonly outcome: IcdpoOutcome;
  /** What plain sampling says to the same. */
  readonly plain: string | null;
  readonly ms: number;
}

export interface PlaygroundProps {
  readonly choices: readonly Choice[];
  readonly chosen: string;
  /** Turns so far, the last answer among them. */
  readonly conversation: Conversation;
  readonly compare: boolean;
  readonly played: Played | null;
  readonly error: string | null;
  readonly canRate: boolean;
}

/** What the script fills anew with each answer, and the line where it says how far one is. */
export function Playground(props: PlaygroundProps) {
  return (
    <>
      <div id="playground">
        <PlaygroundContent {...props} />
      </div>
      <p id="progress" class="quiet" role="status" />
    </>
  );
}

export function PlaygroundContent({ choices, chosen, conversation, compare, played, error, canRate }: PlaygroundProps) {
  const history = JSON.stringify(conversation.map(({ role, content, thought }) => ({ role, content, thought })));
  return (
    <>
      <p class="quiet">
        The model answers several times with good examples before its eyes; the answer wins that the good examples make
        likelier than the bad ones do.
      </p>
      {conversation.length > 0 && <Turns conversation={conversation} />}
      {error !== null && <Alert>{error}</Alert>}
      {played !== null && <Result played={played} canRate={canRate} />}
      <form class="ask card" method="post" action="/">
        <input type="hidden" name="history" value={history} />
        <div>
          <label for="message">{conversation.length === 0 ? "Message" : "Next message"}</label>
          <textarea id="message" name="message" required maxlength={20_000} autofocus />
        </div>
        <div class="row">
          <div class="grow">
            <label for="route">Route</label>
            <select id="route" name="route">
              {choices.map(({ value, label }) => (
                <option value={value} selected={value === chosen}>
                  {label}
                </option>
              ))}
            </select>
          </div>
          <label class="inline">
            <input type="checkbox" name="compare" value="on" checked={compare} /> Plain sampling beside it
          </label>
          <button type="submit">Ask</button>
          {conversation.length > 0 && <a href="/">New conversation</a>}
        </div>
      </form>
    </>
  );
}

function Turns({ conversation }: { readonly conversation: Conversation }) {
  const names: Record<Message["role"], string> = { user: "You", assistant: "Model", system: "System", tool: "Tool" };
  return (
    <section aria-label="Conversation">
      {conversation.map(({ role, content, thought }) => (
        <div class="card">
          <h3>{names[role]}</h3>
          {thought !== undefined && (
            <details>
              <summary>Thought</summary>
              <div class="text quiet">{thought}</div>
            </details>
          )}
          <div class="text">{content}</div>
        </div>
      ))}
    </section>
  );
}

function Result({ played, canRate }: { readonly played: Played; readonly canRate: boolean }) {
  const { outcome, plain, policy, ms } = played;
  const { demonstrations, timings, tokens, fallback, ranked } = outcome;
  const largest = Math.max(...ranked.map(({ score }) => Math.abs(score ?? 0)), Number.MIN_VALUE);
  return (
    <section id="result" aria-label="How the answer was found">
      <h2>Candidates</h2>
      <div class="columns">
        {ranked
          .toSorted((a, b) => a.index - b.index)
          .map((response) => (
            <Candidate response={response} isChosen={response === ranked[0]} largest={largest} />
          ))}
        {plain !== null && (
          <article class="card">
            <h3>Plain sampling</h3>
            <div class="text">{plain}</div>
          </article>
        )}
      </div>
      {canRate && (
        <form class="row" method="post" action="/rate" aria-label="Rate the answer">
          <input type="hidden" name="id" value={played.id} />
          <button class="plain" name="rating" value="up" type="submit">
            Good answer
          </button>
          <button class="plain" name="rating" value="down" type="submit">
            Bad answer
          </button>
        </form>
      )}
      <h2>Demonstrations</h2>
      {demonstrations.length === 0 ? (
        <p class="quiet">None.</p>
      ) : (
        demonstrations.map(({ demonstration, similarity }) => (
          <details class="card">
            <summary>
              {demonstration.id}
              {similarity !== null && <span class="quiet"> · similarity {similarity.toFixed(3)}</span>}
            </summary>
            <div class="text">
              {demonstration.messages.map(({ role, content }) => `${role}: ${content}`).join("\n\n")}
            </div>
            <h3>Good answer</h3>
            <div class="text">{demonstration.chosen}</div>
            {demonstration.rejected !== undefined && (
              <>
                <h3>Bad answer</h3>
                <div class="text">{demonstration.rejected}</div>
              </>
            )}
          </details>
        ))
      )}
      <h2>Work</h2>
      <p class="quiet">
        <code>{policy}</code> · {(ms / 1000).toFixed(2)} s in all: retrieving {seconds(timings.retrieve)}, sampling{" "}
        {seconds(timings.sample)}, scoring what was left {seconds(timings.score)} · {tokens.prompt} prompt tokens (
        {tokens.cached} of them cached), {tokens.sampled} sampled, {tokens.scored} scored
        {fallback !== null && ` · fallback ${fallback}`}
      </p>
    </section>
  );
}

function Candidate({
  response,
  isChosen,
  largest,
}: {
  readonly response: ScoredResponse;
  readonly isChosen: boolean;
  readonly largest: number;
}) {
  const { index, text, score, reward, positive, negative, idsWithEos, finish, dropped } = response;
  const unit = unitOf(positive !== null);
  return (
    <article class={isChosen ? "card chosen" : "card"}>
      <h3>
        Candidate {index + 1} {isChosen && <span class="mark">chosen</span>}
      </h3>
      {score !== null && <Bar score={score} unit={unit} largest={largest} />}
      <div class="text">{text === "" ? "(empty)" : text}</div>
      <p class="quiet">
        {score === null ? "not scored" : `score ${score.toFixed(3)}${unit}`}
        {typeof reward === "number" && ` · reward ${reward.toFixed(3)}`}
        {positive !== null && ` · with good examples ${positive.toFixed(2)}`}
        {negative !== null && ` · against ${negative.toFixed(2)}`} · {idsWithEos.length} tokens ·{" "}
        {dropped === undefined ? finish : `dropped as number ${dropped.place} of ${dropped.among}`}
      </p>
    </article>
  );
}

/** A reward alone has units of its own. */
export function unitOf(isBySums: boolean): string {
  return isBySums ? " nats" : "";
}

/** From the middle to the right for what the good examples favour, to the left for the others. */
function Bar({ score, unit, largest }: { readonly score: number; readonly unit: string; readonly largest: number }) {
  const half = 100;
  const length = (Math.abs(score) / largest) * half;
  return (
    <svg
      class="bar"
      viewBox="0 0 200 8"
      preserveAspectRatio="none"
      role="img"
      aria-label={`Score ${score.toFixed(3)}${unit}`}
    >
      <rect
        class={score < 0 ? "minus" : "plus"}
        x={score < 0 ? half - length : half}
        y="0"
        width={Math.max(0.5, length)}
        height="8"
      />
      <line class="axis" x1={half} x2={half} y1="0" y2="8" />
    </svg>
  );
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

/**
 * @module The playground's script, as browsers get it. It sends the form, shows candidates as they grow, and puts in
 * what the server has rendered when the answer is there. Without it the form works as forms do.
 */

export const playgroundScriptPath = "/playground.js";

/** Texts are put in as text. Only what the server has rendered, the last event, is put in as HTML. */
export const playgroundScript = String.raw`"use strict";
const playground = document.getElementById("playground");
const progress = document.getElementById("progress");
let isUnderWay = false;

playground.addEventListener("submit", (event) => {
  if (!event.target.matches("form.ask")) return;
  event.preventDefault();
  if (!isUnderWay) void ask(event.target);
});

async function ask(form) {
  isUnderWay = true;
  const leaving = new AbortController();
  const live = new Live(form, () => leaving.abort());
  try {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch("/play", { method: "POST", body, signal: leaving.signal });
    if (!response.ok) throw new Error(await reasonOf(response));
    for await (const event of eventsOf(response.body)) live.show(event);
    if (!live.isOver) throw new Error("The connection ended before the answer did. Ask again.");
  } catch (error) {
    live.fail(leaving.signal.aborted ? "Stopped. The message is still there." : error.message);
  } finally {
    isUnderWay = false;
  }
}

async function reasonOf(response) {
  const isJson = response.headers.get("content-type")?.includes("application/json");
  if (isJson) return (await response.json()).error.message;
  return response.status === 401 ? "The session has ended: load the page anew." : "Status " + response.status;
}

/** Events of a stream; comments apart. */
async function* eventsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const line of events.join("\n").split("\n")) if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
  }
}

/** An answer under way, above the form. */
class Live {
  constructor(form, stop) {
    this.form = form;
    this.cards = new Map();
    this.isOver = false;
    this.unit = "";
    for (const old of playground.querySelectorAll(".alert")) old.remove();
    this.before = document.getElementById("result");
    if (this.before !== null) this.before.hidden = true;
    this.columns = element("div", "columns");
    const message = element("div", "card");
    message.append(element("h3", "", "You"), element("div", "text", form.elements.message.value));
    this.section = element("section", "");
    this.section.setAttribute("aria-label", "Candidates as they come");
    this.section.append(message, this.columns);
    form.before(this.section);
    this.button = form.querySelector("button[type=submit]");
    this.button.disabled = true;
    this.stop = element("button", "plain", "Stop");
    this.stop.type = "button";
    this.stop.addEventListener("click", stop);
    this.button.after(this.stop);
    progress.textContent = "Asked.";
  }

  show(event) {
    if (event.type === "begin") this.begin(event);
    else if (event.type === "text") this.card(event.place).text.append(event.text);
    else if (event.type === "standing") this.standing(event);
    else if (event.type === "end") this.end(event);
    else throw new Error(event.message);
  }

  begin({ candidates, unit }) {
    this.unit = unit;
    progress.textContent = candidates === 1 ? "An answer is being written." : candidates + " candidates are being written.";
  }

  standing({ place, text, score, isDropped }) {
    const card = this.card(place);
    card.text.textContent = text;
    card.score = isDropped ? null : score;
    card.note.textContent =
      (isDropped ? "dropped · " : "") + (score === null ? "not scored" : "score " + score.toFixed(3) + this.unit);
    const scores = [...this.cards.values()].flatMap((one) => (one.score === null ? [] : [one.score]));
    for (const one of this.cards.values())
      one.root.classList.toggle("chosen", one.score !== null && one.score === Math.max(...scores));
  }

  card(place) {
    const known = this.cards.get(place);
    if (known !== undefined) return known;
    const card = { root: element("article", "card"), text: element("div", "text"), note: element("p", "quiet"), score: null };
    const name = place === "plain" ? "Plain sampling" : "Candidate " + (place + 1);
    card.root.append(element("h3", "", name), card.text, card.note);
    this.cards.set(place, card);
    const rank = ([other]) => (other === "plain" ? Infinity : other);
    const cards = [...this.cards].sort((a, b) => rank(a) - rank(b)).map(([, { root }]) => root);
    this.columns.insertBefore(card.root, cards[cards.indexOf(card.root) + 1] ?? null);
    return card;
  }

  end({ html }) {
    this.isOver = true;
    playground.innerHTML = html;
    progress.textContent = "The answer is there.";
    playground.querySelector("#message").focus({ preventScroll: true });
  }

  fail(message) {
    if (this.isOver) return;
    this.isOver = true;
    this.section.remove();
    this.stop.remove();
    this.button.disabled = false;
    if (this.before !== null) this.before.hidden = false;
    progress.textContent = "";
    const alert = element("p", "alert", message);
    alert.setAttribute("role", "alert");
    this.form.before(alert);
  }
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  if (className !== "") made.className = className;
  made.textContent = text;
  return made;
}
`;

/** Near negatives: which answers are kept, and that none is made twice. */
import { describe, expect, it } from "vitest";
import {
  type NearNegatives,
  type NearOptions,
  nearNegatives,
  negativeText,
  type PlainAnswer,
} from "../../../src/demonstrations/near-negatives.ts";
import { GatewayError } from "../../../src/types/error.ts";

const ended = (text: string): PlainAnswer => ({ text, finish: "stop" });
const cut = (text: string): PlainAnswer => ({ text, finish: "length" });
const prompt = (id: string) => ({ id, messages: [{ role: "user", content: `${id}?` }] as const, chosen: "Good." });

/** Answers by round; how often each prompt was asked. */
function making(rounds: readonly (readonly PlainAnswer[])[], more: Partial<NearOptions> = {}) {
  const asked: [id: string, count: number, round: number][] = [];
  const noted: NearNegatives[] = [];
  const progress: number[] = [];
  const options: NearOptions = {
    samples: 2,
    concurrency: 1,
    known: new Map(),
    answer: async ({ id }, count, round) => {
      asked.push([id, count, round]);
      return (rounds[round] ?? []).slice(0, count);
    },
    note: async (negatives) => void noted.push(negatives),
    onProgress: (done) => void progress.push(done),
    stop: new AbortController().signal,
    ...more,
  };
  return { options, asked, noted, progress };
}

describe("what an answer shows as a negative", () => {
  it.each([
    ["an answer that ended, without white space around it", ended(" One. Tw\n"), "One. Tw"],
    ["of one that was cut off, the whole sentences", cut("Boil it. Then add 2.5 g of sa"), "Boil it."],
    ["with what closes their quotes and emphasis", cut('He said "**Stop!**" and th'), 'He said "**Stop!**"'],
    ["no number of a list", cut("Mix it.\n\n2. **Stir** slow"), "Mix it."],
    ["no abbreviation's end alone where a later sentence ends", cut("Use e.g. oil. It he"), "Use e.g. oil."],
    ["a sentence that ended where the answer was cut", cut("One. Two."), "One. Two."],
    ["sentences of other scripts", cut("水を飲む。それか"), "水を飲む。"],
    ["whole lines, where there is no sentence", cut("- eggs\n- milk\n- bre"), "- eggs\n- milk"],
    ["nothing, where there is no whole line either", cut("Well, I thi"), null],
    ["no thought", ended("<think>\nGood.\n</think>\n\nOne."), "One."],
    ["no sentence of a thought, where it was cut off there", cut("<think>\nGood. One. T"), null],
    ["nothing, where it is empty", ended(" \n"), null],
    ["nothing, where it is the chosen response", ended(" Good. "), null],
    ["nothing, where it is cut to the chosen response", cut("Good. An"), null],
  ])("%s", (_, answer, expected) => {
    expect(negativeText(answer, "Good.")).toBe(expected);
  });
});

describe("near negatives", () => {
  it("are so many different texts of each prompt, and say how many were cut off", async () => {
    const { options, asked, noted, progress } = making([[ended("A."), cut("B. And")]]);
    const made = await nearNegatives([prompt("x"), prompt("y")], options);
    expect([...made.values()]).toEqual(["x", "y"].map((id) => ({ id, near: ["A.", "B."], cut: 1 })));
    expect(asked).toEqual([
      ["x", 2, 0],
      ["y", 2, 0],
    ]);
    expect(noted).toEqual([...made.values()]);
    expect(progress).toEqual([1, 2]);
  });

  it("are asked for anew where they are empty, the chosen response, or said already: as many as are missing", async () => {
    const { options, asked } = making([[ended("A."), ended("Good.")], [ended("A.")], [ended("")], [ended("B.")]]);
    const made = await nearNegatives([prompt("x")], options);
    expect(made.get("x")?.near).toEqual(["A.", "B."]);
    expect(asked.map(([, count, round]) => [count, round])).toEqual([
      [2, 0],
      [1, 1],
      [1, 2],
      [1, 3],
    ]);
  });

  it("are fewer, or none, where the model says nothing else, and none are not noted", async () => {
    const { options, asked, noted } = making([]);
    const made = await nearNegatives([prompt("x")], options);
    expect(made.get("x")).toEqual({ id: "x", near: [], cut: 0 });
    expect(asked).toHaveLength(4);
    expect(noted).toEqual([]);
  });

  it("are not made again where an earlier run has made them", async () => {
    const known = new Map([["x", { id: "x", near: ["Old."], cut: 0 }]]);
    const { options, asked, noted, progress } = making([[ended("A."), ended("B.")]], { known });
    const made = await nearNegatives([prompt("x"), prompt("y")], options);
    expect(made.get("x")?.near).toEqual(["Old."]);
    expect(asked.map(([id]) => id)).toEqual(["y"]);
    expect(noted.map(({ id }) => id)).toEqual(["y"]);
    expect(progress).toEqual([2]);
  });

  it("begin no further prompt once stopped, and keep what is under way", async () => {
    const stop = new AbortController();
    const { options, noted } = making([], {
      stop: stop.signal,
      answer: async () => {
        stop.abort();
        return [ended("A."), ended("B.")];
      },
    });
    const made = await nearNegatives([prompt("x"), prompt("y")], options);
    expect([...made.keys()]).toEqual(["x"]);
    expect(noted).toHaveLength(1);
  });

  it("fail with the prompt's name where answering fails, and what else is under way is noted", async () => {
    const { options, noted } = making([], {
      concurrency: 2,
      answer: async ({ id }) => {
        if (id === "x") throw new GatewayError("engine_failure", "It died.");
        return [ended("A."), ended("B.")];
      },
    });
    await expect(nearNegatives([prompt("x"), prompt("y"), prompt("z")], options)).rejects.toMatchObject({
      code: "engine_failure",
      message: "x: It died.",
    });
    expect(noted.map(({ id }) => id)).toEqual(["y"]);
  });
});

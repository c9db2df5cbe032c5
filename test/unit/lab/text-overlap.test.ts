import { describe, expect, it } from "vitest";
import { languageOf } from "../../../lab/language.ts";
import { chrf, rougeL } from "../../../lab/text-overlap.ts";

describe("rougeL", () => {
  it.each([
    ["police kill the gunman", 3 / 4],
    ["the gunman kill police", 2 / 4],
    ["the gunman police killed", 2 / 4],
    ["Police killed — the GUNMAN!", 1],
    ["", 0],
    ["…", 0],
  ])("is what Lin (2004) has: %s", (answer, expected) => {
    expect(rougeL(answer, "police killed the gunman")).toBeCloseTo(expected, 12);
  });

  it("weighs precision and recall alike", () => {
    // The longest common subsequence is one word: P = 1, R = 1/3.
    expect(rougeL("testing", "testing one two")).toBeCloseTo(0.5, 12);
    expect(rougeL("testing one two", "testing")).toBeCloseTo(0.5, 12);
    expect(rougeL("answer", "")).toBe(0);
  });
});

describe("chrf", () => {
  it.each([
    [
      "Co nás nejvíc trápí, protože lékaři si vybírají, kdo bude žít a kdo zemře.",
      "Nejvíce smutní jsme z toho, že musíme rozhodovat o tom, kdo bude žít a kdo zemře.",
      39.14078509,
    ],
    [
      "Nebo prostě nemají vybavení, které by jim pomohlo, uvedli lékaři.",
      "A někdy nemáme ani potřebný materiál, abychom jim pomohli, popsali lékaři.",
      31.22557079,
    ],
    [
      "Lapali po dechu, jejich životy skončily dřív, než skutečně začaly.",
      "Lapali po dechu a pak jejich život skončil - dřív, než skutečně mohl začít, připomněli.",
      57.15704367,
    ],
    ["a b c", "abc", 50],
    ["aa", "ab", 8.33333333],
    ["abcdefg", "hijklmnop", 0],
    ["", "reference", 0],
    ["Niemand hat die Absicht, eine Mauer zu errichten", "Niemand hat die Absicht, eine Mauer zu errichten", 100],
  ])("is what sacrebleu's tests have: %s", (answer, reference, expected) => {
    expect(chrf(answer, reference) * 100).toBeCloseTo(expected, 6);
  });
});

describe("languageOf", () => {
  it.each([
    ["de", "Der Zug nach Köln fährt um acht Uhr, bitte seien Sie pünktlich."],
    ["de", "Ich wünsche dir einen schönen Tag!"],
    ["en", "The train leaves at eight, so please be on time."],
    ["en", "Sure! Boil the eggs for ten minutes."],
    ["es", "El tren sale a las ocho, así que llegue a tiempo."],
    ["es", "¡Buenos días! ¿Cómo estás?"],
    ["fr", "Le train part à huit heures, soyez à l'heure."],
    ["fr", "Bonjour, je m'appelle Anna et j'habite à Lyon."],
    ["it", "Il treno parte alle otto, quindi arrivate in tempo."],
    ["it", "Buongiorno, come stai? Oggi è una bella giornata."],
    ["nl", "De trein vertrekt om acht uur, dus wees op tijd."],
    ["nl", "Ik heb vandaag geen tijd, maar morgen wel."],
    ["pt", "O trem parte às oito, então chegue a tempo."],
    ["pt", "Bom dia! Você está bem? Não tenho tempo hoje."],
  ])("tells %s: %s", (language, text) => {
    expect(languageOf(text)).toBe(language);
  });

  it("says nothing of what it does not know, or cannot decide", () => {
    expect(languageOf("")).toBeNull();
    expect(languageOf("42 — 43")).toBeNull();
    expect(languageOf("Pneumonoultramicroscopic")).toBeNull();
    expect(languageOf("der the")).toBeNull();
  });
});

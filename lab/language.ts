/** @module Which of seven languages a text is in, by its function words and the letters that only some have. */

export const languages = ["de", "en", "es", "fr", "it", "nl", "pt"] as const;
export type Language = (typeof languages)[number];

/** The most frequent words that say little; what stands before an apostrophe is a word of its own. */
const functionWords: Readonly<Record<Language, string>> = {
  de: "der die das den dem des ein eine einen einem einer und oder aber nicht ist sind war wird werden wurde haben hat habe hatte kann können muss soll sollten ich du er sie es wir ihr mir mich dir dich ihnen sich mit auf für von zu zum zur im am an aus bei nach über unter vor wenn weil dass wie was wer wo auch noch nur schon sehr mehr bitte danke guten heute morgen kein keine mein dein sein ihre unser gut jeder jede als bis durch hier dort dann denn",
  en: "the a an and or but not is are was were be been being have has had do does did can could will would shall should may might must i you he she it we they me him her us them my your his its our their this that these those of to in on at by for from with about into over under after before if because as than so what who where when how why there here please thanks good very more no yes all any some every each just only also don t s re ll ve",
  es: "el la los las un una unos unas y o pero no es son era fue ser está están estar hay ha han haber tiene tienen tener puede pueden hacer hace yo tú él ella ellos nosotros usted me te se le les nos lo mi tu su sus mis de del a al en con por para sin sobre entre hasta desde que qué quién cuándo dónde cómo cuál porque si sí como más muy también ya esto esta este estas estos eso esa todo todos todas cada buenos días gracias favor hola bien",
  fr: "le la les un une des du de et ou mais ne pas n est sont était être a ont avoir ai avez avons peut peuvent faire fait je tu il elle nous vous ils elles on me te se lui leur leurs mon ma mes ton ta tes son sa ses notre votre vos ce cet cette ces à au aux en dans sur sous avec pour par sans entre chez qui que quoi où quand comment pourquoi parce si comme plus très aussi bien tout tous toute toutes chaque bonjour merci plaît l d j c s qu m t",
  it: "il lo la i gli le un uno una e o ma non è sono era essere ha hanno ho hai avere può possono fare fa io tu lui lei noi voi loro mi ti si ci vi mio mia tuo tua suo sua nostro di del della dello dei degli delle a al alla allo ai alle da dal dalla in nel nella nei nelle con su sul sulla per tra fra che chi cosa dove quando come perché se più molto anche già questo questa questi queste quello quella tutto tutti tutte ogni buongiorno grazie favore ciao bene l c d un dell all nell",
  nl: "de het een en of maar niet is zijn was waren wordt worden werd heb hebt heeft hebben had kan kunnen moet moeten zal zullen zou ik jij je hij zij ze wij we jullie u mij me jou hem haar ons hen hun mijn jouw dit dat deze die van naar in op aan bij voor uit met over onder na als omdat dan zo wat wie waar wanneer hoe waarom er hier daar ook nog al heel erg meer geen alle elke elk alsjeblieft alstublieft bedankt dank goed goede te om door tot tegen veel",
  pt: "o a os as um uma uns umas e ou mas não é são era foi ser está estão estar há tem têm ter pode podem fazer faz eu tu você vocês ele ela eles elas nós me te se lhe nos meu minha teu tua seu sua seus suas de do da dos das em no na nos nas com por pelo pela para sem sobre entre até desde que quem quando onde como qual porque por se sim mais muito também já isto isso este esta esse essa todo todos todas tudo cada bom dia obrigado obrigada favor olá bem ao à aos às",
};

/** Letters of few of them. */
const ownLetters: Readonly<Record<string, Language>> = {
  ß: "de",
  ñ: "es",
  "¿": "es",
  "¡": "es",
  ã: "pt",
  õ: "pt",
  œ: "fr",
  ê: "fr",
};

/** Word → its languages. */
const languagesOf = new Map<string, Language[]>();
for (const language of languages)
  for (const word of new Set(functionWords[language].split(" ")))
    languagesOf.set(word, [...(languagesOf.get(word) ?? []), language]);

/**
 * The language whose function words a text has most of; a word of several languages counts for each in proportion.
 * Null where no word is known, or two languages have as many. `docs/evaluation.md` says how often it is right.
 *
 * @example languageOf("Der Zug kommt um acht."); // "de"
 */
export function languageOf(text: string): Language | null {
  const points = new Map<Language, number>();
  const add = (language: Language, amount: number): void => {
    points.set(language, (points.get(language) ?? 0) + amount);
  };
  const lower = text.normalize("NFC").toLowerCase();
  for (const word of lower.split(/[^\p{L}]+/u)) {
    const known = languagesOf.get(word) ?? [];
    for (const language of known) add(language, 1 / known.length);
  }
  for (const letter of lower) {
    const language = ownLetters[letter];
    if (language !== undefined) add(language, 1);
  }
  const [first, second] = [...points].toSorted(([, a], [, b]) => b - a);
  if (first === undefined || (second !== undefined && first[1] - second[1] < 1e-9)) return null;
  return first[0];
}

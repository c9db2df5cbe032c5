/**
 * @module Forgetting a user. What is deleted is deleted; what comes later, because it waited in some gateway or its
 * request was still under way, finds the user's mark and is not taken, whoever writes it. So does nothing that belongs
 * to an answer which is not there.
 */

/** Of a pseudonym the first digits: who reads the database learns no more than that somebody was forgotten. */
const markDigits = 8;

export const forgottenTables: readonly string[] = [
  "CREATE TABLE forgotten (user TEXT PRIMARY KEY, at INTEGER NOT NULL)",
];

/** Whatever belongs to an answer. */
const parts = ["texts", "request_settings", "feedback", "counterfactuals", "judgements"] as const;

export const forgottenTriggers: readonly string[] = [
  `CREATE TRIGGER answers_forgotten BEFORE INSERT ON answers WHEN NEW.user IS NOT NULL
    AND EXISTS (SELECT 1 FROM forgotten WHERE user = substr(NEW.user, 1, ${markDigits}) AND at >= NEW.at) BEGIN SELECT RAISE(IGNORE); END`,
  ...parts.map(
    (table) => `CREATE TRIGGER ${table}_of_nothing BEFORE INSERT ON ${table}
      WHEN NOT EXISTS (SELECT 1 FROM answers WHERE id = NEW.answer) BEGIN SELECT RAISE(IGNORE); END`,
  ),
];

/** A statement that marks the user: SQL of the pseudonym, and of the time in ms. */
export function tombstone(user: string, now: string): string {
  return `INSERT INTO forgotten VALUES (substr(${user}, 1, ${markDigits}), ${now}) ON CONFLICT (user) DO UPDATE SET at = max(at, excluded.at)`;
}

/** `ids`: SELECT of answers' ids. Answers go last, since the others are found by them. */
export function deleteStatements(ids: string): string[] {
  return [
    ...parts.map((table) => `DELETE FROM ${table} WHERE answer IN (${ids})`),
    `DELETE FROM answers WHERE id IN (${ids})`,
  ];
}

/**
 * The same as SQL to run by hand, where no program of ours reaches the database; "now" is when it is run. `user`: the
 * pseudonym.
 */
export function forgetSql(user: string): string {
  const statements = [
    tombstone(`'${user}'`, "unixepoch() * 1000 + 999"),
    ...deleteStatements(`SELECT id FROM answers WHERE user = '${user}'`),
  ];
  return statements.map((sql) => `${sql};\n`).join("");
}

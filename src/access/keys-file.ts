/**
 * @module API keys from a file (hashes), read again when it changes, and from variables (the keys themselves, hashed at
 * once).
 */
import { randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { readText } from "../system/text-files.ts";
import { GatewayError, messageOf } from "../types/error.ts";
import type { Report } from "../types/operator.ts";
import { type ApiKey, hashKey } from "./access.ts";
import { isNoKey, type KeysState, parseKeys } from "./api-keys.ts";

const keyBytes = 32;
/** A file that has not changed for so long is taken to be whole. */
const settleMs = 50;

/** As the environment has them. */
export interface KeySettings {
  readonly ICDPO_KEYS_FILE?: string | undefined;
  readonly ICDPO_API_KEYS?: string | undefined;
  readonly ICDPO_ADMIN_KEYS?: string | undefined;
}

/**
 * The keys that count now. A file that is wrong changes nothing: the keys of the last good one go on counting, and the
 * complaint stays until it is mended.
 */
export class KeyRing {
  readonly #settings: KeySettings;
  readonly #report: Report;
  #keys: readonly ApiKey[] | null = null;
  /** The file's text that the keys are of, and one that was refused. */
  #inForce: string | null = null;
  #refused: string | null = null;
  /** What has been said of the file's mode. */
  #warned = "";
  #state: KeysState = { loadedAt: 0, reloads: 0, error: null };

  private constructor(settings: KeySettings, report: Report) {
    this.#settings = settings;
    this.#report = report;
  }

  /** Throws "configuration", naming file, line and field, or what is wrong with the file's mode. */
  static async open(settings: KeySettings, report: Report): Promise<KeyRing> {
    const ring = new KeyRing(settings, report);
    await ring.#take(await ring.#read());
    if (ring.#keys?.length === 0)
      report(`${settings.ICDPO_KEYS_FILE} holds no key: nobody can use the gateway until it does.`);
    return ring;
  }

  /** Null: there are none, and never will be. */
  get keys(): readonly ApiKey[] | null {
    return this.#keys;
  }

  get state(): KeysState {
    return this.#state;
  }

  /** Takes the file's keys into use if it has changed. Never throws. */
  async look(): Promise<void> {
    if (this.#settings.ICDPO_KEYS_FILE === undefined) return;
    try {
      const text = await this.#read();
      if (text === this.#inForce) return this.#complain(null);
      if (text === this.#refused) return;
      await pause(settleMs);
      // It is still being written: the next look takes it.
      if ((await this.#read()) !== text) return;
      this.#refused = text;
      await this.#take(text);
      this.#state = { ...this.#state, reloads: this.#state.reloads + 1, error: null };
      this.#report(`keys reloaded: ${this.#keys?.length ?? 0} count now`);
    } catch (error) {
      this.#complain(messageOf(error));
    }
  }

  #complain(complaint: string | null): void {
    if (this.#state.error === complaint) return;
    this.#state = { ...this.#state, error: complaint };
    if (complaint === null) this.#report("The keys file is again what is in force.");
    else
      this.#report(
        `The keys file is not in force as it is now; keys that were taken out of it still count:\n${complaint}`,
      );
  }

  /** Null where there is no file. */
  async #read(): Promise<string | null> {
    const file = this.#settings.ICDPO_KEYS_FILE;
    if (file === undefined) return null;
    const text = await readText(file, "ICDPO_KEYS_FILE");
    const { mode, uid } = await stat(file);
    const complaint = modeComplaint(file, mode, uid === process.getuid?.());
    if (complaint?.isRefused) throw new GatewayError("configuration", complaint.text);
    if (complaint && complaint.text !== this.#warned) this.#report(complaint.text);
    this.#warned = complaint?.text ?? "";
    return text;
  }

  async #take(text: string | null): Promise<void> {
    const { ICDPO_KEYS_FILE: name = "", ICDPO_API_KEYS: variable = "", ICDPO_ADMIN_KEYS: admins = "" } = this.#settings;
    this.#keys = await parseKeys({ file: text === null ? null : { name, text }, variable, admins });
    this.#inForce = text;
    this.#state = { ...this.#state, loadedAt: Math.floor(Date.now() / 1000) };
  }
}

const [othersWrite, othersRead] = [0o022, 0o044];

/**
 * As sshd has it with authorized_keys, which holds no secrets either: whoever can write the file can let anybody in, so
 * that is refused. Hashes of random keys may be read without harm, but names and limits are nobody's business: that is
 * told, where who runs the gateway owns the file.
 */
export function modeComplaint(
  file: string,
  mode: number,
  isOwner: boolean,
): { readonly text: string; readonly isRefused: boolean } | null {
  if (process.platform === "win32") return null;
  const shown = (mode & 0o777).toString(8).padStart(4, "0");
  if ((mode & othersWrite) !== 0)
    return {
      isRefused: true,
      text: `${file} (mode ${shown}) can be written by others, who could let themselves in: chmod go-w ${file}`,
    };
  if (isOwner && (mode & othersRead) !== 0)
    return { isRefused: false, text: `${file} (mode ${shown}) can be read by others: chmod 600 ${file}` };
  return null;
}

export interface KeyWatcher {
  close(): void;
}

/** Looks at the file, rather than being told: that works on every file system. */
export function watchKeys(ring: KeyRing, everyMs: number): KeyWatcher {
  let isClosed = false;
  const watch = async (): Promise<void> => {
    for (await pause(everyMs, undefined, { ref: false }); !isClosed; await pause(everyMs, undefined, { ref: false }))
      await ring.look();
  };
  void watch();
  return {
    close() {
      isClosed = true;
    },
  };
}

/** A new key, and what the file holds of it. Throws "invalid_request" where the name looks like a key. */
export async function createKey(
  name: string,
): Promise<{ readonly key: string; readonly entry: { readonly name: string; readonly hash: string } }> {
  if (!isNoKey(name))
    throw new GatewayError(
      "invalid_request",
      "That name looks like a key; names are shown in logs and metrics. Choose another one.",
    );
  const key = `icdpo_${randomBytes(keyBytes).toString("base64url")}`;
  return { key, entry: { name, hash: `sha256:${Buffer.from(await hashKey(key)).toString("hex")}` } };
}

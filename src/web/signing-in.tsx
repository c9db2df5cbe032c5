/** @module Signing in with a key, and out again. A browser keeps a session in place of the key. */
import type { Context, MiddlewareHandler } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { z } from "zod";
import { admit, identify } from "../access/access.ts";
import type { AppDependencies } from "../gateway/dependencies.ts";
import { GatewayError } from "../types/error.ts";
import { readForm } from "./form.ts";
import { page } from "./layout.tsx";
import { SignIn } from "./sign-in-page.tsx";

const cookie = "icdpo_session";
const keySchema = z.object({ key: z.string().max(500) });

/** Where there are keys, pages are for those who have brought one. What they show is theirs, and kept nowhere. */
export function signedIn(dependencies: AppDependencies): MiddlewareHandler {
  return async (c, next) => {
    c.header("cache-control", "no-store");
    const keys = dependencies.keys();
    const session = keys === null ? undefined : sessionOf(c);
    const caller = session === undefined ? undefined : await dependencies.sessions.find(session, keys ?? []);
    if (keys !== null && caller === undefined) return c.html(page({ title: "Sign in" }, <SignIn error={null} />), 401);
    admit(c, caller ?? null, dependencies);
    await next();
    return;
  };
}

export function signIn({ keys, sessions, unixTime }: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const { key: given } = await readForm(c, keySchema);
    const caller = await identify(keys(), `Bearer ${given.trim()}`, unixTime()).catch((error: unknown) => {
      if (error instanceof GatewayError && error.code === "invalid_api_key") return null;
      throw error;
    });
    const key = keys()?.find(({ name }) => name === caller?.name);
    if (key === undefined)
      return c.html(page({ title: "Sign in" }, <SignIn error="That key is not known here." />), 401);
    const attributes = { httpOnly: true, sameSite: "Strict", path: "/" } as const;
    setCookie(
      c,
      cookie,
      await sessions.open(key),
      speaksTls(c) ? { ...attributes, secure: true, prefix: "host" } : attributes,
    );
    return c.redirect("/", 303);
  };
}

export function signOut({ keys, sessions }: AppDependencies) {
  return async (c: Context): Promise<Response> => {
    const session = sessionOf(c);
    if (session !== undefined) await sessions.close(session, keys() ?? []);
    deleteCookie(c, cookie);
    deleteCookie(c, cookie, { prefix: "host" });
    return c.redirect("/", 303);
  };
}

/** Where the browser speaks TLS, only the cookie that no other host, and nothing without TLS, can have set. */
function sessionOf(c: Context): string | undefined {
  return getCookie(c, cookie, "host") ?? (speaksTls(c) ? undefined : getCookie(c, cookie));
}

/**
 * A proxy in front may be who speaks TLS: it says so, or the page's own origin does. Whoever lies only keeps the cookie
 * from himself.
 */
function speaksTls(c: Context): boolean {
  const [forwarded] = (c.req.header("x-forwarded-proto") ?? "").split(",");
  return (
    new URL(c.req.url).protocol === "https:" ||
    forwarded?.trim() === "https" ||
    c.req.header("origin")?.startsWith("https:") === true
  );
}

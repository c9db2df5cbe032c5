/** @module Asks for an API key, where the gateway has keys. */
import { Alert } from "./layout.tsx";

export function SignIn({ error }: { readonly error: string | null }) {
  return (
    <form class="ask card" method="post" action="/sign-in">
      {error !== null && <Alert>{error}</Alert>}
      <div>
        <label for="key">API key</label>
        <input id="key" name="key" type="password" autocomplete="current-password" required />
      </div>
      <div>
        <button type="submit">Sign in</button>
      </div>
      <p class="quiet">
        The key is not kept in this browser: a session of twelve hours is, until the browser is closed or you sign out.
      </p>
    </form>
  );
}

/** @module What all pages have around them. */
import { html } from "hono/html";
import type { Child } from "hono/jsx";

const sections = [
  ["/", "Playground"],
  ["/experiments", "Experiments"],
  ["/policies", "Policies"],
  ["/status", "Status"],
] as const;

export interface LayoutProps {
  readonly title: string;
  /** The section's path; absent on pages outside the sections. */
  readonly section?: (typeof sections)[number][0];
  /** Somebody has signed in, and can sign out. */
  readonly isSignedIn?: boolean;
  /** The path of what runs in the page; absent: nothing does. */
  readonly script?: string;
  readonly children?: Child;
}

function Layout({ title, section, isSignedIn = false, script, children }: LayoutProps) {
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>{`${title} · ICDPO gateway`}</title>
        <link rel="icon" href="/icon.svg" type="image/svg+xml" />
        <link rel="stylesheet" href="/style.css" />
        {script !== undefined && <script src={script} defer />}
      </head>
      <body>
        <a class="skip" href="#content">
          Skip to the content
        </a>
        <header>
          <div>
            <strong>ICDPO gateway</strong>
            <nav aria-label="Sections">
              <ul>
                {sections.map(([path, name]) => (
                  <li>
                    <a href={path} {...(path === section && { "aria-current": "page" })}>
                      {name}
                    </a>
                  </li>
                ))}
              </ul>
            </nav>
            {isSignedIn && (
              <form method="post" action="/sign-out">
                <button class="plain" type="submit">
                  Sign out
                </button>
              </form>
            )}
          </div>
        </header>
        <main id="content">
          <h1>{title}</h1>
          {children}
        </main>
      </body>
    </html>
  );
}

/** A whole document. */
export function page(props: LayoutProps, children: Child) {
  return html`<!doctype html>${<Layout {...props}>{children}</Layout>}`;
}

export function Alert({ children }: { readonly children?: Child }) {
  return (
    <p class="alert" role="alert">
      {children}
    </p>
  );
}

export function Facts({ facts }: { readonly facts: Readonly<Record<string, string | number>> }) {
  return (
    <dl class="facts">
      {Object.entries(facts).map(([name, value]) => (
        <div>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** @module The page's style sheet: dark and light, wide and narrow, with the reader's own fonts. */
export const styleSheet = `
:root {
  color-scheme: light dark;
  --ground: light-dark(#fbfaf8, #16181b);
  --raised: light-dark(#ffffff, #1f2226);
  --ink: light-dark(#1d2125, #e8e6e3);
  --quiet: light-dark(#5b626a, #a3a9b0);
  --line: light-dark(#d9d6d0, #3a3f45);
  --accent: light-dark(#0b6457, #5fd3bf);
  --on-accent: light-dark(#ffffff, #10211e);
  --plus: light-dark(#0b6457, #5fd3bf);
  --minus: light-dark(#a3432a, #f0957c);
  --warn: light-dark(#8a5a00, #f2c46d);
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
a { color: var(--accent); }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: 1rem; background: var(--raised); padding: .5rem; z-index: 1; }
header { border-bottom: 1px solid var(--line); background: var(--raised); }
header > div, main, footer { max-width: 72rem; margin: 0 auto; padding: .8rem 1.2rem; }
header > div { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; align-items: baseline; }
header strong { font-size: 1.05rem; letter-spacing: .01em; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; margin: 0; padding: 0; }
nav a { display: inline-block; padding: .35rem 0; text-decoration: none; border-bottom: 2px solid transparent; }
nav a[aria-current] { border-color: var(--accent); color: var(--ink); }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 1.2rem 0 .6rem; }
h2 { font-size: 1.15rem; margin: 1.8rem 0 .5rem; }
.card > h2 { margin-top: 0; }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { max-width: 44rem; margin: .5rem 0; }
.quiet { color: var(--quiet); font-size: .9rem; }
.card { background: var(--raised); border: 1px solid var(--line); border-radius: .5rem; padding: .9rem 1rem; margin: .8rem 0; }
.card.chosen { border-color: var(--accent); border-width: 2px; }
.columns { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)); }
.columns > .card { margin: 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
.mark { display: inline-block; padding: 0 .5rem; border-radius: 1rem; background: var(--accent); color: var(--on-accent); font-size: .8rem; }
.alert { border-left: .3rem solid var(--warn); padding: .6rem .9rem; background: var(--raised); white-space: pre-wrap; overflow-wrap: anywhere; }
form.ask { display: grid; gap: .8rem; }
label { display: block; font-weight: 600; margin-bottom: .2rem; }
label.inline { font-weight: 400; display: inline-flex; gap: .5rem; align-items: center; margin: 0; }
textarea, select, input[type=password], input[type=text] {
  width: 100%; font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--quiet); border-radius: .35rem; padding: .5rem;
}
textarea { min-height: 5.5rem; resize: vertical; }
button { font: inherit; font-weight: 600; padding: .5rem 1.1rem; border: 1px solid var(--accent); border-radius: .35rem; background: var(--accent); color: var(--on-accent); cursor: pointer; min-height: 2.6rem; }
button:disabled { opacity: .5; cursor: default; }
button.plain { background: transparent; color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.row { display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end; }
.row > .grow { flex: 1 1 14rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; color: var(--quiet); padding: .3rem 0; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
td code { white-space: nowrap; }
code, pre { font: .88em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; }
svg { display: block; width: 100%; height: auto; }
svg.bar { height: .8rem; }
svg .plus { fill: var(--plus); } svg .minus { fill: var(--minus); }
svg .band { fill: var(--accent); opacity: .18; } svg .curve { fill: none; stroke: var(--accent); stroke-width: 2; }
svg .axis { stroke: var(--quiet); stroke-width: 1; } svg .end { text-anchor: end; } svg text { fill: var(--quiet); font: 13px system-ui, sans-serif; }
details > summary { cursor: pointer; padding: .3rem 0; }
.verdict { font-size: 1.1rem; max-width: 50rem; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(9rem, 100%), 1fr)); gap: .6rem; margin: .6rem 0; }
dl.facts div { background: var(--raised); border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .7rem; }
dl.facts dt { color: var(--quiet); font-size: .85rem; } dl.facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
`;

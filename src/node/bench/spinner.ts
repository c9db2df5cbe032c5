/** @module A process that uses a core up, until its parent ends it or is gone. */

const sliceMs = 20;

function spin(): void {
  const until = performance.now() + sliceMs;
  while (performance.now() < until);
  setImmediate(spin);
}

process.on("disconnect", () => process.exit(0));
spin();

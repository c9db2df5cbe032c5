/** The engine's process without a model, seen from outside. */
export const childModule = new URL("./scripted-child.mjs", import.meta.url);

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

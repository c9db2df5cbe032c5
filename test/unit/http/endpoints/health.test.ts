/** What /health and /ready show of reward models. */
import { describe, expect, it } from "vitest";
import { gateway, json } from "../../scripted-gateway.ts";

describe.each(["/health", "/ready"])("%s", (path) => {
  it("shows the reward models that are needed, and is no less well where one is away", async () => {
    const rewardStates = async () => ({ judge: { status: "unreachable" } });
    const { app } = await gateway({}, { rewardStates });
    const response = await app.request(path);
    expect(response.status).toBe(200);
    expect((await json(response)).rewards).toEqual({ judge: { status: "unreachable" } });
  });

  it("says nothing of them where there are none", async () => {
    const { app } = await gateway();
    expect(await json(await app.request(path))).not.toHaveProperty("rewards");
  });
});

/** @module Records where nothing is recorded. */
import { GatewayError } from "../types/error.ts";
import type { RecordStore } from "./record.ts";

/** `reason`: why, or what to do about it. */
export function withoutRecords(reason: string): RecordStore {
  const off = (code: "answer_not_found" | "experiment_not_found"): GatewayError =>
    new GatewayError(code, `This gateway keeps no records (${reason}).`);
  return {
    keepsText: false,
    answer() {},
    counterfactual() {},
    feedback: () => Promise.reject(off("answer_not_found")),
    report: () => Promise.reject(off("experiment_not_found")),
    state: () => ({ status: "off", error: null, written: 0, waiting: 0, lost: 0 }),
  };
}

export const noStore = withoutRecords("ICDPO_DATABASE=off");

/** @module Records where nothing is recorded. */
import { GatewayError } from "../types/error.ts";
import type { RecordStore } from "./record.ts";

export const noStore: RecordStore = {
  keepsText: false,
  answer() {},
  counterfactual() {},
  feedback: () => Promise.reject(off("answer_not_found")),
  report: () => Promise.reject(off("experiment_not_found")),
  state: () => ({ status: "off", error: null, written: 0, waiting: 0, lost: 0 }),
};

function off(code: "answer_not_found" | "experiment_not_found"): GatewayError {
  return new GatewayError(code, "This gateway keeps no records (ICDPO_DATABASE=off).");
}

/**
 * @module What every answer must be, whatever was asked: whole, of OpenAI's or Anthropic's shape, and no fault of the
 * gateway's own.
 */
export interface Given {
  readonly status: number;
  /** Its content type. */
  readonly type: string;
  /** All of it. */
  readonly text: string;
}

/** Of what a stream may say in its last event; the rest is the gateway's own fault. */
const statusOfCode: Readonly<Record<string, number>> = {
  engine_unavailable: 503,
  timeout: 503,
  shutting_down: 503,
  request_cancelled: 499,
};

/**
 * As Anthropic's errors say it. What it calls an error of its API is an engine that is away, or the gateway's own
 * fault: the log tells which.
 */
const statusOfType: Readonly<Record<string, number>> = { timeout_error: 504, overloaded_error: 529, api_error: 503 };

interface StreamedData {
  readonly type?: string;
  readonly error?: { readonly code?: string | null; readonly type?: string };
  readonly response?: { readonly error: { readonly code: string } | null };
}

/** The status of a whole stream of events by how it ended. */
export function endOfStream(text: string): number {
  const data = text
    .split("\n")
    .filter((line) => line.startsWith("data: "))
    .map((line) => line.slice("data: ".length));
  const last = data.at(-1) ?? "";
  if (last === "[DONE]") return 200;
  const { type, error, response } = JSON.parse(last) as StreamedData;
  if (type === "response.completed" || type === "response.incomplete" || type === "message_stop") return 200;
  if (type === "error" && error?.code === undefined) return statusOfType[error?.type ?? ""] ?? 500;
  return statusOfCode[(error ?? response?.error)?.code ?? ""] ?? 500;
}

/** What is wrong with an answer of the API or of a page; null where it is as it must be, refusals included. */
export function complaintAbout({ status, type, text }: Given): string | null {
  const told = `${status} ${type} ${text.slice(0, 500)}`;
  try {
    // There is no room for its body now: a refusal, not a fault.
    if (status === 503 && text.includes('"out_of_room"')) return null;
    if (status >= 500) return `A fault: ${told}`;
    if (type.startsWith("text/event-stream")) {
      if (!text.endsWith("\n\n")) return `A stream that ends in the middle: ${status} … ${text.slice(-500)}`;
      return endOfStream(text) >= 500 ? `A stream that ends in a fault: … ${text.slice(-500)}` : null;
    }
    if (!type.startsWith("application/json")) return null;
    const body = JSON.parse(text) as { readonly type?: string; readonly error?: Record<string, unknown> };
    if (status < 400) return null;
    const { message, type: kind } = body.error ?? {};
    const isAnthropics = body.type === "error" && "request_id" in body;
    const isShaped =
      typeof message === "string" &&
      message !== "" &&
      typeof kind === "string" &&
      (isAnthropics || ("param" in (body.error ?? {}) && "code" in (body.error ?? {})));
    return isShaped ? null : `An error of another shape: ${told}`;
  } catch (error) {
    return `Cannot be read (${error}): ${told}`;
  }
}

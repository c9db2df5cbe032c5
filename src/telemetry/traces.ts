/**
 * @module OpenTelemetry traces: a span for each request, one for each of its stages. Sent only where a collector is
 * named.
 */
import { type Attributes, context, SpanKind, SpanStatusCode, type Tracer, trace } from "@opentelemetry/api";
import { inTime } from "../async/pause.ts";
import type { RequestRecord } from "../gateway/observation.ts";
import type { Recorder } from "./telemetry.ts";

export interface Traces extends Recorder {
  /** Sends what is waiting. */
  close(): Promise<void>;
}

const closeMs = 2_000;

/** Endpoint, headers and service name are the exporter's own settings (OTEL_…). */
export async function openTraces(environment: NodeJS.ProcessEnv, version: string): Promise<Traces | null> {
  if (!environment["OTEL_EXPORTER_OTLP_ENDPOINT"] && !environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]) return null;
  // Loaded only where traces are wanted.
  const [{ OTLPTraceExporter }, { BatchSpanProcessor, TracerProvider }, { resourceFromAttributes }] = await Promise.all(
    [
      import("@opentelemetry/exporter-trace-otlp-http"),
      import("@opentelemetry/sdk-trace"),
      import("@opentelemetry/resources"),
    ],
  );
  const name = environment["OTEL_SERVICE_NAME"] ?? "icdpo-gateway";
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ "service.name": name, "service.version": version }),
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
  });
  const tracer = provider.getTracer("icdpo-gateway", version);
  return {
    record: (record) => writeSpans(tracer, record),
    close: () => inTime(provider.shutdown(), closeMs, () => {}).catch(() => {}),
  };
}

function writeSpans(tracer: Tracer, record: RequestRecord): void {
  const { method, path, startedAt, ms, status, stages } = record;
  const options = { kind: SpanKind.SERVER, startTime: startedAt, attributes: attributesOf(record) };
  const span = tracer.startSpan(`${method} ${path}`, options, parentOf(record.traceparent));
  const inside = trace.setSpan(context.active(), span);
  for (const stage of stages)
    tracer.startSpan(stage.stage, { startTime: stage.startedAt }, inside).end(stage.startedAt + stage.ms);
  if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR, message: record.error ?? String(status) });
  span.end(startedAt + ms);
}

/** By the conventions for HTTP servers and for generative models, where there are any. */
function attributesOf({ id, method, path, status, error, route, policy, ...facts }: RequestRecord): Attributes {
  const attributes = {
    "http.request.method": method,
    "http.route": path,
    "http.response.status_code": status,
    "error.type": error,
    "gen_ai.request.model": route,
    "gen_ai.usage.input_tokens": facts.promptTokens,
    "gen_ai.usage.output_tokens": facts.completionTokens,
    "icdpo.request_id": id,
    "icdpo.policy": policy,
    "icdpo.candidates": facts.candidates,
    "icdpo.score": facts.score,
    "icdpo.margin": facts.margin,
    "icdpo.fallback": facts.fallback,
  };
  return Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== undefined)) as Attributes;
}

/** The caller's span, by W3C's `traceparent`. */
function parentOf(traceparent: string | undefined) {
  const [, traceId, spanId, flags] =
    /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/u.exec(traceparent ?? "") ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return context.active();
  return trace.setSpanContext(context.active(), {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16),
    isRemote: true,
  });
}

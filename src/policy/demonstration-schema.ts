/** @module What stands in demos/*.jsonl. */
import { z } from "zod";

export const demonstrationMessagesSchema = z
  .array(
    z.strictObject({
      role: z.enum(["user", "assistant"], "demonstrations hold user and assistant turns only"),
      content: z.string().min(1),
    }),
  )
  .min(1)
  .refine((messages) => messages.at(-1)?.role === "user", "must end with a user turn");

export const mostNearNegatives = 16;

export const nearNegativesSchema = z.array(z.string().min(1)).min(1).max(mostNearNegatives);

export const demonstrationSchema = z.strictObject({
  id: z.string().min(1),
  messages: demonstrationMessagesSchema,
  chosen: z.string().min(1),
  rejected: z.string().min(1).optional(),
  near: nearNegativesSchema.optional(),
  source: z.string().optional(),
});

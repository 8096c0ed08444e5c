/** Moments in our objects: RFC 3339 text in the API, milliseconds since the epoch in records. */
import { z } from "zod";
import { ruled } from "./rules.ts";

const RFC3339 = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$/;

/** Schema of a moment; it parses to the text, which {@link parseTimestamp} turns into milliseconds. */
export function timestamp(description: string) {
  return ruled(
    z
      .string()
      .max(35)
      .regex(RFC3339)
      .refine((text) => !Number.isNaN(Date.parse(text)))
      .describe(description)
      .meta({ format: "date-time" }),
    "must be a time of RFC 3339",
    "write for example 2026-01-31T12:00:00Z",
  );
}

/** Milliseconds since the epoch of a text that {@link timestamp} has accepted. */
export function parseTimestamp(text: string): number {
  return Date.parse(text);
}

/** The text of milliseconds since the epoch, from the year 0 to 9999. */
export function formatTimestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

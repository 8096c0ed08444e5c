/** Which requests may be sent again, and when. */
import { KubeApiError, KubeError } from "./errors.ts";

/** Attempts of one request, the first included. */
const maxAttempts = 4;
/** The longest that a server's `Retry-After` is honoured within a request (ms). */
const longestAsked = 10_000;

/**
 * How long to wait before a request is sent again (ms), or undefined when it must not be. A 429 was refused before anything
 * was done; a lost or refused connection says nothing about that, so only reading is repeated after one.
 * @param attempt 1 for the first
 * @param random 0 inclusive to 1 exclusive
 */
export function retryDelay(method: string, error: unknown, attempt: number, random: number): number | undefined {
  if (attempt >= maxAttempts) return undefined;
  const spread = 100 * 2 ** attempt * (0.5 + random);
  if (error instanceof KubeApiError) {
    const asked = error.retryAfterMilliseconds;
    const busy = error.status === 429 || (method === "GET" && error.status === 503 && asked !== undefined);
    if (!busy || (asked ?? 0) > longestAsked) return undefined;
    // Many were told the same number of seconds.
    return (asked ?? 0) + spread;
  }
  return method === "GET" && error instanceof KubeError && error.code === "KUBE_UNREACHABLE" ? spread : undefined;
}

/**
 * String formats that CustomResourceDefinitions may name; unknown formats are ignored, as in Kubernetes.
 */
import { isIP } from "node:net";

function isCidr(value: string): boolean {
  const slash = value.lastIndexOf("/");
  const version = isIP(value.slice(0, Math.max(slash, 0)));
  const length = value.slice(slash + 1);
  return version !== 0 && /^\d{1,3}$/.test(length) && Number(length) <= (version === 4 ? 32 : 128);
}

const checks: Record<string, (value: string) => boolean> = {
  ipv4: (value) => isIP(value) === 4,
  ipv6: (value) => isIP(value) === 6,
  cidr: isCidr,
  mac: (value) => /^(?:[0-9a-fA-F]{2}([:-]))(?:[0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}$/.test(value),
  uuid: (value) => /^[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$/.test(value),
  date: (value) => /^\d{4}-\d{2}-\d{2}$/.test(value) && !Number.isNaN(Date.parse(value)),
  "date-time": (value) =>
    /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})$/.test(value) &&
    !Number.isNaN(Date.parse(value)),
  byte: (value) => value.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(value),
  duration: (value) => /^-?(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(value),
  hostname: (value) => value.length <= 253 && /^[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?$/.test(value),
};

/** Whether the value is not of the format. */
export function formatProblem(format: string, value: string): boolean {
  const passes = Object.hasOwn(checks, format) ? checks[format] : undefined;
  return passes !== undefined && !passes(value);
}

/**
 * The configuration file of the API server process.
 */
import { isObject, listOf, textsOf } from "./json.ts";
import type { EmbeddedApiServerOptions, ListenAddress } from "./server.ts";
import type { TokenUser } from "./authentication.ts";

/** A configuration file that cannot be used; the message names the file, the field and the rule. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly code = "APISERVER_CONFIG_INVALID";
}

const FIELDS = new Set([
  "listen",
  "certificateFile",
  "keyFile",
  "clientAuthorityFile",
  "tokens",
  "storagePath",
  "historySize",
  "bookmarkSeconds",
  "serviceCidrs",
]);

/**
 * Reads a configuration file and the PEM files that it names.
 * @throws ConfigError
 */
export function readConfig(path: string, readFile: (path: string) => string): EmbeddedApiServerOptions {
  const refuse = (why: string, cause?: unknown): never => {
    throw new ConfigError(`${path}: ${why}`, cause === undefined ? undefined : { cause });
  };
  const read = (file: string, field: string): string => {
    try {
      return readFile(file);
    } catch (cause) {
      return refuse(`${field}: cannot read ${file}: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
    }
  };
  let config: unknown;
  try {
    config = JSON.parse(read(path, "configuration"));
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    return refuse(`is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
  if (!isObject(config)) return refuse("must be an object");
  for (const field of Object.keys(config)) {
    if (!FIELDS.has(field)) refuse(`${field}: unknown field; known are ${[...FIELDS].join(", ")}`);
  }
  const text = (field: string): string | undefined => {
    const value = config[field];
    if (value === undefined) return undefined;
    return typeof value === "string" && value !== "" ? value : refuse(`${field}: must be a non-empty string`);
  };
  const positive = (field: string): number | undefined => {
    const value = config[field];
    if (value === undefined) return undefined;
    return typeof value === "number" && value > 0 ? value : refuse(`${field}: must be a positive number`);
  };
  const certificateFile = text("certificateFile") ?? refuse("certificateFile: is required");
  const keyFile = text("keyFile") ?? refuse("keyFile: is required");
  const authorityFile = text("clientAuthorityFile");
  const storagePath = text("storagePath");
  const historySize = positive("historySize");
  const bookmarkSeconds = positive("bookmarkSeconds");
  const { serviceCidrs } = config;
  return {
    listen: listenAddresses(config["listen"], refuse),
    tls: {
      certificate: read(certificateFile, "certificateFile"),
      key: read(keyFile, "keyFile"),
      ...(authorityFile === undefined ? {} : { clientAuthority: read(authorityFile, "clientAuthorityFile") }),
    },
    tokens: tokenUsers(config["tokens"], refuse),
    ...(storagePath === undefined ? {} : { storagePath }),
    ...(historySize === undefined ? {} : { historySize }),
    ...(bookmarkSeconds === undefined ? {} : { bookmarkSeconds }),
    ...(serviceCidrs === undefined ? {} : { serviceCidrs: textsOf(serviceCidrs) }),
  };
}

type Refuse = (why: string) => never;

function listenAddresses(value: unknown, refuse: Refuse): ListenAddress[] {
  const addresses = listOf(value).map((item, index) => {
    if (!isObject(item)) return refuse(`listen[${index}]: must be an object with host and port`);
    const { host, port } = item;
    if (typeof host !== "string" || host === "") return refuse(`listen[${index}].host: must be an address`);
    if (typeof port !== "number" || !Number.isInteger(port) || port < 0 || port > 65_535) {
      return refuse(`listen[${index}].port: must be a port, 0 for any`);
    }
    return { host, port };
  });
  return addresses.length > 0 ? addresses : refuse("listen: must name at least one address");
}

function tokenUsers(value: unknown, refuse: Refuse): TokenUser[] {
  return listOf(value).map((item, index) => {
    if (!isObject(item)) return refuse(`tokens[${index}]: must be an object with token and user`);
    const { token, user, groups } = item;
    if (typeof token !== "string" || token.length < 8) {
      return refuse(`tokens[${index}].token: must have at least 8 characters`);
    }
    if (typeof user !== "string" || user === "") return refuse(`tokens[${index}].user: must be a name`);
    return { token, user, groups: textsOf(groups) };
  });
}

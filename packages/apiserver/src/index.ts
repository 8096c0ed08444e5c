/** The embedded API server of the lab: see `server.ts`, and `features.ts` for what it promises. */
export { EmbeddedApiServer, type EmbeddedApiServerOptions, type ListenAddress, type TlsSettings } from "./server.ts";
export type { TokenUser, User } from "./authentication.ts";
export { createPki, type ClientIdentity, type KeyPair, type Pki } from "./tls/pki.ts";
export { ConfigError } from "./config.ts";
export { features, hasFeature, type ControlPlane, type Feature } from "./features.ts";
export { JournalError } from "./journal.ts";

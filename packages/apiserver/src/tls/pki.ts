/**
 * A small public key infrastructure for one cluster: an authority, and server and client certificates signed by it
 * (RFC 5280, ECDSA P-256 with SHA-256).
 */
import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  X509Certificate,
  type KeyObject,
} from "node:crypto";
import { isIP } from "node:net";
import { addressToNumber } from "../address.ts";
import {
  bitString,
  boolean,
  element,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  set,
  time,
  utf8String,
} from "./der.ts";

/** A certificate and its key, PEM. */
export interface KeyPair {
  certificate: string;
  key: string;
}

/** Whom a client certificate stands for: the user is the common name, the groups are the organisations. */
export interface ClientIdentity {
  user: string;
  groups?: readonly string[];
}

/** An authority that signs certificates. */
export interface Pki {
  /** The authority's own certificate and key; keep the key to sign more certificates later. */
  readonly authority: KeyPair;
  /** A certificate for a server that is reached under these addresses and names. */
  server(names: readonly string[]): KeyPair;
  /** A certificate for a client. */
  client(identity: ClientIdentity): KeyPair;
}

const OID = {
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  commonName: "2.5.4.3",
  organisation: "2.5.4.10",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
};

/** Clocks of nodes may be behind the one that signs. */
const BACKDATE_MS = 60 * 60 * 1000;
const LIFETIME_MS = 10 * 365 * 24 * 60 * 60 * 1000;

interface Request {
  subject: Buffer;
  issuer: Buffer;
  publicKey: KeyObject;
  issuerKey: KeyObject;
  issuerKeyId: Buffer;
  extensions: Buffer[];
}

function pem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function distinguishedName(commonName: string, organisations: readonly string[] = []): Buffer {
  const attribute = (oid: string, text: string): Buffer => set(sequence(objectIdentifier(oid), utf8String(text)));
  return sequence(
    ...organisations.map((name) => attribute(OID.organisation, name)),
    attribute(OID.commonName, commonName),
  );
}

function extension(oid: string, critical: boolean, value: Buffer): Buffer {
  return sequence(objectIdentifier(oid), ...(critical ? [boolean(true)] : []), octetString(value));
}

function publicKeyDer(key: KeyObject): Buffer {
  return key.export({ type: "spki", format: "der" });
}

function keyIdentifier(key: KeyObject): Buffer {
  return createHash("sha1").update(publicKeyDer(key)).digest();
}

function certificate(request: Request): string {
  const algorithm = sequence(objectIdentifier(OID.ecdsaWithSha256));
  const now = Date.now();
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  const body = sequence(
    element(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    algorithm,
    request.issuer,
    sequence(time(new Date(now - BACKDATE_MS)), time(new Date(now + LIFETIME_MS))),
    request.subject,
    publicKeyDer(request.publicKey),
    element(
      0xa3,
      sequence(
        ...request.extensions,
        extension(OID.subjectKeyIdentifier, false, octetString(keyIdentifier(request.publicKey))),
        extension(OID.authorityKeyIdentifier, false, sequence(element(0x80, request.issuerKeyId))),
      ),
    ),
  );
  const signature = sign("sha256", body, request.issuerKey);
  return pem("CERTIFICATE", sequence(body, algorithm, bitString(signature)));
}

function addressBytes(address: string): Buffer {
  const digits = isIP(address) === 4 ? 8 : 32;
  return Buffer.from(addressToNumber(address).toString(16).padStart(digits, "0"), "hex");
}

function alternativeNames(names: readonly string[]): Buffer {
  return sequence(
    ...names.map((name) =>
      isIP(name) === 0 ? element(0x82, Buffer.from(name, "ascii")) : element(0x87, addressBytes(name)),
    ),
  );
}

/** digitalSignature; the authority's is keyCertSign and cRLSign. */
const USAGE_SIGNATURE = bitString(Buffer.from([0x80]), 7);
const USAGE_AUTHORITY = bitString(Buffer.from([0x06]), 1);

function newKey(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

function exportKey(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" });
}

/** The common name of the authority, the same for a new and a loaded one: it is the issuer of what they sign. */
const AUTHORITY_NAME = "beyondfabric-ca";

/**
 * A new authority, or one made from an existing `createPki().authority`.
 * @throws Error when the given key does not belong to the certificate
 */
export function createPki(existing?: KeyPair): Pki {
  const issuer = distinguishedName(AUTHORITY_NAME);
  let authority = existing;
  let issuerKey: KeyObject;
  let issuerPublic: KeyObject;
  if (authority === undefined) {
    const { publicKey, privateKey } = newKey();
    issuerKey = privateKey;
    issuerPublic = publicKey;
    authority = {
      certificate: certificate({
        subject: issuer,
        issuer,
        publicKey,
        issuerKey,
        issuerKeyId: keyIdentifier(publicKey),
        extensions: [
          extension(OID.basicConstraints, true, sequence(boolean(true))),
          extension(OID.keyUsage, true, USAGE_AUTHORITY),
        ],
      }),
      key: exportKey(privateKey),
    };
  } else {
    issuerKey = createPrivateKey(authority.key);
    const parsed = new X509Certificate(authority.certificate);
    if (!parsed.checkPrivateKey(issuerKey)) {
      throw new Error("the authority's key does not belong to its certificate; pass both as createPki() returned them");
    }
    issuerPublic = parsed.publicKey;
  }
  const issuerKeyId = keyIdentifier(issuerPublic);
  const issue = (subject: Buffer, purpose: string, more: Buffer[]): KeyPair => {
    const { publicKey, privateKey } = newKey();
    const extensions = [
      extension(OID.basicConstraints, true, sequence()),
      extension(OID.keyUsage, true, USAGE_SIGNATURE),
      extension(OID.extendedKeyUsage, false, sequence(objectIdentifier(purpose))),
      ...more,
    ];
    return {
      certificate: certificate({ subject, issuer, publicKey, issuerKey, issuerKeyId, extensions }),
      key: exportKey(privateKey),
    };
  };
  return {
    authority,
    server: (names) =>
      issue(distinguishedName("kube-apiserver"), OID.serverAuth, [
        extension(OID.subjectAltName, false, alternativeNames(names)),
      ]),
    client: ({ user, groups = [] }) => issue(distinguishedName(user, groups), OID.clientAuth, []),
  };
}

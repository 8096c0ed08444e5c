import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type {
  DenialsReply,
  PolicyCountersReply,
  PolicyExplanationReply,
  PolicyListReply,
  PolicyMatrixReply,
} from "@beyondfabric/agent/api";
import { answering, fabricctl, withAgent } from "./agent.ts";
import { now } from "./replies.ts";

const explanation: PolicyExplanationReply = {
  allowed: false,
  sentence: "DENIED at the ingress of pod shop/web, pod audit/log to pod shop/web on 80/TCP: the implicit deny",
  from: "10.1.0.3",
  to: "10.1.0.1",
  spoofGuard: "pod audit/log sends from 10.1.0.3, which is its own",
  tenancy: { allowed: true, because: "namespaces audit and shop both have no tenant" },
  directions: [
    { direction: "egress", pod: "audit/log", allowed: true, because: "no policy isolates it", policies: [] },
    {
      direction: "ingress",
      pod: "shop/web",
      allowed: false,
      because: "the implicit deny",
      policies: [
        { policy: "shop/closed", podSelector: "(all)", rules: [] },
        {
          policy: "shop/web",
          podSelector: "app=web",
          rules: [
            {
              rule: "ingress rule 1 of shop/web",
              matched: false,
              peers: [
                { part: "pods app=cart in namespace shop", matched: false, why: "the pod is in namespace audit" },
              ],
              ports: [{ part: "80/TCP", matched: true, why: "80/TCP is in it" }],
            },
          ],
        },
      ],
    },
  ],
};

const isolated: PolicyListReply = {
  pod: "shop/web",
  ingressIsolated: true,
  egressIsolated: false,
  policies: [
    { policy: "shop/closed", podSelector: "", ingressRules: 0, egressRules: null },
    { policy: "shop/web", podSelector: "app=web", ingressRules: 1, egressRules: null },
  ],
};

const matrix: PolicyMatrixReply = {
  pods: ["shop/web", "shop/cart"],
  rows: [
    { from: "shop/web", openings: ["everything", "nothing"] },
    { from: "shop/cart", openings: ["80/TCP, 443/TCP", "everything"] },
  ],
};

const denials: DenialsReply = {
  denials: [
    {
      reason: "policy",
      source: { address: "192.0.2.7" },
      destination: { address: "10.1.0.1", pod: "shop/web" },
      protocol: 1,
      policies: [],
      last: now - 90_000,
      count: 1,
    },
    {
      reason: "policy-ingress",
      source: { address: "10.1.0.3", pod: "audit/log" },
      destination: { address: "10.1.0.1", pod: "shop/web" },
      protocol: 6,
      destinationPort: 8443,
      direction: "ingress",
      isolated: "shop/web",
      policies: ["shop/closed", "shop/web"],
      last: now - 2000,
      count: 12,
    },
    {
      reason: "tenant-differs",
      source: { address: "10.1.0.3", pod: "audit/log" },
      destination: { address: "10.1.0.9", pod: "bank/till" },
      protocol: 0,
      policies: [],
      last: now - 1000,
      count: 7,
    },
  ],
};

const counters: PolicyCountersReply = {
  rules: [
    { policy: "shop/web", direction: "ingress", rule: 1, sessions: 12, packets: 480, bytes: 96_000 },
    { policy: "shopping/web", direction: "egress", rule: 2, sessions: 1, packets: 2, bytes: 196 },
  ],
};

/** What is printed for a reply, and the path that was asked for. */
async function asked(reply: unknown, ...args: string[]): Promise<{ out: string; path: string }> {
  let path = "";
  const ran = await withAgent(
    (request, response) => {
      path = request.url ?? "";
      answering(reply)(request, response);
    },
    (socket) => fabricctl([...args, "--socket", socket]),
  );
  assert.deepEqual([ran.code, ran.err], [0, ""]);
  return { out: ran.out, path };
}

function lines(...text: string[]): string {
  return `${text.join("\n")}\n`;
}

describe("fabricctl policy", () => {
  it("explains in one line, then part by part", async () => {
    const { out, path } = await asked(explanation, "policy", "explain", "audit/log", "shop/web", "--port", "80/TCP");
    assert.equal(path, "/v1/policy/explain?from=audit%2Flog&to=shop%2Fweb&port=80%2FTCP");
    assert.equal(
      out,
      lines(
        `<${explanation.sentence}>`,
        "",
        "anti-spoof: pod audit/log sends from 10.1.0.3, which is its own",
        "",
        "tenancy: allowed, namespaces audit and shop both have no tenant",
        "",
        "egress of audit/log: allowed, no policy isolates it",
        "",
        "ingress of shop/web: denied, the implicit deny",
        "  POLICY        RULE             PART                              MATCHES   BECAUSE",
        "  shop/closed   -                -                                 no        it has no rule for this direction",
        "  shop/web      ingress rule 1   pods app=cart in namespace shop   no        the pod is in namespace audit",
        "  shop/web      ingress rule 1   80/TCP                            yes       80/TCP is in it",
      ),
    );
  });

  it("explains a service by its endpoints", async () => {
    const sentence = "ALLOWED pod audit/log to pod shop/cart on 80/TCP";
    const ends = [
      { from: "10.1.0.3", to: "10.1.0.1", allowed: false, sentence: explanation.sentence },
      { from: "10.1.0.3", to: "10.1.0.2", allowed: true, sentence },
    ];
    const service = { name: "service shop/front", endpoints: ends };
    const { out } = await asked({ ...explanation, service }, "policy", "explain", "audit/log", "svc/shop/front");
    const head = [
      "service shop/front: 1 of 2 endpoints may be reached",
      `  <${explanation.sentence}>`,
      `  ${sentence}`,
    ];
    assert.ok(out.startsWith(lines(...head, "", explanation.sentence, "", "anti-spoof: pod").trimEnd()), out);
  });

  it("lists what isolates a pod", async () => {
    const { out, path } = await asked(isolated, "policy", "list", "shop/web");
    assert.equal(path, "/v1/policy/list?pod=shop%2Fweb");
    assert.equal(
      out,
      lines(
        "shop/web is isolated for ingress",
        "",
        "POLICY        SELECTS    INGRESS RULES   EGRESS RULES",
        "shop/closed   all pods               0              -",
        "shop/web      app=web                1              -",
      ),
    );
    const free = { ...isolated, ingressIsolated: false, policies: [] };
    assert.equal(
      (await asked(free, "policy", "list", "shop/web")).out,
      "no policy isolates shop/web: everything may pass\n",
    );
  });

  it("shows who reaches whom", async () => {
    const { out, path } = await asked(matrix, "policy", "matrix", "shop", "audit");
    assert.equal(path, "/v1/policy/matrix?namespace=shop&namespace=audit");
    assert.equal(
      out,
      lines(
        "FROM \\ TO   shop/web          shop/cart",
        "shop/web    all               -",
        "shop/cart   80/TCP, 443/TCP   all",
      ),
    );
  });

  it("gives what the agent gave, as JSON", async () => {
    for (const [reply, ...args] of [
      [explanation, "policy", "explain", "a/b", "c/d"],
      [isolated, "policy", "list", "a/b"],
      [matrix, "policy", "matrix", "shop"],
      [counters, "policy", "counters"],
      [denials, "denials"],
    ] as const) {
      assert.deepEqual(JSON.parse((await asked(reply, ...args, "-o", "json")).out), reply);
    }
  });

  it("does not understand a missing end", async () => {
    const ran = await fabricctl(["policy", "explain", "shop/web"]);
    assert.equal(ran.code, 2);
    assert.match(ran.err, /missing required argument 'to'/);
  });
});

describe("fabricctl policy counters", () => {
  it("shows what each rule let pass, of all policies, of a namespace or of one policy", async () => {
    const heading = "POLICY         RULE        SESSIONS   PACKETS   BYTES";
    const shop = "shop/web       ingress 1         12       480   96000";
    const shopping = "shopping/web   egress 2           1         2     196";
    assert.equal((await asked(counters, "policy", "counters")).out, lines(heading, shop, shopping));
    for (const about of ["shop", "shop/web"]) {
      assert.doesNotMatch((await asked(counters, "policy", "counters", about)).out, /shopping/);
    }
    assert.match((await asked(counters, "policy", "counters", "none")).out, /^no rule let anything pass/);
  });
});

describe("fabricctl denials", () => {
  it("shows who was refused, what, and by whom", async () => {
    assert.equal(
      (await asked(denials, "denials")).out,
      lines(
        "LAST        COUNT   FROM                   TO                     WHAT       REFUSED BY",
        "1m30s ago       1   192.0.2.7              shop/web (10.1.0.1)    ICMP       the pair",
        "2s ago         12   audit/log (10.1.0.3)   shop/web (10.1.0.1)    8443/TCP   ingress of shop/web: shop/closed, shop/web",
        "1s ago          7   audit/log (10.1.0.3)   bank/till (10.1.0.9)   any        tenancy",
      ),
    );
    assert.match((await asked({ denials: [] }, "denials")).out, /^nothing was refused/);
  });

  it("prints nothing that a terminal would obey", async () => {
    const evil = "\u001B]0;owned\u0007\u202E";
    const row = { ...denials.denials[1]!, isolated: evil, policies: [evil], source: { address: evil, pod: evil } };
    const shown = [
      (await asked({ denials: [row] }, "denials")).out,
      (await asked({ ...explanation, sentence: evil }, "policy", "explain", "a/b", "c/d")).out,
      (await asked({ ...isolated, pod: evil }, "policy", "list", "a/b")).out,
      (await asked({ ...matrix, pods: [evil, evil] }, "policy", "matrix", "a")).out,
      (await asked({ rules: [{ ...counters.rules[0]!, policy: evil }] }, "policy", "counters")).out,
    ].join("");
    // oxlint-disable-next-line no-control-regex -- it is what must not be there
    assert.doesNotMatch(shown, /[\u0000-\u0009\u000B-\u001F\u007F-\u009F\u202E]/);
  });
});

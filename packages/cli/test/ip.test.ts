import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { describe, it } from "node:test";
import type { AddressRepairReply } from "@beyondfabric/agent/api";
import { account, addresses, check, history, sound } from "./address-replies.ts";
import { answering, fabricctl, golden, withAgent, type Ran } from "./agent.ts";

/** One command line with an agent that gives this reply. */
function ran(reply: unknown, ...args: string[]): Promise<Ran> {
  return withAgent(answering(reply), (socket) => fabricctl(["ip", ...args, "--socket", socket]));
}

/** The path that a command asks for. */
async function asked(...args: string[]): Promise<string | undefined> {
  let url: string | undefined;
  await withAgent(
    (request, response) => {
      ({ url } = request);
      response.end("{}");
    },
    (socket) => fabricctl(["ip", ...args, "--socket", socket]),
  );
  return url;
}

describe("fabricctl ip get", () => {
  it("tells all that is known of an address", async () => {
    assert.deepEqual(await ran(account, "get", "10.0.0.20"), {
      code: 0,
      err: "",
      out: golden(`
        10.0.0.20   claimed, and in use
          pod        shop/db-0 on node-1
          pod UID    uid-db-0
          MAC        02:00:00:00:00:01
          owner      StatefulSet shop/db (db-0)
          kept as    Sticky
          pool       databases
          subnet     office
          block      10.0.0.16/28 of node-2
          since      2026-03-02T14:06:07Z (2d1h)
      `),
    });
    const free = { account: { address: "fd00::7", state: "free", subnet: "office" } };
    assert.equal((await ran(free, "get", "fd00::7")).out, "fd00::7   free\n  subnet     office\n");
  });

  it("asks for the address as it was written", async () => {
    assert.equal(await asked("get", "fd00:0::7"), "/v1/addresses/account?address=fd00%3A0%3A%3A7");
  });
});

describe("fabricctl ip list", () => {
  it("shows one address a line, and that there are more", async () => {
    const { out, code } = await ran(addresses, "list");
    assert.equal(code, 0);
    assert.equal(
      out,
      golden(`
        ADDRESS     STATE   POD          NODE     OWNER            SUBNET   AGE
        10.0.0.2    node    -            node-1   -                office   -
        10.0.0.3    pod     shop/web-1   node-1   -                office   1h
        10.0.0.20   bound   shop/db-0    node-1   StatefulSet/db   office   2d1h

        there are more than these 3: see --limit
      `),
    );
    assert.match((await ran(addresses, "list", "-owide")).out, /AGE +BLOCK +KEPT AS +POOL +MAC +UID\n/);
    assert.equal((await ran({ addresses: [], more: false }, "list")).out, "no such addresses\n");
  });

  it("hands its options on", async () => {
    assert.equal(await asked("list"), "/v1/addresses");
    const free = await asked("list", "--free", "--subnet", "office", "--limit", "5");
    assert.equal(free, "/v1/addresses?subnet=office&free=true&limit=5");
    const owned = await asked("list", "--owner", "StatefulSet/db", "--namespace", "shop");
    assert.equal(owned, "/v1/addresses?owner=StatefulSet%2Fdb&namespace=shop");
  });
});

describe("fabricctl ip history", () => {
  it("shows who had an address, the newest first", async () => {
    assert.equal(
      (await ran(history, "history", "10.0.0.20")).out,
      golden(`
        ADDRESS     POD         NODE     FROM                   UNTIL                  FOR    ENDED BY
        10.0.0.20   shop/db-0   node-1   2026-03-02T14:06:07Z   now                    2d1h   -
        10.0.0.20   shop/db-0   node-2   2026-03-02T03:06:07Z   2026-03-02T13:06:07Z   10h    PodDeleted
        10.0.0.20   shop/old    node-2   2026-02-28T11:06:07Z   2026-02-28T12:06:07Z   1h     release
      `),
    );
    assert.match((await ran({ tenures: [] }, "history", "web")).out, /nothing is told of default\/web/);
  });

  it("takes an address, a pod, or a pod of the namespace default", async () => {
    assert.equal(await asked("history", "10.0.0.20"), "/v1/addresses/history?address=10.0.0.20");
    assert.equal(await asked("history", "shop/db-0"), "/v1/addresses/history?pod=shop%2Fdb-0");
    assert.equal(await asked("history", "db-0"), "/v1/addresses/history?pod=default%2Fdb-0");
  });
});

describe("fabricctl ip check", () => {
  it("ends with 0 where nothing is wrong, and says what it looked at", async () => {
    assert.deepEqual(await ran(sound, "check"), {
      code: 0,
      err: "",
      out: "nothing is wrong in 7 claims, 6 blocks, 500 pods, 3 nodes, 1 subnets\n",
    });
    assert.equal((await ran(sound, "check", "--repair", "--yes")).code, 0);
  });

  it("ends with 3 where something is, with the remedy", async () => {
    const { code, out } = await ran(check, "check");
    assert.equal(code, 3);
    assert.equal(
      out,
      golden(`
        <LEAK> HolderGone   IPAddress/10-0-0-20
          10.0.0.20 is held by pod shop/db-0 (uid-db-0), which the API does not have
          remedy: the agent of node node-1 releases it
        <DUPLICATE> TwoPods   Pod/shop/twin
          10.0.0.3 is shown by pod shop/web-1 on node node-1 and shop/twin on node node-2
          remedy: delete shop/twin

        2 findings in 7 claims, 6 blocks, 500 pods, 3 nodes, 1 subnets
      `),
    );
  });

  it("repairs nothing that was not agreed to", async () => {
    const { code, out } = await ran(check, "check", "--repair");
    assert.equal(code, 3);
    assert.match(
      out,
      /let the pod that is gone give IPAddress\/10-0-0-20 \(10\.0\.0\.20\) up\n {4}make sure that node/,
    );
    assert.match(out, /nothing was repaired; fabricctl ip check --repair --yes does it\n$/);
    const refused = await repairing([], ["check", "--repair"], () => Promise.resolve(false));
    assert.deepEqual([refused.orders, refused.code], [[], 3]);
  });

  const [leak, duplicate] = check.findings;
  const done: AddressRepairReply["results"] = [{ step: leak!.repair![0]!, state: "done" }];

  it("sends the steps that were shown, and says what became of each", async () => {
    const agreed = await repairing(done, ["check", "--repair"], () => Promise.resolve(true));
    assert.deepEqual(agreed.orders, [{ steps: leak!.repair }]);
    assert.match(agreed.out, /give IPAddress\/10-0-0-20 up: done\n$/);
    assert.equal(agreed.code, 3, "a duplicate is left");
    const unasked = await repairing(done, ["check", "--repair", "--yes"]);
    assert.deepEqual(unasked.orders, agreed.orders);
  });

  it("ends with 0 when nothing is left, and with 3 when a step was not done", async () => {
    const only = { ...check, findings: [leak!] };
    assert.equal((await repairing(done, ["check", "--repair", "--yes"], undefined, only)).code, 0);
    const changed = await repairing(
      [{ step: leak!.repair![0]!, state: "changed" }],
      ["check", "--repair", "--yes"],
      undefined,
      only,
    );
    assert.equal(changed.code, 3);
    assert.match(changed.out, /<left alone: it has changed meanwhile>\n$/);
    const none = await repairing(done, ["check", "--repair", "--yes"], undefined, { ...check, findings: [duplicate!] });
    assert.deepEqual([none.code, none.orders], [3, []]);
  });

  it("gives JSON with the results, and asks nobody then", async () => {
    const asking = (): Promise<boolean> => assert.fail("asked");
    const shown = await repairing(done, ["check", "--repair", "-o", "json"], asking);
    assert.deepEqual([JSON.parse(shown.out), shown.code, shown.orders], [check, 3, []]);
    const told = await repairing(done, ["check", "--repair", "--yes", "-o", "json"], asking);
    assert.deepEqual(JSON.parse(told.out), { ...check, results: done });
  });
});

describe("fabricctl ip -o json", () => {
  it("gives what the agent gave", async () => {
    for (const [reply, ...args] of [
      [account, "get", "10.0.0.20"],
      [addresses, "list"],
      [history, "history", "db-0"],
      [check, "check"],
    ] as const) {
      const { out } = await ran(reply, ...args, "-o", "json");
      assert.deepEqual(JSON.parse(out), reply);
    }
  });
});

/** A check with repair, and what was ordered of the agent. */
async function repairing(
  results: AddressRepairReply["results"],
  args: string[],
  confirm?: () => Promise<boolean>,
  findings: unknown = check,
): Promise<Ran & { readonly orders: unknown[] }> {
  const orders: unknown[] = [];
  const ended = await withAgent(
    (request, response) => {
      if (request.method === "GET") {
        response.end(JSON.stringify(findings));
        return;
      }
      assert.equal(request.url, "/v1/addresses/repair");
      void bodyOf(request).then((body) => {
        orders.push(body);
        response.end(JSON.stringify({ results }));
      });
    },
    (socket) => fabricctl(["ip", ...args, "--socket", socket], undefined, confirm),
  );
  return { ...ended, orders };
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  let text = "";
  for await (const chunk of request as AsyncIterable<Buffer>) text += chunk.toString();
  return JSON.parse(text);
}

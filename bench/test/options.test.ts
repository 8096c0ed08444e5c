import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseOptions, UsageError } from "../options.ts";

void describe("the command line", () => {
  void it("asks for seven runs of everything unless told otherwise", () => {
    const options = parseOptions([]);
    assert.deepEqual(options, {
      quick: false,
      only: [],
      subject: "BeyondFabric",
      runs: 7,
      minutes: 60,
      output: undefined,
      help: false,
    });
  });

  void it("makes one run when it must be quick, and takes a list of scenarios", () => {
    const options = parseOptions(["--quick", "--only", "tcp,cni"]);
    assert.equal(options.runs, 1);
    assert.deepEqual(options.only, ["tcp", "cni"]);
    assert.equal(parseOptions(["--quick", "--runs", "3"]).runs, 3);
  });

  void it("names the option that it cannot obey", () => {
    const refused = (...line: string[]) => {
      try {
        parseOptions(line);
      } catch (error) {
        assert.ok(error instanceof UsageError);
        return error.message;
      }
      return assert.fail(`accepted: ${line.join(" ")}`);
    };
    assert.match(refused("--runs", "0"), /--runs 0/);
    assert.match(refused("--minutes", "soon"), /--minutes soon/);
    assert.match(refused("--runs", "1.5"), /whole number/);
    assert.match(refused("--speed"), /--speed/);
    assert.match(refused("now"), /now/);
  });
});

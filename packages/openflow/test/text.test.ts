import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  canonicalFlow,
  formatActions,
  formatFlow,
  formatMatch,
  parseActions,
  parseFlow,
  parseMatch,
} from "../src/index.ts";
import { sampleFlows } from "./sample-flows.ts";
import { sampleTexts } from "./sample-texts.ts";

test("every sample flow reads back from its text", () => {
  for (const { name, flow } of sampleFlows) {
    if (name === "output to a register, cut") continue;
    assert.deepStrictEqual(canonicalFlow(parseFlow(formatFlow(flow))), canonicalFlow(flow), name);
  }
});

test("how much of a packet goes to a register's port has no text", () => {
  const [action] = parseActions("output:NXM_NX_REG0[]");
  assert.ok(action?.type === "output_reg");
  assert.equal(formatActions([{ ...action, maxLen: 64 }]), formatActions([action]));
});

test("text that is printed is a fixed point", () => {
  for (const text of sampleTexts) {
    const printed = formatFlow(canonicalFlow(parseFlow(text)));
    assert.equal(formatFlow(canonicalFlow(parseFlow(printed))), printed, text);
  }
});

describe("matches", () => {
  const pairs: readonly (readonly [string, string])[] = [
    ["", ""],
    ["dl_type=0x86dd,nw_proto=6", "tcp6"],
    ["tcp,tp_dst=80,nw_src=10.0.0.0/24,in_port=1", "tcp,in_port=1,nw_src=10.0.0.0/24,tp_dst=80"],
    ["dl_type=0x88cc", "dl_type=0x88cc"],
    ["ip,nw_proto=47", "ip,nw_proto=47"],
    ["ct_state=+new+trk", "ct_state=+new+trk"],
    ["dl_vlan=7", "dl_vlan=7"],
    ["vlan_tci=0x1007/0x1fff", "dl_vlan=7"],
    ["vlan_tci=0", "vlan_tci=0x0000/0x1fff"],
    ["reg0=5/0", ""],
    ["nw_dst=*,ip", "ip"],
  ];
  for (const [given, printed] of pairs) {
    test(`${JSON.stringify(given)} is printed as ${JSON.stringify(printed)}`, () => {
      assert.equal(formatMatch(parseMatch(given)), printed);
    });
  }
});

describe("what is no entry is refused with the word that is wrong", () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ["in_port=1", /needs actions=/],
    ["colour=3 actions=drop", /"colour" is no field/],
    ["priority=70000 actions=drop", /priority: 70000 does not fit 16 bits/],
    ["reg0=x actions=drop", /reg0: "x" is not a number/],
    ["ip,nw_src=fd00::1 actions=drop", /ip_src: "fd00::1" is not an IPv4 address/],
    ["ip,nw_src=10.0.0.0/33 actions=drop", /prefix of 33 bits/],
    ["dl_src=0a:58 actions=drop", /eth_src: "0a:58" is not a MAC address/],
    ["tp_dst=80 actions=drop", /tp_dst needs tcp, udp or sctp/],
    ["ip,nw_proto=6/0xf actions=drop", /cannot be masked/],
    ["ct_state=+green actions=drop", /no flag "green"/],
    ["nw_frag=maybe,ip actions=drop", /"maybe" is none of no, yes/],
    ["ip,nw_tos=33 actions=drop", /use nw_ecn/],
    ["in_port actions=drop", /"in_port" is not field=value/],
    ["actions=fly", /"fly" is no action/],
    ["actions=constructor", /"constructor" is no action/],
    ["actions=load:0x100->NXM_NX_REG0[0..7]", /load: 0x100 does not fit 8 bits/],
    ["actions=load:1->NXM_NX_REG0[30..40]", /reg0 has the bits 0 to 31/],
    ["actions=load:1->in_port_oxm", /no action may write in_port/],
    ["actions=load:1", /lacks "->"/],
    ["actions=move:NXM_NX_REG0[]->NXM_NX_REG1[0..7]", /32 bits into 8/],
    ["actions=set_field:5->ct_state", /no action may write ct_state/],
    ["actions=ct(commit", /a bracket is never closed/],
    ["actions=ct)", /a bracket closes/],
    ["actions=ct(zone)", /is not a field/],
    ["actions=ct(exec(ct(exec(fly))))", /"fly" is no action/],
    ["actions=ct(colour=1)", /ct: "colour=1" is no option/],
    ["actions=nat(src=10.0.0.1:99999)", /does not fit 16 bits/],
    ["actions=nat(src=banana)", /nat: "banana"/],
    ["actions=conjunction(1,2)", /is not conjunction/],
    ["actions=check_pkt_larger(1)->reg0[0..1]", /writes 1 bit, not 2/],
    ["actions=resubmit(,1,nat)", /"nat" is not "ct"/],
    ["actions=controller(colour=1)", /controller: colour: no such option/],
    ["actions=note:0", /not pairs of hex digits/],
    [`actions=${"clone(".repeat(40)}drop${")".repeat(40)}`, /nest deeper than 16/],
  ];
  for (const [text, message] of refused) {
    test(text.slice(0, 60), () => {
      assert.throws(() => parseFlow(text), { name: "OpenFlowTextError", code: "OPENFLOW_BAD_TEXT", message });
    });
  }
});

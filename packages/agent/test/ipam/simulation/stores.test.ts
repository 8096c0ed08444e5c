/** The simulated API server and the embedded one behave the same wherever addresses depend on it. */
import { embedded } from "../../../../apiserver/test/harness.ts";
import { storesOn } from "./control-plane-stores.ts";
import { addressStore, blockStore, SimulatedApi } from "./simulated-api.ts";
import { storeCases } from "./store-cases.ts";

storeCases("simulated", async () => {
  const api = new SimulatedApi();
  const call = async <Answer>(_name: string, request: () => Answer): Promise<Answer> => request();
  return { addresses: addressStore(api, call), blocks: blockStore(api, call), stop: async () => {} };
});

storeCases("embedded", () => storesOn("embedded", embedded));

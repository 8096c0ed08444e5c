/**
 * Seeds that found something, with what they found. Each runs with every `make test`. When the simulation itself changes a
 * seed no longer means the same run; the line then still says what to look for, and the mutations prove that it is found.
 */
export const regressions: readonly { readonly seed: number; readonly found: string }[] = [
  { seed: 179, found: "a pod of a pool took the address over from one that still ran on a node that was cut off" },
  { seed: 251, found: "the same" },
  { seed: 4, found: "a block of a former Node of the name stayed because a claimed address inside was in use" },
  {
    seed: 279,
    found: "a pod that was removed by force took the address over from a later one that was, too, and still ran",
  },
  { seed: 65, found: "a claim that was refused again and again made a released address young again" },
];

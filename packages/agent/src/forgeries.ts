/**
 * What the pods of this node said under false names. The switch counts it, exactly and per pod; of what it shows, the agent
 * says what was false. Seen by people in `fabricctl`, as a metric, and, when a pod does not stop, as an Event on it.
 */
import { forgeryOf, forgeryReasons, type ForgeryReason } from "@beyondfabric/datapath";
import type { EventRecorder } from "@beyondfabric/kube";
import type { PodPort } from "./attachment/ports.ts";
import type { Logger } from "./log.ts";

/** `unread`: there were more than the agent is shown. */
export type ForgeryKind = ForgeryReason | "unread";

export interface ForgeriesOptions {
  readonly ports: () => Iterable<PodPort>;
  readonly events: Pick<EventRecorder, "record">;
  readonly logger: Pick<Logger, "warn">;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
}

export interface ForgingPod {
  readonly pod: string;
  readonly packets: number;
  readonly reasons: Readonly<Partial<Record<ForgeryKind, number>>>;
  /** What the last frame that was looked at claimed. */
  readonly claim: string;
  /** Since the last one (ms). */
  readonly age: number;
}

/** A pod that forged is shown for so long (ms), and what it does counts as one story for so long. */
const memoryMilliseconds = 60_000;

/** Fewer frames, or in fewer looks, are an accident that nobody is told about: a kernel that speaks before it is set up. */
const fewFrames = 5;
const fewLooks = 3;

/** A pod that goes on is not told of again before this time is over (ms). */
const silenceMilliseconds = 300_000;

interface Story {
  readonly reasons: Map<ForgeryReason, number>;
  total: number;
  unread: number;
  /** What the switch's counter said last, and frames that it has counted in this agent's life. */
  counter: number;
  counted: number;
  /** Frames that the switch had counted at the last look and the agent had not seen. */
  behind: number;
  claim: string;
  last: number;
  /** When looks found more (ms), the newest last. */
  readonly looks: number[];
  /** Frames before the present story began. */
  before: number;
  told: number | undefined;
}

export class Forgeries {
  readonly #options: ForgeriesOptions;
  readonly #stories = new Map<number, Story>();
  /** What the switch had counted before the agent's first look belongs to a former life. */
  #looked = false;

  constructor(options: ForgeriesOptions) {
    this.#options = options;
  }

  /** A frame that the switch shows, from the port that sent it. */
  seen(frame: Uint8Array, port: number): void {
    const pod = this.#pod(port);
    if (pod === undefined) return;
    const story = this.#story(port);
    const { reason, claim } = forgeryOf(frame, pod);
    story.reasons.set(reason, (story.reasons.get(reason) ?? 0) + 1);
    story.claim = claim;
  }

  /** Takes what the switch has counted per port, and tells of pods that do not stop. To be called every few seconds. */
  look(counted: ReadonlyMap<number, bigint>): void {
    const now = this.#options.now();
    const pods = new Map(Array.from(this.#options.ports(), (pod) => [pod.ofport, pod]));
    for (const port of this.#stories.keys()) if (!pods.has(port)) this.#stories.delete(port);
    for (const [port, pod] of pods) {
      const packets = Number(counted.get(port) ?? 0n);
      if (packets === 0 && !this.#stories.has(port)) continue;
      const story = this.#story(port);
      const read = sum(story.reasons.values());
      if (!this.#looked) story.counter = Math.max(0, packets - read);
      // A switch that was restarted counts from zero.
      story.counted += packets >= story.counter ? packets - story.counter : packets;
      story.counter = packets;
      const behind = story.counted - read;
      // What is on its way to the agent is not unread yet.
      story.unread = Math.max(story.unread, Math.min(behind, story.behind));
      story.behind = behind;
      const total = read + story.unread;
      if (total > story.total) {
        story.looks.push(now);
        story.last = now;
      }
      story.total = total;
      while (story.looks.length > 0 && now - story.looks[0]! > memoryMilliseconds) story.looks.shift();
      if (story.looks.length === 0) story.before = total;
      else this.#tell(pod, story, now);
    }
    this.#looked = true;
  }

  /** Frames of a port, of whatever kind. */
  packetsOf(port: number): number {
    return this.#stories.get(port)?.total ?? 0;
  }

  /** Frames of a port by what was false about them; kinds that there were none of are left out. */
  reasonsOf(port: number): Partial<{ [Kind in ForgeryKind]: number }> {
    const story = this.#stories.get(port);
    if (story === undefined) return {};
    const reasons: Partial<{ [Kind in ForgeryKind]: number }> = {};
    for (const reason of forgeryReasons) {
      const count = story.reasons.get(reason);
      if (count !== undefined) reasons[reason] = count;
    }
    return story.unread === 0 ? reasons : { ...reasons, unread: story.unread };
  }

  /** Pods that forged in the last minute, the worst first. */
  get recent(): readonly ForgingPod[] {
    const now = this.#options.now();
    return Array.from(this.#options.ports())
      .flatMap((pod): ForgingPod[] => {
        const story = this.#stories.get(pod.ofport);
        if (story === undefined || story.total === 0 || now - story.last > memoryMilliseconds) return [];
        const reasons = this.reasonsOf(pod.ofport);
        return [{ pod: nameOf(pod), packets: story.total, reasons, claim: story.claim, age: now - story.last }];
      })
      .sort((a, b) => b.packets - a.packets)
      .slice(0, 20);
  }

  #tell(pod: PodPort, story: Story, now: number): void {
    const frames = story.total - story.before;
    if (frames < fewFrames || story.looks.length < fewLooks) return;
    if (story.told !== undefined && now - story.told < silenceMilliseconds) return;
    story.told = now;
    const { namespace, name, uid } = pod;
    const reasons = this.reasonsOf(pod.ofport);
    const what = Object.entries(reasons)
      .map(([reason, count]) => `${reason} ${count}`)
      .join(", ");
    this.#options.logger.warn({ pod: nameOf(pod), reasons, claim: story.claim }, "a pod forges what it sends");
    this.#options.events.record(
      { apiVersion: "v1", kind: "Pod", namespace, name, ...(uid === "" ? {} : { uid }) },
      "Warning",
      "SpoofedPackets",
      `the pod goes on sending under names that are not its own (${what} frames), all of it dropped; the last one claimed ${story.claim || "something unread"}. See what it runs; addresses that pods share belong into spec.allowedAddresses of Subnet ${pod.subnet}`,
    );
  }

  #pod(port: number): PodPort | undefined {
    for (const pod of this.#options.ports()) if (pod.ofport === port) return pod;
    return undefined;
  }

  #story(port: number): Story {
    let story = this.#stories.get(port);
    if (story === undefined) {
      story = {
        reasons: new Map(),
        total: 0,
        unread: 0,
        counter: 0,
        counted: 0,
        behind: 0,
        claim: "",
        last: 0,
        looks: [],
        before: 0,
        told: undefined,
      };
      this.#stories.set(port, story);
    }
    return story;
  }
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const each of numbers) total += each;
  return total;
}

function nameOf({ namespace, name }: PodPort): string {
  return `${namespace}/${name}`;
}

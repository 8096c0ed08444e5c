/**
 * Everything that takes time: requests to the API server and writes to a node's own database. Each waits until the
 * schedule lets it go on, so that anything may happen at every await of the code under test.
 */
import type { Random } from "./random.ts";
import type { Call } from "./simulated-api.ts";

/** The request or its answer was lost: whether it took effect is open. */
export class Lost extends Error {
  override readonly name = "Lost";
}

/** One life of an agent: when it ends, whatever it waits for never comes. */
export interface Life {
  readonly node: string;
  isOver: boolean;
  /** Whether it reaches the API server. */
  isConnected: () => boolean;
}

interface Parcel {
  readonly name: string;
  readonly life: Life;
  readonly isLocal: boolean;
  state: "sent" | "done";
  /** Takes effect at the receiver. */
  readonly perform: () => void;
  /** Back at the sender. */
  readonly answer: () => void;
  readonly fail: () => void;
}

export class Postman {
  readonly #random: Random;
  readonly #parcels: Parcel[] = [];
  /** Probability that a request or its answer is lost. */
  loss = 0;
  /** Requests that have taken effect, for those who want to see what a run did. */
  delivered = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  get isEmpty(): boolean {
    return this.#parcels.length === 0;
  }

  /** What a life uses to talk to the API server. */
  callOf(life: Life): Call {
    return (name, request) => this.#send(name, life, false, request);
  }

  /** What a life uses to write to its node's own database. */
  writeOf(life: Life): Call {
    return (name, request) => this.#send(name, life, true, request);
  }

  #send<Answer>(name: string, life: Life, isLocal: boolean, request: () => Answer): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      let answer: Answer;
      let error: unknown;
      this.#parcels.push({
        name,
        life,
        isLocal,
        state: "sent",
        perform: () => {
          try {
            answer = request();
          } catch (thrown) {
            error = thrown;
          }
        },
        answer: () => (error === undefined ? resolve(answer) : reject(error)),
        fail: () => reject(new Lost(`${name} of ${life.node}`)),
      });
    });
  }

  /** Lets one of the parcels go on; false when there is none. */
  step(): boolean {
    if (this.#parcels.length === 0) return false;
    const index = this.#random.below(this.#parcels.length);
    const parcel = this.#parcels[index]!;
    const { life, isLocal } = parcel;
    const end = (): void => void this.#parcels.splice(index, 1);
    if (parcel.state === "done") {
      end();
      if (!life.isOver) parcel.answer();
      return true;
    }
    // What a dead agent sent to its own database is there or lost, at once; what it sent to the API may come any time.
    const isCut = !isLocal && !life.isOver && !life.isConnected();
    const isLost = !isLocal && this.#random.chance(this.loss);
    if (isCut || isLost || (life.isOver && this.#random.chance(0.3))) {
      end();
      if (this.#random.chance(isCut ? 0.1 : 0.5)) this.#perform(parcel);
      if (!life.isOver) parcel.fail();
      return true;
    }
    this.#perform(parcel);
    if (life.isOver) end();
    else parcel.state = "done";
    return true;
  }

  #perform(parcel: Parcel): void {
    this.delivered++;
    parcel.perform();
  }

  /** A life ends: its own database has got what was written, or never will. */
  end(life: Life): void {
    life.isOver = true;
    for (const parcel of this.#parcels.filter((each) => each.life === life)) {
      const isAnswer = parcel.state === "done";
      if (!isAnswer && parcel.isLocal && this.#random.chance(0.5)) this.#perform(parcel);
      if (isAnswer || parcel.isLocal) this.#parcels.splice(this.#parcels.indexOf(parcel), 1);
    }
  }
}

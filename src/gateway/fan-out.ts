/** Somebody who has something to write when their turn comes. */
export interface Turnable {
  /** Never throws: the others are in the same round. */
  takeTurn(): void;
}

/** Turns that are taken before the event loop gets to do something else. */
const turnsPerTick = 200;

/**
 * Gives turns in rounds. A round takes everyone who is ready; who becomes ready meanwhile waits for the next one, which
 * pauses as long as the last one took, at most `pauseMsMax`. So what comes alone goes out at once, and under load the
 * rounds grow, with more items in each write, while half of the time is left for everything else.
 */
export class FanOut {
  readonly #pauseMsMax: number;
  #ready: Turnable[] = [];
  #running = false;
  #notBeforeMs = 0;

  constructor(pauseMsMax: number) {
    this.#pauseMsMax = pauseMsMax;
  }

  /** Gives a turn in the next round. The caller sees to it that nobody is in a round twice. */
  ready(turnable: Turnable): void {
    this.#ready.push(turnable);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#running) return;
    this.#running = true;
    const waitMs = this.#notBeforeMs - performance.now();
    if (waitMs > 0) setTimeout(() => this.#startRound(), waitMs);
    else setImmediate(() => this.#startRound());
  }

  #startRound(): void {
    const round = this.#ready;
    this.#ready = [];
    this.#giveTurns(round, 0, 0);
  }

  #giveTurns(round: readonly Turnable[], from: number, spentMs: number): void {
    const startedAtMs = performance.now();
    for (const turnable of round.slice(from, from + turnsPerTick)) turnable.takeTurn();
    const endedAtMs = performance.now();
    const roundMs = spentMs + endedAtMs - startedAtMs;
    if (from + turnsPerTick < round.length) {
      setImmediate(() => this.#giveTurns(round, from + turnsPerTick, roundMs));
      return;
    }
    this.#notBeforeMs = endedAtMs + Math.min(roundMs, this.#pauseMsMax);
    this.#running = false;
    if (this.#ready.length > 0) this.#schedule();
  }
}

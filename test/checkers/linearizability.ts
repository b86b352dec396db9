/** One operation of a client on one object, as the client saw it. Times are positions in one order of all calls and returns. */
export interface Operation<Input, Output> {
  readonly call: number;
  /** Null: no answer, or one that says nothing. The operation may take effect at any time after its call, or never. */
  readonly return: number | null;
  readonly input: Input;
  /** Null exactly when `return` is. */
  readonly output: Output | null;
}

/** What an object does when nothing is concurrent. */
export interface Model<State, Input, Output> {
  readonly initial: State;
  /**
   * Every state that the object may be in after `input` was answered with `output`; none: it cannot answer so. With `output` null all
   * answers are possible; leaving the state as it is need not be listed.
   */
  step(state: State, input: Input, output: Output | null): readonly State[];
  /** Equal for equal states. */
  keyOf(state: State): string;
}

/** `undecided`: the search was given up after `stepsMax`. */
export type Verdict = "linearizable" | "violation" | "undecided";

/** One choice of the search: what could have happened next, and the state before it. */
interface Frame<State> {
  readonly states: ReadonlyMap<string, State>;
  readonly candidates: readonly number[];
  /** The next candidate to try. */
  next: number;
}

/**
 * Whether some order of the operations, true to real time, explains every answer (Herlihy and Wing). The search of Wing and Gong with
 * Lowe's memory of what was tried ("Testing for linearizability", 2017). Answered operations are tried first: one without an answer is
 * put in place only where nothing else explains what follows. Exponential at worst: give it the history of one object.
 */
export function checkLinearizable<State, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
  stepsMax = 300_000,
): Verdict {
  const sorted = [...operations].sort((a, b) => a.call - b.call);
  const done = new Done(sorted.length);
  const tried = new Set<string>();
  const path: Frame<State>[] = [];
  let open = sorted.filter((operation) => operation.return !== null).length;
  let states: ReadonlyMap<string, State> = new Map([[model.keyOf(model.initial), model.initial]]);
  path.push({ states, candidates: candidatesOf(sorted, done), next: 0 });
  for (let steps = 0; open > 0; steps++) {
    if (steps > stepsMax) {
      return "undecided";
    }
    const frame = path.at(-1);
    if (frame === undefined) {
      return "violation";
    }
    const chosen = frame.candidates[frame.next];
    frame.next += 1;
    const operation = chosen === undefined ? undefined : sorted[chosen];
    if (chosen === undefined || operation === undefined) {
      // Nothing explains what happened next: the choice before was wrong.
      path.pop();
      const last = path.at(-1);
      const taken = last?.candidates[last.next - 1];
      if (taken !== undefined) {
        done.flip(taken);
        open += sorted[taken]?.return === null ? 0 : 1;
      }
      continue;
    }
    states = stepAll(model, frame.states, operation);
    done.flip(chosen);
    if (states.size === 0 || !isNew(tried, done, states)) {
      done.flip(chosen);
      continue;
    }
    open -= operation.return === null ? 0 : 1;
    path.push({ states, candidates: candidatesOf(sorted, done), next: 0 });
  }
  return "linearizable";
}

/** Operations that may be next: called before anything that is not in place yet has returned. */
function candidatesOf(
  sorted: readonly Operation<unknown, unknown>[],
  done: Done,
): readonly number[] {
  const answered: number[] = [];
  const unanswered: number[] = [];
  let firstReturn = Infinity;
  for (let at = done.firstOpen; at < sorted.length; at++) {
    const operation = sorted[at];
    if (operation === undefined || operation.call > firstReturn) {
      break;
    }
    if (done.has(at)) {
      continue;
    }
    if (operation.return === null) {
      unanswered.push(at);
    } else {
      firstReturn = Math.min(firstReturn, operation.return);
      answered.push(at);
    }
  }
  return [...answered, ...unanswered];
}

function stepAll<State, Input, Output>(
  model: Model<State, Input, Output>,
  states: ReadonlyMap<string, State>,
  { input, output }: Operation<Input, Output>,
): ReadonlyMap<string, State> {
  const next = new Map<string, State>();
  for (const state of states.values()) {
    for (const after of model.step(state, input, output)) {
      next.set(model.keyOf(after), after);
    }
  }
  return next;
}

function isNew(tried: Set<string>, done: Done, states: ReadonlyMap<string, unknown>): boolean {
  const size = tried.size;
  tried.add(`${done.key}/${[...states.keys()].sort().join("/")}`);
  return tried.size > size;
}

/** Which operations are in place. */
class Done {
  readonly #words: Uint16Array;

  constructor(count: number) {
    this.#words = new Uint16Array(Math.ceil((count + 1) / 16));
  }

  get key(): string {
    return String.fromCharCode(...this.#words);
  }

  /** All operations before this one are in place. A lower bound. */
  get firstOpen(): number {
    const word = this.#words.findIndex((bits) => bits !== 0xffff);
    return Math.max(0, word) * 16;
  }

  has(at: number): boolean {
    return (((this.#words[at >>> 4] ?? 0) >>> (at & 15)) & 1) === 1;
  }

  flip(at: number): void {
    this.#words[at >>> 4] = (this.#words[at >>> 4] ?? 0) ^ (1 << (at & 15));
  }
}

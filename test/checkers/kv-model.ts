import type { Model } from "./linearizability.ts";

/** What a client asks of one key. Values are texts; revisions are those of answers. */
export type KvInput =
  | { readonly type: "get" }
  | { readonly type: "put"; readonly value: string; readonly condition: KvCondition | null }
  | { readonly type: "delete"; readonly condition: KvCondition | null }
  | { readonly type: "increment"; readonly by: number }
  | { readonly type: "append"; readonly value: string };

/** If-None-Match: *, or If-Match. */
export type KvCondition = "absent" | number;

/** What a client was told. */
export type KvOutput =
  | { readonly type: "got"; readonly record: KvRecord | null }
  | {
      readonly type: "written";
      readonly created: boolean;
      readonly revision: number;
      readonly version: number;
      /** Of increment the new value, of append its length; null of put. */
      readonly value: string | null;
    }
  | { readonly type: "deleted"; readonly deleted: boolean; readonly revision: number }
  | {
      readonly type: "condition_failed";
      readonly current: { readonly revision: number; readonly version: number } | null;
    };

/** What a read showed. */
export interface KvRecord {
  readonly value: string;
  readonly revision: number;
  readonly version: number;
}

/** The key after some operations. */
export interface KvState {
  /** Null: there is no such key. */
  readonly value: string | null;
  readonly version: number;
  /** Null: the write that made it was not answered, so nobody knows yet. */
  readonly revision: number | null;
  /** Every later revision is larger: revisions of one key only grow, also across deletions. */
  readonly floor: number;
}

/** One key, without time to live: a register with revisions, versions and atomic changes. */
export const kvModel: Model<KvState, KvInput, KvOutput> = {
  initial: { value: null, version: 0, revision: null, floor: 0 },
  step(state, input, output) {
    switch (input.type) {
      case "get":
        return output === null ? [] : get(state, output);
      case "put":
        return conditional(state, input.condition, output, (from) =>
          written(from, input.value, null, output),
        );
      case "delete":
        return conditional(state, input.condition, output, (from) => deleted(from, output));
      case "increment": {
        const sum = String(Number(state.value ?? "0") + input.by);
        return written(state, sum, sum, output);
      }
      case "append": {
        const whole = (state.value ?? "") + input.value;
        return written(state, whole, String(whole.length), output);
      }
    }
  },
  keyOf: ({ value, version, revision, floor }) => `${value}|${version}|${revision}|${floor}`,
};

function get(state: KvState, output: KvOutput): readonly KvState[] {
  if (output.type !== "got") {
    return [];
  }
  const { record } = output;
  if (record === null) {
    return state.value === null ? [state] : [];
  }
  return state.value === record.value ? bind(state, record) : [];
}

/** The state with what was unknown of it; none when it contradicts what is known. */
function bind(
  state: KvState,
  { revision, version }: { readonly revision: number; readonly version: number },
): readonly KvState[] {
  if (state.value === null || state.version !== version) {
    return [];
  }
  if (state.revision !== null) {
    return state.revision === revision ? [state] : [];
  }
  return revision > state.floor ? [{ ...state, revision, floor: revision }] : [];
}

function conditional(
  state: KvState,
  condition: KvCondition | null,
  output: KvOutput | null,
  apply: (state: KvState) => readonly KvState[],
): readonly KvState[] {
  if (output?.type === "condition_failed") {
    return condition === null ? [] : refused(state, condition, output.current);
  }
  if (condition === null) {
    return apply(state);
  }
  if (condition === "absent") {
    return state.value === null ? apply(state) : [];
  }
  return bind(state, { revision: condition, version: state.version }).flatMap(apply);
}

function refused(
  state: KvState,
  condition: KvCondition,
  current: { readonly revision: number; readonly version: number } | null,
): readonly KvState[] {
  if (current === null) {
    return state.value === null && condition !== "absent" ? [state] : [];
  }
  return condition === current.revision ? [] : bind(state, current);
}

function written(
  state: KvState,
  value: string,
  shown: string | null,
  output: KvOutput | null,
): readonly KvState[] {
  const version = state.version + 1;
  if (output === null) {
    return [{ value, version, revision: null, floor: state.floor }];
  }
  const fits =
    output.type === "written" &&
    output.created === (state.value === null) &&
    output.version === version &&
    output.value === shown &&
    output.revision > state.floor;
  return fits ? [{ value, version, revision: output.revision, floor: output.revision }] : [];
}

function deleted(state: KvState, output: KvOutput | null): readonly KvState[] {
  const gone = { value: null, version: 0, revision: null };
  if (output === null) {
    return [{ ...gone, floor: state.floor }];
  }
  if (output.type !== "deleted" || output.deleted !== (state.value !== null)) {
    return [];
  }
  if (!output.deleted) {
    return [state];
  }
  return output.revision > state.floor ? [{ ...gone, floor: output.revision }] : [];
}

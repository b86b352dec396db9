import { assert } from "../cluster/assert.ts";
import type {
  SnapshotReader,
  SnapshotWriter,
  StateMachine,
} from "../cluster/multiraft/state-machine.ts";
import type { TurnBatch } from "../cluster/multiraft/store.ts";
import { changeMap, type ClusterMap } from "../cluster/sharding/cluster-map.ts";
import { decodeMap, encodeMap } from "../cluster/sharding/map-json.ts";
import type { Configuration, Entry, LogIndex, Revision } from "../cluster/types.ts";
import { metaShard } from "../cluster/types.ts";
import type { Database } from "./database.ts";
import { decodeEntryPayload } from "./entry-payload.ts";
import { StoreFailure } from "./failure.ts";
import type { DatabaseLogStore } from "./log-store.ts";
import {
  decodeMetaCommand,
  encodeMetaOutcome,
  type MetaCommand,
  type MetaOutcome,
} from "./meta-commands.ts";
import { createSnapshotReader } from "./snapshot-reader.ts";
import { SnapshotReceiver } from "./snapshot-receiver.ts";
import { soleRow, stateTable } from "./state-tables.ts";
import { StateStore } from "./state-store.ts";
import { storageBatch } from "./turn-batch.ts";
import type { ByteWriter } from "./wire-codec.ts";

/** What the state machine of the meta shard needs from outside. */
export interface MetaStateMachineOptions {
  readonly database: Database;
  /** Hands out generations for received snapshots. */
  readonly store: DatabaseLogStore;
  /** Told of each map that follows another one, by a command or by a snapshot. Must not throw. */
  readonly onMap: (map: ClusterMap) => void;
}

/** State machine of shard 0: the cluster map, one epoch after the other. */
export class MetaStateMachine implements StateMachine {
  readonly #options: MetaStateMachineOptions;
  readonly #state: StateStore;
  #map: ClusterMap | null;

  /** Opens the state as the database has it: see `StateStore`. */
  constructor(options: MetaStateMachineOptions) {
    this.#options = options;
    this.#state = new StateStore(options.database, metaShard, null);
    this.#map = readMap(this.#state);
  }

  /** As of `appliedIndex`; null before the founding. */
  get map(): ClusterMap | null {
    return this.#map;
  }

  get appliedIndex(): LogIndex {
    return this.#state.appliedIndex;
  }

  get revision(): Revision {
    return this.#state.revision;
  }

  get digest(): string {
    return this.#state.digest;
  }

  get isDirty(): boolean {
    return this.#state.isDirty;
  }

  apply(entry: Entry, configuration: Configuration): readonly Uint8Array[] {
    this.#state.advance(entry, configuration);
    if (entry.type !== "command") {
      return [];
    }
    const { floor, commands } = decodeEntryPayload(entry.payload);
    return commands.map((bytes) =>
      encodeMetaOutcome(this.#execute(decodeMetaCommand(bytes), floor)),
    );
  }

  stage(batch: TurnBatch): void {
    this.#state.stage(storageBatch(batch));
  }

  staged(): void {
    if (this.#state.staged()) {
      this.#map = readMap(this.#state);
      if (this.#map !== null) {
        this.#options.onMap(this.#map);
      }
    }
  }

  /** Nothing here happens by itself. */
  dueCommands(): readonly Uint8Array[] {
    return [];
  }

  snapshot(): SnapshotReader {
    return createSnapshotReader(this.#options.database, metaShard);
  }

  receiveSnapshot(): SnapshotWriter {
    const { database, store } = this.#options;
    return new SnapshotReceiver(database, store, metaShard);
  }

  install(batch: TurnBatch, received: SnapshotWriter): void {
    assert(received instanceof SnapshotReceiver, "a snapshot is installed where it was received");
    this.#state.install(storageBatch(batch), received);
  }

  collectGarbage(): Promise<void> {
    return this.#options.store.collectGarbage();
  }

  /** The digest from all of the state anew; equals `digest` at the time of the call. */
  recomputeDigest(): Promise<string> {
    return this.#state.recomputeDigest();
  }

  #execute(command: MetaCommand, floor: Revision): MetaOutcome {
    const map = this.#map;
    const epoch = map?.epoch ?? 0;
    if (command.type === "found") {
      if (map !== null) {
        return { type: "refused", epoch, reason: "the cluster is founded already" };
      }
      return command.map.epoch === 1
        ? this.#replace(command.map, floor)
        : { type: "refused", epoch, reason: "a founding map has epoch 1" };
    }
    if (map === null) {
      return { type: "refused", epoch, reason: "the cluster is not founded yet" };
    }
    if (command.ifEpoch !== null && command.ifEpoch !== epoch) {
      return { type: "stale", epoch };
    }
    const next = changeMap(map, command.change);
    return next.type === "ok"
      ? this.#replace(next.map, floor)
      : { type: "refused", epoch, reason: next.reason };
  }

  #replace(map: ClusterMap, floor: Revision): MetaOutcome {
    this.#state.nextRevision(floor);
    this.#state.put(this.#state.find(stateTable.clusterMap, soleRow), writeMap, map);
    this.#map = map;
    this.#options.onMap(map);
    return { type: "changed", epoch: map.epoch };
  }
}

function writeMap(writer: ByteWriter, map: ClusterMap): void {
  writer.raw(encodeMap(map));
}

function readMap(state: StateStore): ClusterMap | null {
  const body = state.get(stateTable.clusterMap, soleRow);
  if (body === null) {
    return null;
  }
  const decoded = decodeMap(body);
  if (decoded.type === "refused") {
    throw new StoreFailure("corrupt", `the stored cluster map is not one: ${decoded.reason}`);
  }
  return decoded.map;
}

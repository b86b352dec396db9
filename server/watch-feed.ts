import type { NodeId, ShardId } from "../cluster/types.ts";
import type { ChangeEvent } from "../storage/commands.ts";
import { CodecError } from "../storage/wire-codec.ts";
import type { WatchPosition } from "./http/service.ts";
import type { WatchAccess } from "./watch-access.ts";
import {
  type ChangeChunk,
  type ChangeSource,
  eventBytes,
  readChanges,
  type Wanted,
} from "./watch-changes.ts";
import { decodeAnswer, encodePoll, type WatchAnswer } from "./watch-codec.ts";
import { firstPosition, indexNeeded, positionAt } from "./watch-positions.ts";

/** One shard's part of a watch: from where on, and what passes. */
export interface ShardFeedOptions {
  readonly shard: ShardId;
  readonly wanted: Wanted;
  readonly access: WatchAccess;
  /** Called when `take` may have more to say than it had. */
  readonly wake: () => void;
}

/** How much is taken from a history at a time. */
export const chunkBytesMax = 256 * 1024;
/** How long another node waits for a change before it answers that there was none. */
const pollWaitMs = 10_000;
/** More than an answer takes on its way. */
const pollGraceMs = 5000;
/** How a stream that has told everything asks for more. */
const tail = { hurries: false };
/** Pauses (of 100 ms) for which members that cannot be asked are waited for, before the history counts as gone. */
const patiencePauses = 10;

/**
 * The changes of one shard for one watcher, from a position on, read piece by piece out of the history of whoever has it: this node's
 * replica, or another's. Nothing is buffered here beyond one chunk; histories are what waits for slow readers.
 *
 * While this node's replica serves and everything wanted has been taken, the feed is `current`: it costs nothing until the hub tells of a
 * matching change, and its position moves along with the replica.
 */
export class ShardFeed {
  readonly shard: ShardId;
  readonly #options: ShardFeedOptions;
  #position: WatchPosition = firstPosition;
  /** The replica whose every wanted change up to now was taken; null when that is not known. */
  #current: ChangeSource | null = null;
  /** Whether `#waitingBytes` is known: from the first time that the feed was current. */
  #isCounting = false;
  #waitingBytes = 0;
  #fetched: ChangeChunk | null = null;
  #isBusy = false;
  #isGone = false;
  #isClosed = false;
  /** Whose turn it is to be asked. */
  #turn = 0;

  constructor(options: ShardFeedOptions) {
    this.shard = options.shard;
    this.#options = options;
  }

  /** Everything wanted up to here was taken. */
  get position(): WatchPosition {
    return this.#current === null ? this.#position : positionAt(this.#current.appliedIndex);
  }

  /** Bytes of wanted changes that were made and not taken, as far as this node's replica tells. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Goes on from here. */
  seek(position: WatchPosition): void {
    this.#leave(position);
    this.#isGone = false;
    this.#fetched = null;
  }

  /** Goes on from a position that includes everything that was acknowledged before the call. */
  async seekNow(): Promise<void> {
    const { access } = this.#options;
    while (!this.#isClosed) {
      const source = access.source(this.shard);
      if (source === null) {
        const answer = await this.#askAnyone(null, 0);
        if (answer?.type === "changes") {
          this.seek(answer.chunk.position);
          return;
        }
      } else if (await access.confirm(this.shard)) {
        this.seek(positionAt(source.appliedIndex));
        return;
      }
      await access.pause(this.shard);
    }
  }

  /**
   * The next changes, one at least; null when there are none for now; `gone` when nobody knows them any more. `hurries`: who asks waits for
   * what has happened already, so another node is not asked to wait for something new, and a chunk may be empty but for its position.
   */
  take({ hurries }: { readonly hurries: boolean } = tail): ChangeChunk | "gone" | null {
    if (this.#current !== null) {
      return null;
    }
    if (this.#isGone) {
      return "gone";
    }
    const source = this.#options.access.source(this.shard);
    if (source !== null && knows(source, this.#position)) {
      return this.#takeHere(source);
    }
    const fetched = this.#fetched;
    if (fetched !== null) {
      this.#fetched = null;
      this.#position = fetched.position;
      if (fetched.changes.length > 0 || hurries) {
        return fetched;
      }
    }
    this.#inBackground(() => this.#fetch(hurries ? 0 : pollWaitMs));
    return null;
  }

  /** The hub tells of a wanted change. */
  noticed(index: number, event: ChangeEvent): void {
    if (this.#current !== null) {
      this.#current = null;
      this.#position = positionAt(index - 1);
    }
    if (this.#isCounting) {
      this.#waitingBytes += eventBytes(event);
    }
    this.#options.wake();
  }

  /** The hub tells that the replica has skipped what came after `index`. */
  replaced(index: number): void {
    this.#leave(this.#current === null ? this.#position : positionAt(index));
    this.#options.wake();
  }

  /** Replicas may have come or gone. */
  refresh(): void {
    if (this.#current !== null && this.#options.access.source(this.shard) !== this.#current) {
      this.#leave(this.position);
      this.#options.wake();
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#fetched = null;
  }

  #leave(position: WatchPosition): void {
    this.#position = position;
    this.#current = null;
    this.#isCounting = false;
    this.#waitingBytes = 0;
  }

  #takeHere(source: ChangeSource): ChangeChunk | null {
    if (indexNeeded(this.#position) > source.appliedIndex) {
      this.#inBackground(() => this.#catchUp());
      return null;
    }
    const { wanted } = this.#options;
    const chunk = readChanges(source, this.#position, wanted, chunkBytesMax);
    if (chunk === null) {
      return null;
    }
    this.#fetched = null;
    this.#position = chunk.position;
    if (chunk.position.index === source.appliedIndex) {
      this.#current = source;
      this.#isCounting = true;
      this.#waitingBytes = 0;
    } else if (this.#isCounting) {
      const taken = chunk.changes.reduce((sum, { event }) => sum + eventBytes(event), 0);
      this.#waitingBytes = Math.max(0, this.#waitingBytes - taken);
    }
    return chunk.changes.length > 0 ? chunk : null;
  }

  /** One thing at a time, after which `take` is worth another try. A throw is a bug and ends the process. */
  #inBackground(work: () => Promise<void>): void {
    if (this.#isBusy || this.#isClosed) {
      return;
    }
    this.#isBusy = true;
    void work().then(() => {
      this.#isBusy = false;
      this.#options.wake();
    });
  }

  /** This replica is behind the position, as one is that was just restarted: it waits until it is not. */
  async #catchUp(): Promise<void> {
    const { access } = this.#options;
    const position = this.#position;
    if (!(await access.confirm(this.shard))) {
      await access.pause(this.shard);
      return;
    }
    const source = access.source(this.shard);
    if (source !== null && position === this.#position) {
      // Positions are only given out for what is committed: nobody ever gave out this one, or not in this cluster.
      this.#isGone = indexNeeded(position) > source.appliedIndex;
    }
  }

  /** Asks one member after the other for the changes that follow; only when all have said that theirs are gone, they are. */
  async #fetch(waitMs: number): Promise<void> {
    const { access } = this.#options;
    const after = this.#position;
    const gone = new Set<NodeId>();
    for (let pauses = 0; !this.#isClosed && this.#position === after; pauses++) {
      const source = access.source(this.shard);
      if (source !== null && knows(source, after)) {
        return;
      }
      const unasked = access.members(this.shard).filter((member) => !gone.has(member));
      const isHopeless = pauses >= patiencePauses && (await this.#isGoneHere(gone.size));
      if (unasked.length === 0 || isHopeless) {
        this.#isGone = this.#position === after;
        return;
      }
      const answer = await this.#askAnyone(after, waitMs, unasked);
      if (answer?.type === "changes") {
        const { changes, position } = answer.chunk;
        if (waitMs === 0 && changes.length === 0 && position.index <= after.index) {
          // It is behind, and was not asked to wait: perhaps another is not, perhaps a moment later.
          this.#turn += 1;
          await access.pause(this.shard);
        }
        this.#fetched = this.#position === after ? answer.chunk : null;
        return;
      }
      if (answer?.type === "gone") {
        gone.add(answer.from);
      } else {
        await access.pause(this.shard);
      }
    }
  }

  /** Some member has said that its history is gone, or this replica has lost its own and is up to date: nobody can be waited for for ever. */
  async #isGoneHere(othersGone: number): Promise<boolean> {
    const { access } = this.#options;
    return (
      othersGone > 0 || (access.source(this.shard) !== null && (await access.confirm(this.shard)))
    );
  }

  /** Null when nobody could be asked, or whoever was asked could not serve it. */
  async #askAnyone(
    after: WatchPosition | null,
    waitMs: number,
    members = this.#options.access.members(this.shard),
  ): Promise<(WatchAnswer & { readonly from: NodeId }) | null> {
    const { access, wanted, shard } = this.#options;
    const connected = members.filter((member) => access.isConnected(member));
    const to = connected[this.#turn % Math.max(1, connected.length)];
    if (to === undefined) {
      return null;
    }
    const poll = encodePoll({ ...wanted, after, bytesMax: chunkBytesMax, waitMs });
    const answer = await access.ask(to, shard, poll, waitMs + pollGraceMs);
    const decoded = answer === null ? null : decodedOrNull(answer);
    if (decoded === null) {
      this.#turn += 1;
      return null;
    }
    return { ...decoded, from: to };
  }
}

/** Whether the source has, or will have, every change after the position. */
function knows(source: ChangeSource, position: WatchPosition): boolean {
  return source.history.goneIndex <= position.index;
}

/** A node of another release may answer what this one does not understand. */
function decodedOrNull(answer: Uint8Array): WatchAnswer | null {
  try {
    return decodeAnswer(answer);
  } catch (error) {
    if (error instanceof CodecError) {
      return null;
    }
    throw error;
  }
}

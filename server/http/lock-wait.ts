import type { FastifyRequest } from "fastify";
import type { Revision } from "../../cluster/types.ts";
import type { LockAcquireCommand } from "../../storage/commands.ts";
import { ServiceError } from "../errors.ts";
import { expectResult, jsonParty, type Success } from "./outcomes.ts";
import { contextOf, type RouteKit } from "./route-kit.ts";
import { pause, systemTimers } from "../timers.ts";

type Held = Extract<Success, { type: "lock_held" }>;
type Busy = Extract<Success, { type: "lock_busy" }>;
/** `revision` names the place as this ask left it: asking again, by whatever request, gives the place another one. */
type Queued = Extract<Success, { type: "lock_queued" }> & { readonly revision: Revision };

/** One request that asks for a lock. */
interface Asking {
  readonly kit: RouteKit;
  readonly request: FastifyRequest;
  readonly timeoutMs: number | null;
  readonly command: LockAcquireCommand;
  /** Monotonic milliseconds after which it waits no longer. */
  readonly endMs: number;
  /** Aborted when there is nobody left to answer. */
  readonly gone: AbortSignal;
}

/** Pause between two looks at a lock that somebody else holds. */
const lookMs = 100;

/**
 * Takes the lock, at once or within `waitMs`. Waiting, it looks at the lock now and then (a read) and asks again when it is its turn, or
 * when a third of its time to live is over, which would cost it its place. Throws `locked` when time is up; the place in the queue stays
 * until its time to live ends, so asking again does not begin at the end. A client that goes away leaves the queue, unless it has asked
 * again elsewhere. A lock that was got is never let go here: the owner may have been told of it by another of its requests.
 */
export async function acquire(
  kit: RouteKit,
  request: FastifyRequest,
  timeoutMs: number | null,
  waitMs: number | null,
  command: LockAcquireCommand,
): Promise<Held> {
  const { gone } = request.exchange;
  const endMs = performance.now() + (waitMs ?? 0);
  const asking: Asking = { kit, request, timeoutMs, command, endMs, gone };
  let answer = await ask(asking);
  while (answer.type === "lock_queued" && !isOver(asking)) {
    request.exchange.becomeWatcher();
    await untilTurn(asking);
    if (gone.aborted) {
      break;
    }
    answer = await ask(asking);
  }
  if (answer.type === "lock_held") {
    return answer;
  }
  if (answer.type === "lock_queued" && command.wait && gone.aborted) {
    await leave(asking, answer);
  }
  throw locked(command, answer);
}

function isOver({ kit, endMs, gone }: Asking): boolean {
  return performance.now() >= endMs || kit.closing.aborted || gone.aborted;
}

async function ask({
  kit,
  request,
  timeoutMs,
  command,
  gone,
}: Asking): Promise<Held | Busy | Queued> {
  const context = contextOf(kit, request, timeoutMs, gone);
  const served = await kit.service.execute(command.lock, command, context, null);
  const result = expectResult(served, "lock_held", "lock_queued", "lock_busy");
  return result.type === "lock_queued" ? { ...result, revision: served.value.revision } : result;
}

/** Resolves when it is time to ask again. */
async function untilTurn(asking: Asking): Promise<void> {
  const { command, endMs } = asking;
  const renewMs = performance.now() + command.ttlMs / 3;
  while (!isOver(asking) && performance.now() < renewMs && !(await isOurTurn(asking))) {
    const leftMs = Math.max(1, endMs - performance.now());
    await pause(systemTimers, Math.min(lookMs, leftMs, command.ttlMs / 3));
  }
}

async function isOurTurn({ kit, request, command, gone }: Asking): Promise<boolean> {
  const { lock, owner } = command;
  const { value } = await kit.service.query(
    lock,
    { type: "lock", lock },
    { type: "linearizable" },
    contextOf(kit, request, null, gone),
  );
  if (value.type !== "lock") {
    return true;
  }
  const { holder } = value.lock;
  return holder === null || holder.owner === owner;
}

/** Gives up the place in the queue if it is still as this ask left it. Whoever has asked again keeps it, and so does who holds the lock by now. */
async function leave({ kit, request, command }: Asking, { revision }: Queued): Promise<void> {
  const { lock, owner } = command;
  await kit.service.execute(
    lock,
    { type: "expire", kind: "lock_waiter", key: lock, owner, deadlineRevision: revision },
    contextOf(kit, request, null),
    null,
  );
}

function locked({ owner }: LockAcquireCommand, { holder, ...answer }: Busy | Queued): ServiceError {
  const position = answer.type === "lock_queued" ? answer.position : null;
  const place = position === null ? "" : `; ${owner} is number ${position} in the queue`;
  return new ServiceError("locked", `${holder.owner} holds the lock${place}`, {
    retryAfterMs: 1000,
    extra: { holder: jsonParty(holder), ...(position === null ? {} : { position }) },
  });
}

import type { FastifyRequest } from "fastify";
import type { Revision } from "../../cluster/types.ts";
import type { LockAcquireCommand, LockView } from "../../storage/commands.ts";
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
 * when a third of its time to live is over, which would cost it its place. What fails meanwhile is tried anew.
 *
 * Throws `locked` when time is up or too many wait already, `outcome_unknown` when the last ask failed; the place in the queue stays until
 * its time to live ends, so asking again does not begin at the end. A client that goes away leaves the queue, unless it has asked again
 * elsewhere. A lock that was got is never let go here: the owner may have been told of it by another of its requests.
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
  while (answer.type === "lock_queued" && !isOver(asking) && mayWait(asking)) {
    await untilTurn(asking);
    answer = await askAgain(asking, answer);
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

/** False when as many wait on this node as may: then the place in the queue is all there is. */
function mayWait({ request }: Asking): boolean {
  try {
    request.exchange.becomeWatcher();
    return true;
  } catch (error) {
    passUnlessService(error);
    return false;
  }
}

/** Resolves when it is time to ask again. */
async function untilTurn(asking: Asking): Promise<void> {
  const { command, endMs } = asking;
  const renewMs = performance.now() + command.ttlMs / 3;
  const untilMs = Math.min(renewMs, endMs);
  while (!isOver(asking) && performance.now() < renewMs && !(await isOurTurn(asking, untilMs))) {
    const leftMs = Math.max(1, endMs - performance.now());
    await pause(systemTimers, Math.min(lookMs, leftMs, command.ttlMs / 3));
  }
}

/** False also when nobody could tell until `untilMs`. */
async function isOurTurn(
  { kit, request, command, gone }: Asking,
  untilMs: number,
): Promise<boolean> {
  const { lock, owner } = command;
  const leftMs = Math.max(1, untilMs - performance.now());
  const timeoutMs = Math.min(kit.config.requestTimeoutMs, leftMs);
  const context = contextOf(kit, request, timeoutMs, gone);
  const query = { type: "lock", lock } as const;
  try {
    const { value } = await kit.service.query(lock, query, { type: "linearizable" }, context);
    return value.type !== "lock" || isFor(owner, value.lock);
  } catch (error) {
    passUnlessService(error);
    return false;
  }
}

/** Whether asking would change something: the lock is free, or the owner's, or the place in its queue is lost. */
function isFor(owner: string, { holder, waiters }: LockView): boolean {
  return (
    holder === null || holder.owner === owner || !waiters.some((waiter) => waiter.owner === owner)
  );
}

/**
 * Asks until there is an answer; `last` when there is nobody left who wants one. Throws `outcome_unknown` when time is up: the place may
 * have become the lock since, and an ask that was not confirmed may still happen.
 */
async function askAgain(asking: Asking, last: Queued): Promise<Held | Busy | Queued> {
  while (!asking.gone.aborted) {
    try {
      return await ask(asking);
    } catch (error) {
      passUnlessService(error);
      if (isOver(asking) && !asking.gone.aborted) {
        throw unknown(asking.command, error);
      }
    }
    await pause(systemTimers, lookMs);
  }
  return last;
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

function unknown({ owner }: LockAcquireCommand, cause: ServiceError): ServiceError {
  return new ServiceError(
    "outcome_unknown",
    `${owner} was in the queue; whether it still waits or holds the lock by now could not be found out: ask again`,
    { ...cause.options, applied: "unknown", cause },
  );
}

function passUnlessService(error: unknown): asserts error is ServiceError {
  if (!(error instanceof ServiceError)) {
    throw error;
  }
}

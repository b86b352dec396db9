import type { FastifyRequest } from "fastify";
import type { LockAcquireCommand, LockParty } from "../../storage/commands.ts";
import { ServiceError } from "../errors.ts";
import { expectResult, jsonParty, type Success } from "./outcomes.ts";
import { contextOf, type RouteKit } from "./route-kit.ts";
import { systemTimers } from "../timers.ts";

type Held = Extract<Success, { type: "lock_held" }>;

/** Pause between two looks at a lock that somebody else holds. */
const lookMs = 100;

/**
 * Takes the lock, at once or within `waitMs`. Waiting, it looks at the lock now and then (a read) and asks again when it is its turn, or
 * when a third of its time to live is over, which would cost it its place. Throws `locked` when time is up; the place in the queue stays
 * until its time to live ends, so asking again does not begin at the end. A client that goes away leaves the queue.
 */
export async function acquire(
  kit: RouteKit,
  request: FastifyRequest,
  timeoutMs: number | null,
  waitMs: number | null,
  command: LockAcquireCommand,
): Promise<Held> {
  const endMs = performance.now() + (waitMs ?? 0);
  const isOver = (): boolean =>
    performance.now() >= endMs || kit.closing.aborted || request.exchange.gone.aborted;
  for (;;) {
    const context = contextOf(kit, request, timeoutMs);
    const served = await kit.service.execute(command.lock, command, context, null);
    const result = expectResult(served, "lock_held", "lock_queued", "lock_busy");
    if (result.type === "lock_held") {
      return await handOver(kit, request, command, result);
    }
    if (result.type === "lock_busy" || isOver()) {
      throw locked(command, result.holder, result.type === "lock_queued" ? result.position : null);
    }
    request.exchange.becomeWatcher();
    const askAgainMs = performance.now() + command.ttlMs / 3;
    while (
      !isOver() &&
      performance.now() < askAgainMs &&
      !(await isOurTurn(kit, request, command))
    ) {
      await pause(Math.min(lookMs, Math.max(1, endMs - performance.now()), command.ttlMs / 3));
    }
    if (request.exchange.gone.aborted) {
      await leave(kit, request, command);
      throw locked(command, result.holder, null);
    }
  }
}

/** The lock is ours; if nobody is there to take it, it must not wait for its time to live. */
async function handOver(
  kit: RouteKit,
  request: FastifyRequest,
  command: LockAcquireCommand,
  held: Held,
): Promise<Held> {
  if (command.wait && request.exchange.gone.aborted) {
    await leave(kit, request, command);
  }
  return held;
}

async function isOurTurn(
  kit: RouteKit,
  request: FastifyRequest,
  { lock, owner }: LockAcquireCommand,
): Promise<boolean> {
  const context = contextOf(kit, request, null);
  const { value } = await kit.service.query(
    lock,
    { type: "lock", lock },
    { type: "linearizable" },
    context,
  );
  if (value.type !== "lock") {
    return true;
  }
  const { holder } = value.lock;
  return holder === null || holder.owner === owner;
}

async function leave(
  kit: RouteKit,
  request: FastifyRequest,
  { lock, owner }: LockAcquireCommand,
): Promise<void> {
  await kit.service.execute(
    lock,
    { type: "lock_release", lock, owner, token: null },
    contextOf(kit, request, null),
    null,
  );
}

function locked(
  command: LockAcquireCommand,
  holder: LockParty,
  position: number | null,
): ServiceError {
  const place = position === null ? "" : `; ${command.owner} is number ${position} in the queue`;
  return new ServiceError("locked", `${holder.owner} holds the lock${place}`, {
    retryAfterMs: 1000,
    extra: { holder: jsonParty(holder), ...(position === null ? {} : { position }) },
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => systemTimers.after(ms, resolve));
}

import { decodeConfiguration } from "../../cluster/raft/membership.ts";
import type { AppendEntriesResponse, Message } from "../../cluster/raft/message.ts";
import type { Raft } from "../../cluster/raft/raft.ts";
import type { Write } from "../../cluster/raft/ready.ts";
import type { Configuration, Entry, NodeId } from "../../cluster/types.ts";

/** How golden scripts show messages, entries and states: one line each, as short as it can be without riddles. */

export function printMessage(message: Message): string {
  const head = `${message.from}->${message.to} ${message.type} term=${message.term}`;
  switch (message.type) {
    case "RequestPreVote":
      return `${head} last=${message.lastIndex}/${message.lastTerm}`;
    case "RequestVote":
      return `${head} last=${message.lastIndex}/${message.lastTerm}${message.isTransfer ? " transfer" : ""}`;
    case "RequestPreVoteResponse":
    case "RequestVoteResponse":
      return `${head} ${message.granted ? "granted" : "refused"}`;
    case "AppendEntries": {
      const entries = message.entries.map(printEntry).join(", ");
      return `${head} prev=${message.prevIndex}/${message.prevTerm} commit=${message.commit} [${entries}]`;
    }
    case "AppendEntriesResponse":
      return `${head} ${printResult(message.result)}`;
    case "Heartbeat":
      return `${head} commit=${message.commit} round=${message.round}${message.quiesce ? " quiesce" : ""}`;
    case "CommitNotice":
      return `${head} commit=${message.commit}`;
    case "HeartbeatResponse":
      return `${head} round=${message.round}`;
    case "InstallSnapshot": {
      const { index, term, configuration } = message.snapshot;
      return `${head} at=${index}/${term} ${printConfiguration(configuration)}`;
    }
    case "TimeoutNow":
      return head;
    case "ReadIndex":
      return `${head} context=${message.context}`;
    case "ReadIndexResponse":
      return `${head} context=${message.context} index=${message.index ?? "none"}`;
  }
}

export function printEntry(entry: Entry): string {
  const place = `${entry.index}/${entry.term}`;
  switch (entry.type) {
    case "noop":
      return `${place} noop`;
    case "command":
      return `${place} "${new TextDecoder().decode(entry.payload)}"`;
    case "config": {
      const configuration = decodeConfiguration(entry.payload);
      return `${place} ${configuration === null ? "garbage" : printConfiguration(configuration)}`;
    }
  }
}

export function printConfiguration(configuration: Configuration): string {
  const { voters, votersOutgoing, learners, learnersNext } = configuration;
  const parts = [`voters=${voters.join(",")}`];
  if (votersOutgoing.length > 0) {
    parts.push(`outgoing=${votersOutgoing.join(",")}`);
  }
  if (learners.length > 0) {
    parts.push(`learners=${learners.join(",")}`);
  }
  if (learnersNext.length > 0) {
    parts.push(`next=${learnersNext.join(",")}`);
  }
  return `(${parts.join(" ")})`;
}

export function printWrite(write: Write): string {
  const parts = ["write"];
  if (write.hardState !== null) {
    const { term, vote, commit } = write.hardState;
    parts.push(`term=${term} vote=${vote ?? "none"} commit=${commit}`);
  }
  if (write.snapshot !== null) {
    parts.push(`snapshot=${write.snapshot.index}/${write.snapshot.term}`);
  }
  if (write.entries.length > 0) {
    parts.push(`[${write.entries.map(printEntry).join(", ")}]`);
  }
  return parts.join(" ") + (write.mustSync ? " sync" : "");
}

/** `a leader term=2 leader=a commit=3 applied=3 last=4 log=1 1 2 2`: the log as its terms, from the compacted index on. */
export function printState(raft: Raft): string {
  const status = raft.status();
  const flags = [
    status.isQuiesced ? "quiesced" : "",
    status.isQuarantined ? "quarantined" : "",
    status.transferTarget === null ? "" : `transferring-to=${status.transferTarget}`,
  ].filter((flag) => flag !== "");
  const log = raft.entriesBetween(raft.compactedIndex, raft.lastIndex).map((entry) => entry.term);
  const start = status.compactedIndex === 0 ? "" : `${status.compactedIndex}:`;
  return [
    `${status.id} ${status.role} term=${status.term} vote=${status.vote ?? "none"} leader=${status.leader ?? "none"}`,
    `commit=${status.commitIndex} applied=${status.appliedIndex} persisted=${status.persistedIndex}`,
    `log=${start}[${log.join(" ")}]`,
    ...flags,
  ].join(" ");
}

export function printProgress(raft: Raft): readonly string[] {
  const lines: string[] = [];
  for (const [member, progress] of raft.status().progress) {
    const flags = [
      progress.isLearner ? " learner" : "",
      progress.isRecentlyActive ? " active" : "",
      progress.isQuarantined ? " quarantined" : "",
    ];
    lines.push(
      `${member} ${progress.state} match=${progress.matchIndex} next=${progress.nextIndex}${flags.join("")}`,
    );
  }
  return lines;
}

/** What everybody sees change: `a is leader of term 1`. */
export function printRole(raft: Raft): string {
  const leader: NodeId | null = raft.leader;
  const follows = leader === null || raft.isLeader ? "" : ` of ${leader}`;
  return `${raft.id} is ${raft.role}${follows} in term ${raft.term}${raft.isQuiesced ? ", quiesced" : ""}`;
}

function printResult(result: AppendEntriesResponse["result"]): string {
  switch (result.type) {
    case "accepted":
      return `accepted match=${result.matchIndex}`;
    case "rejected":
      return `rejected prev=${result.rejectedIndex} hint=${result.hintIndex}/${result.hintTerm}`;
    case "quarantined":
      return "quarantined";
  }
}

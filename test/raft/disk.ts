import type { RestoredState } from "../../cluster/raft/options.ts";
import type { Write } from "../../cluster/raft/ready.ts";
import { LogIndex, Term } from "../../cluster/types.ts";
import type { Configuration, Entry, HardState } from "../../cluster/types.ts";

/** What one replica has durably, in the host's stead: obeys every Write to the letter and gives it back after a crash. */
export class ScriptDisk {
  hardState: HardState = { term: Term(0), vote: null, commit: LogIndex(0) };
  compactedIndex: LogIndex = LogIndex(0);
  compactedTerm: Term = Term(0);
  entries: Entry[] = [];
  appliedIndex: LogIndex = LogIndex(0);
  configuration: Configuration;
  isQuarantined = false;

  constructor(configuration: Configuration) {
    this.configuration = configuration;
  }

  write(write: Write): void {
    if (write.hardState !== null) {
      this.hardState = write.hardState;
    }
    if (write.snapshot !== null) {
      this.compactedIndex = write.snapshot.index;
      this.compactedTerm = write.snapshot.term;
      this.appliedIndex = write.snapshot.index;
      this.configuration = write.snapshot.configuration;
      this.entries = [];
      this.isQuarantined = false;
    }
    const first = write.entries[0];
    if (first !== undefined) {
      this.entries.length = first.index - this.compactedIndex - 1;
      this.entries.push(...write.entries);
    }
  }

  apply(index: LogIndex, configuration: Configuration): void {
    this.appliedIndex = index;
    this.configuration = configuration;
  }

  compact(index: LogIndex, term: Term): void {
    this.entries = this.entries.slice(index - this.compactedIndex);
    this.compactedIndex = index;
    this.compactedTerm = term;
  }

  restore(): RestoredState {
    return {
      hardState: this.hardState,
      compactedIndex: this.compactedIndex,
      compactedTerm: this.compactedTerm,
      entries: this.entries,
      appliedIndex: this.appliedIndex,
      configuration: this.configuration,
      isQuarantined: this.isQuarantined,
    };
  }
}

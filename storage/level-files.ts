import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32c } from "./checksum.ts";
import { StoreFailure, storeFailure } from "./failure.ts";
import { LittleEndianReader, snappyUncompress } from "./level-encoding.ts";

/**
 * Reads every table that LevelDB will use and checks the checksum of every block in it, as LevelDB would with `verify_checksums`, which
 * its Node binding does not offer. Without this a flipped bit in a key, an index or a filter makes records vanish silently, and the next
 * compaction gives the damage a valid checksum.
 *
 * Formats: doc/log_format.md and doc/table_format.md of LevelDB 1.20. Damage to CURRENT, and to a log file, is found elsewhere: by
 * LevelDB itself and by the ladder.
 */
export async function verifyTables(store: string): Promise<void> {
  try {
    await verifyOnce(store);
  } catch {
    // Another process that still uses the store may have replaced a table meanwhile. Real damage is still there.
    await verifyOnce(store);
  }
}

async function verifyOnce(store: string): Promise<void> {
  const current = await readStoreFile(store, "CURRENT");
  const manifest = current.toString("latin1").trimEnd();
  if (!/^MANIFEST-\d+$/.test(manifest)) {
    throw damaged(join(store, "CURRENT"), "it does not name a manifest");
  }
  const tables = liveTables(await readStoreFile(store, manifest), join(store, manifest));
  for (const [number, size] of [...tables].sort(([a], [b]) => a - b)) {
    const name = `${String(number).padStart(6, "0")}.ldb`;
    const bytes = await readStoreFile(store, name);
    if (bytes.length !== size) {
      throw damaged(join(store, name), `it has ${bytes.length} bytes instead of ${size}`);
    }
    verifyTable(bytes, join(store, name));
  }
}

async function readStoreFile(store: string, name: string): Promise<Buffer> {
  const path = join(store, name);
  try {
    return await readFile(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      throw damaged(path, "it is missing");
    }
    throw storeFailure(`reading ${path}`, error);
  }
}

function damaged(path: string, why: string): StoreFailure {
  return new StoreFailure(
    "corrupt",
    `${path} is damaged (${why}): replace the disk, empty the data directory and let the node rejoin`,
  );
}

/** Tables that the manifest lists, with their sizes: a log of edits, each adding and removing tables. */
function liveTables(manifest: Buffer, path: string): Map<number, number> {
  const tables = new Map<number, number>();
  for (const record of logRecords(manifest, path)) {
    applyEdit(tables, new LittleEndianReader(record, () => damaged(path, "an edit is malformed")));
  }
  return tables;
}

function applyEdit(tables: Map<number, number>, edit: LittleEndianReader): void {
  while (edit.remaining > 0) {
    const tag = edit.varint();
    switch (tag) {
      case 1: // comparator
        edit.lengthPrefixed();
        break;
      case 2: // log number
      case 3: // next file number
      case 4: // last sequence
      case 9: // previous log number
        edit.varint();
        break;
      case 5: // compact pointer: level, key
        edit.varint();
        edit.lengthPrefixed();
        break;
      case 6: // deleted file: level, number
        edit.varint();
        tables.delete(edit.varint());
        break;
      case 7: {
        // new file: level, number, size, smallest, largest
        edit.varint();
        const number = edit.varint();
        tables.set(number, edit.varint());
        edit.lengthPrefixed();
        edit.lengthPrefixed();
        break;
      }
      default:
        throw edit.malformed();
    }
  }
}

const logBlockBytes = 32 * 1024;
const logHeaderBytes = 7;

/** Records of a file in LevelDB's log format. An end that is cut off is what a crash leaves; anything else is damage. */
function* logRecords(file: Buffer, path: string): Generator<Buffer> {
  let fragments: Buffer[] = [];
  for (let offset = 0; offset + logHeaderBytes <= file.length;) {
    const left = logBlockBytes - (offset % logBlockBytes);
    if (left < logHeaderBytes) {
      offset += left;
      continue;
    }
    const length = file.readUInt16LE(offset + 4);
    const type = file[offset + 6];
    const end = offset + logHeaderBytes + length;
    if (end > file.length) {
      return;
    }
    if (crc32c(file, 0, offset + 6, end) !== unmasked(file.readUInt32LE(offset))) {
      throw damaged(path, `wrong checksum at byte ${offset}`);
    }
    fragments.push(file.subarray(offset + logHeaderBytes, end));
    if (type === 1 || type === 4) {
      yield Buffer.concat(fragments);
      fragments = [];
    }
    offset = end;
  }
}

const footerBytes = 48;
const tableMagic = Buffer.from("57fb808b247547db", "hex");

/** Checks every block: filter and its index by way of the metaindex, data by way of the index. */
function verifyTable(table: Buffer, path: string): void {
  const footer = table.subarray(-footerBytes);
  if (footer.length < footerBytes || !footer.subarray(40).equals(tableMagic)) {
    throw damaged(path, "it does not end as a table does");
  }
  const malformed = (): StoreFailure => damaged(path, "a block is malformed");
  const handles = new LittleEndianReader(footer, malformed);
  for (const root of [handles.handle(), handles.handle()]) {
    const block = readBlock(table, root.offset, root.size, path);
    for (const { offset, size } of blockHandles(block, malformed)) {
      checkBlock(table, offset, size, path);
    }
  }
}

const blockTrailerBytes = 5;

function checkBlock(table: Buffer, offset: number, size: number, path: string): void {
  const end = offset + size;
  if (end + blockTrailerBytes > table.length) {
    throw damaged(path, `a block at byte ${offset} lies outside`);
  }
  if (crc32c(table, 0, offset, end + 1) !== unmasked(table.readUInt32LE(end + 1))) {
    throw damaged(path, `wrong checksum in the block at byte ${offset}`);
  }
}

function readBlock(table: Buffer, offset: number, size: number, path: string): Uint8Array {
  checkBlock(table, offset, size, path);
  const content = table.subarray(offset, offset + size);
  return table[offset + size] === 1
    ? snappyUncompress(content, () => damaged(path, "a block cannot be uncompressed"))
    : content;
}

/** The values of an index block, which are handles of other blocks. */
function* blockHandles(
  block: Uint8Array,
  malformed: () => StoreFailure,
): Generator<{ readonly offset: number; readonly size: number }> {
  if (block.length < 4) {
    throw malformed();
  }
  const restarts = Buffer.from(block).readUInt32LE(block.length - 4);
  const reader = new LittleEndianReader(block.subarray(0, -4 - 4 * restarts), malformed);
  while (reader.remaining > 0) {
    reader.varint(); // bytes shared with the key before
    const keyBytes = reader.varint();
    const valueBytes = reader.varint();
    reader.skip(keyBytes);
    yield new LittleEndianReader(reader.take(valueBytes), malformed).handle();
  }
}

/** LevelDB stores checksums rotated and shifted, so that a checksum of checksums is not degenerate. */
function unmasked(masked: number): number {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

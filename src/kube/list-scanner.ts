// Cuts the objects out of a list response while it arrives, so that a list of any size costs the memory of one object.

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** etcd takes no object above 1.5 MB (8 MB where somebody has raised it); a larger one is no object. */
const MAX_ITEM_BYTES = 16 * 1024 * 1024;
/** kind, apiVersion and metadata: some 200 bytes, more with a long continue token. */
const MAX_ENVELOPE_BYTES = 1024 * 1024;
/** Depth of the elements of the top-level "items" array. */
const ITEM_DEPTH = 2;

/** The response is not a list as the API writes it. */
export class ListFormatError extends Error {
  override readonly name = "ListFormatError";
}

/**
 * Feed it the body's pieces; it hands each element of the top-level `items` array to `onItem`, parsed. `end` returns the
 * rest of the response, with `items` empty. Pieces may be cut anywhere, also inside a character.
 */
export class ListScanner {
  readonly #onItem: (item: unknown) => void;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #inItems = false;
  #item: Buffer[] = [];
  #itemBytes = 0;
  #envelope = "";

  constructor(onItem: (item: unknown) => void) {
    this.#onItem = onItem;
  }

  /** @throws {ListFormatError} */
  write(chunk: Buffer): void {
    /** Where the part of the chunk that is not yet taken begins. */
    let from = 0;
    for (let i = 0; i < chunk.length; i += 1) {
      if (this.#inString) {
        i = this.#skipString(chunk, i);
        continue;
      }
      const byte: number = chunk[i] ?? 0;
      switch (byte) {
        case QUOTE:
          this.#inString = true;
          break;
        case OPEN_BRACE:
        case OPEN_BRACKET:
          if (this.#inItems && this.#depth === ITEM_DEPTH) from = i;
          this.#depth += 1;
          if (this.#depth === ITEM_DEPTH && byte === OPEN_BRACKET && !this.#inItems) {
            this.#take(chunk, from, i + 1);
            from = i + 1;
            this.#inItems = /[{,]\s*"items"\s*:\s*\[$/.test(this.#envelope);
          }
          break;
        case CLOSE_BRACE:
        case CLOSE_BRACKET:
          this.#depth -= 1;
          if (this.#depth < 0) throw new ListFormatError("the list has a bracket too many");
          if (!this.#inItems) break;
          if (this.#depth === ITEM_DEPTH) {
            this.#take(chunk, from, i + 1);
            from = i + 1;
            this.#finishItem();
          } else if (this.#depth === ITEM_DEPTH - 1) {
            this.#inItems = false;
            from = i;
          }
          break;
        default:
          break;
      }
    }
    // Between two items there is nothing but a comma.
    if (!this.#inItems || this.#depth > ITEM_DEPTH) this.#take(chunk, from, chunk.length);
  }

  /** @throws {ListFormatError} when the response ended early */
  end(): unknown {
    try {
      return JSON.parse(this.#envelope);
    } catch (error) {
      throw new ListFormatError("the list ended early or is not JSON", { cause: error });
    }
  }

  /** Returns the index of the closing quote, or of the chunk's last byte. */
  #skipString(chunk: Buffer, start: number): number {
    for (let i = start; i < chunk.length; i += 1) {
      if (this.#escaped) this.#escaped = false;
      else if (chunk[i] === BACKSLASH) this.#escaped = true;
      else if (chunk[i] === QUOTE) {
        this.#inString = false;
        return i;
      }
    }
    return chunk.length - 1;
  }

  #take(chunk: Buffer, from: number, to: number): void {
    if (from >= to) return;
    if (!this.#inItems) {
      this.#envelope += chunk.toString("latin1", from, to);
      if (this.#envelope.length > MAX_ENVELOPE_BYTES) throw new ListFormatError("the response is not a list");
      return;
    }
    this.#itemBytes += to - from;
    if (this.#itemBytes > MAX_ITEM_BYTES)
      throw new ListFormatError(`an object of the list has more than ${MAX_ITEM_BYTES} bytes`);
    this.#item.push(chunk.subarray(from, to));
  }

  #finishItem(): void {
    const [first] = this.#item;
    const bytes = this.#item.length === 1 && first !== undefined ? first : Buffer.concat(this.#item);
    this.#item = [];
    this.#itemBytes = 0;
    let item: unknown;
    try {
      item = JSON.parse(bytes.toString("utf8"));
    } catch (error) {
      throw new ListFormatError("an object of the list is not JSON", { cause: error });
    }
    this.#onItem(item);
  }
}

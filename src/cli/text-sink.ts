// Where a command writes to; a stream of Node's fits.

export interface TextSink {
  write(text: string): unknown;
}

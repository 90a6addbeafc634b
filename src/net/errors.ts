// The one error that every parser of untrusted text throws.

/** Text that is not what it should be. `message` says what is wrong, where, and what would be right. */
export class InvalidValueError extends Error {
  override readonly name = "InvalidValueError";
}

/** @module What is known of the connections to the server. */

export interface DoorState {
  /** Connections. */
  readonly open: number;
  /** Connections that were refused: of all there were as many as there may be, or of one address. */
  readonly refused: { readonly all: number; readonly address: number };
  /** Characters of answers that wait for their readers. */
  readonly waiting: number;
  /** Answers that were given up, because their readers took too long. */
  readonly cut: number;
}

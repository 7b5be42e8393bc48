/**
 * Text that comes in pieces, cut into lines: at LF, CR, or both. The work is in proportion to the
 * length of the text, however it comes: an unfinished line is kept in its pieces, and only what is
 * new is looked at.
 */
export class Lines {
  #pieces: string[] = [];
  #size = 0;
  #afterCr = false;

  /** Characters of the line that is not finished yet. */
  get held(): number {
    return this.#size;
  }

  /** The lines that end in `text`. */
  feed(text: string): string[] {
    if (!text) return [];
    let piece = text;
    // A LF that comes first now belongs to the CR before it.
    if (this.#afterCr && piece.startsWith("\n")) piece = piece.slice(1);
    this.#afterCr = piece.endsWith("\r");
    const lines = piece.split(/\r\n|\r|\n/);
    const rest = lines.pop()!;
    if (lines.length > 0) {
      this.#pieces.push(lines[0]!);
      lines[0] = this.#pieces.join("");
      this.#pieces = [];
      this.#size = 0;
    }
    if (rest) {
      this.#pieces.push(rest);
      this.#size += rest.length;
    }
    return lines;
  }
}

/**
 * Members in a circle, visited one after another for ever. Visiting them at an even pace spreads
 * the load evenly, however many joined at the same moment.
 */
export class Ring {
  #order: string[] = [];
  readonly #members = new Set<string>();
  #cursor = 0;

  get size(): number {
    return this.#members.size;
  }

  /** A new member is visited last in the current round. */
  add(member: string): void {
    if (this.#members.has(member)) return;
    this.#members.add(member);
    this.#order.push(member);
  }

  delete(member: string): void {
    // Its place in the order stays until the round ends: removal costs nothing per member.
    this.#members.delete(member);
  }

  /** The next `count` members; fewer when there are fewer. */
  next(count: number): string[] {
    const chosen: string[] = [];
    const limit = Math.min(count, this.#members.size);
    while (chosen.length < limit) {
      if (this.#cursor >= this.#order.length) {
        this.#order = [...this.#members];
        this.#cursor = 0;
      }
      const member = this.#order[this.#cursor];
      this.#cursor += 1;
      if (member !== undefined && this.#members.has(member) && !chosen.includes(member)) chosen.push(member);
    }
    return chosen;
  }
}

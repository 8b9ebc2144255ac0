/**
 * Measurements with weights, and their percentiles: a batch of k records acknowledged at once is k
 * records that waited equally long.
 */

export class Samples {
  readonly #values: number[] = [];
  readonly #weights: number[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(value: number, weight = 1): void {
    this.#values.push(value);
    this.#weights.push(weight);
    this.#count += weight;
  }

  addAll(other: Samples): void {
    for (const [at, value] of other.#values.entries()) this.add(value, other.#weights[at]);
  }

  /** The least value that at least this share of the samples does not exceed; NaN if empty. */
  percentile(share: number): number {
    const order = this.#values.map((value, at) => ({ value, weight: this.#weights[at] ?? 0 }));
    order.sort((a, b) => a.value - b.value);
    let rest = share * this.#count;
    for (const { value, weight } of order) {
      rest -= weight;
      if (rest <= 0) return value;
    }
    return Number.NaN;
  }
}

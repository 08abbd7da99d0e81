/** A path attribute, or a prefix, that is not as its RFC has it. */
export class AttributeError extends Error {
  override readonly name = 'AttributeError';
  /** `MED`, `NLRI`, … */
  readonly attribute: string;

  constructor(attribute: string, text: string) {
    super(`${attribute}: ${text}`);
    this.attribute = attribute;
  }
}

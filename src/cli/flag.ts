import type { z } from 'zod';

export interface Flag<Schema extends z.ZodType = z.ZodType> {
  readonly kind: 'text' | 'switch' | 'list';
  readonly schema: Schema;
  readonly default?: z.output<Schema>;
  /** How the default reads in the help; default: the value itself. */
  readonly defaultText?: string;
  /** Its value is not repeated where it is refused: somebody may have written a password into it. */
  readonly quiet?: boolean;
  readonly about: string;
}

export const flag = <Schema extends z.ZodType>(definition: Flag<Schema>): Flag<Schema> => definition;

import { assert } from '@alcove/base';
import { z } from 'zod';

export type JsonSchema = Record<string, unknown>;

const definitions = '#/$defs/';
const components = '#/components/schemas/';

/**
 * Turns zod schemas into JSON Schema 2020-12, which OpenAPI 3.1 uses as it is. Schemas with a `meta({id})` are collected under `named` and referred to, so that a
 * client generator gets a type for each.
 */
export class Schemas {
  readonly named: Record<string, JsonSchema> = {};

  /** What a caller sends: defaults make a field optional. */
  input(schema: z.ZodType): JsonSchema {
    return this.#convert(schema, 'input');
  }

  /** What a caller gets. */
  output(schema: z.ZodType): JsonSchema {
    return this.#convert(schema, 'output');
  }

  /** A query parameter, and whether it may be left out. */
  parameter(schema: z.ZodType): { json: JsonSchema; optional: boolean } {
    return { json: this.input(schema), optional: schema.safeParse(undefined).success };
  }

  #convert(schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
    const { $schema, $defs, ...json } = z.toJSONSchema(schema, { target: 'draft-2020-12', io }) as JsonSchema & { $defs?: Record<string, JsonSchema> };
    for (const [name, definition] of Object.entries($defs ?? {})) this.#keep(name, definition);
    return refer(json) as JsonSchema;
  }

  /** One name, one shape: a schema that reads differently as input and as output needs two names. */
  #keep(name: string, definition: JsonSchema): void {
    const json = refer(definition) as JsonSchema;
    const known = this.named[name];
    assert(known === undefined || JSON.stringify(known) === JSON.stringify(json), `the schema ${name} has two shapes`);
    this.named[name] = json;
  }
}

/** The same schema with its references pointing at the components. */
function refer(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(refer);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, key === '$ref' && typeof inner === 'string' ? inner.replace(definitions, components) : refer(inner)]));
}

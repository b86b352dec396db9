import { createRequire } from "node:module";
import type AjvCompiler from "@fastify/ajv-compiler";
import type { Options } from "@fastify/ajv-compiler";
import type { FastifySchema, FastifySchemaCompiler, FastifyServerOptions } from "fastify";
import { textRefusal } from "./json-body.ts";

const require = createRequire(import.meta.url);

const options: Options = { coerceTypes: false, removeAdditional: false, discriminator: true };

/**
 * How schemas become checks of JSON bodies: by Ajv, which is loaded when the first such body arrives and compiles a schema when it is first
 * needed. Loading it and compiling everything would be a third of a start. What fits its schema is also made sure to be text.
 */
export function lazyValidation(): FastifySchemaCompiler<FastifySchema> {
  const compile = once(() => {
    const makeFactory: typeof AjvCompiler = require("@fastify/ajv-compiler");
    return makeFactory()({}, { customOptions: options });
  });
  return ({ schema }) => {
    // The compiler takes what Fastify gives, other than its type says.
    const compiled = once(() => compile()({ schema }));
    return (body: unknown) => {
      const validate = compiled();
      if (validate(body) !== true) {
        return { error: validate.errors ?? [] };
      }
      const error = textRefusal(body);
      return error === null ? true : { error };
    };
  };
}

/** Takes the place of Fastify's own compilers, which would be loaded even though nobody asks them. Answers are written by their routes. */
export const noCompilers: NonNullable<FastifyServerOptions["schemaController"]> = {
  compilersFactory: {
    buildValidator: () => {
      throw new Error("lazyValidation is set instead");
    },
    buildSerializer: () => () => JSON.stringify,
  },
};

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}

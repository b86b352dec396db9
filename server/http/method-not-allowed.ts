import type { FastifyInstance } from "fastify";
import { ServiceError } from "../errors.ts";

/**
 * Makes every path that exists answer 405 with `Allow` for methods that it does not have, where Fastify would say 404. Collects the
 * routes as they are added; `addRoutes` fills the gaps.
 */
export function answerMethodNotAllowed(app: FastifyInstance): { addRoutes(): void } {
  const methods = new Map<string, Set<string>>();
  let isFilling = false;
  app.addHook("onRoute", (route) => {
    if (isFilling) {
      return;
    }
    const known = methods.get(route.url) ?? new Set();
    methods.set(route.url, known);
    for (const method of [route.method].flat()) {
      known.add(method);
    }
  });
  return {
    addRoutes() {
      isFilling = true;
      for (const [url, known] of methods) {
        const allow = [...known].sort().join(", ");
        app.route({
          url,
          method: app.supportedMethods.filter((method) => !known.has(method)),
          schema: { hide: true },
          // Before the body is read: what it holds does not matter.
          onRequest: (request, reply, next) => {
            void reply.header("allow", allow);
            next(
              new ServiceError(
                "method_not_allowed",
                `${request.method} is not for this path; it takes ${allow}`,
              ),
            );
          },
          handler: () => Promise.resolve(),
        });
      }
    },
  };
}

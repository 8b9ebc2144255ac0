/**
 * `grpc.health.v1.Health` and server reflection, v1 and v1alpha: what probes and tools ask any
 * gRPC server. Reflection answers from the package's own proto/, read by the library that parses
 * it: this room opens no files.
 */
import { fileURLToPath } from "node:url";

import type { Server, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation, protoPath as healthProtoPath } from "grpc-health-check";

import type { CallGate } from "./call-gate.js";

/** Services whose health can be asked for; the empty name is the whole server. */
const healthNames = ["", "log.v1.Log", "cluster.v1.ClusterService", "raft.v1.Raft"] as const;

/** The same place from src/rpc and from dist/rpc. */
const protoDirectory = fileURLToPath(new URL("../../proto", import.meta.url));
const protoFiles = ["log/v1/log.proto", "cluster/v1/cluster.proto", "raft/v1/raft.proto"];

/** Both libraries add services to whatever looks like a server; theirs go through the gate. */
function guarded(server: Server, gate: CallGate): Pick<Server, "addService"> {
  return {
    addService: (definition: ServiceDefinition, implementation: UntypedServiceImplementation) =>
      server.addService(definition, gate.guard(definition, implementation)),
  };
}

/** The health service of one server; it says NOT_SERVING until told otherwise. */
export class Health {
  readonly #health = new HealthImplementation();

  constructor(server: Server, gate: CallGate) {
    this.setServing(false);
    this.#health.addToServer(guarded(server, gate));
  }

  setServing(serving: boolean): void {
    const status = serving ? "SERVING" : "NOT_SERVING";
    for (const name of healthNames) this.#health.setStatus(name, status);
  }
}

/** Adds both versions of server reflection. */
export function addReflection(server: Server, gate: CallGate): void {
  const definitions = {
    ...loadSync(protoFiles, { includeDirs: [protoDirectory] }),
    ...loadSync(healthProtoPath),
  };
  new ReflectionService(definitions).addToServer(guarded(server, gate));
}

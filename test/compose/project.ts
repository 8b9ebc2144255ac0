/**
 * One compose project on a test's engine: docker-compose as a person types it, and its containers.
 */
import type { Engine } from "./engine.js";
import { tell } from "./engine.js";
import { until } from "../cluster/poll.js";

export interface Container {
  readonly id: string;
  readonly service: string;
  readonly hostname: string;
  /** Address in the project's network; empty while it has none. */
  readonly address: string;
  readonly state: string;
  /** undefined without a health check. */
  readonly health: string | undefined;
}

interface Inspected {
  readonly Id: string;
  readonly Config: { readonly Hostname: string; readonly Labels: Readonly<Record<string, string>> };
  readonly State: { readonly Status: string; readonly Health?: { readonly Status: string } };
  readonly NetworkSettings: {
    readonly Networks: Readonly<Record<string, { readonly IPAddress: string }>>;
  };
}

export class Project {
  readonly #engine: Engine;
  readonly #name: string;

  constructor(engine: Engine, name: string) {
    this.#engine = engine;
    this.#name = name;
  }

  /** Runs docker-compose over the shipped files. */
  async compose(...words: readonly string[]): Promise<string> {
    const files = ["-f", "docker-compose.yml", "-f", "deploy/compose.bootstrap.yml"];
    const command = ["docker-compose", "-p", this.#name, ...files, ...words];
    return tell(command, { env: this.#engine.env });
  }

  /** Starts the project with so many replicas of `proglog-node` beside the first. */
  async scale(replicaCount: number): Promise<void> {
    const scale = ["--scale", `proglog-node=${replicaCount}`];
    await this.compose("up", "-d", "--no-build", "--no-recreate", ...scale);
  }

  async containers(): Promise<Container[]> {
    const label = `label=com.docker.compose.project=${this.#name}`;
    const ids = await this.#engine.docker(["ps", "--all", "--quiet", "--filter", label]);
    if (ids === "") return [];
    const found = JSON.parse(await this.#engine.docker(["inspect", ...ids.split("\n")]));
    return (found as Inspected[]).map(({ Id, Config, State, NetworkSettings }) => ({
      id: Id,
      service: Config.Labels["com.docker.compose.service"] ?? "",
      hostname: Config.Hostname,
      address: Object.values(NetworkSettings.Networks)[0]?.IPAddress ?? "",
      state: State.Status,
      health: State.Health?.Status,
    }));
  }

  /** The containers that run nodes. */
  async nodes(): Promise<Container[]> {
    return (await this.containers()).filter(({ service }) => service !== "gateway");
  }

  /**
   * Starts stopped containers in the order of the addresses that they had, in which the engine gives
   * the same ones again: nodes whose addresses have all changed at once do not find each other yet.
   */
  async startInPlace(containers: readonly Container[]): Promise<void> {
    const last = ({ address }: Container): number => Number(address.split(".")[3]);
    const ordered = [...containers].sort((a, b) => last(a) - last(b));
    for (const { id } of ordered) await this.#engine.docker(["start", id]);
    const moved = (await this.containers()).filter(({ id, address }) =>
      containers.some((before) => before.id === id && before.address !== address),
    );
    if (moved.length > 0) throw new Error(`addresses have changed: ${JSON.stringify(moved)}`);
  }

  async untilHealthy(): Promise<void> {
    await until(
      "all containers to be healthy",
      async () => {
        const ill = (await this.containers()).filter(({ health }) => health !== "healthy");
        if (ill.length > 0) throw new Error(JSON.stringify(ill));
        return true;
      },
      { timeoutMs: 120_000, everyMs: 500 },
    );
  }

  /** The last of what all containers wrote. */
  async logs(): Promise<string> {
    return this.compose("logs", "--no-color", "--tail=60").catch(String);
  }
}

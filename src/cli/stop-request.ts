/**
 * How a running command hears that it is to stop: the first signal asks, the second forces.
 * It never ends the process itself: that is left to the command.
 */

export interface StopRequest {
  /** Resolves at the first signal, with its name. */
  readonly asked: Promise<string>;
  /** Resolves at the second: the command is to end at once. */
  readonly forced: Promise<void>;
}

/** What a process tells its listeners; `process` itself is one. */
interface SignalSource {
  readonly connected?: boolean;
  on(event: "SIGINT" | "SIGTERM" | "disconnect", listener: () => void): unknown;
}

/**
 * Takes SIGINT and SIGTERM over from now on.
 *
 * A process that was started with a channel to its parent takes the end of the channel for a
 * signal too: nodes of a local cluster must not live on when what started them was killed.
 */
export function listenForStop(source: SignalSource): StopRequest {
  let ask: (name: string) => void = () => undefined;
  let force: () => void = () => undefined;
  const asked = new Promise<string>((resolve) => {
    ask = resolve;
  });
  const forced = new Promise<void>((resolve) => {
    force = resolve;
  });
  let count = 0;
  const hear = (name: string): void => {
    count += 1;
    if (count === 1) ask(name);
    else force();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    source.on(signal, () => {
      hear(signal);
    });
  }
  if (source.connected === true) {
    source.on("disconnect", () => {
      ask("the end of the process that started this one");
    });
  }
  return { asked, forced };
}

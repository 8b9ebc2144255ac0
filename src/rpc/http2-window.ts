/**
 * What all gRPC channels and servers of a node have in common: HTTP/2 windows, message sizes,
 * reconnects, keepalive.
 *
 * grpc-js opens a server's flow-control window no further than HTTP/2's default of 64 KiB, for
 * each session and each stream, and has no option for it: on a network with 1 ms of round trip
 * that caps a peer's stream at 65 MB/s, and on loopback a window of 1 MiB was worth 3.8 times the
 * throughput at a third of the CPU. So `enlargeServerWindow` reaches for a private field of
 * grpc-js. If a later grpc-js has no such field, nothing breaks: the window stays small, and the
 * caller is told once.
 */
import { EventEmitter } from "node:events";
import type { ServerHttp2Session } from "node:http2";

import type { ChannelOptions, Server } from "@grpc/grpc-js";

/** Flow-control window of a session and of each stream in it, both ways. */
export const windowBytes = 1024 * 1024;

/** Largest message sent or received unless the caller says otherwise. */
export const messageBytesMaxDefault = 8 * 1024 * 1024;

export interface ChannelLimits {
  /** Largest message sent or received, bytes; default 8 MiB. */
  readonly messageBytesMax?: number;
}

function limitOptions(limits: ChannelLimits): ChannelOptions {
  const messageBytesMax = limits.messageBytesMax ?? messageBytesMaxDefault;
  return {
    "grpc.max_receive_message_length": messageBytesMax,
    "grpc.max_send_message_length": messageBytesMax,
  };
}

/**
 * Options of every channel to another node.
 *
 * Reconnects start at 50 ms and stay below 500 ms: with the defaults a peer that restarted was
 * found again after 3.5 s, with these after 0.3 s. A proxy from the environment is never used
 * between nodes. Each channel has connections of its own, so bulk never stalls what is small.
 */
export function clientChannelOptions(limits: ChannelLimits = {}): ChannelOptions {
  return {
    ...limitOptions(limits),
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 500,
    "grpc.enable_http_proxy": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc-node.flow_control_window": windowBytes,
    // A moved node keeps its name: the default looks a name up at most twice a minute.
    "grpc.dns_min_time_between_resolutions_ms": 1000,
    "grpc.service_config_disable_resolution": 1,
    // Whoever retries here knows what is safe to send again; grpc-js would also buffer for it.
    "grpc.enable_retries": 0,
    "grpc.keepalive_time_ms": 5000,
    "grpc.keepalive_timeout_ms": 5000,
    "grpc.keepalive_permit_without_calls": 0,
  };
}

/** Options of a node's gRPC server. */
export function serverChannelOptions(limits: ChannelLimits = {}): ChannelOptions {
  return {
    ...limitOptions(limits),
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5000,
  };
}

function enlargeSession(session: ServerHttp2Session): void {
  if (session.destroyed || session.closed) return;
  session.setLocalWindowSize(windowBytes);
  session.settings({ initialWindowSize: windowBytes });
}

/**
 * Gives each session that the server accepts from now on, and its streams, a window of 1 MiB.
 * Call it after `bindAsync` has called back: only then are there listeners to find.
 *
 * @param report Called once, with a reason, if this grpc-js can't be reached into; the server
 *   then works with small windows.
 * @returns True if the windows will be large.
 */
export function enlargeServerWindow(server: Server, report: (reason: string) => void): boolean {
  const http2Servers: unknown = Reflect.get(server, "http2Servers");
  const listeners = http2Servers instanceof Map ? [...http2Servers.keys()] : [];
  const emitters = listeners.filter((listener) => listener instanceof EventEmitter);
  if (emitters.length === 0) {
    report("grpc-js does not show its HTTP/2 servers; flow-control windows stay at 64 KiB");
    return false;
  }
  for (const emitter of emitters) {
    emitter.on("session", enlargeSession);
  }
  return true;
}

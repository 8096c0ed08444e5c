import { connect, type Socket } from "node:net";
import { namespacePath } from "../names.ts";
import { enterNetworkNamespace } from "./network-namespace.ts";

/**
 * Opens a TCP connection to a literal address from inside a network namespace, without a process of its own.
 *
 * `net.connect` makes its socket in the next tick, so this thread stays in the namespace until the tick after. It is entered from a fresh turn
 * of the event loop: nothing else of ours can run in between.
 */
export async function connectFrom(namespace: string, host: string, port: number, timeoutMs: number): Promise<Socket> {
  return await new Promise<Socket>((resolve, reject) => {
    setImmediate(() => {
      let leave: () => void;
      try {
        leave = enterNetworkNamespace(namespacePath(namespace));
      } catch (error) {
        reject(error);
        return;
      }
      const socket = connect({ host, port, autoSelectFamily: false });
      process.nextTick(leave);
      const timer = setTimeout(
        () => socket.destroy(new Error(`no connection to ${host} port ${port} within ${timeoutMs} ms`)),
        timeoutMs,
      );
      socket.once("connect", () => {
        clearTimeout(timer);
        socket.removeAllListeners("error");
        resolve(socket);
      });
      socket.once("error", (error) => {
        clearTimeout(timer);
        reject(error);
      });
    });
  });
}

// This node in the policy graph: a node is recognised by every address it has, more than any store knows.
import type { Cidr } from "../../net/cidr.ts";
import type { Ip } from "../../net/ip.ts";
import type { ClusterNode } from "../../policy/snapshot.ts";
import type { PolicyEvent } from "../../policy/source.ts";

export type NodeEvent = Extract<PolicyEvent, { readonly kind: "nodes" }>;

export interface OwnNode {
  /** Passes the source's events on, our own node completed. */
  apply(event: NodeEvent): void;
  /** Addresses that the host has now. Equal ones are no event. */
  setAddresses(addresses: readonly Ip[]): void;
  setPodCidrs(podCidrs: readonly Cidr[]): void;
  /** As it is emitted. */
  node(): ClusterNode;
}

/** Until the first snapshot of the source nothing is emitted: the graph is not to believe that we are the only node. */
export function createOwnNode(
  name: string,
  {
    emit,
    onChange,
  }: { readonly emit: (event: NodeEvent) => void; readonly onChange: (node: ClusterNode) => void },
): OwnNode {
  let told: ClusterNode | undefined;
  let addresses: readonly Ip[] = [];
  let podCidrs: readonly Cidr[] = [];
  let isSynced = false;
  let last = "";

  const node = (): ClusterNode => ({
    name,
    addresses: [...new Set([...(told?.addresses ?? []), ...addresses])],
    podCidrs: [...new Set([...(told?.podCidrs ?? []), ...podCidrs])],
  });
  const emitOwn = (): void => {
    const object = node();
    const text = JSON.stringify(object);
    if (text === last) return;
    last = text;
    onChange(object);
    if (isSynced) emit({ type: "put", kind: "nodes", object });
  };
  return {
    node,
    apply(event) {
      switch (event.type) {
        case "snapshot": {
          isSynced = true;
          told = event.objects.find((candidate) => candidate.name === name);
          const others = event.objects.filter((candidate) => candidate.name !== name);
          const object = node();
          last = JSON.stringify(object);
          emit({ type: "snapshot", kind: "nodes", objects: [...others, object] });
          return;
        }
        case "put":
          if (event.object.name !== name) emit(event);
          else {
            told = event.object;
            emitOwn();
          }
          return;
        case "removed":
          if (event.key !== name) emit(event);
          else {
            told = undefined;
            emitOwn();
          }
      }
    },
    setAddresses(now) {
      addresses = now.toSorted();
      emitOwn();
    },
    setPodCidrs(now) {
      podCidrs = now;
      emitOwn();
    },
  };
}

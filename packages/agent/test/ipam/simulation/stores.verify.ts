/** The same cases on a real etcd and kube-apiserver. */
import { startReal } from "../../../../apiserver/test/real-plane.ts";
import { storesOn } from "./control-plane-stores.ts";
import { storeCases } from "./store-cases.ts";

storeCases("kubernetes-1.20", () => storesOn("kubernetes-1.20", startReal));

/** Services and their endpoints as facts and pure choices: parsed, indexed, chosen. */
export { ServiceCatalog, type AffectedServices, type ServiceName } from "./catalog.ts";
export {
  admitsSource,
  chooseEndpoint,
  eligibleEndpoints,
  healthCheck,
  type Eligibility,
  type HealthAnswer,
  type Viewpoint,
} from "./choice.ts";
export type { Frontend } from "./frontends.ts";
export {
  serviceKey,
  type AddressKind,
  type EndpointPort,
  type EndpointRecord,
  type EndpointsRecord,
  type EndpointSource,
  type FrontendKind,
  type PodReference,
  type Protocol,
  type ServicePort,
  type ServiceRecord,
  type SliceRecord,
  type TrafficPolicy,
} from "./model.ts";
export {
  parseEndpoints,
  parseEndpointSlice,
  type EndpointScope,
  type ParsedEndpoints,
  type ParsedSlice,
} from "./parse-endpoints.ts";
export { parseService, type ParsedService } from "./parse.ts";
export type { PortEndpoints, Target } from "./port-endpoints.ts";

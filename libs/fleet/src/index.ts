export { FleetService, type FleetOptions } from './fleet.service';
export { engineOf, storeGroupOf, type HostRecord, type TemplateRecord } from './host';
export { HostClient, type HostAddress, type IncarnationKey, type StreamAnswer, type StreamRequest } from './host-client';
export { HostsStore } from './hosts.store';
export { MemoryHostsStore } from './hosts.store.memory';
export { absentState, type IncarnationLedger, type OpenIncarnation } from './ledger';
export { place, type Candidate, type Need, type Placement } from './placement/place';

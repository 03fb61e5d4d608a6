import { type Clock, limits, type Log, silentLog, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import type { KeysConfig } from '@alcove/contracts';
import { Db } from '@alcove/db';
import { Users } from '@alcove/identity';
import { ReconcilerDriver, SagaRunner } from '@alcove/jobs';
import { type HttpFetch, type KeyProvider, KeyUnavailable, openProvider, openReceiptKey, type ReceiptKey, type KeyProviderSettings } from '@alcove/vault';
import { type DynamicModule, Module, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { carryWraps } from './carry-wraps';
import { erasureReconcilers } from './erasure-reconcilers';
import { Erasures } from './erasures';
import { KekRotation } from './kek-rotation';
import { ErasureReceipts } from './receipts';
import { KeyTree, type Providers } from './key-tree';
import { tenantKeyReconcilers } from './tenant-key-reconcilers';
import { Rotations } from './rotations';
import { TenantKeys } from './tenant-keys';
import { TenantProviders } from './tenant-providers';
import { KeysService } from './keys.service';
import { UserRotations } from './user-rotations';
import { WrapsDb } from './wraps';

export interface KeysModuleOptions {
  /** The database of wraps, as the application's role. */
  databaseUrl: string;
  /** Who holds the root key. Opened at start: one that cannot be used keeps the application from starting. */
  root: KeyProviderSettings;
  /** The file of the key that signs receipts of erasures. */
  receiptKeyFile: string;
  /** How long an unwrapped key is kept, milliseconds. Default 60 000. */
  cacheMs?: number;
  /** Most unwrapped keys that are kept. Default 500. */
  cacheSize?: number;
  /** How long backups of the database of wraps are kept, milliseconds: receipts say it. Default 7 days. */
  backupsKeptMs?: number;
  /** Asks the providers that tenants bring. Default: HTTPS to public addresses only. */
  tenantFetch?: HttpFetch;
  clock?: Clock;
  log?: Log;
}

/** What an application's configuration means here. */
export function keysOptions({ databaseUrl, cacheMs, backupsKeptMs, rootKeyFile, receiptKeyFile }: KeysConfig): KeysModuleOptions {
  return { databaseUrl: databaseUrl.expose(), root: { kind: 'file', path: rootKeyFile }, receiptKeyFile, cacheMs, backupsKeptMs };
}

const ROOT = Symbol('ROOT_KEY_PROVIDER');
const RECEIPT_KEY = Symbol('RECEIPT_KEY');

/** Overwrites keys whose time is over, also those that nobody asks for. */
class CacheSweeper implements OnModuleDestroy {
  readonly #stopped = new AbortController();

  constructor(
    private readonly tree: KeyTree,
    private readonly clock: Clock,
    private readonly everyMs: number,
  ) {
    void this.#loop();
  }

  onModuleDestroy(): void {
    this.#stopped.abort();
  }

  async #loop(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      this.tree.cache.sweep();
      await this.clock.sleep(this.everyMs, this.#stopped.signal).catch(() => undefined);
    }
    this.tree.cache.forget('');
  }
}

/** Before anything is served: who was forgotten is so, also when one of the databases was put back from a backup. */
class LedgerReplay implements OnApplicationBootstrap {
  constructor(private readonly erasures: Erasures) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.erasures.replay();
  }
}

/** Makes KeysService, KeyTree, KekRotation, TenantKeys, UserRotations, Erasures and WrapsDb known to every module. Needs the modules of db, audit, identity and jobs. Wraps that still lie in the main database are carried over before anything is served. */
@Module({})
export class KeysModule {
  static forRoot(options: KeysModuleOptions): DynamicModule {
    const { databaseUrl, root, receiptKeyFile, cacheMs = 60_000, cacheSize = 500, backupsKeptMs = 7 * 24 * 3600_000, tenantFetch, clock = systemClock, log = silentLog } = options;
    return {
      module: KeysModule,
      global: true,
      providers: [
        { provide: RECEIPT_KEY, useFactory: () => openReceiptKey(receiptKeyFile) },
        { provide: ROOT, useFactory: () => openProvider(root, { clock }) },
        {
          provide: WrapsDb,
          inject: [Db],
          useFactory: async (db: Db) => {
            const wraps = new WrapsDb({ url: databaseUrl, poolSize: 5, clock });
            const carried = await carryWraps(db, wraps);
            if (carried.tenants + carried.users > 0) log.info(carried, 'wrapped keys were carried into their own database');
            return wraps;
          },
        },
        { provide: TenantProviders, inject: [WrapsDb, ROOT], useFactory: (wraps: WrapsDb, provider: KeyProvider) => new TenantProviders(wraps, provider, { clock, fetch: tenantFetch }) },
        { provide: KeyTree, inject: [WrapsDb, TenantProviders], useFactory: (wraps: WrapsDb, providers: TenantProviders) => new KeyTree(wraps, providers, { clock, cacheMs, cacheSize }) },
        { provide: Rotations, inject: [WrapsDb, KeyTree, KekRotation, TenantProviders], useFactory: (wraps: WrapsDb, tree: KeyTree, kek: KekRotation, providers: TenantProviders) => new Rotations({ wraps, tree, kek, providers, clock, log }) },
        {
          provide: TenantKeys,
          inject: [Db, WrapsDb, KeyTree, TenantProviders, Rotations, Audit, ReconcilerDriver],
          useFactory: (db: Db, wraps: WrapsDb, tree: KeyTree, providers: TenantProviders, rotations: Rotations, audit: Audit, reconcilers: ReconcilerDriver) => {
            const keys = new TenantKeys({ db, wraps, tree, providers, rotations, audit, clock, log, closesWithinMs: cacheMs });
            reconcilers.register(...tenantKeyReconcilers(keys, rotations, cacheMs));
            return keys;
          },
        },
        {
          provide: UserRotations,
          inject: [Db, WrapsDb, KeyTree, Users, Audit, ReconcilerDriver],
          useFactory: (db: Db, wraps: WrapsDb, tree: KeyTree, users: Users, audit: Audit, reconcilers: ReconcilerDriver) => {
            const rotations = new UserRotations({ db, wraps, tree, users, audit, clock, log });
            reconcilers.register({ name: 'keys.users', everyMs: limits.reconciler.everyMs, run: () => rotations.advance(limits.reconciler.batch) });
            return rotations;
          },
        },
        { provide: CacheSweeper, inject: [KeyTree], useFactory: (tree: KeyTree) => new CacheSweeper(tree, clock, Math.max(1_000, cacheMs / 4)) },
        { provide: KekRotation, inject: [WrapsDb, KeyTree], useFactory: (wraps: WrapsDb, tree: KeyTree) => new KekRotation(wraps, tree, clock) },
        {
          provide: Erasures,
          inject: [Db, WrapsDb, KeyTree, KekRotation, RECEIPT_KEY, Users, Audit, SagaRunner, ReconcilerDriver],
          useFactory: (db: Db, wraps: WrapsDb, tree: KeyTree, rotation: KekRotation, receiptKey: ReceiptKey, users: Users, audit: Audit, runner: SagaRunner, reconcilers: ReconcilerDriver) => {
            const receipts = new ErasureReceipts(backupsKeptMs, receiptKey);
            const erasures = new Erasures({ db, wraps, tree, rotation, users, audit, runner, receipts, clock, log });
            reconcilers.register(...erasureReconcilers(erasures));
            return erasures;
          },
        },
        { provide: LedgerReplay, inject: [Erasures], useFactory: (erasures: Erasures) => new LedgerReplay(erasures) },
        { provide: KeysService, inject: [KeyTree], useFactory: (tree: KeyTree) => new KeysService(tree) },
      ],
      exports: [KeysService, KeyTree, KekRotation, TenantKeys, UserRotations, Erasures, WrapsDb],
    };
  }
}

/** Providers of a platform where no tenant brings its own. */
export function platformOnly(root: KeyProvider): Providers {
  return {
    root,
    ofTenant: () => {
      throw new KeyUnavailable('unreachable', 'this process does not open providers of tenants');
    },
  };
}

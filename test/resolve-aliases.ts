/** jest maps `@alcove/<lib>` inside tests but not inside globalSetup: this teaches Node's own loader the same aliases. */
import { registerHooks } from 'node:module';
import { join } from 'node:path';

registerHooks({
  resolve(specifier, context, next) {
    const lib = /^@alcove\/([a-z-]+)$/.exec(specifier)?.[1];
    if (lib === undefined) return next(specifier, context);
    return next(join(__dirname, '..', 'libs', lib, 'src', 'index.ts'), context);
  },
});

import { useFreshRandomness } from './fresh-randomness.ts';
import { startServer } from './server.ts';
import { warmUp } from './warm-up.ts';

// Before anything else can draw: whatever is drawn now would be the same in every room of the template.
useFreshRandomness();
await startServer({ host: '0.0.0.0', port: 8080 }, warmUp);

import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Problem } from '@alcove/contracts';

/** The page at /docs: Swagger UI, served from this process alone. */
export const docsPage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Alcove API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;

/** Nothing from elsewhere, no inline script; the page's own styles are inline, its icons data. */
export const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const start = "window.ui = SwaggerUIBundle({ url: '/openapi.json', dom_id: '#page', deepLinking: true, validatorUrl: null });\n";

const assets: Record<string, string> = { 'swagger-ui.css': 'text/css; charset=utf-8', 'swagger-ui-bundle.js': 'text/javascript; charset=utf-8' };

/** A file of that page. Throws request.unknown_route for any other name. */
export async function docsAsset(name: string): Promise<{ type: string; content: Buffer | string }> {
  if (name === 'start.js') return { type: 'text/javascript; charset=utf-8', content: start };
  const type = assets[name];
  if (!type) throw new Problem('request.unknown_route');
  return { type, content: await readFile(join(dirname(require.resolve('swagger-ui-dist/package.json')), name)) };
}

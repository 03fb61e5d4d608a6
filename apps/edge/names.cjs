'use strict';
/**
 * For machines without wildcard DNS: makes the domain of E2B_DOMAIN and every name below it lead to 127.0.0.1 in this Node process, and leaves all other names alone.
 *   NODE_OPTIONS="--require /path/to/apps/edge/names.cjs"
 */
const dns = require('node:dns');
const { syncBuiltinESMExports } = require('node:module');

const domain = (process.env.E2B_DOMAIN ?? '').toLowerCase().replace(/:\d+$/, '').replace(/\.$/, '');

function isOurs(hostname) {
  const name = String(hostname).toLowerCase().replace(/\.$/, '');
  return domain !== '' && (name === domain || name.endsWith(`.${domain}`));
}

if (domain !== '') {
  const here = { address: '127.0.0.1', family: 4 };
  const { lookup } = dns;
  dns.lookup = function (hostname, options, callback) {
    if (!isOurs(hostname)) return lookup.call(dns, ...arguments);
    const answer = callback ?? options;
    if (typeof options === 'object' && options?.all) process.nextTick(answer, null, [here]);
    else process.nextTick(answer, null, here.address, here.family);
  };
  const { lookup: promised } = dns.promises;
  dns.promises.lookup = async function (hostname, options) {
    if (!isOurs(hostname)) return promised.call(dns.promises, hostname, options);
    return options?.all ? [here] : here;
  };
  syncBuiltinESMExports();
}

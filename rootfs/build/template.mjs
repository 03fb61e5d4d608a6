// Reads a template's alcove.template.json, strictly, and prints what the build scripts need of it.
//
//   node template.mjs packages DIR            Debian packages, one a line
//   node template.mjs npm DIR                 npm packages, one a line
//   node template.mjs files DIR               from TAB to TAB mode, one a line; `from` is absolute and inside DIR
//   node template.mjs disk DIR                the disk's size in MiB
//   node template.mjs guest DIR               /etc/alcove/template, for the guest agent
//   node template.mjs record DIR KEY=VALUE…   build.json; KEY@file=PATH adds a file's sha256 and size
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';

const DEFAULT_SIZE = { memoryMiB: 512, diskMiB: 4096, vcpus: 1 };
// What nearly every room does sooner or later: run once before the template is captured, it is in the shared page cache.
const WARM = [
  'bash -c "ls / | head -1; cat /etc/hostname; date; id; ps; true"',
  'python3 -c "import random, uuid, json, http.server; random.random()"',
  'openssl rand -hex 4',
  'bash -l -c "tput colors; sudo -n true; true"',
  'git --version && curl --version',
];

class Invalid extends Error {}

function check(condition, message) {
  if (!condition) throw new Invalid(message);
}

const isText = (value) => typeof value === 'string' && value.length > 0 && value.length <= 4096 && !/[\0\n\r]/.test(value);
const isWhole = (low, high) => (value) => Number.isInteger(value) && value >= low && value <= high;
const isList = (item) => (value) => Array.isArray(value) && value.length <= 256 && value.every(item);
const isRecord = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isDebianPackage = (value) => isText(value) && /^[a-z0-9][a-z0-9+.-]*$/.test(value);
const isNpmPackage = (value) => isText(value) && /^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*(@[\w.^~<>=*-]+)?$/.test(value);
const isMode = (value) => isText(value) && /^0?[0-7]{3,4}$/.test(value);

const FIELDS = {
  name: (value) => isText(value) && /^[a-z0-9][a-z0-9-]{0,62}$/.test(value),
  start: isCommand,
  onFork: isCommand,
  port: (value) => value === 8080,
  user: (value) => isText(value) && /^[a-z_][a-z0-9_-]{0,31}$/.test(value),
  cwd: (value) => isText(value) && value.startsWith('/'),
  env: (value) => isRecord(value) && Object.entries(value).every(([key, text]) => /^[A-Za-z_]\w*$/.test(key) && (text === '' || isText(text))),
  cloneSafe: (value) => typeof value === 'boolean',
  debianPackages: isList(isDebianPackage),
  npmPackages: isList(isNpmPackage),
  files: isList(isFile),
  size: isSize,
};
const SIZES = { memoryMiB: isWhole(192, 65_536), diskMiB: isWhole(64, 1_048_576), vcpus: isWhole(1, 32) };

function isCommand(value) {
  return isList(isText)(value) && value.length > 0 && value.length <= 64;
}

function isFile(value) {
  return (
    isRecord(value) &&
    Object.keys(value).every((key) => ['from', 'to', 'mode'].includes(key)) &&
    isText(value.from) &&
    isText(value.to) &&
    value.to.startsWith('/') &&
    !value.to.split('/').includes('..') &&
    !/\t/.test(value.from + value.to) &&
    (value.mode === undefined || isMode(value.mode))
  );
}

function isSize(value) {
  return isRecord(value) && Object.entries(value).every(([key, number]) => Object.hasOwn(SIZES, key) && SIZES[key](number));
}

/** The template's settings with all defaults filled in. */
function load(directory) {
  const path = join(directory, 'alcove.template.json');
  check(existsSync(path), 'there is no alcove.template.json');
  let settings;
  try {
    settings = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Invalid(`not JSON: ${error.message}`);
  }
  check(isRecord(settings), 'not an object');
  for (const [key, value] of Object.entries(settings)) {
    check(Object.hasOwn(FIELDS, key), `unknown field "${key}"`);
    check(FIELDS[key](value), `"${key}" is not as it must be (see rootfs/README.md)`);
  }
  for (const key of ['name', 'start']) check(settings[key] !== undefined, `"${key}" is missing`);
  return {
    port: 8080,
    user: 'user',
    env: {},
    cloneSafe: false,
    debianPackages: [],
    npmPackages: [],
    files: [],
    ...settings,
    size: { ...DEFAULT_SIZE, ...settings.size },
  };
}

/** Absolute paths of the files to copy; none may lie outside the template's folder. */
function sources(directory, settings) {
  const root = realpathSync(directory);
  return settings.files.map(({ from, to, mode }) => {
    const path = resolve(root, from);
    check(existsSync(path), `"${from}" is not there`);
    const real = realpathSync(path);
    check(real === root || real.startsWith(root + sep), `"${from}" is outside the template's folder`);
    return [real, to, mode ?? ''].join('\t');
  });
}

/** What the guest agent reads: see rootfs/guest-agent/PROTOCOL.md. */
function guestLines(settings) {
  const warm = settings.cloneSafe ? WARM : [...WARM, 'node -e "require(\'node:http\')"'];
  return [
    ...settings.start.map((word) => `start=${word}`),
    `user=${settings.user}`,
    ...(settings.cwd === undefined ? [] : [`cwd=${settings.cwd}`]),
    ...Object.entries(settings.env).map(([key, value]) => `env=${key}=${value}`),
    `cloneSafe=${settings.cloneSafe ? 1 : 0}`,
    `port=${settings.port}`,
    ...warm.map((command) => `warm=${command}`),
  ];
}

async function describeFile(path) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return { sha256: hash.digest('hex'), bytes: statSync(path).size };
}

async function record(settings, pairs) {
  const result = { format: 1, template: settings, files: {} };
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    const [key, kind] = pair.slice(0, at).split('@');
    const value = pair.slice(at + 1);
    if (kind === 'file') result.files[key] = await describeFile(value);
    else if (kind === 'lines') result[key] = readFileSync(value, 'utf8').split('\n').filter(Boolean);
    else result[key] = value;
  }
  return JSON.stringify(result, null, 2);
}

async function main([verb, directory, ...rest]) {
  const settings = load(directory);
  const verbs = {
    packages: () => settings.debianPackages.join('\n'),
    npm: () => settings.npmPackages.join('\n'),
    files: () => sources(directory, settings).join('\n'),
    disk: () => String(settings.size.diskMiB),
    guest: () => guestLines(settings).join('\n'),
    record: () => record(settings, rest),
  };
  check(Object.hasOwn(verbs, verb), `unknown verb ${verb}`);
  const text = await verbs[verb]();
  if (text !== '') process.stdout.write(`${text}\n`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Invalid)) throw error;
  process.stderr.write(`[rootfs] error: ${join(process.argv[3] ?? '', 'alcove.template.json')}: ${error.message}\n`);
  process.exit(1);
}
